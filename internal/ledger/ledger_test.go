package ledger

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
)

// fixture is a ledger on a real Redis with a clock of its own.
type fixture struct {
	*Ledger
	t       *testing.T
	ctx     context.Context
	now     time.Time
	restore func() // see keep
}

func newFixture(t *testing.T, shards int) *fixture {
	t.Helper()
	srv := ledgertest.New(t)
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr})
	t.Cleanup(func() { _ = rdb.Close() })
	f := &fixture{t: t, ctx: t.Context(), now: time.UnixMilli(1_700_000_000_000)}
	f.Ledger = New(Options{Redis: rdb, Migration: "test", Shards: shards, Now: func() time.Time { return f.now }})
	return f
}

func (f *fixture) route(r Route) {
	f.t.Helper()
	if err := f.SetRoute(f.ctx, r); err != nil {
		f.t.Fatal(err)
	}
}

var (
	steady   = Route{Epoch: 1, Main: Source, State: Steady, Sync: true, Uploads: Source, Run: true}
	switched = Route{Epoch: 3, Main: Target, State: Switched, Sync: true, Uploads: Source, Run: true}
	object   = Object{"b", "k"}
)

func (f *fixture) begin(o Object, opt BeginOptions) Intent {
	f.t.Helper()
	in, err := f.Begin(f.ctx, "p1", o, opt)
	if err != nil {
		f.t.Fatalf("Begin: %v", err)
	}
	return in
}

func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) newest(o Object) Store {
	f.t.Helper()
	loc, err := f.Lookup(f.ctx, o)
	f.ok(err)
	return loc.Store
}

func (f *fixture) claim() Claim {
	f.t.Helper()
	cs, err := f.ClaimEvents(f.ctx, "w1", 10)
	f.ok(err)
	if len(cs) != 1 {
		f.t.Fatalf("ClaimEvents: %d claims, want 1", len(cs))
	}
	return cs[0]
}

func (f *fixture) stats() Stats {
	f.t.Helper()
	s, err := f.Stats(f.ctx)
	f.ok(err)
	return s
}

// empty asserts that the ledger holds nothing about objects: its size is bound
// by what differs.
func (f *fixture) empty() {
	f.t.Helper()
	keys, err := f.rdb.Keys(f.ctx, "cf:{test/*").Result()
	f.ok(err)
	for _, k := range keys {
		if strings.Contains(k, ":o:") || strings.HasSuffix(k, ":q") || strings.HasSuffix(k, ":age") || strings.Contains(k, ":x:") || strings.Contains(k, ":i:") || strings.Contains(k, ":cl:") {
			f.t.Errorf("left behind: %q", k)
		}
	}
	s := f.stats()
	if s.Dirty != 0 || s.Queued != 0 || s.Newest != [2]int64{} || s.Intents != [2]int64{} || s.Doubts != 0 {
		f.t.Errorf("stats of an empty ledger: %+v", s)
	}
}

func TestWriteIsCopiedOnceAndLeavesNothingBehind(t *testing.T) {
	f := newFixture(t, 4)
	f.route(steady)
	for range 5 {
		f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	}
	if s := f.stats(); s.Dirty != 1 || s.Queued != 1 {
		t.Fatalf("five writes of one object: %+v, want one dirty object queued once", s)
	}
	c := f.claim()
	if c.From != Source || c.To != Target {
		t.Fatalf("copy from %v to %v", c.From, c.To)
	}
	f.ok(errors.Join(f.Settle(f.ctx, c)...))
	f.empty()
}

func TestAbortedWriteLeavesNothingBehind(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Abort(f.ctx, f.begin(object, BeginOptions{})))
	f.empty()
}

func TestWriteDuringCopyIsCopiedAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	c := f.claim()
	in := f.begin(object, BeginOptions{})
	f.ok(errors.Join(f.Settle(f.ctx, c)...))
	f.ok(f.Commit(f.ctx, in))
	c = f.claim()
	f.ok(errors.Join(f.Settle(f.ctx, c)...))
	f.empty()
}

