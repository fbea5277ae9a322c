package migration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
)

// world is an engine with a ledger on a real Redis and processes played by the test.
type world struct {
	t     *testing.T
	ctx   context.Context
	rdb   *redis.Client
	e     *Engine
	in    Input
	out   Output
	now   time.Time
	mem   map[string]*ledger.Member
	named bool // see TestWorkerThatTheLedgerHasForgottenIsMissed
	seen  []string
}

func newWorld(t *testing.T) *world {
	rdb := redis.NewClient(&redis.Options{Addr: ledgertest.Redis(t)})
	t.Cleanup(func() { _ = rdb.Close() })
	w := &world{t: t, ctx: t.Context(), rdb: rdb, now: time.UnixMilli(1_700_000_000_000), mem: map[string]*ledger.Member{}}
	clock := func() time.Time { return w.now }
	w.e = &Engine{Ledger: ledger.New(ledger.Options{Redis: rdb, Migration: "m", Now: clock}), Now: clock,
		ListBuckets: func(context.Context) ([]string, error) { return []string{"b"}, nil }}
	w.in.Stores = [2]StoreFacts{{Reachable: true}, {Reachable: true}}
	return w
}

func (w *world) step() Output {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	out, err := w.e.Step(w.ctx, w.in)
	if err != nil {
		w.t.Fatal(err)
	}
	w.in.State, w.out = out.State, out
	for _, ev := range out.Events {
		w.seen = append(w.seen, ev.Reason)
	}
	return out
}

func (w *world) join(role ledger.Role, instance string) *ledger.Member {
	m := w.e.Ledger.Join(ledger.MemberOptions{Role: role, Instance: instance})
	w.mem[instance] = m
	return m
}

