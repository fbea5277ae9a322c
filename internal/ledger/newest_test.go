package ledger

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// After a loss during a switch, what main holds is not what a client wrote there
// only because it is younger than the switch: a copy may have put it there, of what
// was overwritten on the old main before.
func TestCopyOfAnOlderVersionIsNotTakenForAClientsWrite(t *testing.T) {
	stores := func(mainTag, oldTag string) (seen [2]Seen) {
		seen[Target] = Seen{Found: true, ETag: `"` + mainTag + `"`, Size: 1, Age: 5 * time.Second}
		if oldTag != "" {
			seen[Source] = Seen{Found: true, ETag: `"` + oldTag + `"`, Size: 1, Age: 20 * time.Second}
		}
		return seen
	}
	copied := func(f *fixture, tag string) { // while the newest is on the old main only
		f.t.Helper()
		c := f.claim()
		c.ETag = `"` + tag + `"`
		f.ok(f.Lock(f.ctx, c, time.Minute))
		old := Source
		f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &old})))
		f.ok(f.Settle(f.ctx, c)[0])
	}
	locked := func(f *fixture, tag string) {
		f.t.Helper()
		c := f.claim()
		c.ETag = tag
		f.ok(f.Lock(f.ctx, c, time.Minute))
	}
	for name, c := range map[string]struct {
		before func(*fixture)
		seen   [2]Seen
		forget bool // what the ledger holds of it
		want   Store
	}{
		"copied":                            {func(f *fixture) { copied(f, "a") }, stores("a", "b"), false, Source},
		"and forgotten":                     {func(f *fixture) { copied(f, "a") }, stores("a", "b"), true, Source},
		"by a worker that died":             {func(f *fixture) { locked(f, "a") }, stores("a", "b"), false, Source},
		"by one that died, and forgotten":   {func(f *fixture) { locked(f, "a") }, stores("a", "b"), true, Source},
		"before another copy was begun":     {func(f *fixture) { copied(f, "a"); locked(f, "b") }, stores("a", "b"), false, Source},
		"forgotten before another copy was": {func(f *fixture) { copied(f, "a"); locked(f, "b") }, stores("a", "b"), true, Source},
		"before another one has landed":     {func(f *fixture) { copied(f, "a"); copied(f, "b") }, stores("a", "b"), false, Target},
		"a client's, later":                 {func(f *fixture) { copied(f, "a") }, stores("c", "b"), false, Target},
		"a client's, the same content":      {func(f *fixture) { copied(f, "a"); f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{}))) }, stores("a", "b"), false, Target},
		"nothing on the old main":           {func(f *fixture) { copied(f, "a") }, stores("a", ""), false, Target},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			f.route(switched)
			c.before(f)
			if c.forget {
				f.ok(f.rdb.Del(f.ctx, "cf:{test/0}:o:"+object.Bucket+"\x00"+object.Key).Err())
			}
			f.ok(f.MarkLost(f.ctx, f.now.Add(-10*time.Second)))
			all, err := f.Losses(f.ctx)
			f.ok(err)
			if _, err := f.replay(f.ctx, "w1", all, 0); err != nil {
				t.Fatal(err)
			}
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now.Add(-10*time.Second), Gone{Proxy: true}))
			loc, err := f.Lookup(f.ctx, object)
			f.ok(err)
			if loc.Loss != Lost {
				t.Fatalf("%+v", loc)
			}
			if got, differ := loc.Newest(loc.Since, c.seen); got != c.want || !differ {
				t.Errorf("newest on %s, want %s: %+v", got, c.want, loc)
			}
		})
	}
}