func TestWriteCommittedDuringCopyIsQueuedWhenTheCopySettles(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	c := f.claim()
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	if cs, _ := f.ClaimEvents(f.ctx, "w2", 10); len(cs) != 0 {
		t.Fatal("two copiers of one object at the same time")
	}
	f.ok(errors.Join(f.Settle(f.ctx, c)...))
	f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
	f.empty()
}

func TestBatchLeavesKeysToTheEventPath(t *testing.T) {
	f := newFixture(t, 4)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(Object{"b", "dirty"}, BeginOptions{})))
	open := f.begin(Object{"b", "open"}, BeginOptions{})
	first, err := f.ClaimObjects(f.ctx, "w1", "b", []string{"claimed"})
	f.ok(err)
	got, err := f.ClaimObjects(f.ctx, "w2", "b", []string{"dirty", "open", "claimed", "free"})
	f.ok(err)
	if len(got) != 1 || got[0].Object.Key != "free" {
		t.Fatalf("claimed %+v, want only the free key", got)
	}
	// The open write is aborted: without an event the object would be lost.
	f.ok(f.Abort(f.ctx, open))
	cs, err := f.ClaimEvents(f.ctx, "w1", 10)
	f.ok(err)
	keys := map[string]bool{}
	for _, c := range cs {
		keys[c.Object.Key] = true
	}
	if diff := cmp.Diff(map[string]bool{"dirty": true, "open": true}, keys); diff != "" {
		t.Fatal(diff)
	}
	f.ok(errors.Join(f.Settle(f.ctx, append(append(cs, got...), first...)...)...))
	f.empty()
}

func TestInDoubt(t *testing.T) {
	tests := map[string]struct {
		main       Route
		store      Store
		wantNewest Store
	}{
		"on the store that clients see: counts as done":  {main: steady, store: Source, wantNewest: Source},
		"on the other store: nobody saw it, copied over": {main: switched, store: Source, wantNewest: Target},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(tc.main)
			in := f.begin(object, BeginOptions{Store: &tc.store})
			f.ok(f.Doubt(f.ctx, time.Minute, in))
			if n, _ := f.SettleDoubts(f.ctx, 10); n != 0 {
				t.Fatal("settled while the request can still land")
			}
			f.now = f.now.Add(61 * time.Second)
			if n, _ := f.SettleDoubts(f.ctx, 10); n != 1 {
				t.Fatal("not settled when due")
			}
			if got := f.newest(object); got != tc.wantNewest {
				t.Fatalf("newest on %v, want %v", got, tc.wantNewest)
			}
			c := f.claim()
			if c.From != tc.wantNewest {
				t.Fatalf("copied from %v", c.From)
			}
			f.ok(errors.Join(f.Settle(f.ctx, c)...))
			f.empty()
		})
	}
}

func TestDeadSessionIsSettledOnlyWhenItsRequestsCanNoLongerLand(t *testing.T) {
	f := newFixture(t, 2)
	f.route(steady)
	if _, err := f.heartbeat(f.ctx, "p1", heartbeat{role: RoleProxy, instance: "pod", epoch: 1}); err != nil {
		t.Fatal(err)
	}
	in := f.begin(object, BeginOptions{})
	done, err := f.Bury(f.ctx, "p1", time.Minute)
	f.ok(err)
	if done || f.stats().Intents[Source] != 1 {
		t.Fatal("settled at once")
	}
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{}); !errors.Is(err, ErrFenced) {
		t.Fatalf("Begin of a fenced session: %v", err)
	}
	f.now = f.now.Add(2 * time.Minute)
	done, err = f.Bury(f.ctx, "p1", time.Minute)
	f.ok(err)
	if !done || f.stats().Dirty != 1 {
		t.Fatalf("done=%v %+v", done, f.stats())
	}
	if u, _ := f.Unclean(f.ctx); len(u) != 1 {
		t.Fatalf("a proxy that nobody adopted must leave an unclean event, got %v", u)
	}
	// It was only paused: its late commit makes the object dirty once more.
	f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
	f.ok(f.Commit(f.ctx, in))
	if f.stats().Dirty != 1 {
		t.Fatal("late commit lost")
	}
}