// beat lets every process obey and confirm.
func (w *world) beat() {
	w.t.Helper()
	for _, m := range w.mem {
		for again := true; again; {
			var err error
			if again, err = m.Beat(w.ctx); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// buryAbandoned does what workers do with the sessions that others have given up.
func (w *world) buryAbandoned() {
	w.t.Helper()
	all, err := w.e.Ledger.Sessions(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range all {
		if m := w.mem[s.Instance]; m != nil && s.ID == m.ID() {
			continue
		}
		if done, err := w.e.Ledger.Bury(w.ctx, s.ID, 0); !done || err != nil {
			w.t.Fatal(done, err)
		}
	}
}

func (w *world) copyAll() {
	w.t.Helper()
	l, id := w.e.Ledger, w.mem["w"].ID()
	b, err := l.ClaimBucket(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.FinishBucket(w.ctx, id, b, nil, nil); err != nil {
		w.t.Fatal(err)
	}
}

// caughtUp brings a migration to CatchingUp.
func (w *world) caughtUp() {
	w.t.Helper()
	w.step()
	w.join(ledger.RoleProxy, "p")
	w.join(ledger.RoleWorker, "w")
	w.beat()
	w.step()
	w.beat()
	w.step()
	w.copyAll()
	if out := w.step(); out.Phase != CatchingUp {
		w.t.Fatalf("phase %s: %+v", out.Phase, out.Conditions)
	}
	w.beat()
	w.step()
}

func (w *world) cond(typ string) Condition {
	w.t.Helper()
	i := slices.IndexFunc(w.out.Conditions, func(c Condition) bool { return c.Type == typ })
	if i < 0 {
		w.t.Fatalf("no condition %s in %+v", typ, w.out.Conditions)
	}
	return w.out.Conditions[i]
}

func (w *world) is(typ string, status bool, reason string) {
	w.t.Helper()
	c := w.cond(typ)
	if c.Status == nil || *c.Status != status || c.Reason != reason {
		w.t.Fatalf("%s is %v %s (%s), want %v %s", typ, c.Status != nil && *c.Status, c.Reason, c.Message, status, reason)
	}
}

func (w *world) ask(to ledger.Store) *SwitchRequest {
	r := DefaultRequest(to)
	w.in.Spec.Switch = &r
	return &r
}

func (w *world) dangling(n int64) {
	w.t.Helper()
	if err := w.e.Ledger.ReportDangling(w.ctx, w.now, w.out.State.Route.Epoch, n, w.now); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(key string) ledger.Intent {
	w.t.Helper()
	in, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), ledger.Object{Bucket: "b", Key: key}, ledger.BeginOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return in
}

func (w *world) commit(in ledger.Intent) {
	w.t.Helper()
	if err := w.e.Ledger.Commit(w.ctx, in); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) drain() {
	w.t.Helper()
	cs, err := w.e.Ledger.ClaimEvents(w.ctx, w.mem["w"].ID(), 100)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(w.e.Ledger.Settle(w.ctx, cs...)...); err != nil {
		w.t.Fatal(err)
	}
}

func TestLifeOfAMigration(t *testing.T) {
	w := newWorld(t)
	w.in.Stores[1] = StoreFacts{Problem: "connection refused"}
	if out := w.step(); out.Phase != Pending {
		t.Fatal(out.Phase)
	}
	w.is(CondTargetReachable, false, "Unreachable")
	w.in.Stores[1] = StoreFacts{Reachable: true}
	w.caughtUp()
	w.is(CondCaughtUp, true, "CaughtUp")
	w.is(CondSwitchReady, true, "Ready")
	w.ask(ledger.Target)
	w.step()
	w.is(CondSwitched, false, "Preparing")
	if w.step(); w.out.State.Route.State != ledger.Preparing {
		t.Fatal("passed barrier one without the proxy")
	}
	in := w.write("k")
	w.beat()
	w.step()
	if w.out.Phase != SwitchStarted || w.out.State.Route.Main != ledger.Target {
		t.Fatalf("%+v", w.out.State.Route)
	}
	w.commit(in)
	w.beat()
	w.dangling(1)
	if w.step(); !strings.Contains(w.cond(CondSwitched).Message, "newest version") {
		t.Fatalf("%+v", w.cond(CondSwitched))
	}
	w.drain()
	if w.step(); !strings.Contains(w.cond(CondSwitched).Message, "multipart uploads") {
		t.Fatalf("%+v", w.cond(CondSwitched))
	}
	// A look from before the last request on the old store ended is no proof.
	create, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), ledger.Object{Bucket: "b", Key: "u"}, ledger.BeginOptions{Store: new(ledger.Store)})
	if err != nil {
		t.Fatal(err)
	}
	w.step()
	w.now = w.now.Add(500 * time.Millisecond)
	w.dangling(0) // nor is one from after it was last seen
	if err := w.e.Ledger.Abort(w.ctx, create); err != nil {
		t.Fatal(err)
	}
	w.beat()
	if w.step(); w.out.Phase != SwitchStarted {
		t.Fatal("done without a look at the upload that was just created")
	}
	w.now = w.now.Add(time.Second)
	w.dangling(0)
	w.beat()
	w.step()
	if w.out.Phase != SwitchDone {
		t.Fatalf("%+v", w.cond(CondSwitched))
	}
	w.is(CondSwitched, true, "Switched")
	// And back.
	w.ask(ledger.Source)
	for range 6 {
		w.beat()
		w.dangling(0)
		w.step()
	}
	if w.out.Phase != CatchingUp || w.out.State.Route.Main != ledger.Source || w.out.State.Route.State != ledger.Steady {
		t.Fatalf("%s %+v", w.out.Phase, w.out.State.Route)
	}
	want := []string{"Started", "SwitchPreparing", "SwitchStarted", "SwitchDone", "SwitchPreparing", "SwitchStarted", "SwitchDone"}
	if !slices.Equal(w.seen, want) {
		t.Fatalf("events %v", w.seen)
	}
}

func TestGuardsHoldTheSwitch(t *testing.T) {
	tests := map[string]struct {
		break_ func(*world)
		guard  Guard
		// override lets it go on.
		override bool
	}{
		"paused":         {func(w *world) { w.in.Spec.Paused = true }, GuardNotPaused, false},
		"target down":    {func(w *world) { w.in.Stores[1] = StoreFacts{Problem: "x"} }, GuardStores, false},
		"unclean event":  {func(w *world) { _ = w.e.Ledger.MarkUnclean(w.ctx, "x") }, GuardAuditClean, true},
		"new bucket":     {func(w *world) { _ = w.e.Ledger.AddBuckets(w.ctx, "new") }, GuardCopied, false},
		"unknown proxy":  {func(w *world) { w.in.Instances = map[string]bool{"p": true, "p2": true} }, GuardSessions, false},
		"many dirty":     {func(w *world) { w.in.Spec.Switch.MaxDirty = 0; w.commit(w.write("k")) }, GuardCaughtUp, true},
		"bucket failed":  {func(w *world) { w.failBucket("new") }, GuardCopied, false},
		"object failed":  {func(w *world) { w.commit(w.write("k")); w.giveUp() }, GuardNothingFailed, true},
		"nothing broken": {func(*world) {}, "", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.caughtUp()
			w.ask(ledger.Target)
			tc.break_(w)
			w.step()
			if tc.guard == "" {
				w.is(CondSwitched, false, "Preparing")
				return
			}
			if w.out.State.Route.State != ledger.Steady {
				w.t.Fatal("the switch went on")
			}
			w.is(CondSwitchReady, false, string(tc.guard))
			w.in.Spec.Switch.Overrides = map[Guard]bool{tc.guard: true}
			w.step()
			if tc.override {
				w.is(CondSwitched, false, "Preparing")
			} else if w.out.State.Route.State != ledger.Steady {
				t.Error("it was overridden")
			}
		})
	}
}

func (w *world) failBucket(name string) {
	w.t.Helper()
	l, id := w.e.Ledger, w.mem["w"].ID()
	if err := l.AddBuckets(w.ctx, name); err != nil {
		w.t.Fatal(err)
	}
	b, err := l.ClaimBucket(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.FailBucket(w.ctx, id, b, "somebody else's", true); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) giveUp() {
	cs, err := w.e.Ledger.ClaimEvents(w.ctx, w.mem["w"].ID(), 1)
	if err != nil || len(cs) != 1 {
		w.t.Fatal(cs, err)
	}
	if err := w.e.Ledger.GiveUp(w.ctx, cs[0], "cause"); err != nil {
		w.t.Fatal(err)
	}
}

func TestSwitchTakenAwayBeforeTrafficMovesIsOff(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.ask(ledger.Target)
	w.step()
	w.in.Spec.Switch = nil
	w.step()
	if r := w.out.State.Route; r.State != ledger.Steady || r.Main != ledger.Source {
		t.Fatalf("%+v", r)
	}
}

// Nobody calls it off when the manager dies, with its node maybe: writes go on by themselves.
func TestWritesAreNotHeldForeverByAManagerThatDied(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	open := w.write("k")
	r := w.ask(ledger.Target)
	r.PauseWrites, r.MaxPause = true, 5*time.Second
	w.step()
	w.now = w.now.Add(r.MaxPause + holdSlack + time.Second)
	in, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), open.Object, ledger.BeginOptions{})
	if err != nil || in.Store != ledger.Source {
		t.Fatalf("%+v %v", in, err)
	}
	w.commit(in)
	// One that comes back calls it off, as it would have.
	w.beat()
	w.step()
	w.is(CondSwitched, false, "CalledOff")
}

func TestPauseWritesIsCalledOffAfterMaxPause(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	open := w.write("k") // never drained
	r := w.ask(ledger.Target)
	r.PauseWrites, r.MaxPause = true, 5*time.Second
	w.step()
	if _, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), open.Object, ledger.BeginOptions{}); !errors.Is(err, ledger.ErrHeld) {
		t.Fatalf("write not held: %v", err)
	}
	for range 7 {
		w.beat()
		w.step()
	}
	w.is(CondSwitched, false, "CalledOff")
	w.commit(w.write("k2"))
	w.commit(open)
	w.drain()
	w.beat()
	if w.step(); w.out.State.Route.State != ledger.Steady {
		t.Fatal("tried again by itself")
	}
	r.Attempt = "2"
	for range 4 {
		w.step()
		w.beat()
	}
	if w.out.State.Route.Main != ledger.Target {
		t.Fatalf("%+v %+v", w.out.State.Route, w.cond(CondSwitched))
	}
}

