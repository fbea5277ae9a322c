package migration

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// snapshot keeps what Redis holds; the function brings it back, as a restart with
// an older file or a failover to a replica that lags does.
func (w *world) snapshot() (restore func()) {
	w.t.Helper()
	keys, err := w.rdb.Keys(w.ctx, "*").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	dump := map[string]string{}
	for _, k := range keys {
		if dump[k], err = w.rdb.Dump(w.ctx, k).Result(); err != nil {
			w.t.Fatal(err)
		}
	}
	return func() {
		pipe := w.rdb.TxPipeline()
		pipe.FlushAll(w.ctx)
		pipe.ScriptFlush(w.ctx)
		for k, v := range dump {
			pipe.Restore(w.ctx, k, 0, v)
		}
		if _, err := pipe.Exec(w.ctx); err != nil {
			w.t.Fatal(err)
		}
	}
}

// flush empties Redis, as a restart without its files does.
func (w *world) flush() { w.rdb.FlushAll(w.ctx); w.rdb.ScriptFlush(w.ctx) }

// loseAll has everybody deal with an empty Redis.
func (w *world) loseAll() {
	w.t.Helper()
	w.flush()
	w.settle()
}

// settle lets the engine and every process deal with a loss.
func (w *world) settle() {
	w.t.Helper()
	for range 10 {
		w.step()
		for _, m := range w.mem {
			_, _ = m.Beat(w.ctx) // refused until the route is back
		}
	}
}

// pass lets time pass with everybody alive.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= 5 * time.Second {
		w.now = w.now.Add(5 * time.Second)
		for _, m := range w.mem {
			_, _ = m.Beat(w.ctx)
		}
		if !w.named { // else nobody has yet
			w.buryAbandoned() // a worker goes on under another session after a loss
		}
		w.step()
	}
}

func (w *world) to(phase string) {
	w.t.Helper()
	switch phase {
	case "Pending":
		w.step()
		w.join(ledger.RoleProxy, "p")
		w.join(ledger.RoleWorker, "w")
		w.beat()
	case "Copying":
		w.to("Pending")
		w.step()
		w.beat()
	default:
		w.caughtUp()
		w.onTo(phase)
	}
}

// onTo goes on from where everything is copied.
func (w *world) onTo(phase string) {
	w.t.Helper()
	if phase == "Steady" {
		return
	}
	w.ask(ledger.Target)
	w.step()
	if phase == "Preparing" {
		return
	}
	w.beat()
	w.step()
	w.beat()
	if phase == "SwitchStarted" {
		return
	}
	for range 3 {
		w.dangling(0)
		w.beat()
		w.step()
	}
	if w.out.Phase != SwitchDone {
		w.t.Fatalf("%s %v", w.out.Phase, w.out.WaitingFor)
	}
}

func TestLostLedgerInEveryPhaseKeepsMainAndHoldsTheSwitchUntilItIsHealed(t *testing.T) {
	losses := map[string]func(w *world, phase string){
		"empty": func(w *world, phase string) {
			w.to(phase)
			w.flush()
		},
		"last write gone": func(w *world, phase string) {
			w.to(phase)
			restore := w.snapshot()
			w.commit(w.write("forgotten"))
			restore()
		},
		"from when it was set up": func(w *world, phase string) {
			w.step()
			restore := w.snapshot()
			w.to(phase)
			w.commit(w.write("forgotten"))
			restore()
		},
		"another one": func(w *world, phase string) {
			w.to(phase)
			if err := w.e.Ledger.SetMeta(w.ctx, "generation", "another"); err != nil {
				w.t.Fatal(err)
			}
		},
	}
	for _, phase := range []string{"Pending", "Copying", "Steady", "Preparing", "SwitchStarted", "SwitchDone"} {
		for name, lose := range losses {
			t.Run(phase+", "+name, func(t *testing.T) {
				w := newWorld(t)
				lose(w, phase)
				before := w.out.State.Route
				w.settle()
				r := w.out.State.Route
				if before.State == ledger.Preparing {
					before.State = ledger.Steady // the switch is postponed
				}
				if r.Main != before.Main || r.State != before.State || r.Epoch < before.Epoch {
					t.Fatalf("route %+v, before %+v", r, before)
				}
				w.is(CondLedgerHealthy, false, "UncleanEvent")
				if before.Main == ledger.Source && before.State == ledger.Steady {
					w.ask(ledger.Target)
					w.settle()
					if w.out.State.Route.State != ledger.Steady {
						t.Fatal("a switch began")
					}
				}
				w.now = w.now.Add(forgotten)
				w.in.Spec.Switch = nil
				w.ask(before.Main).Overrides = map[Guard]bool{GuardAuditClean: true}
				w.settle()
				w.is(CondLedgerHealthy, true, "Healthy")
				if all, err := w.e.Ledger.Losses(w.ctx); err != nil || len(all) > 0 {
					t.Fatalf("%+v %v", all, err)
				}
			})
		}
	}
}

