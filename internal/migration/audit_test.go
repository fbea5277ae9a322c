package migration

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// auditing brings a migration with audits to CatchingUp, where the first one begins.
func (w *world) auditing() {
	w.t.Helper()
	w.in.Spec.Audit = AuditRequest{Mode: "ETag", Repair: true}
	w.caughtUp()
}

// compare plays the worker that does the whole audit, finding this.
func (w *world) compare(c ledger.AuditCounts) {
	w.t.Helper()
	l, id := w.e.Ledger, w.mem["w"].ID()
	w.beat()
	r, err := l.ClaimAuditRange(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.AdvanceAudit(w.ctx, id, &r, "k", 5, []ledger.Suspect{{Key: "k"}}, true); err != nil {
		w.t.Fatal(err)
	}
	s, err := l.ClaimSuspects(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.FinishSuspects(w.ctx, id, s, nil, 0, c, nil, ""); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mark(reason string) {
	w.t.Helper()
	if err := w.e.Ledger.MarkUnclean(w.ctx, reason); err != nil {
		w.t.Fatal(err)
	}
}

func TestTheFirstAuditBeginsWhenAllIsCopiedAndTheSwitchWaitsForIt(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.ask(ledger.Target)
	w.step()
	w.is(CondSwitchReady, false, string(GuardAuditClean))
	if c := w.cond(CondAudited); c.Status != nil || c.Reason != "NotVerified" {
		t.Errorf("%+v", c)
	}
	w.compare(ledger.AuditCounts{Missing: 1, Repaired: 1})
	w.step()
	w.is(CondAudited, true, "Verified")
	if a := w.out.State.Audit; a.Compared != 5 || a.Missing != 1 || a.Percent != 100 || a.VerifiedAt.IsZero() {
		t.Errorf("%+v", a)
	}
	w.step()
	if _, known, _ := w.e.Ledger.Audit(w.ctx); known {
		t.Error("the ledger keeps an audit that is over")
	}
	w.is(CondSwitched, false, "Preparing")
	n := 0
	for _, ev := range w.seen {
		if strings.HasPrefix(ev, "Audit") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("events %v", w.seen)
	}
}

func TestAuditCleanCanBeOverridden(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.ask(ledger.Target).Overrides = map[Guard]bool{GuardAuditClean: true}
	w.step()
	w.is(CondSwitched, false, "Preparing")
}

func TestUncleanEventIsHealedByAnAuditThatBeganLater(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.mark("during the first audit")
	w.compare(ledger.AuditCounts{})
	w.step() // the first one is over, and says nothing of the event: the next one begins
	w.is(CondAudited, false, "Stale")
	w.is(CondLedgerHealthy, false, "UncleanEvent")
	if a := w.out.State.Audit; !a.running() || a.Since != "during the first audit" || a.Explained.IsZero() {
		t.Fatalf("%+v", a)
	}
	w.compare(ledger.AuditCounts{Different: 2, Repaired: 2})
	w.step()
	w.is(CondAudited, true, "Verified")
	w.is(CondLedgerHealthy, true, "Healthy")
	w.step()
	w.mark("during the first audit") // once more
	w.step()
	w.is(CondAudited, false, "Stale")
	if !w.out.State.Audit.running() {
		t.Error("no audit began")
	}
}

func TestDifferencesThatAreLeftHoldTheSwitchAndHealNothing(t *testing.T) {
	w := newWorld(t)
	w.in.Spec.Audit = AuditRequest{Mode: "ETag"}
	w.caughtUp()
	w.mark("x")
	w.step()
	w.compare(ledger.AuditCounts{Extra: 1})
	w.step()
	w.step()
	w.compare(ledger.AuditCounts{Extra: 1})
	w.step()
	w.is(CondAudited, false, "DifferencesLeft")
	w.is(CondLedgerHealthy, false, "UncleanEvent")
	w.is(CondSwitchReady, false, string(GuardAuditClean))
	if w.step(); w.out.State.Audit.running() {
		t.Fatal("it is repeated though nothing changed")
	}
	w.in.Spec.Audit.Repair = true
	if w.step(); !w.out.State.Audit.running() {
		t.Fatal("nothing repairs them")
	}
	w.compare(ledger.AuditCounts{Extra: 1, Repaired: 1})
	w.step()
	w.is(CondAudited, true, "Verified")
	w.is(CondLedgerHealthy, true, "Healthy")
}

func TestTriggerAsksForAnAuditOnce(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.step()
	w.step()
	w.in.Spec.Audit.Trigger = "monday"
	w.step()
	a := w.out.State.Audit
	if !a.running() || a.Trigger != "monday" || a.VerifiedAt.IsZero() {
		t.Fatalf("%+v", a)
	}
	w.is(CondAudited, true, "Verified") // the last one stands
	if w.step(); w.out.State.Audit.ID != a.ID {
		t.Error("begun twice")
	}
	w.in.Spec.Audit.Trigger = "tuesday" // before that one is over
	w.step()
	if b := w.out.State.Audit; b.ID == a.ID || b.Trigger != "tuesday" {
		t.Fatalf("%+v", b)
	}
	w.compare(ledger.AuditCounts{})
	for range 3 {
		w.step()
	}
	if w.out.State.Audit.running() || w.out.State.Audit.Trigger != "tuesday" {
		t.Errorf("%+v", w.out.State.Audit)
	}
}

// What an audit has found so far is known, whatever becomes of the audit, and of the one before.
func TestDifferencesThatAreFoundCountBeforeTheAuditIsOver(t *testing.T) {
	for name, end := range map[string]func(*world){
		"it goes on": func(*world) {},
		"it fails": func(w *world) {
			if err := w.e.Ledger.EndAudit(w.ctx, w.out.State.Audit.ID, "the listing is not consistent"); err != nil {
				w.t.Fatal(err)
			}
		},
		"another one is asked for": func(w *world) { w.in.Spec.Audit.Trigger = "tuesday" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.in.Spec.Audit = AuditRequest{Mode: "ETag"}
			w.caughtUp()
			w.compare(ledger.AuditCounts{})
			w.step()
			w.step()
			w.is(CondAudited, true, "Verified")
			w.in.Spec.Audit.Trigger = "monday"
			w.step()
			l, id := w.e.Ledger, w.mem["w"].ID()
			r, err := l.ClaimAuditRange(w.ctx, id)
			if err == nil {
				err = l.AdvanceAudit(w.ctx, id, &r, "k", 5, []ledger.Suspect{{Key: "k"}}, false)
			}
			s, err2 := l.ClaimSuspects(w.ctx, id)
			if err := errors.Join(err, err2, l.FinishSuspects(w.ctx, id, s, nil, 0, ledger.AuditCounts{Missing: 1}, nil, "")); err != nil {
				t.Fatal(err)
			}
			w.step()
			end(w)
			for range 2 {
				w.beat()
				w.step()
				if c := w.cond(CondAudited); c.Status != nil && *c.Status {
					t.Errorf("%+v, %+v", c, w.out.State.Audit.AuditCounts)
				}
				w.is(CondSwitchReady, false, string(GuardAuditClean))
			}
		})
	}
}

func TestFailedAuditIsRepeatedAfterAWhile(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	if err := w.e.Ledger.EndAudit(w.ctx, w.out.State.Audit.ID, "the listing is not consistent"); err != nil {
		t.Fatal(err)
	}
	w.step()
	w.is(CondAudited, false, "AuditFailed")
	if w.step(); w.out.State.Audit.running() {
		t.Fatal("at once")
	}
	w.now = w.now.Add(auditRetry)
	w.beat()
	if w.step(); !w.out.State.Audit.running() {
		t.Fatal("never")
	}
}

func TestAuditThatWasLostWithTheLedgerIsNotComplete(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	if err := w.rdb.Del(w.ctx, "cf:{m}:audit", "cf:{m}:atasks").Err(); err != nil {
		t.Fatal(err)
	}
	w.step()
	if a := w.out.State.Audit; a.Result != ledger.AuditFailed || !a.VerifiedAt.IsZero() {
		t.Errorf("%+v", a)
	}
}

func TestNewEngineTakesAnAuditOver(t *testing.T) {
	w := newWorld(t)
	before := w.in.State
	w.auditing()
	id := w.out.State.Audit.ID
	w.in.State.Audit = before.Audit // the manager died before it could say so
	if w.step(); w.out.State.Audit.ID != id {
		t.Error("a second one was begun")
	}
}

func TestAuditThatIsTurnedOffEnds(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.in.Spec.Audit = AuditRequest{}
	w.step()
	w.step()
	if a := w.out.State.Audit; a.running() {
		t.Errorf("%+v", a)
	}
	w.ask(ledger.Target)
	w.step()
	w.is(CondSwitched, false, "Preparing")
}

// Nobody compares with a store that is not kept in sync any more.
func TestAuditThatASwitchWithoutReverseHasLeftUnfinishedEnds(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.in.Spec.Audit.Trigger = "again"
	w.step()
	if a := w.out.State.Audit; !a.running() {
		t.Fatalf("%+v", a)
	}
	w.ask(ledger.Target).Reverse = false
	w.step()
	for range 6 {
		w.dangling(0)
		w.beat()
		w.step()
	}
	if w.out.Phase != SwitchDone {
		t.Fatal(w.out.Phase, w.out.WaitingFor)
	}
	w.step()
	w.step()
	if a := w.out.State.Audit; a.running() {
		t.Errorf("it goes on for ever: %+v", a)
	}
	w.is(CondAudited, true, "Verified")
}

func TestAfterALossTheSourceIsAskedWhichBucketsToCompare(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	w.ask(ledger.Target)
	for range 20 {
		w.step()
		w.beat()
		w.dangling(0)
		w.now = w.now.Add(time.Second)
	}
	if w.out.Phase != SwitchDone {
		t.Fatalf("%s %v", w.out.Phase, w.out.WaitingFor)
	}
	names, ok := w.e.auditBuckets(w.ctx, &facts{in: w.in, route: w.out.State.Route}, &Output{})
	if !ok || !slices.Equal(names, []string{"b"}) {
		t.Error(names, ok)
	}
	w.in.Spec.Audit.Trigger = "after the switch"
	w.step()
	if a := w.out.State.Audit; !a.running() || a.Trigger != "after the switch" {
		t.Errorf("%+v", a)
	}
}

// Clients make buckets on the target once it is main. One whose record was lost before it was copied is
// on no list of the source's.
func TestBucketsThatTheTargetAloneHasAreCompared(t *testing.T) {
	w := newWorld(t)
	w.auditing()
	w.compare(ledger.AuditCounts{})
	err := errors.New("the target's buckets cannot be listed")
	w.e.BucketsMade = func(_ context.Context, since time.Time) ([]string, error) {
		if !since.Equal(w.out.State.StartedAt) || since.IsZero() {
			t.Errorf("since %s", since)
		}
		return []string{"made"}, err
	}
	if names, ok := w.e.auditBuckets(w.ctx, &facts{in: w.in, route: w.out.State.Route}, &Output{State: w.out.State}); !ok || slices.Contains(names, "made") {
		t.Errorf("what others have made there, while the source is main: %v", names)
	}
	w.onTo("SwitchDone")
	if names, ok := w.e.auditBuckets(w.ctx, &facts{in: w.in, route: w.out.State.Route}, &Output{State: w.out.State}); !ok || slices.Contains(names, "made") {
		t.Errorf("what others have made there, while the ledger knows all that clients made: %v", names)
	}
	w.loseAll()
	w.pass(forgotten)
	if n := len(slices.DeleteFunc(slices.Clone(w.seen), func(r string) bool { return r != "ListBucketsFailed" })); n != 1 || w.out.State.Audit.running() {
		t.Errorf("told %d times: %+v", n, w.out.State.Audit)
	}
	err = nil
	w.step()
	buckets := map[string]bool{}
	for {
		r, err := w.e.Ledger.ClaimAuditRange(w.ctx, w.mem["w"].ID())
		if err != nil {
			break
		}
		buckets[r.Bucket] = true
	}
	if !buckets["b"] || !buckets["made"] {
		t.Errorf("%v, %+v", buckets, w.out.State.Audit)
	}
}

// failing makes one of the next calls to Redis fail once its work is done.
type failing struct{ calls, at int }

func (f *failing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return f.lose(cmd, next(ctx, cmd)) }
}

func (f *failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return f.lose(cmds[0], next(ctx, cmds)) }
}

func (f *failing) lose(cmd redis.Cmder, err error) error {
	f.calls++
	if f.calls != f.at {
		return err
	}
	lost := &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	cmd.SetErr(lost)
	return lost
}

func TestResultOfAnAuditIsTakenOverWhateverCallFailsMeanwhile(t *testing.T) {
	for at, reached := 1, true; reached; at++ {
		w := newWorld(t)
		w.auditing()
		w.compare(ledger.AuditCounts{})
		f := &failing{at: at}
		w.rdb.AddHook(f)
		w.step()
		reached, f.at = f.calls >= at, 0
		w.step()
		w.step()
		if c := w.cond(CondAudited); c.Status == nil || !*c.Status {
			t.Errorf("after call %d was lost: %+v", at, c)
		}
	}
}