// An upload may end on the old main after clients wrote the new one.
func TestUploadThatEndedLaterOnTheOldMainIsTheNewestAfterALoss(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	old := Source
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &old})))
	f.restartedUnsure()
	loc, err := f.Lookup(f.ctx, object)
	f.ok(err)
	for _, c := range []struct {
		main, old time.Duration
		want      Store
	}{{20 * time.Second, 10 * time.Second, Source}, {10 * time.Second, 20 * time.Second, Target}, {10 * time.Second, 9 * time.Second, Source}, {10 * time.Second, 12 * time.Second, Source}} {
		seen := [2]Seen{Source: {Found: true, ETag: "s", Age: c.old}, Target: {Found: true, ETag: "t", Age: c.main}}
		if got, _ := loc.Newest(time.Minute, seen); got != c.want {
			t.Errorf("newest on %s, want %s", got, c.want)
		}
	}
}

// A delete from just before a switch is not undone by a restart of Redis that lost nothing: what
// main holds is the copy of what was deleted, and whoever knew has died.
func TestDeleteThatIsNotCopiedYetIsNotUndoneByARestart(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(*fixture)
		main string
		want Store
	}{
		"restarted":             {(*fixture).restartedUnsure, "a", Source},
		"a client's on main":    {(*fixture).restartedUnsure, "b", Target},
		"it came from long ago": {func(f *fixture) { f.declareLost(f.now) }, "a", Target},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			copied := f.claim()
			copied.ETag = "a"
			f.ok(f.Settle(f.ctx, copied)[0])
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Removes: true})))
			f.route(switched)
			c.lose(f)
			loc, err := f.Lookup(f.ctx, object)
			f.ok(err)
			loc.Copied = append(loc.Copied, "a") // as its worker tells
			seen := [2]Seen{Target: {Found: true, ETag: c.main, Size: 1, Age: time.Second}}
			if got, differ := loc.Newest(loc.Since+2*time.Second, seen); got != c.want || !differ {
				t.Errorf("newest on %s, want %s: %+v", got, c.want, loc)
			}
		})
	}
}

// A client overwrites an object on the new main right after its last write on the old one, Redis
// loses that, and the proxy that could tell of it has died. The stores' clocks can't tell the two
// apart; but what the old main took before main changed comes before what only a client can have
// put on the new one.
func TestLostWriteOnTheNewMainIsLaterThanWhatTheOldOneTookBefore(t *testing.T) {
	young := [2]time.Duration{Source: 3 * time.Second, Target: 2 * time.Second}
	for name, c := range map[string]struct {
		begin func(*fixture) // on the old main
		gone  Gone
		back  bool // the switch was turned back
		ages  [2]time.Duration
		etag  string
		want  Store
	}{
		"written":                         {nil, Gone{Proxy: true}, false, young, "t", Target},
		"by the clocks at the same time":  {nil, Gone{Proxy: true}, false, [2]time.Duration{Source: 2 * time.Second, Target: 3 * time.Second}, "t", Target},
		"clearly before":                  {nil, Gone{Proxy: true}, false, [2]time.Duration{Source: 2 * time.Second, Target: 5 * time.Second}, "t", Source},
		"before main changed":             {nil, Gone{Proxy: true}, false, [2]time.Duration{Source: 11 * time.Second, Target: 11 * time.Second}, "t", Source},
		"a copy":                          {nil, Gone{Proxy: true}, false, young, "copied", Source},
		"a worker has died too":           {nil, Gone{Proxy: true, Worker: true}, false, young, "t", Source},
		"an upload ended on the old main": {(*fixture).late, Gone{Proxy: true}, false, young, "t", Source},
		"a proxy died with one":           {(*fixture).lateByTheDead, Gone{Proxy: true}, false, young, "t", Source},
		"and a conditional one":           {(*fixture).lateIfByTheDead, Gone{Proxy: true}, false, young, "t", Source},
		"the switch has been turned back": {nil, Gone{Proxy: true}, true, young, "t", Source},
	} {
		for how, lose := range map[string]func(*fixture){
			"Redis restarted": func(f *fixture) { f.ok(f.Suspect(f.ctx)) },
			"Redis was empty": func(f *fixture) {
				f.ok(f.rdb.FlushAll(f.ctx).Err())
				f.ok(f.MarkLost(f.ctx, f.now.Add(-8*time.Second)))
			},
		} {
			if (name == "a proxy died with one" || name == "and a conditional one") && how == "Redis was empty" {
				continue // nobody knows of it
			}
			t.Run(name+", "+how, func(t *testing.T) {
				f := newFixture(t, 1)
				f.route(steady)
				f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
				f.route(switched)
				if c.begin != nil {
					c.begin(f)
				}
				f.lost(func() { f.write(f.another(), "p2") })
				f.now = f.now.Add(time.Second)
				lose(f)
				r := switched
				r.Epoch++
				if c.back {
					r.Uploads = Target
				}
				f.route(r)
				all, err := f.Losses(f.ctx)
				f.ok(err)
				f.ok(f.MoveLoss(f.ctx, all[0], Replaying, f.now.Add(-8*time.Second), Gone{}))
				_, err = f.replay(f.ctx, "p1", all, 0)
				f.ok(err)
				all[0].State = Replaying
				f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now.Add(-8*time.Second), c.gone))
				loc, err := f.Lookup(f.ctx, object)
				f.ok(err)
				loc.Copied = append(loc.Copied, "copied")
				seen := [2]Seen{Source: {Found: true, ETag: "s", Age: c.ages[Source]}, Target: {Found: true, ETag: c.etag, Age: c.ages[Target]}}
				if got, differ := loc.Newest(8*time.Second, seen); got != c.want || !differ || loc.Loss != Lost {
					t.Errorf("newest on %s, want %s: %+v", got, c.want, loc)
				}
			})
		}
	}
}

