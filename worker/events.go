package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	// eventsAtOnce bounds one claim call.
	eventsAtOnce = 64
	// eventIdle is the pause when nothing is due.
	eventIdle = 50 * time.Millisecond
)

// eventLoop copies what clients changed. It claims no more than it has slots
// for, so that a claimed object is being copied and not waiting.
func (w *Worker) eventLoop(take, work context.Context) {
	var g sync.WaitGroup
	defer g.Wait()
	failed := 0
	for take.Err() == nil {
		session, _, ok := w.session()
		if !ok {
			_ = sleep(take, eventIdle)
			continue
		}
		if w.slots.acquire(take, forEvents) != nil {
			return
		}
		n := 1 + w.slots.tryAcquire(forEvents, eventsAtOnce-1)
		claims, err := w.led.ClaimEvents(take, session, n)
		w.abandonIfLost(session, err)
		w.slots.release(forEvents, n-len(claims))
		for _, c := range claims {
			if !c.DirtySince.IsZero() {
				w.metrics.queueWait.Observe(max(0, time.Since(c.DirtySince).Seconds()))
			}
			g.Go(func() {
				defer w.slots.release(forEvents, 1)
				var late *mayLand
				if _, err := w.copyClaim(work, c, forEvents); err != nil && !errors.As(err, &late) {
					w.failClaim(context.WithoutCancel(work), c, err, forEvents)
				}
			})
		}
		switch {
		case err != nil:
			failed++
			_ = sleep(take, w.backoff(failed))
		case len(claims) == 0:
			failed = 0
			_ = sleep(take, eventIdle)
		default:
			failed = 0
		}
	}
}

// abandonIfLost gives up the session after a call whose outcome is unknown: the
// ledger may hold a claim or a task for it that nobody else would end.
func (w *Worker) abandonIfLost(session string, err error) {
	if errors.Is(err, ledger.ErrUnavailable) {
		w.member.Abandon(session)
	}
}

// failClaim puts an object that could not be copied back into the queue. One that
// keeps failing is named, and tried again all the same: what makes it fail may pass.
// It is given up only when a store has refused the object itself again and again.
func (w *Worker) failClaim(ctx context.Context, c ledger.Claim, err error, on class) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	class := s3.Classify(err)
	if class == s3.Canceled && !errors.Is(err, errStalled) {
		// The process ends.
		if uerr := w.led.Unclaim(ctx, c); uerr != nil {
			w.member.Abandon(c.Session)
			w.log.V(1).Info("claim not given back", "error", uerr.Error())
		}
		return
	}
	w.metrics.failures.WithLabelValues(string(class)).Inc()
	w.metrics.objects.WithLabelValues(on.String(), failed.String()).Inc()
	cause, named := causeOf(err), ""
	wait := w.backoff(c.Attempts)
	if c.Attempts+1 >= w.cfg.MaxAttempts && !w.awaitsBucket(ctx, c, err) {
		switch up := w.storesUp(ctx, c.Object.Bucket); {
		case transient(err) && !up: // a store that is down is not the object's failure
		case transient(err) || class == s3.Precondition || !up:
			named = cause
		default:
			named, wait = cause, w.backoffUpTo(c.Attempts, maxNamedBackoff)
		}
	}
	if refused(err) && c.Refusals+1 >= w.cfg.MaxAttempts {
		w.metrics.givenUp.Inc()
		w.log.Info("object given up", "bucket", c.Object.Bucket, "key", c.Object.Key, "error", cause)
		err = w.led.GiveUp(ctx, c, cause)
	} else {
		w.metrics.retries.Inc()
		if named != "" && c.Attempts+1 == w.cfg.MaxAttempts {
			w.log.Info("object fails again and again", "bucket", c.Object.Bucket, "key", c.Object.Key, "error", cause)
		}
		w.log.V(1).Info("copy failed", "bucket", c.Object.Bucket, "key", c.Object.Key, "error", cause, "retryIn", wait.String())
		end := w.led.Fail
		if refused(err) {
			end = w.led.Refuse
		}
		err = end(ctx, c, named, wait)
	}
	if err != nil {
		// The claim is held until its session ends; then it is broken.
		w.member.Abandon(c.Session)
		w.log.Info("failure not recorded", "error", err.Error())
	}
}

// awaitsBucket tells whether an object could not be copied because its bucket
// is still to be created on the target: that task has tries of its own.
func (w *Worker) awaitsBucket(ctx context.Context, c ledger.Claim, err error) bool {
	if !isCode(err, "NoSuchBucket") {
		return false
	}
	all, err := w.led.Buckets(ctx)
	if err != nil {
		return true
	}
	for _, b := range all {
		if b.Name == c.Object.Bucket {
			return b.State != ledger.BucketCopied && b.State != ledger.BucketFailed
		}
	}
	return false
}

// awaitStores waits until both stores serve the bucket, and reports whether it had to.
func (w *Worker) awaitStores(ctx context.Context, bucket string) bool {
	for tries := 0; ; tries++ {
		if w.storesUp(ctx, bucket) || ctx.Err() != nil {
			return tries > 0
		}
		_ = sleep(ctx, w.backoff(tries))
	}
}

// storesUp asks both stores whether they serve the bucket at all.
func (w *Worker) storesUp(ctx context.Context, bucket string) bool {
	for _, s := range w.stores {
		if _, err := s.hasBucket(ctx, bucket); err != nil {
			return false
		}
	}
	return true
}