func TestAdoptedSessionIsClean(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	for _, h := range []struct {
		id     string
		adopts bool
	}{{"p1", false}, {"p2", true}} {
		if _, err := f.heartbeat(f.ctx, h.id, heartbeat{role: RoleProxy, instance: "pod", epoch: 1, adopts: h.adopts}); err != nil {
			t.Fatal(err)
		}
	}
	if done, err := f.Bury(f.ctx, "p1", 0); err != nil || !done {
		t.Fatal(done, err)
	}
	if u, _ := f.Unclean(f.ctx); len(u) != 0 {
		t.Fatalf("unclean: %v", u)
	}
}

// Another process of the same name, with another state directory, has read nobody's journal.
func TestSessionOfAnotherHomeAdoptsNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	for i, home := range []string{"one", "two"} {
		h := heartbeat{role: RoleProxy, instance: "pod", home: home, epoch: 1, adopts: true}
		if _, err := f.heartbeat(f.ctx, "p"+strconv.Itoa(i), h); err != nil {
			t.Fatal(err)
		}
	}
	if done, err := f.Bury(f.ctx, "p0", 0); err != nil || !done {
		t.Fatal(done, err)
	}
	if u, _ := f.Unclean(f.ctx); len(u) != 1 {
		t.Fatalf("unclean: %v", u)
	}
}

func TestClaimsOfTheDeadAreCopiedAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	cs, err := f.ClaimObjects(f.ctx, "w1", "b", []string{"x"})
	f.ok(err)
	if _, err := f.Bury(f.ctx, "w1", 0); err != nil {
		t.Fatal(err)
	}
	if errs := f.Settle(f.ctx, cs...); !errors.Is(errs[0], ErrClaimLost) {
		t.Fatalf("Settle of a broken claim: %v", errs[0])
	}
	got, err := f.ClaimEvents(f.ctx, "w2", 10)
	f.ok(err)
	if len(got) != 1 {
		t.Fatal("object not copied again")
	}
}

func TestSwitchedReadsFollowTheNewestVersion(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	open := f.begin(Object{"b", "open"}, BeginOptions{})
	f.route(switched)
	if f.newest(object) != Source {
		t.Error("dirty object must be read from the source")
	}
	if f.newest(open.Object) != Source {
		t.Error("readers may have seen the open write: it must stay visible")
	}
	if f.newest(Object{"b", "other"}) != Target {
		t.Error("an object in sync is read from the new main")
	}
	in := f.begin(object, BeginOptions{})
	if in.Store != Target || in.Newest {
		t.Fatalf("write goes to %v, newest=%v", in.Store, in.Newest)
	}
	if f.newest(object) != Source {
		t.Error("an uncommitted write must not be read")
	}
	f.ok(f.Commit(f.ctx, in))
	if f.newest(object) != Target {
		t.Error("a committed write must be read")
	}
}

func TestWriteThatOverlappedTheSwitchNeverComesBack(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	old := f.begin(object, BeginOptions{}) // visible on the source before its commit
	f.route(switched)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.ok(f.Commit(f.ctx, old))
	if f.newest(object) != Target {
		t.Fatal("the older write came back")
	}
	c := f.claim()
	if c.From != Target {
		t.Fatal("the older write would be copied over the newer one")
	}
	// An upload that completes on the old store later is newer.
	src := Source
	done := f.begin(object, BeginOptions{Store: &src})
	f.ok(f.Commit(f.ctx, done))
	if f.newest(object) != Source {
		t.Fatal("a completed upload must be the newest")
	}
}

// A write that is ordered before the one that moved the newest version may land on
// the old store behind a later one there: that store then holds what must not come back.
func TestWriteOnTheOldStoreDoesNotBringBackAnOlderOneThatMayHaveLandedOnIt(t *testing.T) {
	src := Source
	f := newFixture(t, 1)
	f.route(steady)
	slow := f.begin(object, BeginOptions{})
	f.route(switched)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	upload := f.begin(object, BeginOptions{Store: &src}) // completes there, and is overwritten by the slow one
	f.ok(f.Commit(f.ctx, slow))
	if err := f.Commit(f.ctx, upload); !errors.Is(err, ErrSettled) || f.newest(object) != Target {
		t.Fatalf("the newest is on the %s: %v", f.newest(object), err)
	}
	// One that begins later lands on top.
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &src})))
	if f.newest(object) != Source {
		t.Fatal("a later upload must be the newest")
	}
}

