package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// deleteBucket deletes a bucket if it is empty, which main alone can't tell while
// objects may be newest on the other store: they are synced first.
func (q *request) deleteBucket() error {
	ctx := q.r.Context()
	for began := time.Now(); ; {
		c, err := q.begin(ctx, []string{""}, ledger.BeginOptions{InSync: true})
		if err != nil {
			return err
		}
		// Looked for once it has begun: the switch may have been turned back before.
		keys, main, err := q.newerElsewhere(ctx)
		if err == nil && len(keys) == 0 && main == c.store {
			return q.forwardChange(c, call{in: q.in, body: q.body, write: true})
		}
		c.abort()
		if err != nil && !errors.Is(err, errLookAgain) {
			return err
		}
		if time.Since(began) > q.p.cfg.MaxInFlight+burial {
			return s3.ErrSlowDown
		}
		// Begin puts objects that are not in sync at the head of the queue.
		for _, key := range keys {
			intents, err := q.p.tryBegin(ctx, q.in.Bucket, []string{key}, ledger.BeginOptions{Store: &main, InSync: true})
			if err == nil {
				q.p.settler.settle(abort, intents)
			}
		}
		q.p.metrics.wait("sync")
		if err := pause(ctx, jitter(10*time.Millisecond, 50*time.Millisecond)); err != nil {
			return err
		}
	}
}

// newerElsewhere returns some keys of the bucket that are newest on the store
// that is not main, or may be soon.
func (q *request) newerElsewhere(ctx context.Context) (keys []string, main ledger.Store, err error) {
	r, err := q.p.obeyed(ctx)
	if err != nil || r.State == ledger.Steady {
		return nil, r.Main, err
	}
	loc, err := q.bucketLocation(ctx)
	if err != nil {
		return nil, main, err
	}
	main = loc.Route.Main
	unsure := loc.Loss != ledger.Healthy && loc.Route.State == ledger.Switched
	for after := ""; ; {
		horizon := ""
		if unsure {
			if horizon, err = q.compareRange(ctx, main, "", after); err != nil {
				return nil, main, err
			}
		}
		var page ledger.DirtyPage
		err := q.p.ask(ctx, "dirty range", func(ctx context.Context) (err error) {
			page, err = q.p.ledger.DirtyOrOpenRange(ctx, main, q.in.Bucket, "", after, pageLimit)
			return err
		})
		if err == nil && page.Loss != ledger.Healthy && !unsure {
			err = errLookAgain // what is dirty was lost since the bucket was looked up
		}
		if err != nil {
			return nil, main, err
		}
		page = page.Cut(horizon)
		for _, key := range page.Keys {
			if key == "" || len(keys) >= 100 { // "" is the bucket itself
				continue
			}
			if unsure {
				same, err := q.sameOnBoth(ctx, ledger.Object{Bucket: q.in.Bucket, Key: key}, main)
				if err != nil {
					return nil, main, err
				}
				if same {
					continue
				}
			}
			keys = append(keys, key)
		}
		if after = page.Horizon; len(keys) > 0 || after == "" {
			return keys, main, nil
		}
	}
}

// sameOnBoth says, after a loss, that both stores hold the same of an object, or nothing, and
// that nobody is writing it on the other one than main: what the ledger has kept of it from
// before does not count, and nobody copies it because of that.
func (q *request) sameOnBoth(ctx context.Context, o ledger.Object, main ledger.Store) (bool, error) {
	newest, known, err := q.locate(ctx, o)
	if err != nil || known || newest != main {
		return false, err
	}
	open := false
	err = q.p.ask(ctx, "open writes", func(ctx context.Context) (err error) {
		open, err = q.p.ledger.Open(ctx, o, main.Other())
		return err
	})
	return !open, err
}
