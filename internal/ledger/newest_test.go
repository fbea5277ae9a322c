package ledger

import (
	"testing"
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
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now.Add(-10*time.Second), true))
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