// With thousands of buckets a look at them takes longer than a report may be old.
func TestLookAtManyBucketsEndsASwitch(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.ask(ledger.Target)
	for range 3 {
		w.step()
		w.beat()
	}
	if w.step(); w.out.Phase != SwitchStarted {
		t.Fatalf("%+v", w.out.State.Route)
	}
	for range 2 {
		w.now = w.now.Add(time.Second)
		began := w.now
		w.now = w.now.Add(2 * danglingFresh)
		if err := w.e.Ledger.ReportDangling(w.ctx, began, w.out.State.Route.Epoch, 0, time.Time{}); err != nil {
			t.Fatal(err)
		}
		w.beat()
		w.step()
	}
	if w.out.Phase != SwitchDone {
		t.Fatalf("%+v", w.cond(CondSwitched))
	}
}

func TestSwitchBackHalfWay(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.ask(ledger.Target)
	w.step()
	w.beat()
	w.step()
	w.commit(w.write("k")) // on the target
	w.ask(ledger.Source)
	w.beat()
	w.step()
	if r := w.out.State.Route; r.Main != ledger.Source || r.State != ledger.Switched {
		t.Fatalf("%+v", r)
	}
	w.beat()
	w.dangling(0)
	if w.step(); w.out.Phase != SwitchStarted {
		t.Fatal("done while the target holds the newest version of an object")
	}
	w.drain()
	w.beat()
	w.step()
	w.now = w.now.Add(time.Second)
	w.dangling(0)
	if w.step(); w.out.Phase != CatchingUp {
		t.Fatalf("%s %+v", w.out.Phase, w.cond(CondSwitched))
	}
}