// Nor is that an upload ended on the old main forgotten because its intent was lost.
func TestUploadWhoseIntentWasLostHasEndedOnTheOldMain(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.write(f.Ledger, "p1")
	f.route(switched)
	old := Source
	in := f.begin(object, BeginOptions{Store: &old})
	f.ok(f.rdb.Del(f.ctx, f.shard(0)+"i:p1").Err())
	f.ok(f.Suspect(f.ctx))
	f.ok(f.Commit(f.ctx, in))
	f.restartedUnsure()
	if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Over || !loc.Hint || loc.Store != Source {
		t.Errorf("%+v %v", loc, err)
	}
}

// Nor because its client was answered before its commit.
func TestUploadThatIsNotCommittedIsToldOfAsOne(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.write(f.another(), "p2")
	f.route(switched)
	old := Source
	if in := f.begin(object, BeginOptions{Store: &old}); !f.MayAnswer(in) {
		t.Fatal("it must be committed first")
	}
	f.ok(f.rdb.Del(f.ctx, f.shard(0)+"i:p1").Err())
	f.ok(f.MarkLost(f.ctx, f.now))
	all, err := f.Losses(f.ctx)
	f.ok(err)
	_, err = f.replay(f.ctx, "p1", all, 0)
	f.ok(err)
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{Proxy: true}))
	if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Over || !loc.Hint || loc.Store != Source {
		t.Errorf("%+v %v", loc, err)
	}
}

// late ends an upload on the old main.
func (f *fixture) late() {
	f.t.Helper()
	old := Source
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &old})))
}

// lateByTheDead does so by a proxy that dies before its commit.
func (f *fixture) lateByTheDead() { f.dead(BeginOptions{}) }

// lateIfByTheDead does so on a condition.
func (f *fixture) lateIfByTheDead() { f.dead(BeginOptions{InSync: true}) }

func (f *fixture) dead(opt BeginOptions) {
	f.t.Helper()
	old := Source
	opt.Store = &old
	_, err := f.another().Begin(f.ctx, "p3", object, opt)
	f.ok(err)
	_, err = f.Bury(f.ctx, "p3", 0)
	f.ok(err)
}

