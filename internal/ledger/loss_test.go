package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// lost keeps what Redis holds, and brings it back after do: a failover to a
// replica that lags, and knows our scripts.
func (f *fixture) lost(do func()) {
	f.t.Helper()
	restore := f.keep()
	do()
	restore()
}

// keep keeps what Redis holds, and returns what brings it back.
func (f *fixture) keep() (restore func()) {
	f.t.Helper()
	keys, err := f.rdb.Keys(f.ctx, "*").Result()
	f.ok(err)
	dump := map[string]string{}
	for _, k := range keys {
		if dump[k], err = f.rdb.Dump(f.ctx, k).Result(); err != nil {
			f.t.Fatal(err)
		}
	}
	return func() {
		pipe := f.rdb.TxPipeline()
		pipe.FlushAll(f.ctx)
		for k, v := range dump {
			pipe.Restore(f.ctx, k, 0, v)
		}
		_, err = pipe.Exec(f.ctx)
		f.ok(err)
	}
}

func (f *fixture) join(role Role) *Member {
	f.t.Helper()
	m := f.Join(MemberOptions{Role: role, Instance: string(role)})
	f.beat(m)
	return m
}

func (f *fixture) beat(m *Member) {
	f.t.Helper()
	for again := true; again; {
		var err error
		again, err = m.Beat(f.ctx)
		f.ok(err)
	}
}

func (f *fixture) states() (out []LossState) {
	f.t.Helper()
	all, err := f.Losses(f.ctx)
	f.ok(err)
	for _, x := range all {
		out = append(out, x.State)
	}
	return out
}

