package ledger

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// The first answer to a commit was lost; by the time it is repeated, what it wrote has
// been copied, and another client has written the other store.
func TestCommitThatIsRepeatedAfterALossCountsOnce(t *testing.T) {
	for name, loss := range map[string]func(*fixture, func()){
		"begun since":       func(f *fixture, then func()) { f.declareLost(f.now); then() },
		"committed before":  func(f *fixture, then func()) { then(); f.ok(f.Suspect(f.ctx)) },
		"and it came again": func(f *fixture, then func()) { then(); f.ok(f.Suspect(f.ctx)); f.ok(f.Suspect(f.ctx)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(switched)
			var upload Intent
			loss(f, func() {
				source := Source
				upload = f.begin(object, BeginOptions{Store: &source})
				f.ok(f.Commit(f.ctx, upload))
				f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
				f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
				f.now = f.now.Add(time.Second)
			})
			if err := f.Commit(f.ctx, upload); !errors.Is(err, ErrSettled) {
				t.Error(err)
			}
			if got := f.newest(object); got != Target {
				t.Errorf("newest on the %s: a write that was answered since is lost", got)
			}
		})
	}
}

// another is another process.
func (f *fixture) another() *Ledger {
	return New(Options{Redis: f.rdb, Migration: "test", Shards: f.shards, Now: func() time.Time { return f.now }})
}

func (f *fixture) write(l *Ledger, session string) {
	f.t.Helper()
	in, err := l.Begin(f.ctx, session, object, BeginOptions{})
	f.ok(err)
	f.ok(l.Commit(f.ctx, in))
}

// A process tells again what it did when it has a new session, or comes late with it. That must not
// undo what is known by then.
func TestWhatIsToldOnceMoreUndoesNothing(t *testing.T) {
	source := Source
	for name, until := range map[string]func(*fixture) []Loss{
		"what another client has written since": func(f *fixture) []Loss {
			f.declareLost(f.now)
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &source})))
			f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
			f.write(f.another(), "p2")
			all, err := f.Losses(f.ctx)
			f.ok(err)
			return all
		},
		"what the stores were seen to hold": func(f *fixture) []Loss {
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &source})))
			f.ok(f.rdb.FlushAll(f.ctx).Err())
			f.now = f.now.Add(time.Second)
			f.declareLost(f.now)
			f.route(switched)
			if s, err := f.another().Adopt(f.ctx, object, Target); s != Target || err != nil {
				f.t.Fatal(s, err)
			}
			all, err := f.Losses(f.ctx)
			f.ok(err)
			return all
		},
		"what was written once it was healed": func(f *fixture) []Loss {
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &source})))
			f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
			f.declareLost(f.now)
			all, err := f.Losses(f.ctx)
			f.ok(err)
			for _, x := range all {
				f.ok(f.MoveLoss(f.ctx, x, Healthy, f.now, Gone{}))
			}
			f.write(f.another(), "p2")
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(switched)
			losses := until(f)
			if _, err := f.replay(f.ctx, "p1", losses, 0); err != nil {
				t.Fatal(err)
			}
			if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Loss != Healthy || loc.Store != Target {
				t.Errorf("%+v, %v", loc, err)
			}
		})
	}
}

// Redis loses a write's intent, and that main has the newest. Clients may have seen what it wrote, though it is not
// committed yet, or its client not even answered.
func TestWriteOnTheNewestStoreIsToldAgainThoughItIsNotCommitted(t *testing.T) {
	for name, then := range map[string]func(*fixture, Intent){
		"answered before all is told again": func(f *fixture, in Intent) {
			if !f.MayAnswer(in) {
				f.t.Fatal("no write is answered before its commit")
			}
		},
		"under way": func(*fixture, Intent) {},
		"in doubt":  func(f *fixture, in Intent) { f.ok(f.Doubt(f.ctx, time.Minute, in)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			other := f.another()
			a, b := f.join(RoleProxy), other.Join(MemberOptions{Role: RoleProxy, Instance: "other"})
			f.beat(b)
			f.write(other, b.ID())
			f.ok(errors.Join(f.Settle(f.ctx, f.claim())...))
			f.route(switched)
			f.beat(b)
			var in Intent
			f.lost(func() {
				var err error
				in, err = f.Begin(f.ctx, a.ID(), object, BeginOptions{})
				f.ok(err)
			})
			f.now = f.now.Add(time.Second) // sequences since are larger than all before
			then(f, in)
			f.beat(a)
			f.beat(b)
			if name == "under way" && f.MayAnswer(in) {
				t.Error("its client is answered before its commit, which would be told as later than it is")
			}
			all, err := f.Losses(f.ctx)
			f.ok(err)
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
			if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Loss != Healthy || loc.Store != Target {
				t.Errorf("clients may have read it: %+v, %v", loc, err)
			}
		})
	}
}

