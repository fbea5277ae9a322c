package proxy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const (
	dirtyLimit   = 1000 // ledger records looked at by one call
	singleLimit  = 16   // up to so many dirty keys are asked for one by one
	listParallel = 8
)

// overlay merges a listing of one store with the keys whose newest version is
// on the other one.
type overlay struct {
	listed    ledger.Store
	delimiter string
	// fetch returns a page of a store; all versions of a key are on one page.
	fetch func(ctx context.Context, s ledger.Store, w window) (page, error)
	// dirty returns the keys whose newest version is not on the listed store.
	dirty func(ctx context.Context, prefix, after string, limit int) (ledger.DirtyPage, error)
	// again asks the ledger alone. nil: nothing moves any more.
	again func(ctx context.Context, prefix, after string, limit int) (ledger.DirtyPage, error)
	first *page // of the listed store
}

// collect returns up to max items after a key, and whether there are more. The
// dirty keys are fetched before each page of the store: a key that is not among
// them was in sync then, so the page shows it right.
func (o *overlay) collect(ctx context.Context, w window) ([]item, bool, error) {
	var out []item
	after := w.after
	for {
		dirty, err := o.dirty(ctx, w.prefix, after, dirtyLimit)
		if err != nil {
			return nil, false, err
		}
		need := max(w.max-len(out), 1)
		pg, err := o.fetch(ctx, o.listed, window{prefix: w.prefix, delimiter: o.delimiter, after: after,
			max: min(need+len(dirty.Keys), pageLimit)})
		if err != nil {
			return nil, false, err
		}
		if o.first == nil {
			o.first = &pg
		}
		bound, bounded := o.bound(w.prefix, pg, dirty)
		within := func(key string) bool { return !bounded || key <= bound }
		items, err := o.merge(ctx, w.prefix, after, within, pg.items, dirty.Keys, o.listed.Other())
		if err == nil && o.again != nil {
			items, err = o.lookAgain(ctx, w.prefix, after, within, items, dirty.Keys)
		}
		if err != nil {
			return nil, false, err
		}
		out = append(out, items...)
		switch {
		case len(out) > w.max:
			return out[:w.max], true, nil
		case !bounded:
			return out, false, nil
		case len(out) == w.max && pg.truncated && dirty.Horizon == "" && !beyond(dirty.Keys, bound):
			return out, true, nil
		}
		after = bound
	}
}

// errMoved: a key has become newest on the other store while a page was fetched.
var errMoved = errors.New("an object's newest version moved")

// lookAgain is what a read of a key does: where a key's newest version has moved
// away from the listed store, its page may show a write that nobody else sees yet. Where it
// has moved there, a copy of something older may have landed on the other store before that
// was asked: such keys are taken from the listed store, and looked at again.
func (o *overlay) lookAgain(ctx context.Context, prefix, after string, within func(string) bool, items []item, known []string) ([]item, error) {
	for {
		now, err := o.again(ctx, prefix, after, dirtyLimit)
		if err != nil {
			return nil, err
		}
		for _, k := range now.Keys {
			if _, found := slices.BinarySearch(known, k); !found && within(k) {
				return nil, errMoved
			}
		}
		var left, still []string
		for _, k := range known {
			if _, found := slices.BinarySearch(now.Keys, k); found || now.Horizon != "" && k > now.Horizon {
				still = append(still, k)
			} else {
				left = append(left, k)
			}
		}
		if len(left) == 0 {
			return items, nil
		}
		if items, err = o.merge(ctx, prefix, after, within, items, left, o.listed); err != nil {
			return nil, err
		}
		known = still
	}
}

// bound is the last position up to which both the page and the dirty keys are
// known; bounded is false when that is all there is.
func (o *overlay) bound(prefix string, pg page, dirty ledger.DirtyPage) (bound string, bounded bool) {
	if pg.truncated && len(pg.items) > 0 {
		bound, bounded = pg.items[len(pg.items)-1].position(), true
	}
	if h := dirty.Horizon; h != "" && (!bounded || h < bound) {
		bound, bounded = h, true
		if p, ok := rollUp(h, prefix, o.delimiter); ok {
			// The whole common prefix is decided at once.
			bound = p + lastRune
		}
	}
	return bound, bounded
}

func beyond(keys []string, bound string) bool {
	return len(keys) > 0 && keys[len(keys)-1] > bound
}

// merge returns the visible items that are within, those of some keys as a store has them.
func (o *overlay) merge(ctx context.Context, prefix, after string, within func(string) bool, items []item, keys []string, from ledger.Store) ([]item, error) {
	direct := map[string]bool{}
	rolled := map[string]bool{}
	for _, k := range keys {
		switch p, ok := rollUp(k, prefix, o.delimiter); {
		case ok && (within(k) || within(p)):
			rolled[p] = true
		case !ok && within(k):
			direct[k] = true
		}
	}
	out := make([]item, 0, len(items))
	for _, it := range items {
		if !within(it.key) || it.prefix && rolled[it.key] || !it.prefix && direct[it.key] {
			continue
		}
		out = append(out, it)
	}
	if len(direct) == 0 && len(rolled) == 0 {
		return out, nil
	}
	newest, err := o.from(ctx, from, prefix, after, direct)
	if err != nil {
		return nil, err
	}
	out = append(out, newest...)
	prefixes, err := o.visible(ctx, after, rolled)
	if err != nil {
		return nil, err
	}
	out = append(out, prefixes...)
	slices.SortStableFunc(out, compareItems)
	return out, nil
}

// from returns a store's items of the given keys.
func (o *overlay) from(ctx context.Context, s ledger.Store, prefix, after string, keys map[string]bool) ([]item, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) > singleLimit {
		return o.scan(ctx, s, prefix, after, keys)
	}
	var mu sync.Mutex
	var out []item
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listParallel)
	for key := range keys {
		g.Go(func() error {
			// Of all keys that begin with it, a key is the first.
			pg, err := o.fetch(ctx, s, window{prefix: key, max: 1})
			if noBucket(err) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			for _, it := range pg.items {
				if it.key == key {
					out = append(out, it)
				}
			}
			return err
		})
	}
	err := g.Wait()
	return out, err
}

// scan finds many keys by listing the range that they lie in.
func (o *overlay) scan(ctx context.Context, s ledger.Store, prefix, after string, keys map[string]bool) ([]item, error) {
	last := ""
	for k := range keys {
		last = max(last, k)
	}
	var out []item
	for {
		pg, err := o.fetch(ctx, s, window{prefix: prefix, delimiter: o.delimiter, after: after, max: pageLimit})
		if noBucket(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, it := range pg.items {
			if !it.prefix && keys[it.key] {
				out = append(out, it)
			}
		}
		if !pg.truncated || len(pg.items) == 0 {
			return out, nil
		}
		if after = pg.items[len(pg.items)-1].position(); after >= last {
			return out, nil
		}
	}
}

// visible returns those common prefixes that a visible key is below.
func (o *overlay) visible(ctx context.Context, after string, prefixes map[string]bool) ([]item, error) {
	var mu sync.Mutex
	var out []item
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listParallel)
	for p := range prefixes {
		g.Go(func() error {
			below := overlay{listed: o.listed, fetch: o.fetch, dirty: o.dirty}
			w := window{prefix: p, max: 1}
			if strings.HasPrefix(after, p) {
				w.after = after
			}
			found, _, err := below.collect(ctx, w)
			if err != nil || len(found) == 0 {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, item{key: p, prefix: true, store: o.listed})
			return nil
		})
	}
	err := g.Wait()
	return out, err
}
