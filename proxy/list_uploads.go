package proxy

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// listUploads merges the multipart uploads of both stores: those that the ledger
// places where they are. The rest are copies under way.
func (q *request) listUploads(ctx context.Context, l listQuery, main ledger.Store) error {
	l.own[main.Other()] = true
	after := l.after
	if p, ok := rollUp(after, l.prefix, l.delimiter); ok && p == after {
		after += lastRune
	}
	items, err := q.uploadsOfMarker(ctx, l, main)
	if err != nil {
		return err
	}
	var first *page
	for _, s := range []ledger.Store{main, main.Other()} {
		list, pg, err := q.uploadsOf(ctx, l, s, after, l.max+1-len(items))
		if err != nil && (s == main || !noBucket(err)) {
			return err
		}
		if s == main {
			first = &pg
		}
		items = append(items, list...)
	}
	// Main's come first among those of one key.
	slices.SortStableFunc(items, compareItems)
	items = slices.CompactFunc(items, func(a, b item) bool { return a.prefix && b.prefix && a.key == b.key })
	more := len(items) > l.max
	if more {
		items = items[:l.max]
	}
	return q.respondBytes(first.resp, q.p.rename(main, render(l, first.doc, items, more)))
}

// uploadsOfMarker returns the uploads of the marker's key that the page before
// did not show: the rest of its store's, and the other store's if that comes later.
func (q *request) uploadsOfMarker(ctx context.Context, l listQuery, main ledger.Store) ([]item, error) {
	if l.marker == "" {
		return nil, nil
	}
	store := main
	if l.wrapped {
		store = l.markerFrom
	}
	list, err := q.fetchGroup(ctx, l, store, l.after, l.marker)
	// An upload of a page before may be gone; what never was one is main's to refuse.
	if err != nil && (!isRefusal(err) || !l.wrapped) {
		return nil, err
	}
	if list, err = q.clientsUploads(ctx, store, list); err != nil {
		return nil, err
	}
	if store != main {
		return list, nil
	}
	rest, err := q.fetchGroup(ctx, l, store.Other(), l.after, "")
	if err != nil && !isRefusal(err) {
		return nil, err
	}
	if rest, err = q.clientsUploads(ctx, store.Other(), rest); err != nil {
		return nil, err
	}
	return append(list, rest...), nil
}

// uploadsOf returns up to max uploads and common prefixes of a store, and its first page.
func (q *request) uploadsOf(ctx context.Context, l listQuery, store ledger.Store, after string, max int) ([]item, page, error) {
	// The store's common prefixes would hide which uploads they stand for: they
	// are made of what remains.
	w := window{prefix: l.prefix, after: after, max: pageLimit}
	var out []item
	var first page
	for n := 0; ; n++ {
		pg, err := q.fetch(ctx, l, store, w)
		if err != nil {
			return nil, page{}, err
		}
		if n == 0 {
			first = pg
		}
		list, err := q.clientsUploads(ctx, store, pg.items)
		if err != nil {
			return nil, page{}, err
		}
		out = append(out, rollUpItems(l, list)...)
		if !pg.truncated || len(pg.items) == 0 || len(out) >= max {
			return out, first, nil
		}
		last := pg.items[len(pg.items)-1]
		w.after, w.marker = last.position(), last.id
	}
}

// clientsUploads leaves out uploads that the ledger does not place on the store.
func (q *request) clientsUploads(ctx context.Context, store ledger.Store, list []item) ([]item, error) {
	keep := make([]bool, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listParallel)
	for i, it := range list {
		g.Go(func() error {
			return q.p.ask(ctx, "upload", func(ctx context.Context) error {
				s, err := q.p.ledger.Upload(ctx, ledger.Object{Bucket: q.in.Bucket, Key: it.key}, it.id)
				keep[i] = s == store
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []item
	for i, it := range list {
		if keep[i] {
			out = append(out, it)
		}
	}
	return out, nil
}

// rollUpItems makes common prefixes of items. Neighbours fall together when the
// stores' lists are merged.
func rollUpItems(l listQuery, list []item) []item {
	out := make([]item, 0, len(list))
	for _, it := range list {
		p, ok := rollUp(it.key, l.prefix, l.delimiter)
		if !ok || strings.HasPrefix(l.after, p) {
			if !ok {
				out = append(out, it)
			}
			continue
		}
		out = append(out, item{key: p, prefix: true, store: it.store})
	}
	return out
}
