package proxy

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// listing serves the listings of a bucket.
func (q *request) listing() error {
	ctx := q.r.Context()
	l, err := parseListQuery(q.in.Operation, q.r.URL.RawQuery)
	if err != nil {
		return err
	}
	for err = errMoved; errors.Is(err, errMoved); {
		var r ledger.Route
		if r, err = q.p.obeyed(ctx); err != nil {
			return err
		}
		switch {
		case l.max == 0 || l.refused || l.opaque:
			// max-keys=0 asks for nothing but the echo; a store's own token works there only.
			err = q.listSteady(r.Main, l, nil)
		case r.State == ledger.Steady:
			err = q.listSteady(r.Main, l, &r)
		default:
			err = q.listMoving(ctx, l)
		}
	}
	var refused *storeError
	if errors.As(err, &refused) {
		return q.respondBytes(refused.resp, q.p.rename(refused.store, refused.body))
	}
	return err
}

// listSteady passes on main's own page; only tokens are replaced by ones that
// either store can go on from. It returns errMoved when the route is not by any more: then
// the page may show a write that nobody else sees yet, as a read might, see readNewest.
func (q *request) listSteady(store ledger.Store, l listQuery, by *ledger.Route) error {
	c := call{in: q.in}
	v := maps.Clone(l.values)
	if l.token != "" && !l.opaque {
		v.Del("continuation-token")
		v.Set("start-after", l.after)
	}
	if l.wrapped {
		v.Del(l.kind.marker)
		if l.markerFrom == store {
			v.Set(l.kind.marker, l.marker)
		}
	}
	query := encodeQuery(v)
	c.query = &query
	resp, err := q.send(q.r.Context(), store, c)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := readBounded(resp.Body, maxPage)
	if err != nil {
		return err
	}
	if now, ok := q.p.current(); by != nil && (!ok || now != *by) {
		return errMoved
	}
	if l.op == s3.ListObjects {
		return q.respondBytes(resp, q.p.rename(store, raw))
	}
	if pg, err := parsePage(l, store, raw); resp.StatusCode == 200 && err == nil {
		raw = retoken(l, store, pg)
	}
	return q.respondBytes(resp, q.p.rename(store, raw))
}

// retoken replaces what a store's page says about paging.
func retoken(l listQuery, store ledger.Store, pg page) []byte {
	d := pg.doc
	values := map[string]string{}
	drop := map[string]bool{}
	switch l.op {
	case s3.ListObjectsV2:
		if pg.truncated && len(pg.items) > 0 {
			values["NextContinuationToken"] = encodeToken(pg.items[len(pg.items)-1].position())
		}
		if l.token != "" && !l.opaque {
			values["ContinuationToken"] = escape(l.token)
			if l.startAfter == "" {
				drop["StartAfter"] = true
			} else {
				values["StartAfter"] = encodeKey(l.startAfter, urlEncoded(d))
			}
		}
	default:
		next := "Next" + l.idMarker()
		if id := d.text(next); id != "" {
			values[next] = wrapMarker(store, id)
		}
		if l.wrapped {
			values[l.idMarker()] = escape(wrapMarker(l.markerFrom, l.marker))
		}
	}
	var edits []edit
	for _, e := range d.children {
		if with, ok := values[e.name]; ok {
			edits = append(edits, edit{e.start, e.end, "<" + e.name + ">" + with + "</" + e.name + ">"})
			delete(values, e.name)
		} else if drop[e.name] {
			edits = append(edits, edit{e.start, e.end, ""})
		}
	}
	var added strings.Builder
	for _, name := range []string{"ContinuationToken", "NextContinuationToken", "StartAfter", l.idMarker()} {
		if with, ok := values[name]; ok {
			added.WriteString("<" + name + ">" + with + "</" + name + ">")
		}
	}
	edits = append(edits, edit{d.root.to, d.root.to, added.String()})
	return splice(d.raw, edits)
}

