package proxy

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// bucketList is a store's answer to ListBuckets.
type bucketList struct {
	resp *http.Response // its body is read and closed
	doc  document
	list element           // Buckets
	by   map[string][]byte // elements by the bucket's name on the source
}

// listBuckets lists main's buckets. While a switch is under way, those that were
// made or deleted on the other store last are as they are there; those that are
// not migrated always are the source's.
func (q *request) listBuckets() error {
	ctx := q.r.Context()
	r, err := q.p.obeyed(ctx)
	if err != nil {
		return err
	}
	if r.State == ledger.Steady && (r.Main == ledger.Source || q.p.cfg.Buckets == nil) {
		return q.service()
	}
	own, err := q.bucketsAt(ctx, r.Main)
	var refused *storeError
	if errors.As(err, &refused) {
		return q.respondBytes(refused.resp, refused.body)
	}
	if err != nil {
		return err
	}
	other, err := q.bucketsAt(ctx, r.Main.Other())
	if err != nil || own.by == nil || other.by == nil {
		// What main shows is all that can be known.
		return q.respondBytes(own.resp, own.doc.raw)
	}
	names, settled, err := q.bucketsSeen(ctx, r.Main, own.by, other.by)
	if err != nil {
		return err
	}
	if settled {
		// What was copied, or deleted, since main was asked is not known to the ledger any more.
		if again, err := q.bucketsAt(ctx, r.Main); err == nil && again.by != nil {
			own = again
			if names, _, err = q.bucketsSeen(ctx, r.Main, own.by, other.by); err != nil {
				return err
			}
		}
	}
	var out strings.Builder
	out.WriteString("<Buckets>")
	last := ""
	for name := range own.by {
		last = max(last, name)
	}
	for _, name := range names {
		if raw := own.by[name]; raw != nil {
			out.Write(raw)
		} else if own.doc.text("ContinuationToken") == "" || name < last {
			out.Write(other.by[name])
		}
	}
	out.WriteString("</Buckets>")
	return q.respondBytes(own.resp, splice(own.doc.raw, []edit{{own.list.start, own.list.end, out.String()}}))
}

// bucketsSeen returns the names that clients see, in order; settled says that the ledger
// does not know why a bucket is on one store only.
func (q *request) bucketsSeen(ctx context.Context, main ledger.Store, own, other map[string][]byte) (names []string, settled bool, err error) {
	source := own
	if main == ledger.Target {
		source = other
	}
	seen := map[string]bool{}
	var doubtful []string // on one store only
	for _, list := range []map[string][]byte{own, other} {
		for name := range list {
			switch {
			case !q.p.migrates(name):
				seen[name] = source[name] != nil
			case own[name] == nil || other[name] == nil:
				seen[name] = own[name] != nil
				doubtful = append(doubtful, name)
			default:
				seen[name] = true
			}
		}
	}
	elsewhere, unknown := make([]bool, len(doubtful)), make([]bool, len(doubtful))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listParallel)
	for i, name := range doubtful {
		g.Go(func() error {
			store, known, err := q.locate(ctx, ledger.Object{Bucket: name})
			elsewhere[i], unknown[i] = known && store != main, !known
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	for i, name := range doubtful {
		if elsewhere[i] {
			seen[name] = other[name] != nil
		}
	}
	maps.DeleteFunc(seen, func(_ string, shown bool) bool { return !shown })
	return slices.Sorted(maps.Keys(seen)), slices.Contains(unknown, true), nil
}

// bucketsAt asks a store for its buckets. A refusal is a [storeError]; by is nil
// when the answer could not be read.
func (q *request) bucketsAt(ctx context.Context, store ledger.Store) (l bucketList, err error) {
	if l.resp, err = q.send(ctx, store, call{in: q.in}); err != nil {
		return l, err
	}
	defer func() { _ = l.resp.Body.Close() }()
	raw, err := readBounded(l.resp.Body, maxPage)
	if err != nil {
		return l, err
	}
	if l.resp.StatusCode != http.StatusOK {
		return l, &storeError{resp: l.resp, body: raw, store: store}
	}
	l.doc.raw = q.p.rename(store, raw)
	doc, err := parseDocument(bytes.TrimSpace(l.doc.raw))
	if err != nil {
		return l, nil //nolint:nilerr // the client gets what the store said
	}
	l.doc = doc
	for _, e := range doc.children {
		if e.name != "Buckets" {
			continue
		}
		l.list, l.by = e, map[string][]byte{}
		list, _ := below(doc.raw, e)
		for _, b := range list {
			fields, _ := below(doc.raw, b)
			if name, ok := text(doc.raw, fields, "Name"); ok {
				l.by[name] = doc.raw[b.start:b.end]
			}
		}
	}
	return l, nil
}
