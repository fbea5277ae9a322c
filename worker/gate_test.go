package worker

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestGateShutsOnlyWhenUnlockedWritesEnded(t *testing.T) {
	var g gate
	if g.enter() {
		t.Fatal("a gate without a route must be shut")
	}
	if err := g.set(t.Context(), true); err != nil || !g.enter() {
		t.Fatal("an open gate lets writes in")
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g.set(short, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("shut with a write under way: %v", err)
	}
	if g.enter() {
		t.Fatal("no write may enter while the gate is being shut")
	}
	done := make(chan error, 1)
	go func() { done <- g.set(t.Context(), false) }()
	g.leave()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