// idMarker is the element that echoes the version or upload marker.
func (l listQuery) idMarker() string {
	switch l.op {
	case s3.ListObjectVersions:
		return "VersionIdMarker"
	case s3.ListMultipartUploads:
		return "UploadIdMarker"
	}
	return ""
}

// listMoving lists while objects may be newest on either store.
func (q *request) listMoving(ctx context.Context, l listQuery) error {
	// The ledger's route may be ahead of ours: then keys that the new main alone
	// holds are not dirty any more once nobody copies them back.
	compare := false
	for began := time.Now(); ; {
		loc, err := q.bucketLocation(ctx)
		if err != nil {
			return err
		}
		if stands, err := q.bucketStands(ctx, loc.Route); err != nil {
			return err
		} else if !stands {
			if err := q.awaitBucket(ctx, began); err != nil {
				return err
			}
			continue
		}
		main := loc.Route.Main
		unsure := compare || loc.Loss != ledger.Healthy && loc.Route.State == ledger.Switched
		if l.op == s3.ListMultipartUploads {
			err = q.listUploads(ctx, l, main)
		} else {
			err = q.listMerged(ctx, l, main, unsure)
		}
		var lost *overlayLost
		switch {
		case errors.Is(err, errMoved):
		case !errors.As(err, &lost):
			return err
		default:
			// What processes remember comes first, then what the stores hold.
			if compare = lost.state == ledger.Lost; compare {
				continue
			}
		}
		if time.Since(began) > q.p.cfg.LedgerWait {
			return s3.ErrSlowDown
		}
		if err := pause(ctx, jitter(20*time.Millisecond, 100*time.Millisecond)); err != nil {
			return err
		}
	}
}

// overlayLost says that the ledger lost which keys are dirty, on some shard.
type overlayLost struct{ state ledger.LossState }

func (*overlayLost) Error() string { return "the ledger lost which keys are dirty" }

func (q *request) listMerged(ctx context.Context, l listQuery, listed ledger.Store, unsure bool) error {
	l.own[listed.Other()] = true
	look := func(ctx context.Context, prefix, after string, limit int) (page ledger.DirtyPage, err error) {
		err = q.p.ask(ctx, "dirty range", func(ctx context.Context) error {
			page, err = q.p.ledger.DirtyRange(ctx, listed, q.in.Bucket, prefix, after, limit)
			return err
		})
		return page, err
	}
	o := overlay{
		listed: listed, delimiter: l.delimiter,
		fetch: func(ctx context.Context, s ledger.Store, w window) (page, error) {
			return q.fetchWhole(ctx, l, s, w)
		},
		dirty: func(ctx context.Context, prefix, after string, limit int) (page ledger.DirtyPage, err error) {
			horizon := ""
			if unsure {
				// Whatever differs on this range is put into the ledger first.
				if horizon, err = q.compareRange(ctx, listed, prefix, after); err != nil {
					return page, err
				}
			}
			defer func() { page = page.Cut(horizon) }()
			page, err = look(ctx, prefix, after, limit)
			if err == nil && page.Loss != ledger.Healthy && (!unsure || page.Loss != ledger.Lost) {
				err = &overlayLost{page.Loss}
			}
			return page, err
		},
		again: look,
	}
	w := window{prefix: l.prefix, after: l.after, max: l.max}
	if p, ok := rollUp(w.after, l.prefix, l.delimiter); ok && p == w.after && l.op != s3.ListObjectsV2 {
		// A common prefix as marker is the end of the page before.
		w.after += lastRune
	}
	var items []item
	if l.marker != "" {
		from := listed
		if l.wrapped {
			from = l.markerFrom
		}
		// A store that does not know the marker any more has nothing to add.
		rest, err := q.fetchGroup(ctx, l, from, l.after, l.marker)
		if err != nil && !isRefusal(err) {
			return err
		}
		items = rest
	}
	var more bool
	if len(items) < l.max {
		w.max -= len(items)
		found, truncated, err := o.collect(ctx, w)
		if err != nil {
			return err
		}
		items, more = append(items, found...), truncated
	} else {
		more = true
		items = items[:l.max]
		pg, err := o.fetch(ctx, listed, window{prefix: l.prefix, delimiter: l.delimiter, after: w.after, max: 1})
		if err != nil {
			return err
		}
		o.first = &pg
	}
	body := render(l, o.first.doc, items, more)
	return q.respondBytes(o.first.resp, q.p.rename(listed, body))
}