// A write that never was hides none that had begun on the other store before it, and is committed after the loss.
func TestWriteThatIsToldAgainAndNeverMadeHidesNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	other := f.another()
	source := Source
	a, b := f.join(RoleProxy), other.Join(MemberOptions{Role: RoleProxy, Instance: "other"})
	f.beat(b)
	var upload, refused Intent
	f.lost(func() {
		var err error
		upload, err = other.Begin(f.ctx, b.ID(), object, BeginOptions{Store: &source})
		f.ok(err)
		refused, err = f.Begin(f.ctx, a.ID(), object, BeginOptions{})
		f.ok(err)
	})
	f.now = f.now.Add(time.Second)
	f.beat(a)
	f.beat(b)
	f.ok(f.Abort(f.ctx, refused))
	f.ok(other.Commit(f.ctx, upload))
	all, err := f.Losses(f.ctx)
	f.ok(err)
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
	if got := f.newest(object); got != Source {
		t.Errorf("newest on the %s", got)
	}
}

// An object that is newest on the old main is being copied, and Redis loses that a client has begun to write it on
// the new one: the copy would find there what the client wrote, and overwrite it.
func TestIntentThatWasLostIsOpenAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	w, p := f.join(RoleWorker), f.join(RoleProxy)
	other := f.another()
	o := other.Join(MemberOptions{Role: RoleProxy, Instance: "other"})
	f.beat(o)
	f.write(other, o.ID())
	f.route(switched)
	f.beat(o)
	claims, err := f.ClaimEvents(f.ctx, w.ID(), 1)
	f.ok(err)
	var in Intent
	f.lost(func() {
		var err error
		in, err = f.Begin(f.ctx, p.ID(), object, BeginOptions{})
		f.ok(err)
	})
	f.now = f.now.Add(time.Second)
	f.beat(p)
	f.beat(o)
	all, err := f.Losses(f.ctx)
	f.ok(err)
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
	if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Loss != Healthy || loc.Store != Source {
		t.Errorf("what has not been committed is not visible: %+v, %v", loc, err)
	}
	if err := f.Lock(f.ctx, claims[0], time.Second); !errors.Is(err, ErrClaimLost) {
		t.Errorf("the copy has its lock: %v", err)
	}
	f.ok(f.Commit(f.ctx, in))
	if got := f.newest(object); got != Target {
		t.Errorf("newest on the %s", got)
	}
	if s := f.stats(); s.Intents != [2]int64{} {
		t.Errorf("open: %v", s.Intents)
	}
}

// An intent that was lost ends before a call comes that says it is open.
func TestIntentThatHasEndedSinceALossIsNotOpenedAgain(t *testing.T) {
	for name, end := range map[string]func(*fixture, Intent) error{
		"commit": func(f *fixture, in Intent) error { return f.Commit(f.ctx, in) },
		"abort":  func(f *fixture, in Intent) error { return f.Abort(f.ctx, in) },
		"doubt":  func(f *fixture, in Intent) error { return f.Doubt(f.ctx, time.Minute, in) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(switched)
			p := f.join(RoleProxy)
			var in Intent
			f.lost(func() {
				var err error
				in, err = f.Begin(f.ctx, p.ID(), object, BeginOptions{})
				f.ok(err)
			})
			f.now = f.now.Add(time.Second)
			f.ok(end(f, in))
			f.told.opened(0, p.ID(), []string{in.ID})
			f.told.began(0, in)
			f.beat(p)
			if s := f.stats(); s.Intents != [2]int64{} {
				t.Errorf("open: %v", s.Intents)
			}
		})
	}
}