func TestLossInEveryPhaseIsHealedByAnAudit(t *testing.T) {
	for _, phase := range []string{"Steady", "Preparing", "SwitchStarted", "SwitchDone"} {
		t.Run(phase, func(t *testing.T) {
			w := newWorld(t)
			w.auditing()
			w.compare(ledger.AuditCounts{})
			w.step()
			w.is(CondAudited, true, "Verified")
			w.onTo(phase)
			w.loseAll()
			w.is(CondLedgerHealthy, false, "UncleanEvent")
			w.is(CondAudited, false, "Stale")
			if phase == "Steady" {
				w.copyAll() // the ledger knows of no copy
			}
			w.pass(forgotten)
			if a := w.out.State.Audit; !a.running() || a.Since == "" {
				t.Fatalf("%+v", a)
			}
			w.is(CondLedgerHealthy, false, "UncleanEvent")
			w.compare(ledger.AuditCounts{Missing: 1, Repaired: 1})
			w.settle()
			w.is(CondLedgerHealthy, true, "Healthy")
			w.is(CondAudited, true, "Verified")
		})
	}
}

func TestRestartOfRedisThatLosesNothingLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.to("SwitchStarted")
	w.commit(w.write("k"))
	w.snapshot()()
	if loc, err := w.e.Ledger.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: "k"}); err != nil || loc.Loss != ledger.Suspected {
		t.Fatalf("%+v %v", loc, err)
	}
	w.step()
	w.is(CondLedgerHealthy, false, "Checking")
	w.beat()
	w.step() // all have looked who were there: reads wait no longer
	w.is(CondLedgerHealthy, true, "Healthy")
	loc, err := w.e.Ledger.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: "k"})
	if err != nil || loc.Store != ledger.Target || loc.Loss != ledger.Healthy {
		t.Fatalf("%+v %v", loc, err)
	}
}

func TestProxyThatEndedWithRedisMakesAnAuditDue(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.join(ledger.RoleProxy, "p2")
	w.beat()
	delete(w.mem, "p2")
	w.snapshot()()
	for range 20 {
		w.beat()
		w.step()
	}
	w.is(CondLedgerHealthy, false, "UncleanEvent")
	if !strings.Contains(w.cond(CondLedgerHealthy).Message, "which ended") && len(w.out.UncleanList) < 2 {
		t.Fatalf("%+v", w.out.UncleanList)
	}
}

