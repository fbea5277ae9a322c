package proxy

import (
	"context"
	"errors"
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
		if err == nil {
			return nil
		}
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

func (s *settler) flush(ctx context.Context, batch []settlement) {
	var intents [verbs][]ledger.Intent
	for _, x := range batch {
		intents[x.verb] = append(intents[x.verb], x.intents...)
	}
	var gone map[string]bool
	for v, list := range intents {
		if len(list) == 0 {
			continue
		}
		lost, ok := s.try(ctx, verb(v), list)
		if !ok {
			return
		}
		if verb(v) == commit {
			gone = lost
		}
	}
	for _, x := range batch {
		if x.done == nil {
			continue
		}
		var err error
		for _, in := range x.intents {
			if gone[in.ID] {
				err = ledger.ErrSettled
			}
		}
		x.done <- err
	}
	s.pending.Add(-int64(len(batch)))
}

// try repeats until the ledger has settled the intents; each repetition is
// harmless. It returns the ids of commits that came after the intent had been
// settled as never made, and false when ctx ended first.
func (s *settler) try(ctx context.Context, v verb, intents []ledger.Intent) (gone map[string]bool, ok bool) {
	told := false
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, cancel := context.WithTimeout(ctx, 2*callTimeout)
		var err error
		switch v {
		case commit:
			gone, err = s.commit(c, intents)
		case abort:
			err = s.ledger.Abort(c, intents...)
		default:
			err = s.ledger.Doubt(c, s.maxInFlight, intents...)
		}
		cancel()
		if err == nil {
			return gone, true
		}
		if !told {
			told = true
			s.log.Info("intents can't be settled now; trying on", "intents", len(intents), "error", err.Error())
		}
		if pause(ctx, jitter(wait/2, wait)) != nil {
			return nil, false
		}
	}
}

func (s *settler) commit(ctx context.Context, intents []ledger.Intent) (gone map[string]bool, err error) {
	for i, e := range s.ledger.CommitEach(ctx, intents...) {
		switch {
		case errors.Is(e, ledger.ErrSettled):
			if gone == nil {
				gone = map[string]bool{}
			}
			gone[intents[i].ID] = true
		case e != nil:
			err = e
		}
	}
	return gone, err
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