func TestNoWayBackWithoutReverse(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.ask(ledger.Target).Reverse = false
	for range 5 {
		w.step()
		w.beat()
		w.dangling(0)
	}
	w.ask(ledger.Source)
	w.step()
	w.is(CondSwitchReady, false, string(GuardWayBack))
}

// Gone back for good, the target lacks what clients write from then on.
func TestNoSecondSwitchAfterOneBackWithoutReverse(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	settle := func() {
		for range 5 {
			w.step()
			w.beat()
			w.dangling(0)
		}
	}
	w.ask(ledger.Target)
	settle()
	w.ask(ledger.Source).Reverse = false
	settle()
	if r := w.out.State.Route; r.Main != ledger.Source || r.State != ledger.Steady || r.Sync {
		t.Fatalf("%+v", r)
	}
	w.is(CondCaughtUp, false, "ReverseOff")
	w.commit(w.write("k"))
	w.ask(ledger.Target)
	settle()
	if r := w.out.State.Route; r.Main != ledger.Source || r.State != ledger.Steady {
		t.Errorf("traffic moved to a store that lacks writes: %+v", r)
	}
	w.is(CondSwitchReady, false, string(GuardWayBack))
}

func TestLostLedgerIsSeenAndTheRouteRestored(t *testing.T) {
	for name, switched := range map[string]bool{"before the switch": false, "after the switch": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.caughtUp()
			want := ledger.Source
			if switched {
				want = ledger.Target
				w.ask(ledger.Target)
				for range 5 {
					w.step()
					w.beat()
					w.dangling(0)
				}
			}
			epoch := w.out.State.Route.Epoch
			if err := w.rdb.FlushAll(w.ctx).Err(); err != nil {
				t.Fatal(err)
			}
			w.step()
			if r := w.out.State.Route; r.Main != want || r.Epoch <= epoch {
				t.Fatalf("%+v", r)
			}
			w.is(CondLedgerHealthy, false, "UncleanEvent")
			w.step()
			w.is(CondLedgerHealthy, false, "UncleanEvent")
		})
	}
}

func TestProxyThatIsGoneDoesNotHoldTheBarrierAndOneThatExistsDoes(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.ask(ledger.Target)
	w.in.Instances = map[string]bool{"p": true}
	w.join(ledger.RoleProxy, "paused")
	w.in.Instances["paused"] = true
	w.beat()
	w.step()
	delete(w.mem, "paused") // it stops answering; its pod still exists
	w.beat()
	if w.step(); w.out.State.Route.State != ledger.Preparing {
		t.Fatalf("split brain: %+v", w.out.State.Route)
	}
	delete(w.in.Instances, "paused")
	w.now = w.now.Add(silence)
	w.beat()
	if w.step(); w.out.Phase != SwitchStarted {
		t.Fatalf("%+v", w.out.WaitingFor)
	}
}