func TestObjectIsNotClaimedWhileAClientWritesTheFollower(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.route(switched)
	in := f.begin(object, BeginOptions{})
	f.now = f.now.Add(time.Second)
	if cs, err := f.ClaimEvents(f.ctx, "w1", 1); len(cs) != 0 || err != nil {
		t.Fatalf("a copy that can't get its lock was claimed: %v, %v", cs, err)
	}
	f.ok(f.Commit(f.ctx, in))
	if c := f.claim(); c.From != Target {
		t.Errorf("the copy goes from the %s", c.From)
	}
}

func TestCopyLock(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.route(switched)
	c := f.claim()
	f.ok(f.Lock(f.ctx, c, 10*time.Second))
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("Begin while a copy commits: %v", err)
	}
	f.now = f.now.Add(11 * time.Second)
	in := f.begin(object, BeginOptions{})
	f.ok(f.Commit(f.ctx, in))
	for range 2 { // its answer may be lost, and it must be said until it is noted
		if errs := f.Settle(f.ctx, c); !errors.Is(errs[0], ErrOverrun) {
			t.Fatalf("Settle after the lock ran out and a client wrote: %v", errs[0])
		}
	}
	f.ok(f.Unclaim(f.ctx, c))
	if f.newest(object) != Target {
		t.Fatal("the client's write was lost")
	}
}

// A lock runs out, a client writes, and what the dead worker had sent may land on that.
func TestADeadWorkersCopyThatAClientDidNotWaitForIsNoted(t *testing.T) {
	for name, c := range map[string]struct {
		fenced, write bool
		want          int
	}{
		"its store can't refuse it":     {false, true, 1},
		"its store refuses it":          {true, true, 0},
		"nobody wrote the object since": {false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 2)
			f.route(steady)
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			f.route(switched)
			w := f.join(RoleWorker)
			cs, err := f.ClaimEvents(f.ctx, w.ID(), 1)
			f.ok(err)
			cs[0].Fenced = c.fenced
			f.ok(f.Lock(f.ctx, cs[0], 15*time.Second))
			f.now = f.now.Add(16 * time.Second)
			if c.write {
				f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			}
			for done := false; !done; f.now = f.now.Add(time.Minute) {
				done, err = f.Bury(f.ctx, w.ID(), time.Minute)
				f.ok(err)
			}
			got, err := f.Unclean(f.ctx)
			f.ok(err)
			if len(got) != c.want {
				t.Errorf("unclean events: %+v", got)
			}
		})
	}
}

func TestCopyIsDroppedWhenTheClientWasFirst(t *testing.T) {
	for name, commit := range map[string]bool{"under way": false, "done": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			f.route(switched)
			c := f.claim()
			in := f.begin(object, BeginOptions{})
			if commit {
				f.ok(f.Commit(f.ctx, in))
			}
			if err := f.Lock(f.ctx, c, time.Second); !errors.Is(err, ErrClaimLost) {
				t.Fatalf("Lock: %v", err)
			}
		})
	}
}

func TestUnlockedCopyMaySettleAfterTheFlip(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	c := f.claim() // written before barrier one
	f.route(switched)
	in := f.begin(object, BeginOptions{})
	f.ok(errors.Join(f.Settle(f.ctx, c)...))
	f.ok(f.Commit(f.ctx, in))
	if f.newest(object) != Target {
		t.Fatal("write lost")
	}
}

func TestInSyncWaits(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.route(switched)
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{InSync: true}); !errors.Is(err, ErrNotInSync) || errors.Is(err, ErrBeingCopied) {
		t.Fatalf("Begin on a dirty object: %v", err)
	}
	c := f.claim()
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{InSync: true}); !errors.Is(err, ErrBeingCopied) {
		t.Fatalf("Begin on an object that is being copied: %v", err)
	}
	f.ok(errors.Join(f.Settle(f.ctx, c)...))
	in := f.begin(object, BeginOptions{InSync: true})
	if in.Store != Target || !in.Newest {
		t.Fatalf("%+v", in)
	}
}

