package worker

import (
	"context"
	"errors"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const (
	// listers is how many ranges one process lists at a time.
	listers = 2
	// batchSize is how many objects one copy batch holds at most.
	batchSize = 250
	// splitEvery is the least time between two tries to split a range.
	splitEvery = time.Second
)

func (w *Worker) listLoop(take, work context.Context) {
	w.takeTask(take, func(session string, r ledger.Route) error {
		rng, err := w.led.ClaimRange(take, session)
		if err != nil {
			return err
		}
		err = w.listRange(take, session, r, &rng)
		if err == nil || errors.Is(err, ledger.ErrTaskLost) {
			return nil
		}
		return errors.Join(err, w.led.ReleaseRange(context.WithoutCancel(work), session, rng))
	})
}

// listRange lists a range to its end. Each page's batches and the cursor move
// in one step, so it can be ended at any instant.
func (w *Worker) listRange(ctx context.Context, session string, r ledger.Route, rng *ledger.Range) error {
	from, to := w.stores[r.Main], w.stores[r.Main.Other()]
	follower := &walker{s: to, bucket: rng.Bucket, cursor: rng.Start()}
	var lastSplit time.Time
	for {
		page, more, err := from.list(ctx, rng.Bucket, rng.Start(), pageSize)
		if err != nil {
			if isCode(err, "NoSuchBucket") {
				return w.bucketVanished(ctx, session, rng)
			}
			return err
		}
		page, more = within(page, more, rng.End)
		w.metrics.listed.Add(float64(len(page)))
		if err := w.queuePage(ctx, session, rng, follower, page, !more); err != nil {
			return err
		}
		if !more {
			return nil
		}
		if now, ok := w.member.Route(); !ok || !now.Run || now.Main != r.Main || w.member.ID() != session {
			return errPaused
		}
		if time.Since(lastSplit) >= splitEvery {
			if err := w.split(ctx, session, from, rng); err != nil {
				return err
			}
			lastSplit = time.Now()
		}
	}
}

// bucketVanished ends the listing of a bucket that a client deleted meanwhile.
// Without the client's own word for that, it is an error.
func (w *Worker) bucketVanished(ctx context.Context, session string, rng *ledger.Range) error {
	loc, err := w.led.Lookup(ctx, ledger.Object{Bucket: rng.Bucket})
	if err != nil {
		return err
	}
	if !loc.Known {
		// The delete may have been followed already, and forgotten: then the
		// follower does not have the bucket either.
		r, _ := w.member.Route()
		has, err := w.stores[r.Main.Other()].hasBucket(ctx, rng.Bucket)
		if err != nil {
			return err
		}
		if has {
			return errSourceGone
		}
	}
	return w.advance(ctx, session, rng, rng.Start(), nil, ledger.Progress{}, true)
}

// within cuts a page at the end of its range.
func within(page []listed, more bool, end string) ([]listed, bool) {
	if end == "" {
		return page, more
	}
	for i, o := range page {
		if o.key > end {
			return page[:i], false
		}
	}
	return page, more && (len(page) == 0 || page[len(page)-1].key < end)
}

// queuePage queues what the follower lacks, batch by batch.
func (w *Worker) queuePage(ctx context.Context, session string, rng *ledger.Range, follower *walker, page []listed, done bool) error {
	var items []ledger.BatchItem
	var skipped ledger.Progress
	cursor := rng.Start()
	for _, o := range page {
		have, found, err := follower.find(ctx, o.key)
		if err != nil {
			return err
		}
		if len(items) == batchSize {
			if err := w.advance(ctx, session, rng, cursor, items, skipped, false); err != nil {
				return err
			}
			items, skipped = nil, ledger.Progress{}
		}
		if found && have.holds(o) {
			skipped.Objects++
			skipped.Bytes += o.size
		} else {
			items = append(items, ledger.BatchItem{Key: o.key, Size: o.size, ETag: o.etag})
		}
		cursor = o.key
	}
	return w.advance(ctx, session, rng, cursor, items, skipped, done)
}

// advance waits while copiers are behind.
func (w *Worker) advance(ctx context.Context, session string, rng *ledger.Range, cursor string,
	items []ledger.BatchItem, skipped ledger.Progress, done bool,
) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := w.led.Advance(ctx, session, rng, cursor, items, skipped, done)
		if !errors.Is(err, ledger.ErrQueueFull) {
			return err
		}
		w.metrics.queueFull.Inc()
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// split gives a part of the range away while other workers have none.
func (w *Worker) split(ctx context.Context, session string, from *store, rng *ledger.Range) error {
	want, err := w.led.WantSplit(ctx)
	if err != nil || !want {
		return err
	}
	mid, err := middle(ctx, rng.Start(), rng.End, func(ctx context.Context, after string) (string, error) {
		return from.first(ctx, rng.Bucket, after)
	})
	if err != nil || mid == "" {
		return err
	}
	if err := w.led.Split(ctx, session, rng, mid); err != nil {
		return err
	}
	w.metrics.splits.Inc()
	return nil
}