// Two processes of one name may both serve clients: that one obeys says nothing of the other. One
// that goes on where another has ended, with what that left, proves it.
func TestProxiesOfOneNameAreBothWaitedFor(t *testing.T) {
	for home, waits := range map[string]bool{"two": true, "one": false} {
		w := newWorld(t)
		w.caughtUp()
		first := w.e.Ledger.Join(ledger.MemberOptions{Role: ledger.RoleProxy, Instance: "twin", Home: "one"})
		for range 2 {
			if _, err := first.Beat(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		w.now = w.now.Add(time.Second)
		w.mem["twin"] = w.e.Ledger.Join(ledger.MemberOptions{Role: ledger.RoleProxy, Instance: "twin", Home: home})
		w.ask(ledger.Target)
		for range 4 {
			w.beat()
			w.step()
		}
		if held := w.out.State.Route.State == ledger.Preparing; held != waits {
			t.Errorf("home %s: %s %v", home, w.out.Phase, w.out.WaitingFor)
		}
	}
}

func TestUnreachableRedisIsToldNotFatal(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	_ = w.rdb.Close()
	w.step()
	w.is(CondLedgerHealthy, false, "Unreachable")
	if w.out.Phase != "" {
		t.Errorf("phase %s, of which nothing is known", w.out.Phase)
	}
	for _, typ := range []string{CondCaughtUp, CondSwitchReady} {
		if c := w.cond(typ); c.Status != nil {
			t.Errorf("%s is %v, of which nothing is known", typ, *c.Status)
		}
	}
}

func TestRefusedCredentialsOfRedisAreTold(t *testing.T) {
	w := newWorld(t)
	if err := w.rdb.ConfigSet(w.ctx, "requirepass", "secret").Err(); err != nil {
		t.Fatal(err)
	}
	other := redis.NewClient(&redis.Options{Addr: w.rdb.Options().Addr})
	t.Cleanup(func() { _ = other.Close() })
	w.e.Ledger = ledger.New(ledger.Options{Redis: other, Migration: "m"})
	w.step()
	w.is(CondLedgerHealthy, false, "Unreachable")
	if msg := w.cond(CondLedgerHealthy).Message; !strings.HasPrefix(msg, "Redis refuses the credentials (NOAUTH") ||
		!strings.Contains(msg, "check the Secret of spec.redis.credentialsRef") {
		t.Error(msg)
	}
}

func TestAConditionDoesNotFlapWithPortNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"connection": {&net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 4711}, Addr: &net.TCPAddr{Port: 6379}, Err: errors.New("connection reset by peer")},
			"connection reset by peer"},
		"name":    {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "redis", Err: "no such host", Server: "10.0.0.1:53"}}, "look up redis: no such host"},
		"timeout": {fmt.Errorf("stats: %w", context.DeadlineExceeded), "no answer in time"},
		"other":   {errors.New("trouble"), "trouble"},
	} {
		if got := Cause(fmt.Errorf("wrapped: %w", c.err)); got != c.want && got != "wrapped: "+c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestBucketsThatCannotBeListedAreToldOnce(t *testing.T) {
	w := newWorld(t)
	list := w.e.ListBuckets
	w.e.ListBuckets = func(context.Context) ([]string, error) {
		return nil, errors.New("the source's buckets cannot be listed: AccessDenied")
	}
	w.step()
	w.join(ledger.RoleProxy, "p")
	w.join(ledger.RoleWorker, "w")
	w.beat()
	for range 5 {
		w.step()
	}
	w.is(CondBucketsCopied, false, "ListBucketsFailed")
	if msg := w.cond(CondBucketsCopied).Message; msg != "The source's buckets cannot be listed: AccessDenied. Name them in spec.buckets, or let the source's keys list them." {
		t.Error(msg)
	}
	if n := len(slices.DeleteFunc(slices.Clone(w.seen), func(r string) bool { return r != "ListBucketsFailed" })); n != 1 {
		t.Errorf("told %d times", n)
	}
	w.e.ListBuckets = list
	w.step()
	w.is(CondBucketsCopied, false, "Copying")
}

func TestKnownBucketsGoOnWhenTheSourceListsNoneAnyMore(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.in.Spec.Paused = true
	w.step()
	if w.out.State.Route.Run {
		t.Fatal("not paused")
	}
	w.e.ListBuckets = func(context.Context) ([]string, error) { return nil, errors.New("503") }
	w.now = w.now.Add(relistEvery)
	w.in.Spec.Paused = false
	w.beat()
	w.step()
	if !w.out.State.Route.Run {
		t.Error("copying does not go on")
	}
	w.is(CondBucketsCopied, true, "Copied")
}

func TestUnknownBucketsAreNotCopiedBuckets(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.e.ListBuckets = func(context.Context) ([]string, error) { return nil, errors.New("503") }
	if err := w.rdb.FlushAll(w.ctx).Err(); err != nil {
		t.Fatal(err)
	}
	w.step()
	w.beat()
	w.step()
	w.is(CondBucketsCopied, false, "ListBucketsFailed")
	if w.out.Phase != Copying {
		t.Fatal(w.out.Phase)
	}
}

func TestHalfDoneRouteIsFinishedBeforeAnotherOne(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.ask(ledger.Target)
	w.step()
	w.beat()
	// The manager dies after a shard has the new route and before the sessions do.
	r := w.out.State.Route
	r.Epoch, r.Main, r.State, r.Uploads = r.Epoch+1, ledger.Target, ledger.Switched, ledger.Source
	if err := w.e.Ledger.SetRoute(w.ctx, r); err != nil {
		t.Fatal(err)
	}
	if err := w.rdb.HSet(w.ctx, "cf:{m}:route", "epoch", r.Epoch-1, "main", "s", "state", "Preparing").Err(); err != nil {
		t.Fatal(err)
	}
	w.in.Spec.Switch = nil // and the user changes their mind
	w.step()
	if got := w.out.State.Route; got != r {
		t.Fatalf("%+v, want %+v", got, r)
	}
}

func TestSwitchIsNotDoneWhenTheLedgerWasLostInTheMiddle(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	r := w.ask(ledger.Target)
	w.step()
	w.beat()
	w.step()
	w.commit(w.write("k"))
	if err := w.rdb.FlushAll(w.ctx).Err(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.step()
		w.beat()
		w.dangling(0)
	}
	if w.out.Phase != SwitchStarted {
		t.Fatal("done, although nobody knows what the old store holds alone")
	}
	// Workers look for uploads in the buckets that the ledger knows.
	if got, err := w.e.Ledger.Buckets(w.ctx); err != nil || len(got) != 1 || got[0].State != ledger.BucketCopied {
		t.Fatal(got, err)
	}
	w.now = w.now.Add(forgotten)
	w.beat()
	w.buryAbandoned()
	w.dangling(0)
	r.Overrides = map[Guard]bool{GuardAuditClean: true}
	w.step()
	if w.out.Phase != SwitchDone {
		t.Fatalf("%+v", w.cond(CondSwitched))
	}
}

func TestWorkOfAWorkerThatEndedIsNotCopied(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	w.mem["w"].Abandon(w.mem["w"].ID())
	w.beat()
	w.step()
	w.is(CondBucketsCopied, false, "Copying")
}

// meanwhile does something just before the engine reads what a key tells.
type meanwhile struct {
	key string
	do  func()
}

func (m *meanwhile) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *meanwhile) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (m *meanwhile) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if do := m.do; do != nil && cmd.Name() == "hgetall" && cmd.Args()[1] == m.key {
			m.do = nil
			do()
		}
		return next(ctx, cmd)
	}
}