func TestHeldWrites(t *testing.T) {
	f := newFixture(t, 1)
	r := steady
	r.Hold = true
	f.route(r)
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{}); !errors.Is(err, ErrHeld) {
		t.Fatal(err)
	}
}

// Whoever asked for writes to be held may be gone.
func TestWritesAreHeldForAWhileOnly(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	r := steady
	r.Epoch, r.State, r.Hold, r.HoldFor = 2, Preparing, true, 30*time.Second
	held := func() bool {
		in, err := f.Begin(f.ctx, "p1", object, BeginOptions{})
		if err == nil && in.Store != Source {
			t.Fatalf("%+v", in)
		}
		return errors.Is(err, ErrHeld)
	}
	f.route(r)
	f.now = f.now.Add(20 * time.Second)
	f.route(r) // again, as after a crash between shards: not for longer
	r.Epoch++
	f.route(r)
	if !held() {
		t.Fatal("not held")
	}
	f.now = f.now.Add(11 * time.Second)
	if held() {
		t.Error("held for longer than was asked for")
	}
	r.Epoch, r.Hold = r.Epoch+1, false
	f.route(r)
	r.Epoch, r.Hold = r.Epoch+1, true
	if f.route(r); !held() {
		t.Error("not held the next time")
	}
}

func TestWithoutReverseTheOldStoreIsLeftAlone(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	r := switched
	r.Sync = false
	f.route(r)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	if cs, _ := f.ClaimEvents(f.ctx, "w1", 10); len(cs) != 0 {
		t.Fatal("copied back to the old store")
	}
	f.empty()
}

func TestGivenUpObjectIsNamedAndRetried(t *testing.T) {
	f := newFixture(t, 2)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.ok(f.Fail(f.ctx, f.claim(), "", time.Minute))
	if cs, _ := f.ClaimEvents(f.ctx, "w1", 1); len(cs) != 0 {
		t.Fatal("retried before its time")
	}
	f.now = f.now.Add(time.Hour)
	c := f.claim()
	if c.Attempts != 1 {
		t.Fatalf("attempts %d", c.Attempts)
	}
	f.ok(f.GiveUp(f.ctx, c, "key too long"))
	fs, err := f.Failures(f.ctx, 10)
	f.ok(err)
	if diff := cmp.Diff([]Failure{{object, "key too long"}}, fs); diff != "" {
		t.Fatal(diff)
	}
	if s := f.stats(); s.Failed != 1 || s.Dirty != 1 || s.Queued != 0 {
		t.Fatalf("%+v", s)
	}
	if n, err := f.RetryFailed(f.ctx); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
	f.empty()
	if s := f.stats(); s.Failed != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestObjectThatFailsIsNamedAndTriedAllTheSame(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.ok(f.Fail(f.ctx, f.claim(), "", 0))
	if n := f.stats().Failed; n != 0 {
		t.Errorf("%d named without a cause", n)
	}
	f.ok(f.Refuse(f.ctx, f.claim(), "key too long", 0))
	f.ok(f.Fail(f.ctx, f.claim(), "503", 0))
	fs, err := f.Failures(f.ctx, 10)
	f.ok(err)
	if diff := cmp.Diff([]Failure{{object, "503"}}, fs); diff != "" {
		t.Error(diff)
	}
	c := f.claim()
	if c.Attempts != 3 || c.Refusals != 1 {
		t.Errorf("%+v", c)
	}
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{}))) // it is another one now
	f.ok(f.Unclaim(f.ctx, c))
	if c = f.claim(); c.Attempts != 0 || c.Refusals != 0 || f.stats().Failed != 0 {
		t.Errorf("%+v", c)
	}
	f.ok(f.Refuse(f.ctx, c, "key too long", 0))
	f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
	if n := f.stats().Failed; n != 0 {
		t.Errorf("%d named though copied", n)
	}
	f.empty()
}

