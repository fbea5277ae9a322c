package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

func TestSilenceCountsFromWhenItWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watched := silences{}
		seen := time.Now()
		look := func(silent time.Duration) int {
			return len(watched.dead([]ledger.Session{{ID: "a", Seen: seen, Silent: silent}, {ID: "b", Fenced: true}}, 15*time.Second))
		}
		// Redis was away for a minute.
		if n := look(time.Minute); n != 1 {
			t.Fatal(n)
		}
		time.Sleep(10 * time.Second)
		seen = time.Now()
		if n := look(0); n != 1 {
			t.Fatal(n)
		}
		time.Sleep(14 * time.Second)
		if n := look(14 * time.Second); n != 1 {
			t.Fatal(n)
		}
		time.Sleep(2 * time.Second)
		if n := look(16 * time.Second); n != 2 {
			t.Fatal("it is dead, and nobody says so", n)
		}
	})
}