// The last upload ends on the old store when the engine has read what is newest
// there, and before it reads that no upload is left.
func TestUploadThatEndsWhileTheSwitchLooksForUploadsHoldsIt(t *testing.T) {
	w := newWorld(t)
	w.to("SwitchStarted")
	w.dangling(0)
	if w.step(); w.out.Phase != SwitchStarted { // nothing is seen under way on the old store from now on
		t.Fatal(w.out.Phase)
	}
	m := &meanwhile{key: "cf:{m}:dangling"}
	w.rdb.AddHook(m)
	m.do = func() {
		source := ledger.Source
		in, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), ledger.Object{Bucket: "b", Key: "film"}, ledger.BeginOptions{Store: &source})
		if err != nil {
			t.Fatal(err)
		}
		w.commit(in)
		w.dangling(0)
	}
	w.beat()
	w.step()
	if m.do != nil {
		t.Fatal("nobody looked for uploads")
	}
	if w.out.Phase != SwitchStarted {
		t.Fatalf("%s, though the source alone holds an object", w.out.Phase)
	}
	w.drain()
	w.dangling(0)
	w.step()
	w.dangling(0)
	w.beat()
	if w.step(); w.out.Phase != SwitchDone {
		t.Errorf("%s %v", w.out.Phase, w.out.WaitingFor)
	}
}

// olderRedis answers as a Redis of an older version.
type olderRedis struct{ version *string }

func (olderRedis) DialHook(next redis.DialHook) redis.DialHook { return next }

func (o olderRedis) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if info, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
			info.SetVal("# Server\r\nredis_version:" + *o.version + "\r\nredis_mode:standalone\r\n")
		}
		return err
	}
}

func (olderRedis) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestRedisThatIsTooOldIsRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	version := "6.2.14"
	w.rdb.AddHook(olderRedis{&version})
	w.step()
	w.is(CondLedgerHealthy, false, "RedisTooOld")
	if w.out.Phase != Pending || w.out.State.Route.Epoch != 0 {
		t.Errorf("%s, epoch %d", w.out.Phase, w.out.State.Route.Epoch)
	}
	version = "7.0.15"
	w.step()
	if w.out.State.Route.Epoch != 1 {
		t.Errorf("%+v", w.out.State)
	}
}

// A version that lives on the old store is deleted, when the engine has seen that
// nothing is left there and before the route says that the switch is done.
// Once the switch is done nobody can tell what killed copies have left on the new main
// from clients' uploads.
func TestSwitchWaitsForTheLookAtWhatCopiesHaveLeft(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	film := ledger.Object{Bucket: "b", Key: "film"}
	note, err := w.e.Ledger.CreatingUpload(w.ctx, film, ledger.Target, w.e.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.onTo("SwitchStarted")
	// Where a client's write is the newest since, a copy notes none any more.
	if _, err := w.e.Ledger.CreatingUpload(w.ctx, film, ledger.Target, w.e.Now(), nil); !errors.Is(err, ledger.ErrClaimLost) {
		t.Errorf("another one was noted: %v", err)
	}
	done := func() bool {
		for range 3 {
			w.dangling(0)
			w.beat()
			w.step()
		}
		return w.out.Phase == SwitchDone
	}
	if done() {
		t.Error("done, though an upload may be left")
	}
	if err := w.e.Ledger.EndedUpload(w.ctx, note); err != nil {
		t.Fatal(err)
	}
	if !done() {
		t.Errorf("%s %v", w.out.Phase, w.out.WaitingFor)
	}
}

func TestNothingBeginsOnTheOldStoreOnceItWasSeenToBeDrained(t *testing.T) {
	w := newWorld(t)
	w.to("SwitchStarted")
	tried := false
	w.in.Persist = func(context.Context, State) error {
		tried = true
		source := ledger.Source
		o := ledger.Object{Bucket: "b", Key: "film"}
		in, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), o, ledger.BeginOptions{Store: &source, InSync: true, Removes: true})
		if errors.Is(err, ledger.ErrMoved) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		w.commit(in)
		return nil
	}
	for range 3 { // looks come after what they look at
		w.dangling(0)
		w.beat()
		w.step()
	}
	if !tried || w.out.Phase != SwitchDone {
		t.Fatalf("%s %v", w.out.Phase, w.out.WaitingFor)
	}
	if loc, err := w.e.Ledger.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: "film"}); err != nil || loc.Store == ledger.Source {
		t.Errorf("nobody looks any more, and the newest version is on the source: %v", err)
	}
}

