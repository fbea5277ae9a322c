package ledger

import (
	"errors"
	"testing"
	"time"
)

// declareLost says that this ledger lost all but what it still holds, and that every
// session has told what it knew.
func (f *fixture) declareLost(flip time.Time) {
	f.t.Helper()
	f.ok(f.MarkLost(f.ctx, flip))
	all, err := f.Losses(f.ctx)
	f.ok(err)
	for _, x := range all {
		f.ok(f.MoveLoss(f.ctx, x, Lost, flip, Gone{Proxy: true}))
	}
}

// restartedUnsure says that Redis was restarted, and lost at most what came last, which
// somebody knew who has died.
func (f *fixture) restartedUnsure() {
	f.t.Helper()
	f.ok(f.Suspect(f.ctx))
	all, err := f.Losses(f.ctx)
	f.ok(err)
	f.ok(f.MoveLoss(f.ctx, all[0], Replaying, f.now, Gone{}))
	all[0].State = Replaying
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{Proxy: true}))
}

// After a loss during a switch, a record from before it, or one that only says
// that something is under way, must not come to count because a request or a
// copy ends whose outcome nobody knows: the stores tell which one is newest.
func TestWhatEndsWithoutAnOutcomeAfterALossLeavesItToTheStores(t *testing.T) {
	for name, end := range map[string]func(*fixture){
		"a request in doubt": func(f *fixture) {
			in := f.begin(object, BeginOptions{})
			f.declareLost(f.now)
			f.ok(f.Doubt(f.ctx, time.Minute, in))
			f.now = f.now.Add(time.Minute)
			if n, err := f.SettleDoubts(f.ctx, 10); n != 1 || err != nil {
				f.t.Fatal(n, err)
			}
		},
		"a request begun since, in doubt": func(f *fixture) {
			f.declareLost(f.now)
			f.ok(f.Doubt(f.ctx, 0, f.begin(object, BeginOptions{})))
			if n, err := f.SettleDoubts(f.ctx, 10); n != 1 || err != nil {
				f.t.Fatal(n, err)
			}
		},
		"a request that was forgotten, in doubt": func(f *fixture) {
			in := f.begin(object, BeginOptions{})
			f.ok(f.rdb.Del(f.ctx, "cf:{test/0}:i:p1").Err())
			f.declareLost(f.now)
			f.ok(f.Doubt(f.ctx, 0, in))
		},
		"a proxy that died": func(f *fixture) {
			f.begin(object, BeginOptions{})
			f.declareLost(f.now)
			if done, err := f.Bury(f.ctx, "p1", 0); !done || err != nil {
				f.t.Fatal(done, err)
			}
		},
		"a worker that died": func(f *fixture) {
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			f.claim()
			f.declareLost(f.now)
			if done, err := f.Bury(f.ctx, "w1", 0); !done || err != nil {
				f.t.Fatal(done, err)
			}
		},
		"a copy that failed": func(f *fixture) {
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
			c := f.claim()
			f.declareLost(f.now)
			f.ok(f.Fail(f.ctx, c, "x", 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(switched)
			end(f)
			loc, err := f.Lookup(f.ctx, object)
			f.ok(err)
			if loc.Loss != Lost {
				t.Errorf("the ledger claims to know that the newest is on the %s: %+v", loc.Store, loc)
			}
		})
	}
}

// A write that was answered counts, whoever forgot that it was under way.
func TestCommitAfterALossCounts(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	in := f.begin(object, BeginOptions{})
	f.declareLost(f.now)
	f.ok(f.Commit(f.ctx, in))
	loc, err := f.Lookup(f.ctx, object)
	f.ok(err)
	if loc.Loss != Healthy || loc.Store != Target {
		t.Errorf("%+v", loc)
	}
}

// An upload that ended on the old main while it was still being found out what was
// lost counts, though somebody died who could have told more: it is later than
// whatever they did, and the stores alone can't tell.
func TestUploadThatEndedSinceALossCounts(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	f.ok(f.MarkLost(f.ctx, f.now))
	old := Source
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Store: &old})))
	all, err := f.Losses(f.ctx)
	f.ok(err)
	f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{Proxy: true}))
	loc, err := f.Lookup(f.ctx, object)
	f.ok(err)
	if loc.Loss != Healthy || loc.Store != Source {
		t.Errorf("%+v", loc)
	}
}

// The stores are compared by what main has taken since it became main: not by when the
// switch began that was turned back since.
func TestMainIsAsOldAsTheLastChange(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	f.declareLost(f.now)
	f.now = f.now.Add(time.Hour)
	f.route(Route{Epoch: switched.Epoch + 1, Main: Source, State: Switched, Sync: true, Uploads: Source, Run: true})
	loc, err := f.Lookup(f.ctx, object)
	f.ok(err)
	if loc.Loss != Lost || loc.Since > time.Minute {
		t.Errorf("%+v", loc)
	}
}