func TestLossOfOneCallIsSeenByTheNextOne(t *testing.T) {
	open := func(f *fixture, session string) Intent {
		in, err := f.Begin(f.ctx, session, object, BeginOptions{})
		f.ok(err)
		return in
	}
	calls := map[string]func(*fixture, string, Intent) error{
		"begin":  func(f *fixture, s string, _ Intent) error { open(f, s); return nil },
		"commit": func(f *fixture, _ string, in Intent) error { return f.Commit(f.ctx, in) },
		"abort":  func(f *fixture, _ string, in Intent) error { return f.Abort(f.ctx, in) },
		"doubt":  func(f *fixture, _ string, in Intent) error { return f.Doubt(f.ctx, time.Minute, in) },
		"record": func(f *fixture, s string, _ Intent) error {
			return f.Record(f.ctx, s, Change{Object: object, Store: Source})
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			s := f.join(RoleProxy).ID()
			in := open(f, s)
			f.lost(func() { f.ok(call(f, s, in)) })
			// It leaves something newer behind, before any heartbeat.
			f.ok(f.Commit(f.ctx, open(f, s)))
			if got := f.states(); len(got) != 1 || got[0] != Replaying {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestLossOfTheEndOfACopyIsSeen(t *testing.T) {
	ends := map[string]func(*fixture, Claim) error{
		"settle":  func(f *fixture, c Claim) error { return f.Settle(f.ctx, c)[0] },
		"unclaim": func(f *fixture, c Claim) error { return f.Unclaim(f.ctx, c) },
		"judge":   func(f *fixture, c Claim) error { _, err := f.Judge(f.ctx, c, false); return err },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			p, w := f.join(RoleProxy), f.join(RoleWorker)
			in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
			f.ok(err)
			f.ok(f.Commit(f.ctx, in))
			cs, err := f.ClaimEvents(f.ctx, w.ID(), 1)
			f.ok(err)
			f.lost(func() { f.ok(end(f, cs[0])) })
			f.beat(w)
			if got := f.states(); len(got) != 1 || got[0] != Replaying {
				t.Fatalf("%q", got)
			}
			// The claim is there again, and nobody knows of it: its session is given up.
			old := cs[0].Session
			f.beat(w)
			if w.ID() == old {
				t.Error("the session goes on with a claim that nobody will end")
			}
			f.beat(w)
			now := w.ID()
			f.beat(w)
			if w.ID() != now {
				t.Error("the session that followed was given up as well")
			}
		})
	}
}

// A batch leaves a key that is just being written to the event path, and made it dirty for that.
func TestLossOfWhatABatchHasLeftToTheEventPathIsSeen(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p, w := f.join(RoleProxy), f.join(RoleWorker)
	_, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
	f.ok(err)
	f.lost(func() {
		if cs, err := f.ClaimObjects(f.ctx, w.ID(), object.Bucket, []string{object.Key}); len(cs) > 0 || err != nil {
			t.Fatal(cs, err)
		}
	})
	f.beat(w)
	if got := f.states(); len(got) != 1 || got[0] != Replaying {
		t.Errorf("%q", got)
	}
}

func TestIntentThatCameBackIsSettled(t *testing.T) {
	f := newFixture(t, 2)
	f.route(steady)
	p := f.join(RoleProxy)
	begin := func() Intent {
		in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
		f.ok(err)
		return in
	}
	ended, open := begin(), begin()
	f.lost(func() { f.ok(f.Commit(f.ctx, ended)) })
	f.beat(p)
	if s := f.stats(); s.Intents[Source] != 2 || s.Doubts != 1 {
		t.Fatalf("%+v", s)
	}
	if n, err := f.SettleDoubts(f.ctx, 10); n != 0 || err != nil {
		t.Fatal("settled while its request may still land", n, err)
	}
	f.now = f.now.Add(time.Minute)
	if n, err := f.SettleDoubts(f.ctx, 10); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	f.ok(f.Commit(f.ctx, open))
	if s := f.stats(); s.Intents != [2]int64{} || s.Dirty != 1 {
		t.Errorf("%+v", s)
	}
}

func TestASessionThatWasBuriedMissesNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p := f.join(RoleProxy)
	in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
	f.ok(err)
	for done := false; !done; f.now = f.now.Add(time.Minute) {
		done, err = f.Bury(f.ctx, p.ID(), time.Minute)
		f.ok(err)
	}
	f.ok(f.Commit(f.ctx, in))
	if got := f.states(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestWhatABuriedSessionLeftIsBuriedAgainWhenItComesBack(t *testing.T) {
	f := newFixture(t, 2)
	f.route(steady)
	p, w := f.join(RoleProxy), f.join(RoleWorker)
	in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
	f.ok(err)
	f.ok(f.Commit(f.ctx, in))
	if _, err := f.ClaimEvents(f.ctx, w.ID(), 1); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Orphans(f.ctx); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	// Only the shard's part of the burial is lost.
	bury := func(id string) {
		for done := false; !done; f.now = f.now.Add(time.Minute) {
			done, err = f.Bury(f.ctx, id, time.Minute)
			f.ok(err)
		}
	}
	f.lost(func() { bury(w.ID()) })
	f.ok(f.rdb.SRem(f.ctx, f.global()+"sess", w.ID()).Err())
	f.ok(f.rdb.Del(f.ctx, f.global()+"s:"+w.ID()).Err())
	if n, err := f.Orphans(f.ctx); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	dead, err := f.DeadSessions(f.ctx, time.Minute)
	f.ok(err)
	if slices.ContainsFunc(dead, func(s Session) bool { return s.ID == w.ID() }) {
		t.Fatal("it may live", dead)
	}
	f.now = f.now.Add(2 * time.Minute)
	bury(w.ID())
	if s := f.stats(); s.Dirty != 1 || s.Queued != 1 {
		t.Errorf("%+v", s)
	}
}

func TestASessionThatOnlyShardsKnowRegistersAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p := f.join(RoleProxy)
	id := p.ID()
	in, err := f.Begin(f.ctx, id, object, BeginOptions{})
	f.ok(err)
	f.ok(f.rdb.Del(f.ctx, f.global()+"sess", f.global()+"s:"+id).Err())
	f.ok(f.Commit(f.ctx, in))
	if n, err := f.Orphans(f.ctx); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	f.beat(p)
	all, err := f.Sessions(f.ctx)
	f.ok(err)
	if len(all) != 1 || all[0].Role != RoleProxy || all[0].Instance != "proxy" || p.ID() != id {
		t.Errorf("%+v", all)
	}
}

func TestWhatIsToldAgainCountsOnceAllHaveToldIt(t *testing.T) {
	for name, write := range map[string]bool{"nothing is written since": false, "it is written since": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(switched)
			other := New(Options{Redis: f.rdb, Migration: "test", Shards: 1, Now: func() time.Time { return f.now }})
			a, b := f.join(RoleProxy), other.Join(MemberOptions{Role: RoleProxy, Instance: "other"})
			f.beat(b)
			source := Source
			old, err := f.Begin(f.ctx, a.ID(), object, BeginOptions{Store: &source})
			f.ok(err)
			var late Intent
			f.lost(func() {
				f.ok(f.Commit(f.ctx, old)) // the end of an upload, say
				late, err = other.Begin(f.ctx, b.ID(), object, BeginOptions{})
				f.ok(err)
				f.ok(other.Commit(f.ctx, late))
			})
			if write {
				in, err := other.Begin(f.ctx, b.ID(), object, BeginOptions{})
				f.ok(err)
				f.ok(other.Commit(f.ctx, in))
			}
			f.beat(a)
			if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Loss != Replaying {
				t.Fatalf("%+v, %v", loc, err)
			}
			if !write {
				f.beat(b)
			}
			all, err := f.Losses(f.ctx)
			f.ok(err)
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
			if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Loss != Healthy || loc.Store != Target {
				t.Errorf("%+v, %v", loc, err)
			}
		})
	}
}