// dies has the manager die at the next step, once the route that it decides on is kept and
// before the ledger hears of it; a new one goes on after a while.
func (w *world) dies(away time.Duration) {
	w.t.Helper()
	died := errors.New("died")
	var kept State
	w.in.Persist = func(_ context.Context, s State) error {
		kept = s
		return died
	}
	w.now = w.now.Add(time.Second)
	if _, err := w.e.Step(w.ctx, w.in); !errors.Is(err, died) {
		w.t.Fatal(err)
	}
	for end := w.now.Add(away); w.now.Before(end); w.now = w.now.Add(5 * time.Second) {
		w.beat()
	}
	kept.Pending.HoldFor = 0 // status does not keep it
	w.in.Persist, w.in.State = nil, kept
	w.anew()
}

// Until it is in force clients write the old main, and copies go to the other one: taken for
// clients' after a loss, those would be newer than what the old main has got since.
func TestSwitchThatAManagerLeavesUndoneBeginsWhenItIsInForce(t *testing.T) {
	for _, phase := range []string{"Preparing", "SwitchStarted"} { // there, and back half-way
		t.Run(phase, func(t *testing.T) {
			w := newWorld(t)
			w.to(phase)
			w.beat()
			if phase == "SwitchStarted" {
				w.ask(ledger.Source)
			}
			w.dies(10 * time.Minute)
			before := w.now
			var kept State
			w.in.Persist = func(_ context.Context, s State) error {
				if r, err := w.e.Ledger.Furthest(w.ctx); err != nil || r.Epoch >= s.Pending.Epoch {
					t.Errorf("kept too late: %+v %v", r, err)
				}
				kept = s
				return nil
			}
			w.step()
			if r := w.out.State.Route; r.State != ledger.Switched || r.Main != w.in.Spec.Switch.To {
				t.Fatalf("%+v", r)
			}
			for what, st := range map[string]State{"kept before": kept, "after": w.out.State} {
				if st.SwitchStartedAt.Before(before) {
					t.Errorf("%s: the switch counts from %s before main changed", what, before.Sub(st.SwitchStartedAt))
				}
			}
		})
	}
}

// A route that was in force, and that Redis has lost since, counts from when it was decided on.
func TestSwitchThatRedisHasLostBeganWhenItWasInForce(t *testing.T) {
	w := newWorld(t)
	w.to("Preparing")
	w.beat()
	back := w.snapshot()
	var kept State
	w.in.Persist = func(_ context.Context, s State) error {
		kept = s
		return nil
	}
	w.step()
	w.beat()
	w.now = w.now.Add(5 * time.Second)
	back()
	w.in.Persist, w.in.State = nil, kept // the manager died before it could say that it is in force
	w.anew()
	w.step()
	if r := w.out.State.Route; r.State != ledger.Switched || !w.out.State.SwitchStartedAt.Equal(kept.SwitchStartedAt) {
		t.Fatalf("%+v: %s, not %s", r, w.out.State.SwitchStartedAt, kept.SwitchStartedAt)
	}
}

// The manager that was to call it off may die again.
func TestWritesAreNotHeldLongerByAManagerThatGoesOnWithThat(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	open := w.write("k")
	r := w.ask(ledger.Target)
	r.PauseWrites, r.MaxPause = true, 5*time.Second
	w.dies(time.Minute)
	if w.step(); w.out.State.Route.State != ledger.Preparing {
		t.Fatalf("called off before writes were held: %+v %+v", w.out.State.Route, w.cond(CondSwitched))
	}
	begin := func() error {
		in, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), open.Object, ledger.BeginOptions{})
		if err == nil {
			w.commit(in)
		}
		return err
	}
	if err := begin(); !errors.Is(err, ledger.ErrHeld) {
		t.Fatal(err)
	}
	w.now = w.now.Add(r.MaxPause + holdSlack + time.Second)
	if err := begin(); err != nil {
		t.Fatalf("held for longer than maxPause: %v", err)
	}
}