func TestDirtyRange(t *testing.T) {
	f := newFixture(t, 3)
	f.route(steady)
	keys := []string{"a", "b/1", "b/2", "b0", "c", "\x00odd\xff"}
	for _, k := range keys {
		f.ok(f.Commit(f.ctx, f.begin(Object{"b", k}, BeginOptions{})))
	}
	f.ok(f.Commit(f.ctx, f.begin(Object{"b", ""}, BeginOptions{})))
	f.route(switched)
	f.ok(f.Commit(f.ctx, f.begin(Object{"b", "c"}, BeginOptions{})))
	tests := map[string]struct {
		prefix, after string
		want          []string
	}{
		"all":            {"", "", []string{"\x00odd\xff", "a", "b/1", "b/2", "b0"}},
		"prefix":         {"b/", "", []string{"b/1", "b/2"}},
		"after":          {"", "a", []string{"b/1", "b/2", "b0"}},
		"prefix, after":  {"b/", "b/1", []string{"b/2"}},
		"after is lower": {"b/", "a", []string{"b/1", "b/2"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := f.DirtyRange(f.ctx, Target, "b", tc.prefix, tc.after, 100)
			f.ok(err)
			if diff := cmp.Diff(DirtyPage{Keys: tc.want}, p); diff != "" {
				t.Fatal(diff)
			}
		})
	}
	var got []string
	for after := ""; ; {
		p, err := f.DirtyRange(f.ctx, Target, "b", "", after, 2)
		f.ok(err)
		got = append(got, p.Keys...)
		if p.Horizon == "" {
			break
		}
		after = p.Horizon
	}
	if diff := cmp.Diff(tests["all"].want, got); diff != "" {
		t.Fatalf("paged: %s", diff)
	}
}

func TestUploadsBelongToTheStoreTheyWereBegunOn(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	f.ok(f.PutUpload(f.ctx, object, "new", Target))
	for id, want := range map[string]Store{"new": Target, "old": Source} {
		if got, err := f.Upload(f.ctx, object, id); got.Store != want || err != nil {
			t.Errorf("upload %s on %v (%v), want %v", id, got, err, want)
		}
	}
}

// What a copy finds on the old main that nobody has placed is a client's from before the switch,
// or will be: whoever began then may still create one.
func TestRequestsFromBeforeASwitchMayLeaveUploadsThatNobodyPlaces(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	source := Source
	late := func(o Object) bool {
		t.Helper()
		got, err := f.Unplaced(f.ctx, o, Source)
		f.ok(err)
		return got
	}
	other := Object{object.Bucket, object.Key + "2"}
	before := f.begin(object, BeginOptions{})
	f.begin(other, BeginOptions{})
	f.route(switched)
	f.begin(object, BeginOptions{})
	f.begin(object, BeginOptions{Store: &source})
	if !late(object) {
		t.Error("a request from before the switch is under way")
	}
	f.ok(f.Abort(f.ctx, before))
	if late(object) {
		t.Error("what began in the switch is placed")
	}
	back := switched
	back.Epoch, back.Main = back.Epoch+1, Source
	f.route(back)
	if f.begin(object, BeginOptions{}); late(object) {
		t.Error("nor does it become different when the switch is turned back")
	}
	if !late(other) {
		t.Error("a request for another object is under way from before")
	}
}

func TestLostLedgerIsNotTakenForAnEmptyOne(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	in := f.begin(object, BeginOptions{})
	f.ok(f.rdb.FlushAll(f.ctx).Err())
	if err := f.Commit(f.ctx, in); !errors.Is(err, ErrNoRoute) {
		t.Errorf("Commit: %v", err)
	}
	if _, err := f.Lookup(f.ctx, object); !errors.Is(err, ErrNoRoute) {
		t.Errorf("Lookup: %v", err)
	}
	f.route(steady)
	f.ok(f.Commit(f.ctx, in))
	if f.stats().Dirty != 1 {
		t.Error("late commit into a restored ledger lost")
	}
}

func TestUnavailableRedisIsSaidSo(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	l := New(Options{Redis: rdb, Migration: "x"})
	if _, err := l.Begin(t.Context(), "p", object, BeginOptions{}); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
}