func TestBeginFromBeforeALossComesTooLate(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p := f.join(RoleProxy)
	in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
	f.ok(err)
	late := f.callAs(beginScript, 0, p.ID(), "", "", object.Bucket, "", "", "late", object.Key)
	f.lost(func() { f.ok(f.Commit(f.ctx, in)) })
	f.beat(p)
	v, err := f.run(f.ctx, late)
	f.ok(err)
	if a := strs(v); a[0] != "FENCED" {
		t.Errorf("%q: its Abort may be lost", a)
	}
	if _, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{}); err != nil {
		t.Error(err)
	}
}

func TestNothingIsDoneByALedgerThatIsOlderThanTheMigrationRemembers(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	l := New(Options{Redis: f.rdb, Migration: "test", Now: func() time.Time { return f.now }, Epoch: switched.Epoch})
	m := l.Join(MemberOptions{Role: RoleWorker, Instance: "new"})
	for name, call := range map[string]func() error{
		"heartbeat": func() error { _, err := m.Beat(f.ctx); return err },
		"begin":     func() error { _, err := l.Begin(f.ctx, "p2", object, BeginOptions{}); return err },
		"lookup":    func() error { _, err := l.Lookup(f.ctx, object); return err },
		"listing":   func() error { _, err := l.DirtyRange(f.ctx, Source, "b", "", "", 10); return err },
		"upload":    func() error { _, err := l.Upload(f.ctx, object, "u"); return err },
	} {
		if err := call(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := m.Route(); ok || m.ID() != "" {
		t.Error("it obeys the older route, and may claim")
	}
	f.route(switched)
	f.beat(m)
	if r, _ := m.Route(); r != switched {
		t.Errorf("%+v", r)
	}
}

// A session that has done nothing has nothing that it could miss but its heartbeats.
// The answer that says so may be lost, and what is to be done about it may fail.
func TestHeartbeatsThatAreForgottenAreALoss(t *testing.T) {
	for name, fail := range map[string]func(*fixture, *Member){
		"at once": func(*fixture, *Member) {},
		"no answer": func(f *fixture, m *Member) {
			h := heartbeat{role: RoleProxy, instance: m.o.Instance, epoch: m.acked, beat: m.beat}
			if a, err := f.heartbeat(f.ctx, m.id, h); err != nil || !a.lost {
				f.t.Fatal(a, err)
			}
		},
		"another session since": func(_ *fixture, m *Member) { m.Abandon(m.ID()) },
		"not noted": func(f *fixture, m *Member) {
			next := true
			f.rdb.AddHook(refusing{suspectScript.sha, &next})
			if _, err := m.Beat(f.ctx); err == nil {
				f.t.Fatal("it was noted")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			m := f.join(RoleProxy)
			f.lost(func() {
				f.beat(m)
				f.beat(m)
			})
			fail(f, m)
			f.beat(m)
			if got := f.states(); len(got) != 1 || got[0] != Replaying {
				t.Errorf("%q", got)
			}
		})
	}
}

// refusing fails the next call of a script.
type refusing struct {
	sha  string
	next *bool
}

// deaf loses the answer of the next call of a script.
type deaf struct{ refusing }

func (d deaf) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	lost := d.refusing.ProcessHook(func(context.Context, redis.Cmder) error { return nil })
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil {
			return err
		}
		err := lost(ctx, cmd)
		if c, ok := cmd.(*redis.Cmd); ok && err != nil {
			c.SetVal(nil)
		}
		return err
	}
}

