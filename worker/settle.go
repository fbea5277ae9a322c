package worker

import (
	"context"
	"sync"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// settler settles the claims of all copies in few round trips: whatever comes
// in while one pipeline is under way goes with the next.
type settler struct {
	led     *ledger.Ledger
	mu      sync.Mutex
	waiting []settling
	running bool
}

type settling struct {
	claim ledger.Claim
	done  chan error
}

// settleMost bounds one pipeline.
const settleMost = 256

func newSettler(l *ledger.Ledger) *settler { return &settler{led: l} }

// settle returns what the ledger says to this claim.
func (s *settler) settle(ctx context.Context, c ledger.Claim) error {
	one := settling{c, make(chan error, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, one)
	if !s.running {
		s.running = true
		go s.run(context.WithoutCancel(ctx))
	}
	s.mu.Unlock()
	return <-one.done
}

func (s *settler) run(ctx context.Context) {
	for {
		s.mu.Lock()
		n := min(len(s.waiting), settleMost)
		if n == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		group := s.waiting[:n:n]
		s.waiting = s.waiting[n:]
		s.mu.Unlock()
		claims := make([]ledger.Claim, n)
		for i, g := range group {
			claims[i] = g.claim
		}
		for i, err := range s.led.Settle(ctx, claims...) {
			group[i].done <- err
		}
	}
}