// A process tells that an intent is open whose end is on its way to it: only one that was lost is open again.
func TestIntentThatWasNotLostIsNotOpenedAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	p := f.join(RoleProxy)
	begin := func() Intent {
		in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
		f.ok(err)
		return in
	}
	first := begin()
	f.ok(f.Commit(f.ctx, first))
	f.lost(func() { begin() })
	f.now = f.now.Add(time.Second)
	f.told.opened(0, p.ID(), []string{first.ID})
	f.told.began(0, first)
	f.beat(p)
	if s := f.stats(); s.Intents != [2]int64{0, 1} {
		t.Errorf("open: %v", s.Intents)
	}
}

// afterCall runs something once a call has been applied, before it is answered.
type afterCall struct {
	redis.Hook
	of string // the command; "" is any
	do func()
}

func (h *afterCall) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *afterCall) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *afterCall) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if do := h.do; do != nil && (h.of == "" || h.of == cmd.Name()) {
			h.do = nil
			do()
		}
		return err
	}
}

// A loss comes between a heartbeat and what that looks for. Once everything has been told, the next
// heartbeat must not find the same loss again, for all would be told once more.
func TestLossThatTookHeartbeatsTooIsDealtWithOnce(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p := f.join(RoleProxy)
	restore := f.keep()
	f.beat(p)
	f.write(f.Ledger, p.ID())
	f.beat(p)
	f.rdb.AddHook(&afterCall{do: restore})
	if _, err := p.Beat(f.ctx); err != nil {
		t.Fatal(err)
	}
	all, err := f.Losses(f.ctx)
	f.ok(err)
	if len(all) != 1 || all[0].State != Replaying || !all[0].Replayed[p.ID()] {
		t.Fatalf("%+v", all)
	}
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
	f.beat(p)
	f.beat(p)
	if got := f.states(); !slices.Equal(got, []LossState{Lost}) {
		t.Errorf("%q", got)
	}
}

// A commit was applied, and is lost; its answer comes once everything has been told again.
func TestCommitThatIsAnsweredFromBeforeALossIsMadeAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p := f.join(RoleProxy)
	f.write(f.Ledger, p.ID()) // newest on the source
	f.route(switched)
	f.beat(p)
	restore := f.keep()
	in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
	f.ok(err)
	f.rdb.AddHook(&afterCall{do: func() {
		restore()
		f.now = f.now.Add(time.Second)
		f.beat(p)
	}})
	f.ok(f.Commit(f.ctx, in))
	if got := f.newest(object); got != Target {
		t.Errorf("newest on the %s", got)
	}
	if s := f.stats(); s.Intents != [2]int64{} {
		t.Errorf("open: %v", s.Intents)
	}
}

// Before a loss a write was answered on the old main, whose commit comes late, and another one had begun on the new
// main after that.
func TestLateCommitAfterALossDoesNotHideWhatHadBegunSince(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	first := f.begin(object, BeginOptions{})
	f.route(switched)
	second := f.begin(object, BeginOptions{})
	if !first.Newest || second.Newest {
		t.Fatal("the second one waits for its commit")
	}
	f.now = f.now.Add(time.Second)
	f.ok(f.Suspect(f.ctx))
	f.ok(f.Commit(f.ctx, first))
	f.ok(f.Commit(f.ctx, second))
	if got := f.newest(object); got != Target {
		t.Errorf("newest on the %s", got)
	}
}

// What a write is later than is not undone by who tells of it.
func TestWhatIsToldOfTheOtherStoreDoesNotUndoACommitSinceTheLoss(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	source := Source
	other := f.another()
	upload := func() {
		u, err := other.Begin(f.ctx, "p2", object, BeginOptions{Store: &source})
		f.ok(err)
		f.ok(other.Commit(f.ctx, u))
	}
	upload()
	in := f.begin(object, BeginOptions{}) // later than what made the source the newest
	upload()
	f.ok(f.rdb.Del(f.ctx, f.shard(0)+"o:b\x00k", f.shard(0)+"i:p1").Err())
	f.now = f.now.Add(time.Second)
	f.ok(f.MarkLost(f.ctx, f.now))
	f.ok(f.Commit(f.ctx, in))
	all, err := f.Losses(f.ctx)
	f.ok(err)
	_, err = other.replay(f.ctx, "p2", all, 0)
	f.ok(err)
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
	if got := f.newest(object); got != Target {
		t.Errorf("newest on the %s", got)
	}
}