// Where the ledger has lost only what came last, and had kept nothing of an object, both stores held
// the same until then: the one that still does is not the newest.
func TestWhatWasInSyncUntilALossIsOlderThanWhatChangedSince(t *testing.T) {
	age := func(d time.Duration, etag string) Seen { return Seen{Found: true, ETag: etag, Age: d} }
	const long, short = time.Hour, 20 * time.Second
	for name, c := range map[string]struct {
		main, old Seen
		since     time.Duration // main changed
		kept      Store
		restored  Store
	}{
		"deleted on main":                          {Seen{}, age(10*time.Minute, "a"), 3 * time.Minute, Target, Source},
		"written on main":                          {age(short, "b"), age(long, "a"), 3 * time.Minute, Target, Target},
		"written on main, as a copy had before":    {age(short, "copied"), age(long, "a"), 3 * time.Minute, Target, Source},
		"an upload ended on the old main":          {age(3*time.Minute, "b"), age(short, "a"), 4 * time.Minute, Source, Target},
		"another one, long after main was written": {age(long, "b"), age(short, "a"), 2 * time.Hour, Source, Target},
		"deleted on main, of late":                 {Seen{}, age(short, "a"), 3 * time.Minute, Source, Source},
		"both of late":                             {age(short, "b"), age(short, "a"), 3 * time.Minute, Target, Target},
		"deleted on the old main":                  {age(long, "a"), Seen{}, 2 * time.Hour, Target, Target},
	} {
		t.Run(name, func(t *testing.T) {
			for _, restored := range []bool{false, true} {
				f := newFixture(t, 1)
				f.route(switched)
				want := c.kept
				if f.restartedUnsure(); restored {
					want = c.restored
					f.declareLost(f.now)
				}
				loc, err := f.Lookup(f.ctx, object)
				f.ok(err)
				loc.Copied = append(loc.Copied, "copied")
				if got, differ := loc.Newest(c.since, [2]Seen{Source: c.old, Target: c.main}); got != want || !differ || loc.Loss != Lost {
					t.Errorf("restored %t: newest on %s, want %s: %+v", restored, got, want, loc)
				}
			}
		})
	}
}
func TestNewestBucketIsTheLedgersWordOrTheOneThatIsThere(t *testing.T) {
	main := Route{Main: Target, State: Switched}
	for name, c := range map[string]struct {
		loc     Location
		found   [2]bool
		want    Store
		differs bool
	}{
		"on both":                       {Location{Route: main}, [2]bool{true, true}, Target, false},
		"on none":                       {Location{Route: main}, [2]bool{}, Target, false},
		"on main":                       {Location{Route: main}, [2]bool{Target: true}, Target, true},
		"on the old main":               {Location{Route: main}, [2]bool{Source: true}, Source, true},
		"made again, or deleted":        {Location{Route: main, Hint: true, Store: Source}, [2]bool{Target: true}, Target, true},
		"turned back since":             {Location{Route: Route{Main: Target, State: Switched, Uploads: Target}, Hint: true, Store: Target}, [2]bool{Source: true}, Source, true},
		"deleted on main":               {Location{Route: main, Hint: true, Store: Target}, [2]bool{Source: true}, Target, true},
		"made on the old main, as told": {Location{Route: main, Hint: true, Store: Source}, [2]bool{Source: true}, Source, true},
	} {
		if got, differs := c.loc.NewestBucket(c.found); got != c.want || differs != c.differs {
			t.Errorf("%s: %v, differs %t", name, got, differs)
		}
	}
}

// What a copy has put on main was told by its worker, unless that was so long ago that it has
// forgotten: then it could not be told from a client's write, which can't have been lost either.
func TestCopyOfLongAgoIsNotTakenForAClientsWrite(t *testing.T) {
	for name, c := range map[string]struct {
		ago  time.Duration
		want Store
	}{
		"of late":  {time.Minute, Target},
		"long ago": {3 * time.Minute, Source},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			f.write(f.Ledger, "p1")
			f.ok(f.Settle(f.ctx, f.claim())[0]) // just before the switch
			f.write(f.Ledger, "p1")
			f.route(switched)
			f.now = f.now.Add(c.ago)
			f.restartedUnsure() // nothing was lost
			f.now = f.now.Add(time.Second)
			loc, err := f.Lookup(f.ctx, object)
			f.ok(err)
			seen := [2]Seen{Source: {Found: true, ETag: "s", Age: c.ago}, Target: {Found: true, ETag: "t", Age: c.ago + time.Second}}
			if got, differ := loc.Newest(c.ago, seen); got != c.want || !differ {
				t.Errorf("newest on %s, want %s: %+v", got, c.want, loc)
			}
		})
	}
}

