package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const (
	// batchers is how many batches one process has in hand: while the last
	// objects of one are under way, the next one keeps the slots busy.
	batchers = 3
	// outageRow is how many copies may fail in a row for want of a store before
	// the batch stops and waits for it.
	outageRow = 8
	// outageRounds is how often a batch waits for stores that look healthy yet
	// copy nothing, before its objects are treated as failures of their own.
	outageRounds = 6
)

func (w *Worker) batchLoop(take, work context.Context) {
	w.takeTask(take, func(session string, _ ledger.Route) error {
		b, err := w.led.ClaimBatch(take, session)
		if err != nil {
			return err
		}
		err = w.copyBatch(take, work, session, b)
		if err == nil || errors.Is(err, ledger.ErrTaskLost) {
			return nil
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(work), 10*time.Second)
		defer cancel()
		return errors.Join(err, w.led.ReleaseBatch(clean, session, b))
	})
}

// batchRun is one batch on its way.
type batchRun struct {
	*Worker
	session string
	bucket  string
	sizes   map[string]int64
	items   []ledger.BatchItem // not claimed yet
	todo    []ledger.Claim     // claimed, not begun

	mu      sync.Mutex
	claimed ledger.Progress
	copied  ledger.Progress
	// failing are the objects whose store did not answer as it should: whether
	// that is their own fault shows when the round is through.
	failing []failure
	row     int   // failures since the last success
	last    error // the last of them
}

type failure struct {
	claim ledger.Claim
	err   error
}

// copyBatch copies a batch's objects, except those that the event path owns.
// An error means that the batch should be handed out again. An outage of a
// store is waited for, with the claims in hand: letting go of them would make
// every object of the migration dirty in the end.
func (w *Worker) copyBatch(take, work context.Context, session string, b ledger.Batch) error {
	run := &batchRun{Worker: w, session: session, bucket: b.Bucket, items: b.Items, sizes: make(map[string]int64, len(b.Items))}
	var all ledger.Progress
	for _, it := range b.Items {
		run.sizes[it.Key] = it.Size
		all.Objects++
		all.Bytes += it.Size
	}
	clean := context.WithoutCancel(work)
	for round := 0; ; {
		began := time.Now()
		err := run.round(take, work)
		if err != nil || take.Err() != nil && run.unfinished() || work.Err() != nil {
			return errors.Join(err, take.Err(), run.giveBack(clean))
		}
		if !run.unfinished() {
			break
		}
		outage := run.row >= outageRow || w.lastCopied.Load() < began.UnixNano()
		if outage && w.awaitStores(take, b.Bucket) {
			round = min(round, outageRounds-1)
		} else if round++; !outage || round >= outageRounds {
			for _, f := range run.failing {
				w.failClaim(clean, f.claim, f.err, forBatches)
			}
			run.failing, run.row = nil, 0
			continue
		}
		w.log.Info("copying waits for a store", "bucket", b.Bucket, "error", causeOf(run.last))
		for _, f := range run.failing {
			run.todo = append(run.todo, f.claim)
		}
		run.failing, run.row = nil, 0
		_ = sleep(take, w.backoff(round))
	}
	skipped := ledger.Progress{Objects: all.Objects - run.claimed.Objects, Bytes: all.Bytes - run.claimed.Bytes}
	w.metrics.objects.WithLabelValues(forBatches.String(), "skipped").Add(float64(skipped.Objects))
	fctx, cancel := context.WithTimeout(clean, 10*time.Second)
	defer cancel()
	return w.led.FinishBatch(fctx, session, b, run.copied, skipped)
}

func (r *batchRun) unfinished() bool { return len(r.todo)+len(r.items)+len(r.failing) > 0 }

// giveBack lets go of what is claimed and not copied.
func (r *batchRun) giveBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, f := range r.failing {
		r.todo = append(r.todo, f.claim)
	}
	if len(r.todo) == 0 {
		return nil
	}
	return r.led.Unclaim(ctx, r.todo...)
}

// round copies until everything was tried once, or too much failed in a row.
// No more is claimed ahead than soon has a slot: a claimed object's events wait.
func (r *batchRun) round(take, work context.Context) error {
	var g sync.WaitGroup
	defer g.Wait()
	for {
		r.mu.Lock()
		stop := r.row >= outageRow
		r.mu.Unlock()
		if stop || len(r.todo)+len(r.items) == 0 || r.slots.acquire(take, forBatches) != nil {
			return nil
		}
		if len(r.todo) == 0 {
			if err := r.claim(work); err != nil || len(r.todo) == 0 {
				r.slots.release(forBatches, 1)
				if err != nil {
					return err
				}
				continue
			}
		}
		c := r.todo[0]
		r.todo = r.todo[1:]
		g.Go(func() {
			defer r.slots.release(forBatches, 1)
			r.copy(work, c)
		})
	}
}

func (r *batchRun) claim(ctx context.Context) error {
	n := min(len(r.items), max(16, 2*r.cfg.Concurrency))
	keys := make([]string, n)
	for i, it := range r.items[:n] {
		keys[i] = it.Key
	}
	claims, err := r.led.ClaimObjects(ctx, r.session, r.bucket, keys)
	if err != nil {
		return err
	}
	r.items, r.todo = r.items[n:], claims
	for _, c := range claims {
		r.claimed.Objects++
		r.claimed.Bytes += r.sizes[c.Object.Key]
	}
	return nil
}

func (r *batchRun) copy(ctx context.Context, c ledger.Claim) {
	res, err := r.copyClaim(ctx, c, forBatches)
	var held *mayLand
	late := errors.As(err, &held)
	wait := late || transient(err) || ctx.Err() != nil
	if err != nil && !wait {
		r.failClaim(context.WithoutCancel(ctx), c, err, forBatches)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.row++
		r.last = err
		if !late {
			r.failing = append(r.failing, failure{c, err})
		}
		return
	}
	r.row = 0
	if res.outcome == copied || res.outcome == deleted {
		r.copied.Objects++
		r.copied.Bytes += r.sizes[c.Object.Key]
	}
}