// A ledger that came back empty knows nothing of who has written to it before. What the
// others tell again may be older than what a proxy did that has ended.
func TestProxyThatTheLedgerHasForgottenIsMissed(t *testing.T) {
	for name, c := range map[string]struct {
		then  func(*world)
		known bool
	}{
		"none ended":                        {func(*world) {}, true},
		"one ended":                         {func(w *world) { delete(w.mem, "p2") }, false},
		"one was replaced":                  {func(w *world) { w.join(ledger.RoleProxy, "p2") }, false},
		"one ended long ago":                {func(w *world) { delete(w.mem, "p2"); w.pass(remembered + 20*time.Second) }, true},
		"one was replaced, the manager too": {func(w *world) { w.join(ledger.RoleProxy, "p2"); w.anew() }, false},
		"the manager was replaced":          {(*world).anew, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.to("SwitchStarted")
			w.join(ledger.RoleProxy, "p2")
			w.pass(2 * remembered)
			w.commit(w.write("k"))
			c.then(w)
			w.loseAll()
			loc, err := w.e.Ledger.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: "k"})
			if err != nil || (loc.Loss == ledger.Healthy) != c.known {
				t.Errorf("%+v %v", loc, err)
			}
		})
	}
}

// A worker that ended may have put on main what nobody tells of.
func TestWorkerThatTheLedgerHasForgottenIsMissed(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*world)
		gone bool
	}{
		"none ended":               {func(*world) {}, false},
		"one ended":                {func(w *world) { delete(w.mem, "w2") }, true},
		"one was replaced":         {func(w *world) { w.join(ledger.RoleWorker, "w2") }, true},
		"one gave its session up":  {func(w *world) { w.mem["w2"].Abandon(w.mem["w2"].ID()) }, false},
		"one ended long ago":       {func(w *world) { delete(w.mem, "w2"); w.pass(remembered + 20*time.Second) }, false},
		"the manager was replaced": {(*world).anew, true},
		"one is known by name": {func(w *world) { // only a shard has heard of it again
			w.mem["w2"].Abandon(w.mem["w2"].ID())
			w.named = true
		}, false},
	} {
		for how, lose := range map[string]func(*world){
			"Redis is empty": (*world).flush,
			"Redis is older": func(w *world) {
				back := w.snapshot()
				w.commit(w.write("k"))
				back()
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				w := newWorld(t)
				w.to("SwitchStarted")
				w.join(ledger.RoleWorker, "w2")
				w.pass(2 * remembered)
				c.then(w)
				lose(w)
				if w.named {
					w.rdb.HSet(w.ctx, "cf:{m/0}:wit", w.mem["w2"].ID(), 1)
					w.rdb.SRem(w.ctx, "cf:{m}:sess", w.mem["w2"].ID())
					if n, err := w.e.Ledger.Orphans(w.ctx); n != 1 || err != nil {
						t.Fatal(n, err)
					}
				}
				w.settle()
				w.pass(gone + 5*time.Second) // nobody waits for it any longer
				all, err := w.e.Ledger.Losses(w.ctx)
				if err != nil || len(all) == 0 || all[0].State != ledger.Lost {
					t.Fatalf("%+v %v", all, err)
				}
				if told, err := w.rdb.HExists(w.ctx, "cf:{m/0}:loss", "copied").Result(); told == c.gone || err != nil {
					t.Error(told, err)
				}
			})
		}
	}
}

// anew has another manager take over.
func (w *world) anew() {
	w.e = &Engine{Ledger: w.e.Ledger, ListBuckets: w.e.ListBuckets, Now: w.e.Now}
}

func TestOverrideSpeaksForThePastOnly(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	r := w.ask(ledger.Source)
	r.Overrides = map[Guard]bool{GuardAuditClean: true}
	w.step()
	if err := w.e.Ledger.MarkUnclean(w.ctx, "later"); err != nil {
		t.Fatal(err)
	}
	w.step()
	w.is(CondLedgerHealthy, false, "UncleanEvent")
	r.Attempt = "2"
	w.step()
	w.is(CondLedgerHealthy, true, "Healthy")
}