// What a session must have been told to begin anything is told again if the answer was lost.
func TestSessionThatWasNotAnsweredWhenItHadToldEverythingGoesOn(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p := f.join(RoleProxy)
	f.ok(f.MarkLost(f.ctx, time.Time{}))
	f.ok(f.rdb.ScriptLoad(f.ctx, replayedScript.src).Err())
	next := true
	f.rdb.AddHook(deaf{refusing{replayedScript.sha, &next}})
	if _, err := p.Beat(f.ctx); err == nil {
		t.Fatal("it was answered")
	}
	all, err := f.Losses(f.ctx)
	f.ok(err)
	if len(all) != 1 || !all[0].Replayed[p.ID()] {
		t.Fatalf("%+v", all)
	}
	// It is out of reach until all is healed.
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, time.Time{}, Gone{}))
	all[0].State = Lost
	f.ok(f.MoveLoss(f.ctx, all[0], Healthy, time.Time{}, Gone{}))
	f.beat(p)
	if _, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{}); err != nil {
		t.Error(err)
	}
}

func (refusing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if a := cmd.Args(); *r.next && len(a) > 1 && a[1] == r.sha {
			*r.next = false
			return errors.New("refused")
		}
		return next(ctx, cmd)
	}
}

func (refusing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// While it is found out what was lost, more may be: whoever had told everything
// tells it again.
func TestWhatIsLostAfterItWasToldIsToldAgain(t *testing.T) {
	for name, during := range map[string]func(f *fixture, m *Member, told func()){
		"the telling": func(f *fixture, _ *Member, told func()) { f.lost(told) },
		"a write after it": func(f *fixture, m *Member, told func()) {
			told()
			f.lost(func() {
				in, err := f.Begin(f.ctx, m.ID(), Object{"b", "later"}, BeginOptions{})
				f.ok(err)
				f.ok(f.Commit(f.ctx, in))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(switched)
			m := f.join(RoleProxy)
			f.ok(f.MarkLost(f.ctx, f.now))
			during(f, m, func() { f.beat(m) })
			f.beat(m)
			f.beat(m)
			all, err := f.Losses(f.ctx)
			f.ok(err)
			if len(all) != 1 || !all[0].Replayed[m.ID()] {
				t.Fatalf("nobody waits for it, or for ever: %+v", all)
			}
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
			if name == "a write after it" {
				loc, err := f.Lookup(f.ctx, Object{"b", "later"})
				f.ok(err)
				if loc.Loss != Healthy || loc.Store != Target {
					t.Errorf("%+v", loc)
				}
			}
		})
	}
}

// The commit of a write that was visible before a loss comes after it: it is older than
// what another client has begun on the other store since.
func TestLateCommitOfAnOlderWriteDoesNotWinAfterALoss(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	first := f.begin(object, BeginOptions{})
	f.route(switched)
	f.ok(f.Suspect(f.ctx))
	second := f.begin(object, BeginOptions{Removes: true})
	f.ok(f.Commit(f.ctx, first))
	f.ok(f.Commit(f.ctx, second))
	if got := f.newest(object); got != Target {
		t.Errorf("newest on the %s", got)
	}
}

// Nobody else knows of an upload that a copy may have left.
func TestUploadOfACopyIsToldAgainUntilItHasEnded(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	w := f.join(RoleWorker)
	began := f.now.Truncate(time.Millisecond)
	others := &OtherUploads{IDs: []string{"theirs"}}
	for i, ended := range []bool{false, true, false} {
		o := Object{object.Bucket, object.Key + strings.Repeat("\x00", i)} // a key may hold anything
		u, err := f.CreatingUpload(f.ctx, o, Source, began, others)
		f.ok(err)
		if ended {
			f.told.uploads = nil
			f.told.creating(u)
			f.ok(f.EndedUpload(f.ctx, u))
		}
		f.ok(f.rdb.FlushAll(f.ctx).Err())
		f.route(switched)
		f.ok(f.MarkLost(f.ctx, f.now))
		f.beat(w)
		all, err := f.CopyUploads(f.ctx)
		f.ok(err)
		if got := len(all) == 1 && all[0].Object == o && all[0].Store == Source && all[0].Began.Equal(began) && all[0].Others != nil && slices.Equal(all[0].Others.IDs, others.IDs); got == ended {
			t.Errorf("ended: %v: %+v", ended, all)
		}
	}
}

// Before and after a switch clients are served though Redis was restarted, and nobody is there to
// find out whether it lost anything: main alone takes writes, so what they depend on is what it holds.
func TestConditionalWriteWaitsForALossOnlyWhileASwitchIsUnderWay(t *testing.T) {
	preparing := Route{Epoch: 2, Main: Source, State: Preparing, Sync: true, Uploads: Source, Run: true}
	for name, lose := range map[string]func(*fixture) error{
		"may have lost": func(f *fixture) error { return f.Suspect(f.ctx) },
		"has lost":      func(f *fixture) error { return f.MarkLost(f.ctx, time.Time{}) },
	} {
		for _, c := range []struct {
			route Route
			want  error
		}{{steady, nil}, {preparing, ErrLocked}, {switched, ErrLocked}} {
			f := newFixture(t, 1)
			f.route(c.route)
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			f.ok(lose(f))
			if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{InSync: true}); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v", name, c.route.State, err)
			}
		}
	}
}

