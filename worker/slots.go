package worker

import (
	"context"
	"sync"
)

// class says on whose behalf an object is copied.
type class int

const (
	forEvents class = iota
	forBatches
	classes
)

// slots shares the objects in flight between events and batches. While both
// want slots, each is brought to its half; while only one does, it may take
// all but a quarter, which stays free so that the other can begin at once.
type slots struct {
	mu      sync.Mutex
	total   int
	spare   int
	held    [classes]int
	waiting [classes][]chan struct{}
}

func newSlots(total int) *slots {
	if total < 2 {
		total = 2
	}
	return &slots{total: total, spare: max(1, total/4)}
}

// fits reports whether one more slot may go to c now.
func (s *slots) fits(c class) bool {
	free := s.total - s.held[forEvents] - s.held[forBatches]
	if free <= 0 {
		return false
	}
	half := s.total / 2
	if c == forEvents {
		half = s.total - half
	}
	if s.held[c] < half {
		return true
	}
	other := 1 - c
	if len(s.waiting[other]) > 0 && s.held[other] < s.total-half {
		return false
	}
	return s.held[c] < s.total-s.spare
}

func (s *slots) acquire(ctx context.Context, c class) error {
	s.mu.Lock()
	if len(s.waiting[c]) == 0 && s.fits(c) {
		s.held[c]++
		s.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	s.waiting[c] = append(s.waiting[c], ready)
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range s.waiting[c] {
		if w == ready {
			s.waiting[c] = append(s.waiting[c][:i], s.waiting[c][i+1:]...)
			s.grant()
			return ctx.Err()
		}
	}
	// Granted at the same instant: hand it on.
	s.held[c]--
	s.grant()
	return ctx.Err()
}

// tryAcquire takes up to n slots without waiting and says how many it got.
func (s *slots) tryAcquire(c class, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := 0
	for got < n && len(s.waiting[c]) == 0 && s.fits(c) {
		s.held[c]++
		got++
	}
	return got
}

func (s *slots) release(c class, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[c] -= n
	s.grant()
}

func (s *slots) grant() {
	for again := true; again; {
		again = false
		for c := range classes {
			if len(s.waiting[c]) > 0 && s.fits(c) {
				close(s.waiting[c][0])
				s.waiting[c] = s.waiting[c][1:]
				s.held[c]++
				again = true
			}
		}
	}
}
