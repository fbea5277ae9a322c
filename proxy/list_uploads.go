package proxy

import (
	"context"
	"slices"
	"strings"
	"time"

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
	group := func(s ledger.Store, id string, missing bool) ([]item, error) {
		again := func() ([]item, error) {
			list, err := q.fetchGroup(ctx, l, s, l.after, id)
			if err != nil && missing && isRefusal(err) {
				err = nil
			}
			return list, err
		}
		list, err := again()
		if err != nil {
			return nil, err
		}
		return q.clientsUploads(ctx, s, list, again)
	}
	// An upload of a page before may be gone; what never was one is main's to refuse.
	list, err := group(store, l.marker, l.wrapped)
	if err != nil || store != main {
		return list, err
	}
	rest, err := group(store.Other(), "", true)
	return append(list, rest...), err
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
		list, err := q.clientsUploads(ctx, store, pg.items, func() ([]item, error) {
			return q.fetchTo(ctx, l, store, w, pg.items[len(pg.items)-1])
		})
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

// fetchTo returns the uploads of a window, of as many pages as it takes to get to last.
func (q *request) fetchTo(ctx context.Context, l listQuery, store ledger.Store, w window, last item) ([]item, error) {
	var out []item
	for {
		pg, err := q.fetch(ctx, l, store, w)
		if err != nil {
			return nil, err
		}
		out = append(out, pg.items...)
		if !pg.truncated || len(pg.items) == 0 || out[len(out)-1].key > last.key {
			return out, nil
		}
		end := out[len(out)-1]
		w.after, w.marker = end.position(), end.id
	}
}

// clientsUploads leaves out uploads that the ledger does not place on the store. One of which
// it knows nothing is a client's, from before the switch, or that of a copy: one that has not
// been placed yet, by a worker that has noted that it would be created, or one that has ended
// since it was listed; again lists the same uploads once more. It returns *overlayLost
// while somebody may still tell where they live.
func (q *request) clientsUploads(ctx context.Context, store ledger.Store, list []item, again func() ([]item, error)) ([]item, error) {
	if len(list) == 0 {
		return nil, nil
	}
	// Before anything is asked about one: a copy notes its upload, creates it and places it.
	copies, err := q.uploadsOfCopies(ctx, store)
	if err != nil {
		return nil, err
	}
	keep, unknown := make([]bool, len(list)), make([]bool, len(list))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(listParallel)
	for i, it := range list {
		g.Go(func() error {
			return q.p.ask(gctx, "upload", func(ctx context.Context) error {
				at, err := q.p.ledger.Upload(ctx, ledger.Object{Bucket: q.in.Bucket, Key: it.key}, it.id)
				switch {
				case err != nil:
					return err
				case at.Known:
					keep[i] = at.Store == store
					return nil
				case at.Recovering:
					return &overlayLost{ledger.Replaying}
				}
				ofCopy := func(u ledger.CopyUpload) bool {
					return u.IsCopys(it.id, at.Sure) || (u.Others == nil || !at.Sure) && !it.initiated().Before(u.Began.Truncate(time.Second))
				}
				keep[i] = at.Store == store && !slices.ContainsFunc(copies[it.key], ofCopy)
				unknown[i] = keep[i]
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var still map[string]bool
	if slices.Contains(unknown, true) {
		now, err := again()
		if err != nil {
			return nil, err
		}
		still = make(map[string]bool, len(now))
		for _, it := range now {
			still[it.id] = true
		}
	}
	var out []item
	for i, it := range list {
		if keep[i] && (!unknown[i] || still[it.id]) {
			out = append(out, it)
		}
	}
	return out, nil
}

// uploadsOfCopies returns the uploads that copies may have on a store now, by key. Where a note
// does not tell them from clients', which nobody has placed, age does: those are older as a rule,
// for the object was written on the other store since, or there would be no copy to this one.
func (q *request) uploadsOfCopies(ctx context.Context, store ledger.Store) (map[string][]ledger.CopyUpload, error) {
	var all []ledger.CopyUpload
	err := q.p.ask(ctx, "copies' uploads", func(ctx context.Context) (err error) {
		all, err = q.p.ledger.CopyUploads(ctx)
		return err
	})
	byKey := map[string][]ledger.CopyUpload{}
	for _, u := range all {
		if u.Object.Bucket == q.in.Bucket && u.Store == store {
			byKey[u.Object.Key] = append(byKey[u.Object.Key], u)
		}
	}
	return byKey, err
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
