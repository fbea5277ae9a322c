package worker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	maxBackoff = 30 * time.Second
	// maxNamedBackoff is for what a store says no to, and is known to people.
	maxNamedBackoff = 5 * time.Minute
)

// backoff returns the wait after a number of failed tries: doubling, bounded,
// with jitter so that many workers don't come back together.
func (w *Worker) backoff(failed int) time.Duration { return w.backoffUpTo(failed, maxBackoff) }

func (w *Worker) backoffUpTo(failed int, most time.Duration) time.Duration {
	d := min(w.cfg.Backoff<<min(failed, 10), most)
	var b [8]byte
	_, _ = rand.Read(b[:]) // which a simulation can seed
	return d/2 + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(d/2+1))
}

// sleep waits, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transient says that an error is the state of a store, the network or Redis, not
// the request's fault.
func transient(err error) bool {
	switch s3.Classify(err) {
	case s3.Retryable, s3.Throttled, s3.Canceled:
		return true
	}
	for _, state := range []error{errStalled, ledger.ErrUnavailable, ledger.ErrNoRoute, ledger.ErrRecovering} {
		if errors.Is(err, state) {
			return true
		}
	}
	return false
}

// refused says that a store will not have the object as it is: its own error code
// says so, and neither rights, nor what else it holds, nor a gateway before it.
func refused(err error) bool {
	if nameless(err) {
		return false
	}
	_, status := s3.ErrorCode(err)
	class := s3.Classify(err)
	return class == s3.Unsupported || class == s3.Fatal && status >= 400
}