// A copy may be on main though the ledger does not say so to its worker.
func TestCopyWhoseEndIsNotKnownIsToldOf(t *testing.T) {
	for name, end := range map[string]func(*fixture, Claim){
		"its settlement was not answered": func(f *fixture, c Claim) {
			f.ok(f.another().Settle(f.ctx, c)[0])
			if err := f.Settle(f.ctx, c)[0]; !errors.Is(err, ErrClaimLost) {
				f.t.Fatal(err)
			}
		},
		"the store has not answered": func(f *fixture, c Claim) { f.ok(f.Hold(f.ctx, c)) },
		"it was one of the first copy": func(f *fixture, c Claim) {
			f.ok(f.another().Settle(f.ctx, c)[0])
			cs, err := f.ClaimObjects(f.ctx, "w1", object.Bucket, []string{object.Key})
			f.ok(err)
			cs[0].ETag = "a"
			f.ok(f.Settle(f.ctx, cs[0])[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			f.write(f.another(), "p2")
			c := f.claim()
			c.ETag = `"a"`
			end(f, c)
			f.write(f.another(), "p2")
			f.route(switched)
			f.ok(f.MarkLost(f.ctx, f.now))
			all, err := f.Losses(f.ctx)
			f.ok(err)
			_, err = f.replay(f.ctx, "w1", all, 0)
			f.ok(err)
			loc, err := f.Lookup(f.ctx, object)
			f.ok(err)
			if got := strings.Join(loc.Copied, " "); got != "a" {
				t.Errorf("%q", got)
			}
		})
	}
}

// What a copy has put on the old main came from main, which has changed since, whoever knows of that:
// the copy makes the old main's look younger, and what clients had written there before is gone.
func TestWhatWasCopiedBackIsNotTheNewest(t *testing.T) {
	for name, c := range map[string]struct {
		main, old Seen
		want      Store
	}{
		"overwritten on main":     {Seen{Found: true, ETag: "t2", Age: 3 * time.Second}, Seen{Found: true, ETag: `"t1"`, Age: time.Second}, Target},
		"deleted on main":         {Seen{}, Seen{Found: true, ETag: `"t1"`, Age: time.Second}, Target},
		"not what the copy put":   {Seen{Found: true, ETag: "t2", Age: 5 * time.Second}, Seen{Found: true, ETag: "s2", Age: time.Second}, Source},
		"what main got by a copy": {Seen{Found: true, ETag: "s1", Age: 3 * time.Second}, Seen{Found: true, ETag: "t1", Age: time.Second}, Source},
	} {
		for how, lose := range map[string]func(*fixture){
			"Redis restarted": func(f *fixture) { f.ok(f.Suspect(f.ctx)) },
			"Redis was empty": func(f *fixture) {
				f.ok(f.rdb.FlushAll(f.ctx).Err())
				f.ok(f.MarkLost(f.ctx, f.now.Add(-30*time.Second)))
			},
		} {
			if name == "not what the copy put" && how == "Redis restarted" {
				continue // without the word of the ledger it is not known
			}
			t.Run(name+", "+how, func(t *testing.T) {
				f := newFixture(t, 1)
				f.route(steady)
				f.write(f.Ledger, "p1")
				f.route(switched)
				other := f.another() // its proxy dies
				f.write(other, "p2")
				claim := f.claim()
				claim.ETag = "t1"
				f.ok(f.Lock(f.ctx, claim, time.Minute))
				f.write(other, "p2")
				f.ok(f.Settle(f.ctx, claim)[0])
				f.now = f.now.Add(time.Second)
				lose(f)
				r := switched
				r.Epoch++
				f.route(r)
				all, err := f.Losses(f.ctx)
				f.ok(err)
				f.ok(f.MoveLoss(f.ctx, all[0], Replaying, f.now.Add(-30*time.Second), Gone{}))
				_, err = f.replay(f.ctx, "p1", all, 0)
				f.ok(err)
				all[0].State = Replaying
				f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now.Add(-30*time.Second), Gone{Proxy: true}))
				loc, err := f.Lookup(f.ctx, object)
				f.ok(err)
				if how == "Redis restarted" {
					loc.Hint = false // which would do
				}
				loc.Copied = append(loc.Copied, "s1")
				if got, differ := loc.Newest(30*time.Second, [2]Seen{Source: c.old, Target: c.main}); got != c.want || !differ || loc.Loss != Lost {
					t.Errorf("newest on %s, want %s: %+v", got, c.want, loc)
				}
			})
		}
	}
}