// What tells again what it did, while the ledger has not heard again of the switch in which
// it did that, tells it again then.
func TestWhatIsToldToALedgerFromBeforeTheSwitchIsToldAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	p := f.join(RoleProxy)
	f.lost(func() {
		f.route(switched)
		in, err := f.Begin(f.ctx, p.ID(), object, BeginOptions{})
		f.ok(err)
		f.ok(f.Commit(f.ctx, in))
	})
	f.now = f.now.Add(time.Second)
	f.ok(f.MarkLost(f.ctx, f.now)) // and the manager dies, or Redis does not hear of the route
	f.beat(p)
	all, err := f.Losses(f.ctx)
	f.ok(err)
	if !all[0].Replayed[p.ID()] {
		t.Fatalf("%+v", all)
	}
	again := switched
	again.Epoch++
	f.route(again)
	told := all[0]
	if all, err = f.Losses(f.ctx); err != nil || all[0].Replayed[p.ID()] {
		t.Fatalf("%+v %v", all, err)
	}
	f.ok(f.run1(replayedScript, p.ID(), told.ID, 0)) // comes late
	f.beat(p)
	if all, err = f.Losses(f.ctx); err != nil || !all[0].Replayed[p.ID()] {
		t.Fatalf("%+v %v", all, err)
	}
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{}))
	if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Loss != Healthy || loc.Store != Target {
		t.Errorf("%+v %v: an acknowledged write is lost", loc, err)
	}
}

func (f *fixture) run1(s *script, args ...any) error {
	_, err := f.run(f.ctx, f.call(s, f.shard(0), args...))
	return err
}

// A task that had ended comes back as its worker's, which would never end it: nobody would
// list or copy what it names, and no switch could begin.
func TestLossOfWhatBecameOfATaskIsSeen(t *testing.T) {
	for name, end := range map[string]func(*fixture, string) error{
		"a bucket's listing": func(f *fixture, w string) error {
			r, err := f.ClaimRange(f.ctx, w)
			f.ok(err)
			f.restore = f.keep()
			return f.Advance(f.ctx, w, &r, "", nil, Progress{}, true)
		},
		"given back": func(f *fixture, w string) error {
			r, err := f.ClaimRange(f.ctx, w)
			f.ok(err)
			f.restore = f.keep()
			return f.ReleaseRange(f.ctx, w, r)
		},
		"an audit's": func(f *fixture, w string) error {
			f.startAudit("x", "b")
			r, err := f.ClaimAuditRange(f.ctx, w)
			f.ok(err)
			f.restore = f.keep()
			return f.AdvanceAudit(f.ctx, w, &r, "", 0, nil, true)
		},
	} {
		for how, next := range map[string]func(*fixture, *Member){
			"with a heartbeat":   func(*fixture, *Member) {},
			"with the next task": (*fixture).nextTask,
			"with the next task, after a heartbeat that was not answered": func(f *fixture, w *Member) {
				_, err := f.another().heartbeat(f.ctx, w.ID(), heartbeat{role: RoleWorker, instance: w.o.Instance, epoch: w.acked, beat: w.beat})
				f.ok(err)
				f.nextTask(w)
			},
			"under another session": func(_ *fixture, w *Member) { w.Abandon(w.ID()) },
			"with the next task, then under another session": func(f *fixture, w *Member) {
				f.nextTask(w)
				w.Abandon(w.ID())
			},
			"under another session, and not noted at first": func(f *fixture, w *Member) {
				w.Abandon(w.ID())
				next := true
				f.rdb.AddHook(refusing{suspectScript.sha, &next})
				if _, err := w.Beat(f.ctx); err == nil {
					f.t.Fatal("it was noted")
				}
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				f := newFixture(t, 1)
				f.route(steady)
				w := f.join(RoleWorker)
				f.ok(f.AddBuckets(f.ctx, "b"))
				b, err := f.ClaimBucket(f.ctx, w.ID())
				f.ok(err)
				f.ok(f.FinishBucket(f.ctx, w.ID(), b, nil, []Range{{}}))
				f.ok(end(f, w.ID()))
				f.restore()
				next(f, w)
				f.beat(w)
				if got := f.states(); len(got) != 1 || got[0] != Replaying {
					t.Errorf("%q", got)
				}
			})
		}
	}
}