func TestRouteIsKeptBeforeTheLedgerHearsOfIt(t *testing.T) {
	tests := map[string]func(*world){
		"and it is empty":        (*world).flush,
		"and nothing else":       func(*world) {},
		"and it lost that route": nil,
	}
	for name, then := range tests {
		t.Run("the manager dies then, "+name, func(t *testing.T) {
			w := newWorld(t)
			w.to("Preparing")
			w.beat()
			var kept State
			died := errors.New("died")
			back := w.snapshot()
			w.in.Persist = func(_ context.Context, s State) error {
				kept = s
				if then == nil {
					return nil
				}
				return died
			}
			w.now = w.now.Add(time.Second)
			if _, err := w.e.Step(w.ctx, w.in); then != nil && !errors.Is(err, died) {
				t.Fatal(err)
			}
			if kept.Pending.Main != ledger.Target || kept.Route.Main != ledger.Source {
				t.Fatalf("%+v", kept)
			}
			if then == nil {
				then = func(w *world) {
					w.beat() // they obey it
					back()
				}
			}
			then(w)
			w.in.Persist, w.in.State = nil, kept
			w.step()
			if r := w.out.State.Route; r.Main != ledger.Target || r.Epoch < kept.Pending.Epoch {
				t.Fatalf("an older main came back: %+v", r)
			}
		})
	}
}

func TestLossDuringASwitchIsHealedByAnAuditAndTheSwitchIsDone(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.onTo("SwitchStarted")
	w.loseAll()
	w.is(CondLedgerHealthy, false, "UncleanEvent")
	if w.out.State.Audit.running() {
		t.Fatal("an audit began while something may still land that the ledger has forgotten")
	}
	w.pass(forgotten)
	if a := w.out.State.Audit; !a.running() || !a.Switch {
		t.Fatalf("%+v", a)
	}
	w.is(CondSwitched, false, "Draining")
	w.compare(ledger.AuditCounts{Different: 1, Repaired: 1})
	w.settle()
	w.is(CondLedgerHealthy, true, "Healthy")
	w.is(CondAudited, true, "Verified")
	for range 3 {
		w.dangling(0)
		w.beat()
		w.step()
	}
	if w.out.Phase != SwitchDone {
		t.Errorf("%s %v", w.out.Phase, w.out.WaitingFor)
	}
}

func TestLossBeforeTrafficMovesPostponesTheSwitchUntilAnAuditHasHealedIt(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.onTo("Preparing")
	w.loseAll()
	if r := w.out.State.Route; r.State != ledger.Steady || r.Main != ledger.Source || r.Hold {
		t.Fatalf("%+v", r)
	}
	w.is(CondSwitched, false, "WaitingForGuards")
}

func TestNobodysWordShortensTheWaitForWhatALossHasForgotten(t *testing.T) {
	w := newWorld(t)
	w.to("Steady")
	w.loseAll()
	w.copyAll()
	w.pass(20 * time.Second)
	w.ask(ledger.Target).Overrides = map[Guard]bool{GuardAuditClean: true}
	w.settle()
	if r := w.out.State.Route; r.State != ledger.Steady {
		t.Fatalf("a switch began: %+v", r)
	}
	if c := w.cond(CondSwitchReady); !strings.Contains(c.Message, "has forgotten") {
		t.Errorf("%+v", c)
	}
	w.pass(forgotten)
	if r := w.out.State.Route; r.State == ledger.Steady {
		t.Errorf("%+v", w.cond(CondSwitchReady))
	}
}

func TestSwitchThatWaitsForAnAuditGetsOne(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.step()
	w.in.Spec.Audit.Trigger = "just before"
	w.onTo("SwitchStarted")
	if a := w.out.State.Audit; a.Switch {
		t.Fatalf("an audit runs that nothing waits for: %+v", a)
	}
	w.pass(5 * time.Second)
	w.mark("a copy overran its lock")
	w.pass(5 * time.Second)
	if a := w.out.State.Audit; !a.running() || !a.Switch || a.Since != "a copy overran its lock" {
		t.Fatalf("%+v", a)
	}
	w.compare(ledger.AuditCounts{Missing: 1}) // which is not repaired
	w.step()
	w.is(CondLedgerHealthy, false, "UncleanEvent")
	if w.out.State.Audit.running() {
		t.Error("it is repeated at once, with nothing mended")
	}
	w.in.Spec.Audit.Trigger = "mended"
	w.step()
	w.compare(ledger.AuditCounts{})
	w.step()
	w.is(CondLedgerHealthy, true, "Healthy")
}