// Redis is restarted, and loses nothing, or less than a proxy that dies with it could tell. What others
// tell of before, on the old main, is older than what the ledger has kept of the new one.
func TestWhatTheLedgerHasKeptIsLaterThanWhatIsToldOfBefore(t *testing.T) {
	for name, lose := range map[string]func(*fixture){
		"restarted": func(f *fixture) { f.ok(f.Suspect(f.ctx)) },
		"a replica that knows our scripts": func(f *fixture) {
			f.lost(func() { f.write(f.another(), "p3") }) // of another object's
			f.ok(f.mark(f.ctx, string(Replaying), "", ""))
		},
	} {
		for what, removes := range map[string]bool{"deleted": true, "overwritten": false} {
			t.Run(what+", "+name, func(t *testing.T) {
				f := newFixture(t, 1)
				f.route(steady)
				f.write(f.Ledger, "p1")
				f.ok(f.Settle(f.ctx, f.claim())[0])
				f.route(switched)
				other := f.another() // its proxy dies
				in, err := other.Begin(f.ctx, "p2", object, BeginOptions{Removes: removes})
				f.ok(err)
				f.ok(other.Commit(f.ctx, in))
				f.now = f.now.Add(time.Second)
				lose(f)
				all, err := f.Losses(f.ctx)
				f.ok(err)
				f.ok(f.MoveLoss(f.ctx, all[0], Replaying, f.now.Add(-8*time.Second), Gone{}))
				_, err = f.replay(f.ctx, "p1", all, 0)
				f.ok(err)
				all[0].State = Replaying
				f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now.Add(-8*time.Second), Gone{Proxy: true, Worker: true}))
				loc, err := f.Lookup(f.ctx, object)
				f.ok(err)
				seen := [2]Seen{Source: {Found: true, ETag: "s", Age: 9 * time.Second}, Target: {Found: !removes, ETag: "t", Age: 8 * time.Second}}
				if got, differ := loc.Newest(8*time.Second, seen); got != Target || !differ || loc.Loss != Lost {
					t.Errorf("newest on %s: %+v", got, loc)
				}
			})
		}
	}
}

// Tags, and metadata, may have been changed on the old main just before the switch, of the same content.
func TestLedgersWordCountsWhereContentsAreTheSame(t *testing.T) {
	same := Seen{Found: true, ETag: "a", Age: time.Minute}
	r := Route{Main: Target, State: Switched, Uploads: Source}
	for name, c := range map[string]struct {
		loc    Location
		seen   Seen
		want   Store
		differ bool
	}{
		"it says the old main": {Location{Route: r, Hint: true, Store: Source}, same, Source, true},
		"it says main":         {Location{Route: r, Hint: true, Store: Target}, same, Target, false},
		"it does not know":     {Location{Route: r, Store: Target}, same, Target, false},
		"there is none":        {Location{Route: r, Hint: true, Store: Source}, Seen{}, Target, false},
	} {
		if got, differ := c.loc.Newest(time.Second, [2]Seen{c.seen, c.seen}); got != c.want || differ != c.differ {
			t.Errorf("%s: newest on %s, differ %t", name, got, differ)
		}
	}
}