// One process tells of a commit on the old main. What another one had begun on the new main before that commit,
// and commits later, had not been overtaken by it.
func TestWhatIsToldAgainHidesNothingThatHadBegunOnTheOtherStore(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	other := f.another()
	first, err := other.Begin(f.ctx, "p2", object, BeginOptions{})
	f.ok(err)
	f.route(switched)
	second := f.begin(object, BeginOptions{})
	f.ok(other.Commit(f.ctx, first)) // answered and read long before
	f.ok(f.rdb.Del(f.ctx, f.shard(0)+"o:b\x00k", f.shard(0)+"i:p1").Err())
	f.now = f.now.Add(time.Second)
	f.ok(f.MarkLost(f.ctx, f.now))
	all, err := f.Losses(f.ctx)
	f.ok(err)
	_, err = other.replay(f.ctx, "p2", all, 0)
	f.ok(err)
	f.ok(f.Commit(f.ctx, second))
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
	if got := f.newest(object); got != Target {
		t.Errorf("newest on the %s", got)
	}
}

// A write that was overtaken before a loss, by one that is told again, is overtaken still if its commit comes after
// the loss: whoever tells first.
func TestCommitSinceALossDoesNotComeBackOverWhatHadOvertakenIt(t *testing.T) {
	for name, first := range map[string]bool{"its process tells first": true, "the other one does": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			in := f.begin(object, BeginOptions{})
			f.route(switched)
			other := f.another()
			f.lost(func() { f.write(other, "p2") }) // it had begun once the first one was read
			f.now = f.now.Add(time.Second)
			f.ok(f.MarkLost(f.ctx, f.now))
			f.ok(f.Commit(f.ctx, in))
			all, err := f.Losses(f.ctx)
			f.ok(err)
			tell := func(l *Ledger, session string) {
				_, err := l.replay(f.ctx, session, all, 0)
				f.ok(err)
			}
			if first {
				tell(f.Ledger, "p1")
			}
			tell(other, "p2")
			if !first {
				tell(f.Ledger, "p1")
			}
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
			if got := f.newest(object); got != Target {
				t.Errorf("newest on the %s", got)
			}
		})
	}
}

// A task whose end is lost is its session's again, which lives: nobody else would end it.
func TestLossOfATasksEndIsSeenByTheNextHeartbeat(t *testing.T) {
	batch := func(f *fixture, s string) Batch {
		b, err := f.ClaimBatch(f.ctx, s)
		f.ok(err)
		return b
	}
	for name, end := range map[string]func(f *fixture, s string, r *Range, a *AuditRange) func(){
		"bucket": func(f *fixture, s string, _ *Range, _ *AuditRange) func() {
			f.ok(f.AddBuckets(f.ctx, "c"))
			b, err := f.ClaimBucket(f.ctx, s)
			f.ok(err)
			return func() { f.ok(f.FinishBucket(f.ctx, s, b, nil, nil)) }
		},
		"range": func(f *fixture, s string, r *Range, _ *AuditRange) func() {
			return func() { f.ok(f.Advance(f.ctx, s, r, "z", nil, Progress{}, true)) }
		},
		"range given back": func(f *fixture, s string, r *Range, _ *AuditRange) func() {
			return func() { f.ok(f.ReleaseRange(f.ctx, s, *r)) }
		},
		"batch": func(f *fixture, s string, r *Range, _ *AuditRange) func() {
			f.ok(f.Advance(f.ctx, s, r, "z", []BatchItem{{Key: "k"}}, Progress{}, false))
			b := batch(f, s)
			return func() { f.ok(f.FinishBatch(f.ctx, s, b, Progress{}, Progress{})) }
		},
		"audited range": func(f *fixture, s string, _ *Range, a *AuditRange) func() {
			return func() { f.ok(f.AdvanceAudit(f.ctx, s, a, "z", 1, nil, true)) }
		},
		"suspects, looked at again": func(f *fixture, s string, _ *Range, a *AuditRange) func() {
			f.ok(f.AdvanceAudit(f.ctx, s, a, "z", 1, []Suspect{{Key: "k"}}, true))
			z, err := f.ClaimSuspects(f.ctx, s)
			f.ok(err)
			return func() { f.ok(f.FinishSuspects(f.ctx, s, z, z.Items, time.Second, AuditCounts{}, nil, "")) }
		},
	} {
		for _, lost := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				f := newFixture(t, 1)
				f.route(steady)
				m := f.join(RoleWorker)
				f.ok(f.AddBuckets(f.ctx, "b"))
				b, err := f.ClaimBucket(f.ctx, m.ID())
				f.ok(err)
				f.ok(f.FinishBucket(f.ctx, m.ID(), b, nil, []Range{{}}))
				r, err := f.ClaimRange(f.ctx, m.ID())
				f.ok(err)
				f.ok(f.StartAudit(f.ctx, AuditSpec{ID: "a", Mode: "ETag", Buckets: []string{"b"}}))
				a, err := f.ClaimAuditRange(f.ctx, m.ID())
				f.ok(err)
				do := end(f, m.ID(), &r, &a)
				f.beat(m)
				if lost {
					f.lost(do)
				} else {
					do()
				}
				old := m.ID()
				f.beat(m)
				if got := f.states(); (len(got) == 1) != lost {
					t.Errorf("lost %t: %q", lost, got)
				}
				if f.beat(m); (m.ID() != old) != lost {
					t.Errorf("lost %t: the session is %s, it was %s", lost, m.ID(), old)
				}
			})
		}
	}
}

