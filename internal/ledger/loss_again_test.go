package ledger

import (
	"errors"
	"testing"
	"time"
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
				f.ok(f.MoveLoss(f.ctx, x, Healthy, f.now, false))
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

// A client is answered before its write is committed, and Redis loses the intent, and that main has the newest.
func TestAnsweredWriteIsToldAgainThoughItIsNotCommitted(t *testing.T) {
	for name, answered := range map[string]bool{"answered before all is told again": true, "not yet": false} {
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
			if answered && !f.MayAnswer(in) {
				t.Fatal("no write is answered before its commit")
			}
			f.beat(a)
			f.beat(b)
			if !answered && f.MayAnswer(in) {
				t.Error("nobody will tell of it before its commit")
			}
			all, err := f.Losses(f.ctx)
			f.ok(err)
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, false))
			if loc, err := f.Lookup(f.ctx, object); answered && (err != nil || loc.Loss != Healthy || loc.Store != Target) {
				t.Errorf("its client has been answered: %+v, %v", loc, err)
			}
		})
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
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, false))
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
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, false))
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
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, false))
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
			m.Abandon()
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
