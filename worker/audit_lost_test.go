package worker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// lose has the ledger know that it lost everything but the route, main having
// changed at a time.
func (l *lab) lose(flip time.Time) {
	l.t.Helper()
	if err := l.led.MarkLost(l.t.Context(), flip); err != nil {
		l.t.Fatal(err)
	}
	all, err := l.led.Losses(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, x := range all {
		if err := l.led.MoveLoss(l.t.Context(), x, ledger.Lost, flip, ledger.Gone{Proxy: true}); err != nil {
			l.t.Fatal(err)
		}
	}
}

func TestAuditDuringASwitchHealsWhatALossHasForgotten(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	for _, k := range []string{"same", "changed on the old main", "changed on the new main", "deleted on the old main"} {
		l.seed(ledger.Source, b, k, []byte("before"))
	}
	l.start(nil)
	l.copyAll(b)
	// What is copied is older than the switch, by more than Last-Modified is exact.
	old := l.stores[ledger.Target]
	waitLong(t, 20*time.Second, func() bool {
		s := &store{api: old.S3}
		for k := range l.keys(ledger.Target, b) {
			if seen, err := s.seen(t.Context(), b, k); err != nil || seen.Age < 4*time.Second {
				return false
			}
		}
		return true
	})
	l.seed(ledger.Source, b, "changed on the old main", []byte("newest"))
	l.seed(ledger.Source, b, "born on the old main", []byte("newest"))
	l.remove(ledger.Source, b, "deleted on the old main")
	l.seed(ledger.Target, b, "changed on the new main", []byte("newest"))
	l.seed(ledger.Target, b, "born on the new main", []byte("newest"))
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	l.obeyed()
	l.lose(time.Now())

	l.startAudit(auditETag, true, func(a *ledger.AuditSpec) { a.Switch = true }, b)
	a := l.audited()
	want := ledger.AuditCounts{Compared: 6, Missing: 2, Extra: 1, Different: 2, Repaired: 5}
	if diff := cmp.Diff(want, a.AuditCounts); diff != "" || a.Result != ledger.AuditComplete {
		t.Errorf("%+v\n%s", a, diff)
	}
	for on, s := range l.stores {
		got := map[string]string{}
		for k := range l.keys(ledger.Store(on), b) {
			_, got[k] = l.get(ledger.Store(on), b, k)
		}
		if diff := cmp.Diff(map[string]string{"same": "before", "changed on the old main": "newest", "changed on the new main": "newest",
			"born on the old main": "newest", "born on the new main": "newest"}, got); diff != "" {
			t.Errorf("%s: %s", s.Endpoint.URL, diff)
		}
	}
}

func TestAuditDoesNotGoOnDuringASwitchThatDoesNotWaitForIt(t *testing.T) {
	for _, during := range []bool{false, true} {
		r := ledger.Route{State: ledger.Switched, Run: true}
		if got := goesOn(r, ledger.AuditTask{Switch: during}); got != during {
			t.Errorf("%v: goes on %v", during, got)
		}
	}
}

// A bucket that clients made just before the switch is on the old main alone; the
// ledger has forgotten that it has to be copied.
func TestAuditAfterALossFindsBucketsThatOneStoreLacks(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seed(ledger.Source, b, "k", []byte("content"))
	l.start(nil)
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	l.obeyed()
	l.lose(time.Now())
	l.startAudit(auditETag, true, func(a *ledger.AuditSpec) { a.Switch = true }, b)
	a := l.audited()
	if a.Result != ledger.AuditComplete || a.Left() != 0 {
		t.Errorf("%+v", a)
	}
	if _, got := l.get(ledger.Target, b, "k"); got != "content" {
		t.Errorf("the target holds %q: %+v %v", got, a, l.keys(ledger.Target, b))
	}
}