// slow makes each pipeline of a script take its time.
type slow struct {
	refusing
	by time.Duration
}

func (slow) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (s slow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if a := cmds[0].Args(); len(a) > 1 && a[1] == s.sha {
			time.Sleep(s.by)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return next(ctx, cmds)
	}
}

// A process may have more to tell than goes between two heartbeats: it tells it all, and lives.
func TestMuchIsToldAgainToo(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	p := f.Join(MemberOptions{Role: RoleProxy, Instance: "p", Interval: 100 * time.Millisecond})
	f.beat(p)
	for i := range 12 * replayStep {
		f.told.wrote(Object{"b", strconv.Itoa(i)}, told{Target, 1, 1, false})
	}
	f.ok(f.MarkLost(f.ctx, f.now))
	f.rdb.AddHook(slow{refusing{sha: f.ownOf(replayScript).sha}, 150 * time.Millisecond})
	before := p.beat
	f.beat(p)
	f.beat(p)
	all, err := f.Losses(f.ctx)
	f.ok(err)
	if !all[0].Replayed[p.ID()] || p.beat < before+5 {
		t.Errorf("%+v, %d heartbeats", all[0], p.beat-before)
	}
}

// A ledger that came back from before a switch does not know that the old store takes writes.
func TestOlderLedgerDoesNotSayThatTheSwitchHasEnded(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.lost(func() {
		f.route(switched)
		r, err := f.Route(f.ctx)
		f.ok(err)
		f.saw(r.Epoch) // as a process does which obeys it
	})
	target := Target
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{Store: &target, InSync: true}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// A session that a loss made everybody forget claims a task, and is given up before it has
// registered again.
func TestTaskOfASessionThatNobodyKnowsIsGivenBack(t *testing.T) {
	for name, claim := range map[string]func(*fixture, string) error{
		"bucket": func(f *fixture, s string) error { _, err := f.ClaimBucket(f.ctx, s); return err },
		"audit":  func(f *fixture, s string) error { _, err := f.ClaimAuditRange(f.ctx, s); return err },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			f.ok(f.AddBuckets(f.ctx, "b"))
			f.ok(f.StartAudit(f.ctx, AuditSpec{ID: "a", Mode: "ETag", Buckets: []string{"b"}}))
			var m *Member
			f.lost(func() { m = f.join(RoleWorker) })
			old := m.ID()
			f.ok(claim(f, old))
			m.Abandon(m.ID())
			f.beat(m)
			f.beat(m)
			f.now = f.now.Add(time.Minute)
			dead, err := f.DeadSessions(f.ctx, 15*time.Second)
			f.ok(err)
			for _, s := range dead {
				if s.ID == old {
					_, err := f.Bury(f.ctx, s.ID, 0)
					f.ok(err)
				}
			}
			if err := claim(f, m.ID()); err != nil {
				t.Errorf("it is nobody's: %v", err)
			}
		})
	}
}