// A record from before the loss is not copied by anybody: who waited for that
// would wait for ever.
func TestConditionalWriteDoesNotWaitForARecordFromBeforeALoss(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{}))) // on the source, and not copied
	f.route(switched)
	f.declareLost(f.now)
	if _, err := f.Begin(f.ctx, "p1", object, BeginOptions{InSync: true}); !errors.Is(err, ErrUnknown) {
		t.Fatalf("not asked for a look at the stores: %v", err)
	}
	in, err := f.Begin(f.ctx, "p1", object, BeginOptions{InSync: true, Compared: true})
	f.ok(err)
	f.ok(f.Commit(f.ctx, in))
	if got := f.newest(object); got != Target {
		t.Errorf("newest on %s", got)
	}
}

// What is left of the ledger tells a delete on main from an object that was never
// copied there.
func TestDeleteThatTheLedgerStillKnowsOfIsNotUndoneByALoss(t *testing.T) {
	old := [2]Seen{Source: {Found: true, ETag: "x", Age: time.Minute}}
	for name, c := range map[string]struct {
		lose func(*fixture)
		want Store
	}{
		"what came last is lost": {func(f *fixture) {
			f.restartedUnsure()
		}, Target},
		"it came back from before": {func(f *fixture) { f.declareLost(f.now) }, Source},
		"and it was told again": {func(f *fixture) {
			f.ok(f.MarkLost(f.ctx, f.now))
			all, err := f.Losses(f.ctx)
			f.ok(err)
			if n, err := f.replay(f.ctx, "p1", all, 0); n == 0 || err != nil {
				f.t.Fatal(n, err)
			}
			f.ok(f.MoveLoss(f.ctx, all[0], Lost, f.now, Gone{Proxy: true}))
		}, Target},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.route(switched)
			f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{Removes: true})))
			c.lose(f)
			loc, err := f.Lookup(f.ctx, object)
			f.ok(err)
			if loc.Loss != Lost {
				t.Fatalf("%+v", loc)
			}
			if got, differ := loc.Newest(loc.Since, old); got != c.want || !differ {
				t.Errorf("newest on %s, want %s", got, c.want)
			}
		})
	}
}

// A delete is answered before its commit where main had the newest version. If its
// proxy dies then, and Redis is restarted, nothing was lost: the delete is not either.
func TestDeleteWhoseCommitNeverCameIsNotUndoneByALoss(t *testing.T) {
	for _, buried := range []bool{false, true} {
		f := newFixture(t, 1)
		f.route(switched)
		if in := f.begin(object, BeginOptions{Removes: true}); !in.Newest {
			t.Fatal("its client would not have been answered")
		}
		f.restartedUnsure()
		if buried {
			if done, err := f.Bury(f.ctx, "p1", 0); !done || err != nil {
				t.Fatal(done, err)
			}
		}
		loc, err := f.Lookup(f.ctx, object)
		f.ok(err)
		old := [2]Seen{Source: {Found: true, ETag: "x", Age: time.Minute}}
		if got, _ := loc.Newest(loc.Since, old); got != Target || loc.Loss != Lost {
			t.Errorf("buried: %v: newest on %s: %+v", buried, got, loc)
		}
	}
}

func TestWhereUploadsLiveIsNotKnownAfterAHealedLossUntilTheSwitchEnds(t *testing.T) {
	f := newFixture(t, 1)
	f.route(switched)
	f.ok(f.PutUpload(f.ctx, object, "remembered", Target))
	sure := func(id string, store Store, want bool) {
		t.Helper()
		at, err := f.Upload(f.ctx, object, id)
		f.ok(err)
		if at.Store != store || at.Sure != want {
			t.Errorf("%s: %+v", id, at)
		}
	}
	sure("other", Source, true)
	f.declareLost(f.now)
	sure("other", Source, false)
	all, err := f.Losses(f.ctx)
	f.ok(err)
	f.ok(f.MoveLoss(f.ctx, all[0], Healthy, f.now, Gone{}))
	sure("other", Source, false)
	sure("remembered", Target, true)
	f.route(Route{Epoch: 4, Main: Target, State: Steady, Uploads: Target, Run: true})
	sure("other", Target, true)
	f.route(Route{Epoch: 5, Main: Source, State: Switched, Uploads: Target, Run: true})
	sure("other", Target, true)
}

// Nobody waits for a process that is silent for long. What it comes to tell in the end may
// be what the ledger knew all along, when the stores were compared.
func TestWhatIsToldLateDoesNotUndoWhatTheStoresSaid(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	f.route(switched)
	dead := New(Options{Redis: f.rdb, Migration: "test", Shards: 1, Now: func() time.Time { return f.now }})
	_, err := dead.Begin(f.ctx, "p2", object, BeginOptions{}) // it lands, and its commit never comes
	f.ok(err)
	f.restartedUnsure()
	if got, err := f.Adopt(f.ctx, object, Target); got != Target || err != nil {
		t.Fatal(got, err)
	}
	all, err := f.Losses(f.ctx)
	f.ok(err)
	if n, err := f.replay(f.ctx, "p1", all, 0); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if loc, err := f.Lookup(f.ctx, object); err != nil || loc.Store != Target || loc.Loss != Healthy {
		t.Errorf("%+v %v", loc, err)
	}
}
