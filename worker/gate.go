package worker

import (
	"context"
	"sync"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// gate decides whether the final write of a copy may go without a lock. That
// is so while the route is Steady, when no client writes the follower, and for
// copies from main: one that was claimed before the switch and comes the other
// way would overwrite what clients write now. Closing the gate is this worker's
// part of the first barrier of a switch.
type gate struct {
	mu      sync.Mutex
	open    bool
	main    ledger.Store
	writing int
	idle    chan struct{} // closed when writing falls to 0 while the gate is shut
}

// enter reports whether an unlocked final write of a copy from a store may begin
// now. When it does, leave must follow once the store has answered.
func (g *gate) enter(from ledger.Store) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open || from != g.main {
		return false
	}
	g.writing++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writing--
	if g.writing == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// set opens the gate for copies from main, or shuts it. Shutting it, or opening
// it for the other way, returns when no unlocked final write is under way any
// more, or with the error of ctx.
func (g *gate) set(ctx context.Context, open bool, main ledger.Store) error {
	g.mu.Lock()
	same := open && main == g.main
	g.open, g.main = open, main
	if same || g.writing == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isOpen reports whether final writes of copies from a store go without a lock
// at this moment. It is only a hint: enter decides.
func (g *gate) isOpen(from ledger.Store) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open && from == g.main
}