func TestSwitchTurnedBackAfterALossGetsItsAuditAndEnds(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.onTo("SwitchStarted")
	w.loseAll()
	w.ask(ledger.Source)
	w.pass(10 * time.Second)
	if r := w.out.State.Route; r.Main != ledger.Source || r.State != ledger.Switched {
		t.Fatalf("%+v %v", r, w.out.WaitingFor)
	}
	w.pass(forgotten)
	if a := w.out.State.Audit; !a.running() || !a.Switch {
		t.Fatalf("it waits for an audit that nobody makes: %v", w.out.WaitingFor)
	}
	goOn := func() {
		for range 5 {
			w.dangling(0)
			w.beat()
			w.step()
		}
	}
	if goOn(); w.out.State.Route.State != ledger.Switched {
		t.Fatal("it ended before the stores were compared")
	}
	w.compare(ledger.AuditCounts{})
	goOn()
	if r := w.out.State.Route; r.State != ledger.Steady || r.Main != ledger.Source {
		t.Errorf("%+v %v", r, w.out.WaitingFor)
	}
}

// No audit runs while spec.paused says so: whoever waits for one is told.
func TestSwitchThatWaitsForAnAuditSaysThatNoneRunsWhilePaused(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.onTo("SwitchStarted")
	w.loseAll()
	w.in.Spec.Paused = true
	w.pass(forgotten + 10*time.Second)
	if c := w.cond(CondSwitched).Message; w.out.State.Audit.running() || !strings.Contains(c, "spec.paused keeps audits from running") {
		t.Errorf("%q, audit %+v", c, w.out.State.Audit)
	}
	w.in.Spec.Paused = false
	w.pass(10 * time.Second)
	if c := w.cond(CondSwitched).Message; !w.out.State.Audit.running() || strings.Contains(c, "spec.paused") {
		t.Errorf("%q, audit %+v", c, w.out.State.Audit)
	}
}

func TestLossWithoutAFollowerSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.step()
	r := w.ask(ledger.Target)
	r.Reverse = false
	for range 6 {
		w.beat()
		w.step()
		w.dangling(0)
	}
	if w.out.Phase != SwitchDone {
		t.Fatalf("%s %v", w.out.Phase, w.out.WaitingFor)
	}
	w.loseAll()
	w.pass(forgotten + 20*time.Second)
	w.is(CondLedgerHealthy, false, "UncleanEvent")
	if c := w.cond(CondAudited); !strings.Contains(c.Message, "nothing to compare with") {
		t.Errorf("%+v", c)
	}
	r.Overrides = map[Guard]bool{GuardAuditClean: true}
	w.settle()
	w.is(CondLedgerHealthy, true, "Healthy")
}

