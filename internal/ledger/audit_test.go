package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newAuditFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, 1)
	f.route(steady)
	return f
}

func (f *fixture) audit() Audit {
	f.t.Helper()
	a, ok, err := f.Audit(f.ctx)
	f.ok(err)
	if !ok {
		f.t.Fatal("there is no audit")
	}
	return a
}

func (f *fixture) startAudit(id string, buckets ...string) {
	f.t.Helper()
	f.ok(f.StartAudit(f.ctx, AuditSpec{ID: id, Mode: "ETag", Repair: true, Trigger: "now", Since: "x",
		Explained: f.now.Add(-time.Minute), Foreign: f.now.Add(-time.Hour), Buckets: buckets}))
}

// noTasks asserts that nothing of an audit's work is left.
func (f *fixture) noTasks() {
	f.t.Helper()
	for _, pattern := range []string{"a:*", "z:*", "aq", "zq", "atasks"} {
		keys, err := f.rdb.Keys(f.ctx, "cf:{test}:"+pattern).Result()
		f.ok(err)
		if len(keys) > 0 {
			f.t.Errorf("left behind: %v", keys)
		}
	}
}

func TestAuditLife(t *testing.T) {
	f := newAuditFixture(t)
	f.startAudit("one", "b")
	f.startAudit("one", "b", "c") // known already
	r, err := f.ClaimAuditRange(f.ctx, "w1")
	f.ok(err)
	if _, err := f.ClaimAuditRange(f.ctx, "w2"); !errors.Is(err, ErrNoWork) {
		t.Fatalf("one range was handed out twice: %v", err)
	}
	want := AuditTask{Audit: "one", Mode: "ETag", Repair: true, Began: f.now, Explained: f.now.Add(-time.Minute), Foreign: f.now.Add(-time.Hour)}
	if diff := cmp.Diff(want, r.AuditTask); diff != "" {
		t.Error(diff)
	}
	if split, _ := f.WantAuditSplit(f.ctx); !split {
		t.Error("nobody knows that a worker has no range")
	}
	f.ok(f.SplitAudit(f.ctx, "w1", &r, "m"))
	aside := []Suspect{{Key: "a\xff", Since: f.now}, {Key: "b", Since: f.now}}
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "b", 7, aside, false))
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "b", 0, nil, true))
	s, err := f.ClaimSuspects(f.ctx, "w2")
	f.ok(err)
	if diff := cmp.Diff(aside, s.Items); diff != "" {
		t.Error(diff)
	}
	left := []Suspect{{Key: "b", Since: f.now, Note: "Missing"}}
	d := Difference{Bucket: "b", Key: "b", Kind: "Missing", Bypassed: true}
	f.ok(f.FinishSuspects(f.ctx, "w2", s, left, time.Second, AuditCounts{Missing: 1, Bypassed: 1}, []Difference{d}, ""))
	if _, err := f.ClaimSuspects(f.ctx, "w2"); !errors.Is(err, ErrNoWork) {
		t.Fatalf("handed out before its time: %v", err)
	}
	f.now = f.now.Add(time.Second)
	s, err = f.ClaimSuspects(f.ctx, "w2")
	f.ok(err)
	f.ok(f.FinishSuspects(f.ctx, "w2", s, nil, 0, AuditCounts{Repaired: 1}, nil, ""))
	if got := f.audit(); got.Result != AuditRunning {
		t.Fatalf("complete with a range left: %+v", got)
	}
	r, err = f.ClaimAuditRange(f.ctx, "w2")
	f.ok(err)
	if r.After != "m" {
		t.Errorf("the other half is %+v", r)
	}
	f.ok(f.AdvanceAudit(f.ctx, "w2", &r, "z", 3, nil, true))
	got := f.audit()
	wantAudit := Audit{AuditSpec: got.AuditSpec, AuditCounts: AuditCounts{Compared: 10, Missing: 1, Repaired: 1, Bypassed: 1},
		Began: f.now.Add(-time.Second), Finished: f.now, Result: AuditComplete, Differences: []Difference{d}}
	if diff := cmp.Diff(wantAudit, got); diff != "" {
		t.Error(diff)
	}
	f.noTasks()
	f.ok(f.EndAudit(f.ctx, "other", ""))
	f.audit()
	f.ok(f.EndAudit(f.ctx, "one", ""))
	if _, ok, _ := f.Audit(f.ctx); ok {
		t.Error("still there")
	}
}

func TestReportOnABatchCountsOnce(t *testing.T) {
	f := newAuditFixture(t)
	f.startAudit("one", "b")
	r, err := f.ClaimAuditRange(f.ctx, "w1")
	f.ok(err)
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "k", 1, []Suspect{{Key: "k"}}, true))
	first, err := f.ClaimSuspects(f.ctx, "w1")
	f.ok(err)
	report := func(s Suspects) error {
		return f.FinishSuspects(f.ctx, "w1", s, s.Items, 0, AuditCounts{Missing: 1}, nil, "")
	}
	f.ok(report(first))
	if err := report(first); !errors.Is(err, ErrTaskLost) {
		t.Errorf("repeated: %v", err)
	}
	second, err := f.ClaimSuspects(f.ctx, "w1")
	f.ok(err)
	if err := report(first); !errors.Is(err, ErrTaskLost) {
		t.Errorf("late: %v", err)
	}
	f.ok(report(second))
	if n := f.audit().Missing; n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}