func isRefusal(err error) bool {
	var refused *storeError
	return errors.As(err, &refused)
}

// render writes a page: what a store's own page says of the request, and the
// merged items.
func render(l listQuery, d document, items []item, truncated bool) []byte {
	set := map[string]string{
		"IsTruncated":  strconv.FormatBool(truncated),
		l.kind.maxName: strconv.Itoa(l.max),
	}
	var last item
	if len(items) > 0 {
		last = items[len(items)-1]
	}
	var added []string
	encoded := urlEncoded(d)
	switch l.op {
	case s3.ListObjectsV2:
		set["KeyCount"] = strconv.Itoa(len(items))
		if l.token != "" {
			set["ContinuationToken"] = escape(l.token)
			added = append(added, "ContinuationToken")
		}
		if l.startAfter != "" {
			set["StartAfter"] = encodeKey(l.startAfter, encoded)
			added = append(added, "StartAfter")
		}
		if truncated {
			set["NextContinuationToken"] = encodeToken(last.position())
			added = append(added, "NextContinuationToken")
		}
	case s3.ListObjects:
		set["Marker"] = encodeKey(l.after, encoded)
		if truncated { // not all stores tell it without a delimiter, and no client minds
			set["NextMarker"] = encodeKey(last.key, encoded)
			added = append(added, "NextMarker")
		}
	default:
		set["KeyMarker"] = encodeKey(l.after, encoded)
		set[l.idMarker()] = escape(l.values.Get(l.kind.marker))
		if truncated {
			set["NextKeyMarker"] = encodeKey(last.key, encoded)
			added = append(added, "NextKeyMarker")
			if !last.prefix {
				set["Next"+l.idMarker()] = wrapMarker(last.store, last.id)
				added = append(added, "Next"+l.idMarker())
			}
		}
	}
	return assemble(l, d, items, set, added)
}

// paging are the elements that a store's page must not keep.
var paging = map[string]bool{
	"NextMarker": true, "NextContinuationToken": true, "ContinuationToken": true, "StartAfter": true,
	"NextKeyMarker": true, "NextVersionIdMarker": true, "NextUploadIdMarker": true,
}

func assemble(l listQuery, d document, items []item, set map[string]string, added []string) []byte {
	var out bytes.Buffer
	out.Write(d.raw[:d.root.from])
	if d.root.from == d.root.end {
		// An empty root: <X/> becomes <X>.
		out.Truncate(out.Len() - 2)
		out.WriteByte('>')
	}
	element := func(name, value string) { out.WriteString("<" + name + ">" + value + "</" + name + ">") }
	encoded := urlEncoded(d)
	isItem := map[string]bool{"CommonPrefixes": true}
	for _, name := range l.kind.items {
		isItem[name] = true
	}
	for _, e := range d.children {
		value, ok := set[e.name]
		switch {
		case isItem[e.name], paging[e.name]:
		case ok:
			element(e.name, value)
		default:
			out.Write(d.raw[e.start:e.end])
		}
	}
	for _, name := range added {
		element(name, set[name])
	}
	for _, prefixes := range []bool{false, true} {
		for _, it := range items {
			if it.prefix == prefixes {
				out.Write(it.element(encoded))
			}
		}
	}
	if d.root.from == d.root.end {
		out.WriteString("</" + d.root.name + ">")
		return out.Bytes()
	}
	out.Write(d.raw[d.root.to:])
	return out.Bytes()
}