func TestOlderRouteIsRefused(t *testing.T) {
	f := newFixture(t, 2)
	f.route(switched)
	if err := f.SetRoute(f.ctx, steady); !errors.Is(err, ErrStaleEpoch) {
		t.Fatal(err)
	}
}

func TestDestroyRemovesEveryKeyOfThisMigrationOnly(t *testing.T) {
	f := newFixture(t, 3)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.ok(f.AddBuckets(f.ctx, "b"))
	other := New(Options{Redis: f.rdb, Migration: "test2"})
	f.ok(other.SetRoute(f.ctx, steady))
	f.ok(f.Destroy(f.ctx))
	keys, err := f.rdb.Keys(f.ctx, "*").Result()
	f.ok(err)
	for _, k := range keys {
		if !strings.HasPrefix(k, "cf:{test2") {
			t.Errorf("left behind: %s", k)
		}
	}
	if len(keys) == 0 {
		t.Error("the other migration's keys are gone")
	}
}

func TestCommitAfterTheIntentWasSettledAsNeverMade(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	src := Source
	in := f.begin(object, BeginOptions{Store: &src})
	if _, err := f.Bury(f.ctx, "p1", 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(f.ctx, in); !errors.Is(err, ErrSettled) {
		t.Fatalf("a write that nobody will see was acknowledged: %v", err)
	}
	// A commit whose answer was lost may be repeated.
	in, err := f.Begin(f.ctx, "p2", object, BeginOptions{})
	f.ok(err)
	f.ok(f.Commit(f.ctx, in))
	f.ok(f.Commit(f.ctx, in))
}

func TestConditionalWriteKeepsTheOtherStoreWaiting(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	in := f.begin(object, BeginOptions{InSync: true})
	f.route(switched)
	if _, err := f.Begin(f.ctx, "p2", object, BeginOptions{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("a write on the new main overtook a conditional one on the old: %v", err)
	}
	f.ok(f.Abort(f.ctx, in))
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
}

func TestLongWriteOfABuriedSessionIsNotAcknowledgedOnceTheNewestMoved(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	long := f.begin(object, BeginOptions{})
	if _, err := f.Bury(f.ctx, "p1", 0); err != nil {
		t.Fatal(err)
	}
	f.ok(errors.Join(f.Settle(f.ctx, f.claim())...)) // the old content, and the record is gone
	f.route(switched)
	if err := f.Commit(f.ctx, long); !errors.Is(err, ErrSettled) {
		t.Fatalf("acknowledged although reads go to the other store: %v", err)
	}
}

func TestAnEpochHasOneMeaning(t *testing.T) {
	f := newFixture(t, 2)
	f.route(switched)
	other := switched
	other.Main = Source
	if err := f.SetRoute(f.ctx, other); !errors.Is(err, ErrStaleEpoch) {
		t.Fatal(err)
	}
	f.route(switched) // the same again is fine
}

func TestNoWriteGoesToTheOtherStoreButWhileTrafficHasMoved(t *testing.T) {
	for name, state := range map[string]RouteState{
		"once the switch is done": Steady,
		"before traffic moves":    Preparing, // not every process looks objects up yet
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			r := switched
			r.State, r.Uploads = state, Target
			f.route(r)
			src := Source
			if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{Store: &src}); !errors.Is(err, ErrMoved) {
				t.Fatal(err)
			}
		})
	}
}

func TestClosedOldStoreIsOpenAgainWhenTheSwitchIsTurnedBack(t *testing.T) {
	f := newFixture(t, 2)
	f.route(switched)
	f.ok(f.CloseOld(f.ctx, switched.Epoch))
	src, dst := Source, Target
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{Store: &src}); !errors.Is(err, ErrMoved) {
		t.Fatal(err)
	}
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	back := switched
	back.Main, back.Epoch = Source, switched.Epoch+1
	f.route(back)
	if err := f.CloseOld(f.ctx, switched.Epoch); !errors.Is(err, ErrStaleEpoch) {
		t.Fatal(err)
	}
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &dst})))
}