func TestNamesOfDifferencesAreBounded(t *testing.T) {
	f := newAuditFixture(t)
	f.startAudit("one", "b")
	r, err := f.ClaimAuditRange(f.ctx, "w1")
	f.ok(err)
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "k", 1, []Suspect{{Key: "k"}}, true))
	s, err := f.ClaimSuspects(f.ctx, "w1")
	f.ok(err)
	var named []Difference
	for i := range 3 * maxDifferences {
		named = append(named, Difference{Bucket: "b", Key: fmt.Sprintf("%03d", i), Kind: "Missing"})
	}
	f.ok(f.FinishSuspects(f.ctx, "w1", s, nil, 0, AuditCounts{Missing: int64(len(named))}, named, ""))
	if a := f.audit(); a.Missing != int64(len(named)) || len(a.Differences) != maxDifferences || a.Differences[0].Key != "000" {
		t.Errorf("%d names of %d, first %+v", len(a.Differences), a.Missing, a.Differences[0])
	}
}

func TestAuditsOfTwoMigrationsDoNotMeet(t *testing.T) {
	f := newAuditFixture(t)
	other := New(Options{Redis: f.rdb, Migration: "test2", Shards: 1, Now: func() time.Time { return f.now }})
	f.ok(other.SetRoute(f.ctx, steady))
	f.startAudit("one", "b")
	if _, ok, err := other.Audit(f.ctx); ok || err != nil {
		t.Error(ok, err)
	}
	if _, err := other.ClaimAuditRange(f.ctx, "w1"); !errors.Is(err, ErrNoWork) {
		t.Errorf("took the other's range: %v", err)
	}
	f.ok(other.StartAudit(f.ctx, AuditSpec{ID: "two", Mode: "ETag", Buckets: []string{"b"}}))
	f.ok(other.MarkUnclean(f.ctx, "x"))
	if us, err := f.Unclean(f.ctx); len(us) > 0 || err != nil {
		t.Error(us, err)
	}
	r, err := f.ClaimAuditRange(f.ctx, "w1")
	f.ok(err)
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "z", 3, nil, true))
	if a, _, _ := other.Audit(f.ctx); a.Result != AuditRunning || a.Compared != 0 {
		t.Errorf("%+v", a)
	}
}

func TestAuditOfNothingIsComplete(t *testing.T) {
	f := newAuditFixture(t)
	f.startAudit("one")
	if a := f.audit(); a.Result != AuditComplete || a.Finished.IsZero() {
		t.Errorf("%+v", a)
	}
}

func TestAuditIsTakenOverFromTheDead(t *testing.T) {
	f := newAuditFixture(t)
	f.startAudit("one", "b")
	r, err := f.ClaimAuditRange(f.ctx, "w1")
	f.ok(err)
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "k", 5, []Suspect{{Key: "k"}}, false))
	_, err = f.ClaimSuspects(f.ctx, "w1")
	f.ok(err)
	done, err := f.Bury(f.ctx, "w1", 0)
	if err != nil || !done {
		t.Fatal(done, err)
	}
	if err := f.AdvanceAudit(f.ctx, "w1", &r, "z", 5, nil, true); !errors.Is(err, ErrTaskLost) {
		t.Errorf("the dead one got on: %v", err)
	}
	again, err := f.ClaimAuditRange(f.ctx, "w2")
	f.ok(err)
	if again.Cursor != "k" {
		t.Errorf("it begins after %q, not where it was", again.Cursor)
	}
	if _, err := f.ClaimSuspects(f.ctx, "w2"); err != nil {
		t.Errorf("the keys set aside are lost: %v", err)
	}
}

func TestReplacedAuditLeavesNoWorkBehind(t *testing.T) {
	f := newAuditFixture(t)
	f.startAudit("one", "b", "c")
	r, err := f.ClaimAuditRange(f.ctx, "w1")
	f.ok(err)
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "k", 5, []Suspect{{Key: "k"}}, false))
	f.startAudit("two", "d")
	if err := f.AdvanceAudit(f.ctx, "w1", &r, "l", 9, nil, false); !errors.Is(err, ErrTaskLost) {
		t.Errorf("a range of the old audit got on: %v", err)
	}
	_, err = f.Bury(f.ctx, "w1", 0)
	f.ok(err)
	got, err := f.ClaimAuditRange(f.ctx, "w2")
	f.ok(err)
	if got.Bucket != "d" || got.Audit != "two" {
		t.Errorf("%+v", got)
	}
	if a := f.audit(); a.Compared != 0 {
		t.Errorf("counts of the old audit: %+v", a)
	}
	f.ok(f.EndAudit(f.ctx, "two", "because"))
	if a := f.audit(); a.Result != AuditFailed || a.Problem != "because" {
		t.Errorf("%+v", a)
	}
	f.noTasks()
}

