package proxy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// verb is how an intent is settled.
type verb int

const (
	commit verb = iota
	abort
	doubt
	verbs
)

const (
	settleQueue   = 8192 // requests whose intents wait; beyond it, requests wait
	settleBatch   = 256  // requests settled by one flush
	settleFlushes = 2
)

type settlement struct {
	verb    verb
	intents []ledger.Intent
	done    chan error // told once settled; nil: nobody waits
}

// settler settles intents. Many requests share one flush, and what Redis can't
// take now is tried until it can.
type settler struct {
	ledger      *ledger.Ledger
	log         logr.Logger
	maxInFlight time.Duration
	queue       chan settlement
	pending     atomic.Int64
	ended       chan struct{}
}

func newSettler(l *ledger.Ledger, maxInFlight time.Duration, log logr.Logger) *settler {
	return &settler{ledger: l, log: log, maxInFlight: maxInFlight,
		queue: make(chan settlement, settleQueue), ended: make(chan struct{})}
}

// settle queues intents. Nobody waits for them: until they are settled, the
// ledger holds them as open, and it does so too if this process dies.
func (s *settler) settle(v verb, intents []ledger.Intent) {
	s.put(settlement{verb: v, intents: intents})
}

// settleNow commits intents before it returns, or fails with SlowDown: then
// they are still queued, or were settled as never made.
func (s *settler) settleNow(ctx context.Context, intents []ledger.Intent, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	s.put(settlement{verb: commit, intents: intents, done: done})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	case <-s.ended:
	}
	return s3.ErrSlowDown.With("The write could not be recorded in time. Please try again.")
}

func (s *settler) put(x settlement) {
	s.pending.Add(1)
	select {
	case s.queue <- x:
	case <-s.ended:
	}
}

// run flushes until ctx ends.
func (s *settler) run(ctx context.Context) {
	defer close(s.ended)
	var wg sync.WaitGroup
	for range settleFlushes {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case x := <-s.queue:
					s.flush(ctx, s.gather(x))
				}
			}
		})
	}
	wg.Wait()
}

// gather takes what else waits.
func (s *settler) gather(first settlement) []settlement {
	batch := []settlement{first}
	for len(batch) < settleBatch {
		select {
		case x := <-s.queue:
			batch = append(batch, x)
		default:
			return batch
		}
	}
	return batch
}

// flush settles a batch: commits, then aborts, then doubts, each in one pipeline.
func (s *settler) flush(ctx context.Context, batch []settlement) {
	failed := make([]error, len(batch))
	for v := range verbs {
		var intents []ledger.Intent
		var owner []int
		for i, x := range batch {
			if x.verb == v {
				intents = append(intents, x.intents...)
				owner = append(owner, slices.Repeat([]int{i}, len(x.intents))...)
			}
		}
		if len(intents) == 0 {
			continue
		}
		if !s.try(ctx, v, intents, func(i int) { failed[owner[i]] = errSettled }) {
			return
		}
	}
	for i, x := range batch {
		if x.done != nil {
			x.done <- failed[i]
		}
	}
	s.pending.Add(-int64(len(batch)))
}

// errSettled: the write was settled as never made, for its process slept; or it may
// have landed below one that began earlier, see docs/protocol.md.
var errSettled = s3.ErrSlowDown.With("The write was overtaken by another one of this object. Please try again.")

// try repeats until the ledger has settled the intents; each repetition is
// harmless. refused is called for those that were settled as never made.
func (s *settler) try(ctx context.Context, v verb, intents []ledger.Intent, refused func(i int)) bool {
	index := make([]int, len(intents))
	for i := range index {
		index[i] = i
	}
	told := false
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		errs := s.call(ctx, v, intents)
		var left []ledger.Intent
		var leftIndex []int
		var last error
		for i, err := range errs {
			switch {
			case err == nil:
			case errors.Is(err, ledger.ErrSettled):
				refused(index[i])
			default:
				left, leftIndex, last = append(left, intents[i]), append(leftIndex, index[i]), err
			}
		}
		if len(left) == 0 {
			return true
		}
		intents, index = left, leftIndex
		if !told {
			told = true
			s.log.Info("intents can't be settled now; trying on", "intents", len(intents), "error", last.Error())
		}
		if pause(ctx, jitter(wait/2, wait)) != nil {
			return false
		}
	}
}

// call asks the ledger once and returns each intent's error.
func (s *settler) call(ctx context.Context, v verb, intents []ledger.Intent) []error {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	var err error
	switch v {
	case commit:
		return s.ledger.CommitEach(ctx, intents...)
	case abort:
		err = s.ledger.Abort(ctx, intents...)
	default:
		err = s.ledger.Doubt(ctx, s.maxInFlight, intents...)
	}
	return slices.Repeat([]error{err}, len(intents))
}

// drain waits until nothing is pending; false when ctx ended first.
func (s *settler) drain(ctx context.Context) bool {
	for s.pending.Load() > 0 {
		if pause(ctx, 5*time.Millisecond) != nil {
			return false
		}
	}
	return true
}