// What a copy was to write only "where nothing is" must not bring back what a
// client deleted once the lock is over.
func TestDeleteWaitsForACopyThatMayStillLand(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.route(switched)
	c := f.claim()
	f.ok(f.Lock(f.ctx, c, 10*time.Second))
	f.ok(f.Hold(f.ctx, c))
	f.now = f.now.Add(11 * time.Second)
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{Removes: true}); !errors.Is(err, ErrLocked) {
		t.Fatalf("Begin of a delete: %v", err)
	}
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{}))) // what overwrites need not wait
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{Removes: true}); !errors.Is(err, ErrLocked) {
		t.Fatalf("Begin of a delete after a write: %v", err)
	}
	f.ok(f.Unclaim(f.ctx, c))
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Removes: true})))
}

func TestHeldCopyOfABatchIsNotTakenForDone(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	claims, err := f.ClaimObjects(f.ctx, "w1", object.Bucket, []string{object.Key})
	f.ok(err)
	f.ok(f.Hold(f.ctx, claims[0]))
	s, err := f.Stats(f.ctx)
	f.ok(err)
	if s.Dirty != 1 || s.Queued != 0 {
		t.Fatalf("held: %+v", s)
	}
	f.ok(f.Unclaim(f.ctx, claims[0]))
	f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
}

func TestBeginThatComesAfterItsAbortLeavesNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	in := f.begin(object, BeginOptions{})
	f.ok(f.Abort(f.ctx, in))
	// The call again, as it lies in the socket of a connection that was given up.
	f.ok(f.Abort(f.ctx, Intent{ID: "late", Session: "p1", Object: object}))
	v, err := f.run(f.ctx, f.call(beginScript, f.prefix(object), "p1", "", "", object.Bucket, "", "", "late", object.Key))
	f.ok(err)
	if got := strs(v)[0]; got == "OK" {
		t.Errorf("an intent was begun that had been aborted")
	}
	f.empty()
}

// go-redis repeats a call whose answer was lost: what the first one claimed is
// known to nobody then.
func TestRepeatedClaimIsToldFromOneThatFoundNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.ok(f.AddBuckets(f.ctx, "b"))
	f.ok(f.StartAudit(f.ctx, AuditSpec{ID: "1", Mode: "ETag", Buckets: []string{"b"}}))
	for name, c := range map[string]call{
		"audit":   f.call(auditClaimScript, f.global(), "w1", "a", "call3"),
		"events":  f.call(claimEventsScript, f.prefix(object), "w1", 10, "call"),
		"objects": f.call(claimObjectsScript, f.prefix(object), "w1", "b", "call2", "new"),
		"task":    f.call(claimTaskScript, f.global(), "w1", "b", "call"),
	} {
		for i, want := range []string{"OK", "AGAIN"} {
			v, err := f.run(f.ctx, c)
			f.ok(err)
			if list, _ := v.([]any); len(list) == 0 || list[0] != want {
				t.Errorf("%s, time %d: %v, want %s", name, i+1, v, want)
			}
		}
	}
}

// Copies are claimed on several shards at once: those that some grant are nobody's if others do not.
func TestClaimsOfABatchOfWhichAPartMustWaitAreGivenBack(t *testing.T) {
	for name, part := range map[string]struct {
		lose func(*fixture, string) error
		want error
	}{
		"a shard looks for what it lost": {func(f *fixture, shard string) error {
			_, err := f.run(f.ctx, f.call(suspectScript, shard, "x", "suspect", "", ""))
			return err
		}, ErrRecovering},
		"a shard has no route": {func(f *fixture, shard string) error { return f.rdb.Del(f.ctx, shard+"route").Err() }, ErrNoRoute},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 4)
			f.route(steady)
			f.ok(part.lose(f, f.shard(f.shardOf(Object{"b", "h"}))))
			cs, err := f.ClaimObjects(f.ctx, "w1", "b", []string{"a", "b", "c", "d", "e", "f", "g", "h"})
			if !errors.Is(err, part.want) || len(cs) > 0 {
				t.Fatal(cs, err)
			}
			for i := range 4 {
				if n, err := f.rdb.SCard(f.ctx, f.shard(i)+"cl:w1").Result(); n != 0 || err != nil {
					t.Errorf("%d claims that nobody knows of, %v", n, err)
				}
			}
		})
	}
}