func TestAuditPausesDuringASwitch(t *testing.T) {
	for name, r := range map[string]Route{
		"preparing":      {Epoch: 2, Main: Source, State: Preparing, Sync: true, Run: true},
		"switched":       {Epoch: 2, Main: Target, State: Switched, Sync: true, Run: true},
		"paused":         {Epoch: 2, Main: Source, State: Steady, Sync: true},
		"no way back":    {Epoch: 2, Main: Target, State: Steady, Run: true},
		"steady (works)": {Epoch: 2, Main: Target, State: Steady, Sync: true, Run: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAuditFixture(t)
			f.startAudit("one", "b")
			f.route(r)
			_, err := f.ClaimAuditRange(f.ctx, "w1")
			if works := name == "steady (works)"; works != (err == nil) || !works && !errors.Is(err, ErrNoWork) {
				t.Error(err)
			}
		})
	}
}

func TestAuditSetsAsideNoMoreThanTheLedgerHolds(t *testing.T) {
	f := newAuditFixture(t)
	f.startAudit("one", "b")
	r, err := f.ClaimAuditRange(f.ctx, "w1")
	f.ok(err)
	for i := range maxSuspects {
		f.ok(f.AdvanceAudit(f.ctx, "w1", &r, fmt.Sprint(i), 1, []Suspect{{Key: fmt.Sprint(i)}}, false))
	}
	if err := f.AdvanceAudit(f.ctx, "w1", &r, "x", 1, []Suspect{{Key: "x"}}, true); !errors.Is(err, ErrQueueFull) {
		t.Fatal(err)
	}
	f.ok(f.AdvanceAudit(f.ctx, "w1", &r, "x", 1, nil, false)) // nothing to set aside
	if a := f.audit(); a.Compared != maxSuspects+1 {
		t.Errorf("%+v", a)
	}
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(f *fixture)
		repair    bool
		wantQuiet bool
		wantDirty int64
		wantErr   error
	}{
		"equal":         {nil, false, true, 0, nil},
		"repaired":      {nil, true, true, 1, nil},
		"client began":  {func(f *fixture) { f.begin(object, BeginOptions{}) }, true, false, 0, nil},
		"client wrote":  {func(f *fixture) { f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{}))) }, false, false, 1, nil},
		"client failed": {func(f *fixture) { f.ok(f.Abort(f.ctx, f.begin(object, BeginOptions{}))) }, false, true, 0, nil},
		"claim lost": {func(f *fixture) {
			_, err := f.Bury(f.ctx, "w1", 0)
			f.ok(err)
		}, true, false, 1, ErrClaimLost},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAuditFixture(t)
			cs, err := f.ClaimObjects(f.ctx, "w1", object.Bucket, []string{object.Key})
			f.ok(err)
			if tc.meanwhile != nil {
				tc.meanwhile(f)
			}
			quiet, err := f.Judge(f.ctx, cs[0], tc.repair)
			if !errors.Is(err, tc.wantErr) || quiet != tc.wantQuiet {
				t.Errorf("got %v, %v", quiet, err)
			}
			if s := f.stats(); s.Dirty != tc.wantDirty || s.Queued != tc.wantDirty {
				t.Errorf("dirty %d, queued %d, want %d", s.Dirty, s.Queued, tc.wantDirty)
			}
		})
	}
}

func TestJudgeOfEqualObjectsLeavesNoRecord(t *testing.T) {
	f := newAuditFixture(t)
	cs, err := f.ClaimObjects(f.ctx, "w1", "b", []string{"k", "l"})
	f.ok(err)
	for _, c := range cs {
		if quiet, err := f.Judge(f.ctx, c, false); err != nil || !quiet {
			t.Fatal(quiet, err)
		}
	}
	f.empty()
}

func TestUncleanEventIsClearedOnlyByWhatBeganLater(t *testing.T) {
	f := newAuditFixture(t)
	f.ok(f.MarkUnclean(f.ctx, "first"))
	f.ok(f.MarkUnclean(f.ctx, "again and again"))
	f.now = f.now.Add(time.Minute)
	began := f.now
	f.ok(f.MarkUnclean(f.ctx, "at the same instant"))
	f.ok(f.MarkUnclean(f.ctx, "again and again"))
	f.ok(f.ClearUnclean(f.ctx, began))
	us, err := f.Unclean(f.ctx)
	f.ok(err)
	var got []string
	for _, u := range us {
		got = append(got, u.Reason)
	}
	if diff := cmp.Diff([]string{"again and again", "at the same instant"}, got); diff != "" {
		t.Error(diff)
	}
}