func TestWritesAreNotHeldLongerByARouteThatIsRestored(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	r := w.ask(ledger.Target)
	r.PauseWrites, r.MaxPause = true, 5*time.Second
	w.step()
	w.beat()
	w.flush()
	w.step() // and the manager dies
	if r := w.out.State.Route; !r.Hold {
		t.Fatalf("%+v", r)
	}
	w.now = w.now.Add(r.MaxPause + holdSlack + time.Second)
	_, _ = w.mem["p"].Beat(w.ctx)
	if _, err := w.e.Ledger.Begin(w.ctx, w.mem["p"].ID(), ledger.Object{Bucket: "b", Key: "k"}, ledger.BeginOptions{}); errors.Is(err, ledger.ErrHeld) {
		t.Fatal("held for longer than maxPause")
	}
}

// A pod that is deleted by force, or with its node, may run on for a while.
func TestProxyThatLivesHoldsTheBarrierThoughItsPodIsGone(t *testing.T) {
	w := newWorld(t)
	w.caughtUp()
	unrecorded := int64(0)
	w.mem["forced"] = w.e.Ledger.Join(ledger.MemberOptions{Role: ledger.RoleProxy, Instance: "forced", Unrecorded: func() int64 { return unrecorded }})
	w.in.Instances = map[string]bool{"p": true, "forced": true}
	w.beat()
	w.ask(ledger.Target)
	w.step()
	delete(w.in.Instances, "forced")
	unrecorded = 1 // it lives, and has yet to record what it took without the ledger
	for range 10 {
		w.beat()
		w.step()
	}
	if r := w.out.State.Route; r.State != ledger.Preparing || !slices.Contains(w.out.WaitingFor, "proxy forced has not confirmed the route") {
		t.Fatalf("split brain: %+v %v", r, w.out.WaitingFor)
	}
	unrecorded = 0
	w.beat()
	if w.step(); w.out.Phase != SwitchStarted {
		t.Fatalf("%+v", w.out.WaitingFor)
	}
}

// So does what it knows of a loss: it is asked for that.
func TestProxyThatLivesIsAskedThoughItsPodIsGone(t *testing.T) {
	for silent, asked := range map[time.Duration]bool{time.Second: true, silence + time.Second: false} {
		f := facts{in: Input{Instances: map[string]bool{}}, sessions: []ledger.Session{{ID: "1", Role: ledger.RoleProxy, Instance: "forced", Silent: silent}}}
		missing, ended := owing(f, ledger.Loss{}, nil)
		if len(missing) == 1 != asked || len(ended) == 1 == asked {
			t.Errorf("silent for %s: missing %v, ended %v", silent, missing, ended)
		}
	}
}

// A manager that has lost its lease puts one route in force, and the new one another, each on
// some shards (of a Redis Cluster): proxies must not take either for the whole.
func TestEpochThatTwoManagersGaveTwoMeaningsIsLeftBehind(t *testing.T) {
	w := newWorld(t)
	w.e.Ledger = ledger.New(ledger.Options{Redis: w.rdb, Migration: "m", Now: w.e.Now, Shards: 4})
	w.to("Preparing")
	w.beat()
	before := w.out.State.Route
	r := before
	r.Epoch, r.Main, r.State, r.Uploads = r.Epoch+1, ledger.Target, ledger.Switched, ledger.Source
	if err := w.e.Ledger.SetRoute(w.ctx, r); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"cf:{m/0}:route", "cf:{m/3}:route"} { // the switch was taken back
		if n := w.rdb.Exists(w.ctx, key).Val(); n != 1 {
			t.Fatal(key)
		}
		w.rdb.HSet(w.ctx, key, "main", "s", "state", "Steady")
	}
	w.in.Spec.Switch = nil
	w.rdb.HSet(w.ctx, "cf:{m}:route", "epoch", before.Epoch, "main", "s", "state", "Preparing")
	for range 5 {
		w.step()
		w.beat()
	}
	// On some shards clients may have written the new main.
	if got := w.out.State.Route; got.State != ledger.Switched || got.Main != ledger.Target || got.Epoch <= r.Epoch {
		t.Fatalf("%+v: phase %q, next %s, %+v", got, w.out.Phase, w.out.Next, w.out.Conditions)
	}
	stats, err := w.e.Ledger.Stats(w.ctx)
	if err != nil || stats.MinEpoch != w.out.State.Route.Epoch || stats.MaxEpoch != stats.MinEpoch {
		t.Errorf("%+v %v", stats, err)
	}
	if at := w.out.State.SwitchStartedAt; at.IsZero() {
		t.Error("nobody knows when main changed")
	}
}