// What the ledger has kept of an object is told again, and nothing later: while everybody lives who could
// tell, that is how it is, and nobody has to ask the stores. Where a bucket is missing on one only, they do
// not say whether it was deleted.
func TestWhatTheLedgerHasKeptCountsOnceItIsToldAgain(t *testing.T) {
	for name, c := range map[string]struct {
		untold, synced bool
		gone           Gone
		want           LossState
	}{
		"everybody lives":     {want: Healthy},
		"a worker died":       {gone: Gone{Worker: true}, want: Healthy},
		"a proxy died":        {gone: Gone{Proxy: true}, want: Lost},
		"nobody tells of it":  {untold: true, want: Lost},
		"it was in sync then": {synced: true, want: Lost},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(steady)
			writer := f.Ledger
			if c.untold {
				writer = f.another()
			}
			f.write(writer, "p1")
			if c.synced {
				f.ok(f.Settle(f.ctx, f.claim())[0])
			}
			f.route(switched)
			f.ok(f.Suspect(f.ctx)) // nothing was lost
			all, err := f.Losses(f.ctx)
			f.ok(err)
			f.ok(f.MoveLoss(f.ctx, all[0], Replaying, f.now, Gone{}))
			_, err = f.replay(f.ctx, "p1", all, 0)
			f.ok(err)
			all[0].State = Replaying
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, c.gone))
			loc, err := f.Lookup(f.ctx, object)
			f.ok(err)
			if loc.Loss != c.want || loc.Known == c.synced || loc.Known && loc.Store != Source {
				t.Errorf("%+v", loc)
			}
		})
	}
}

// A store tells the age by its own clock, of some moment while it was asked. What it takes to answer must not
// make its object look older than the other store's.
func TestAgeIsOfOneMoment(t *testing.T) {
	for name, takes := range map[string][]time.Duration{
		"at once":         {100 * time.Millisecond},
		"took its time":   {4 * time.Second, 100 * time.Millisecond},
		"never soon":      {4 * time.Second, 2 * time.Second, 3 * time.Second},
		"then not at all": {4 * time.Second, -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				asked := 0
				seen, err := Look(began, func() (Seen, error) {
					took := takes[asked]
					asked++
					if took < 0 {
						return Seen{}, ErrUnavailable
					}
					time.Sleep(took)
					return Seen{Found: true, Age: (10*time.Second + time.Since(began)).Truncate(time.Second)}, nil
				})
				if err != nil || asked != len(takes) || seen.Age != 10*time.Second {
					t.Errorf("%+v %v, asked %d times", seen, err, asked)
				}
			})
		})
	}
	if seen, err := Look(time.Now(), func() (Seen, error) { return Seen{}, ErrUnavailable }); err == nil {
		t.Errorf("%+v of a store that can't be asked", seen)
	}
}

// What main lacks was deleted there, as it is too old not to have been copied: but where main was
// behind when it changed, it may never have been there.
func TestWhatMainMayNeverHaveHadIsNotTakenForDeleted(t *testing.T) {
	for _, synced := range []time.Duration{0, 3 * time.Minute} {
		for behind, want := range map[bool]Store{false: Target, true: Source} {
			l := Location{Route: Route{Main: Target, State: Switched, Uploads: Source}, Synced: synced, Behind: behind}
			got, differ := l.Newest(time.Minute, [2]Seen{Source: {Found: true, Size: 1, Age: time.Hour}})
			if got != want || !differ {
				t.Errorf("%s, behind %v, synced %s", got, behind, synced)
			}
		}
	}
}
