package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

func TestGateShutsOnlyWhenUnlockedWritesEnded(t *testing.T) {
	var g gate
	if g.enter(ledger.Source) {
		t.Fatal("a gate without a route must be shut")
	}
	if err := g.set(t.Context(), true, ledger.Source); err != nil || !g.enter(ledger.Source) {
		t.Fatal("an open gate lets writes in")
	}
	if g.enter(ledger.Target) || g.isOpen(ledger.Target) {
		t.Fatal("a copy to main, left over from before the switch, needs a lock")
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g.set(short, false, ledger.Source); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("shut with a write under way: %v", err)
	}
	if g.enter(ledger.Source) {
		t.Fatal("no write may enter while the gate is being shut")
	}
	done := make(chan error, 1)
	go func() { done <- g.set(t.Context(), false, ledger.Source) }()
	g.leave()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