// One node of a Redis Cluster loses all that it held, when nobody who lives was told anything by it: all
// processes have just been replaced.
func TestShardThatLostEverythingIsALossThoughNobodyMissesAnything(t *testing.T) {
	w := newWorld(t)
	fresh := func() *ledger.Ledger {
		return ledger.New(ledger.Options{Redis: w.rdb, Migration: "m", Shards: 2, Now: func() time.Time { return w.now }})
	}
	w.e.Ledger = fresh()
	w.caughtUp()
	for _, key := range []string{"a", "b", "c", "d"} {
		w.commit(w.write(key))
	}
	for _, m := range w.mem {
		if err := m.Leave(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
	w.e.Ledger = fresh()
	w.join(ledger.RoleProxy, "p")
	w.join(ledger.RoleWorker, "w")
	w.beat()
	w.step()
	w.is(CondLedgerHealthy, true, "Healthy")
	keys, err := w.rdb.Keys(w.ctx, "cf:{m/1}:*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	w.rdb.Del(w.ctx, keys...)
	w.settle()
	w.is(CondLedgerHealthy, false, "UncleanEvent")
}

// The manager's clock is not Redis'.
func TestLossIsToldFromWhatWasBeforeWhateverTheManagersClockSays(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		w := newWorld(t)
		clock := w.e.Now
		w.e.Now = func() time.Time { return clock().Add(off) }
		w.to("Preparing")
		w.mark("a copy overran its lock")
		w.step()
		if r := w.out.State.Route; r.State != ledger.Steady {
			t.Fatalf("%s: the switch goes on: %+v", off, r)
		}

		w = newWorld(t)
		clock = w.e.Now
		w.e.Now = func() time.Time { return clock().Add(off) }
		w.to("SwitchStarted")
		w.now = w.now.Add(time.Minute)
		w.loseAll()
		w.pass(20 * time.Second)
		loc, err := w.e.Ledger.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: "k"})
		if err != nil || loc.Loss != ledger.Lost || loc.Since < time.Minute || loc.Since > 2*time.Minute {
			t.Errorf("%s: main changed %s ago: %+v, %v", off, loc.Since, loc, err)
		}
	}
}

// What main lacks was deleted there only where it had been copied before: else it is all that there is.
func TestWhatHadNotBeenCopiedBeforeTheSwitchIsNotTakenForDeletedAfterALoss(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*world)
		back   bool
		want   ledger.Store // of an object that only the old main has
	}{
		"everything had": {func(*world) {}, false, ledger.Target},
		"its copy failed": {func(w *world) {
			w.commit(w.write("k"))
			claims, err := w.e.Ledger.ClaimEvents(w.ctx, w.mem["w"].ID(), 1)
			if err == nil {
				err = w.e.Ledger.Fail(w.ctx, claims[0], "AccessDenied", time.Hour)
			}
			if err != nil {
				w.t.Fatal(err)
			}
			w.ask(ledger.Target).Overrides = map[Guard]bool{GuardNothingFailed: true}
		}, false, ledger.Source},
		"the stores differed": {func(w *world) {
			w.in.Spec.Audit.Trigger = "again"
			w.step()
			w.compare(ledger.AuditCounts{Missing: 1})
			w.step()
			w.ask(ledger.Target).Overrides = map[Guard]bool{GuardAuditClean: true}
		}, false, ledger.Source},
		"turned back": {func(w *world) { w.ask(ledger.Target) }, true, ledger.Target},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.auditing()
			w.compare(ledger.AuditCounts{})
			w.step()
			tc.before(w)
			if w.in.Spec.Switch == nil {
				w.ask(ledger.Target)
			}
			for range 4 {
				w.beat()
				w.step()
			}
			if tc.back {
				w.commit(w.write("k"))
				w.pass(11 * time.Minute)
				w.ask(ledger.Source)
				w.step()
			}
			main := ledger.Target
			if tc.back {
				main = ledger.Source
			}
			if r := w.out.State.Route; r.State != ledger.Switched || r.Main != main {
				t.Fatalf("%+v %v %+v", r, w.out.WaitingFor, w.out.Conditions)
			}
			w.loseAll()
			loc, err := w.e.Ledger.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: "older than what is told again"})
			if err != nil || loc.Loss != ledger.Lost {
				t.Fatalf("%+v %v", loc, err)
			}
			var seen [2]ledger.Seen
			seen[main.Other()] = ledger.Seen{Found: true, Size: 1, Age: loc.Since + 11*time.Minute}
			if got, _ := loc.Newest(loc.Since, seen); got != tc.want {
				t.Errorf("%s, after %s", got, loc.Since)
			}
		})
	}
}
