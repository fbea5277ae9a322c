package worker

import (
	"context"
	"testing"
	"time"
)

func TestSlotsKeepHalfForEachSide(t *testing.T) {
	s := newSlots(8)
	if got := s.tryAcquire(forBatches, 100); got != 6 {
		t.Fatalf("batches alone got %d of 8 slots; a quarter stays free", got)
	}
	if got := s.tryAcquire(forEvents, 100); got != 2 {
		t.Fatalf("events began %d at once, want the 2 that were free", got)
	}
	// As batches' objects end, events are brought to their half first.
	granted := make(chan struct{}, 10)
	for range 4 {
		go func() {
			if s.acquire(t.Context(), forEvents) == nil {
				granted <- struct{}{}
			}
		}()
	}
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.waiting[forEvents]) == 4 })
	blocked := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { blocked <- s.acquire(ctx, forBatches) }()
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.waiting[forBatches]) == 1 })
	s.release(forBatches, 2)
	<-granted
	<-granted
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held != [classes]int{4, 4} {
		t.Fatalf("held %v, want half each", held)
	}
	cancel()
	if err := <-blocked; err == nil {
		t.Fatal("batches were given more than their half while events wait")
	}
	s.release(forBatches, 4)
	<-granted
	<-granted
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	waitLong(t, time.Minute, ok)
}

func waitLong(t *testing.T, limit time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("timed out")
		}
	}
}