// A session that was given up goes on with what it holds. A task that it ends just while it is
// looked at for what it misses is not missing.
func TestTaskThatEndsWhileItsSessionIsLookedAtIsNoLoss(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	w := f.join(RoleWorker)
	f.ok(f.AddBuckets(f.ctx, "b"))
	old := w.ID()
	b, err := f.ClaimBucket(f.ctx, old)
	f.ok(err)
	w.Abandon(old)
	f.rdb.AddHook(&afterCall{of: "hmget", do: func() { f.ok(f.FinishBucket(f.ctx, old, b, nil, nil)) }})
	f.beat(w)
	f.beat(w)
	if got := f.states(); len(got) != 0 || w.ID() == old {
		t.Errorf("session %s after %s, losses %q", w.ID(), old, got)
	}
}

// Nor is it ended while others still tell again what they did, by a worker that has.
func TestLossOfWhatBecameOfATaskIsSeenWhileAnotherIsDealtWith(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	w := f.join(RoleWorker)
	f.ok(f.AddBuckets(f.ctx, "b"))
	f.ok(f.MarkLost(f.ctx, f.now))
	f.beat(w) // gives its session up
	f.beat(w)
	before := w.ID()
	_, err := f.ClaimBucket(f.ctx, before)
	f.ok(err)
	f.lost(func() { f.ok(f.FinishBucket(f.ctx, before, "b", nil, nil)) })
	f.beat(w)
	f.beat(w)
	if w.ID() == before {
		t.Error("it keeps a task that it does not know of")
	}
}

// What a session was told that was given up, and buried while its process slept, was not lost.
func TestNothingIsLostOfASessionThatWasBuried(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	w := f.join(RoleWorker)
	f.nextTask(w)
	f.beat(w)
	before := w.ID()
	w.Abandon(w.ID())
	if done, err := f.Bury(f.ctx, before, 0); !done || err != nil {
		t.Fatal(done, err)
	}
	f.beat(w)
	if got := f.states(); len(got) != 0 || w.ID() == before {
		t.Errorf("%q", got)
	}
}

// nextTask leaves something newer behind.
func (f *fixture) nextTask(w *Member) {
	f.t.Helper()
	f.ok(f.AddBuckets(f.ctx, "c"))
	c, err := f.ClaimBucket(f.ctx, w.ID())
	f.ok(err)
	f.ok(f.FinishBucket(f.ctx, w.ID(), c, nil, nil))
}

// A heartbeat that was lost before there was a route is told of when there is one.
func TestHeartbeatThatIsForgottenBeforeARouteIsALoss(t *testing.T) {
	f := newFixture(t, 1)
	m := f.Join(MemberOptions{Role: RoleProxy, Instance: "p"})
	for range 2 {
		if _, err := m.Beat(f.ctx); !errors.Is(err, ErrNoRoute) {
			t.Fatal(err)
		}
	}
	f.lost(func() { _, _ = m.Beat(f.ctx) })
	_, _ = m.Beat(f.ctx)
	f.route(steady)
	f.beat(m)
	if got := f.states(); len(got) != 1 || got[0] != Replaying {
		t.Errorf("%q", got)
	}
}

// What copies have put on main is known after another loss too, though its worker has ended.
func TestWhatWasToldOfCopiesIsKeptThroughTheNextLoss(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	f.told.put(object, Target, "a")
	f.told.putting(object, Target, "b")
	for range 2 {
		f.ok(f.MarkLost(f.ctx, f.now))
		all, err := f.Losses(f.ctx)
		f.ok(err)
		_, err = f.replay(f.ctx, "w1", all, 0)
		f.ok(err)
	}
	f.ok(f.MarkLost(f.ctx, f.now))
	loc, err := f.Lookup(f.ctx, object)
	f.ok(err)
	if got := strings.Join(loc.Copied, " "); got != "b a" {
		t.Errorf("%q", got)
	}
}
