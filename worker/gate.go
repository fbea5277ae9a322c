package worker

import (
	"context"
	"sync"
)

// gate decides whether the final write of a copy may go without a lock. That
// is so while the route is Steady, when no client writes the follower. Closing
// the gate is this worker's part of the first barrier of a switch.
type gate struct {
	mu      sync.Mutex
	open    bool
	writing int
	idle    chan struct{} // closed when writing falls to 0 while the gate is shut
}

// enter reports whether an unlocked final write may begin now. When it does,
// leave must follow once the store has answered.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
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

// set opens or shuts the gate. Shutting it returns when no unlocked final
// write is under way any more, or with the error of ctx.
func (g *gate) set(ctx context.Context, open bool) error {
	g.mu.Lock()
	g.open = open
	if open || g.writing == 0 {
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

// isOpen reports whether final writes go without a lock at this moment. It is
// only a hint: enter decides.
func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}
