package migration

import (
	"strings"
	"testing"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// A Migration that is deleted in the middle of a switch waits for its end, also when Redis
// has just lost that there is one: what is newest on the old store would stay there.
func TestLostLedgerDoesNotLetASwitchThatIsHalfWayBeDeleted(t *testing.T) {
	for name, lose := range map[string]func(w *world, before ledger.Route){
		"empty": func(w *world, _ ledger.Route) { w.rdb.FlushAll(w.ctx) },
		"older": func(w *world, before ledger.Route) {
			w.rdb.FlushAll(w.ctx)
			if err := w.e.Ledger.SetRoute(w.ctx, before); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stranded := func() string {
				t.Helper()
				why, err := w.e.Stranded(w.ctx, w.in.State)
				if err != nil {
					t.Fatal(err)
				}
				return why
			}
			w.caughtUp()
			before := w.out.State.Route
			if why := stranded(); why != "" {
				t.Fatal(why)
			}
			w.ask(ledger.Target)
			w.step()
			if why := stranded(); !strings.Contains(why, "prepared") {
				t.Fatalf("while it is prepared: %q", why)
			}
			w.beat()
			w.step()
			w.beat()
			if w.step(); w.out.Phase != SwitchStarted || !strings.Contains(stranded(), "half-way") {
				t.Fatalf("%s %q", w.out.Phase, stranded())
			}
			lose(w, before)
			if why := stranded(); !strings.Contains(why, "half-way") {
				t.Errorf("after the loss: %q", why)
			}
			if w.step(); !strings.Contains(stranded(), "half-way") {
				t.Errorf("once the route is back: %q", stranded())
			}
		})
	}
}
