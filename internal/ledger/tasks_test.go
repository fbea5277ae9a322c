package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (f *fixture) bucket(want string) BucketState {
	f.t.Helper()
	bs, err := f.Buckets(f.ctx)
	f.ok(err)
	if len(bs) != 1 || bs[0].State != want {
		f.t.Fatalf("buckets %+v, want one in state %s", bs, want)
	}
	return bs[0]
}

func (f *fixture) startBucket() Range {
	f.t.Helper()
	f.ok(f.AddBuckets(f.ctx, "b"))
	b, err := f.ClaimBucket(f.ctx, "w1")
	f.ok(err)
	f.ok(f.FinishBucket(f.ctx, "w1", b, []string{"cors: no"}, []Range{{}}))
	r, err := f.ClaimRange(f.ctx, "w1")
	f.ok(err)
	return r
}

func TestBucketLife(t *testing.T) {
	f := newFixture(t, 1)
	f.ok(f.AddBuckets(f.ctx, "b"))
	f.bucket(BucketPending)
	r := f.startBucket()
	if _, err := f.ClaimBucket(f.ctx, "w1"); !errors.Is(err, ErrNoWork) {
		t.Fatalf("added twice: %v", err)
	}
	f.bucket(BucketListing)
	items := []BatchItem{{Key: "a", Size: 3}, {Key: "b\x00\xff", Size: 4, ETag: "e"}}
	f.ok(f.Advance(f.ctx, "w1", &r, "b", items, Progress{1, 10}, false))
	f.ok(f.Advance(f.ctx, "w1", &r, "c", nil, Progress{}, true))
	f.bucket(BucketListing)
	b, err := f.ClaimBatch(f.ctx, "w1")
	f.ok(err)
	if diff := cmp.Diff(items, b.Items); diff != "" {
		t.Fatal(diff)
	}
	f.ok(f.FinishBatch(f.ctx, "w1", b, Progress{2, 7}, Progress{}))
	want := BucketState{Name: "b", State: BucketCopied, Unsupported: []string{"cors: no"},
		Listed: Progress{3, 17}, Copied: Progress{2, 7}, Skipped: Progress{1, 10}}
	if diff := cmp.Diff(want, f.bucket(BucketCopied)); diff != "" {
		t.Fatal(diff)
	}
}

func TestWhatABucketLacksMayChange(t *testing.T) {
	f := newFixture(t, 1)
	f.ok(f.ReportBucket(f.ctx, "b", []string{"acl: no"}))
	if bs, err := f.Buckets(f.ctx); err != nil || len(bs) != 0 {
		t.Fatalf("a report made a bucket: %+v, %v", bs, err)
	}
	r := f.startBucket()
	f.ok(f.ReportBucket(f.ctx, "b", nil))
	if got := f.bucket(BucketListing).Unsupported; len(got) != 0 {
		t.Fatalf("still reported: %v", got)
	}
	f.ok(f.ReportBucket(f.ctx, "b", []string{"acl: no"}))
	f.ok(f.Advance(f.ctx, "w1", &r, "", nil, Progress{}, true))
	if diff := cmp.Diff([]string{"acl: no"}, f.bucket(BucketCopied).Unsupported); diff != "" {
		t.Fatal(diff)
	}
}

func TestEmptyBucketIsCopied(t *testing.T) {
	f := newFixture(t, 1)
	r := f.startBucket()
	f.ok(f.Advance(f.ctx, "w1", &r, "", nil, Progress{}, true))
	f.bucket(BucketCopied)
}

func TestListerWaitsWhenCopiersAreBehind(t *testing.T) {
	f := newFixture(t, 1)
	r := f.startBucket()
	for i := range MaxBatches {
		f.ok(f.Advance(f.ctx, "w1", &r, fmt.Sprintf("%04d", i), []BatchItem{{Key: fmt.Sprint(i)}}, Progress{}, false))
	}
	err := f.Advance(f.ctx, "w1", &r, "x", []BatchItem{{Key: "x"}}, Progress{}, false)
	if !errors.Is(err, ErrQueueFull) {
		t.Fatal(err)
	}
	if r.Cursor != fmt.Sprintf("%04d", MaxBatches-1) {
		t.Fatalf("cursor moved to %q past a full queue", r.Cursor)
	}
}

func TestDeadWorkersTasksGoOnWhereTheyWere(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	r := f.startBucket()
	f.ok(f.Advance(f.ctx, "w1", &r, "m", []BatchItem{{Key: "m"}}, Progress{}, false))
	if _, err := f.ClaimBatch(f.ctx, "w1"); err != nil {
		t.Fatal(err)
	}
	if done, err := f.Bury(f.ctx, "w1", 0); !done || err != nil {
		t.Fatal(done, err)
	}
	if err := f.Advance(f.ctx, "w1", &r, "z", nil, Progress{}, true); !errors.Is(err, ErrTaskLost) {
		t.Fatalf("the dead one went on: %v", err)
	}
	got, err := f.ClaimRange(f.ctx, "w2")
	f.ok(err)
	if got.Start() != "m" {
		t.Fatalf("starts after %q", got.Start())
	}
	b, err := f.ClaimBatch(f.ctx, "w2")
	f.ok(err)
	if len(b.Items) != 1 || b.Items[0].Key != "m" {
		t.Fatalf("%+v", b)
	}
}

func TestSplitCoversTheWholeRange(t *testing.T) {
	f := newFixture(t, 1)
	r := f.startBucket()
	f.ok(f.Advance(f.ctx, "w1", &r, "c", []BatchItem{{Key: "c"}}, Progress{}, false))
	if _, err := f.ClaimRange(f.ctx, "w2"); !errors.Is(err, ErrNoWork) {
		t.Fatal(err)
	}
	if want, err := f.WantSplit(f.ctx); !want || err != nil {
		t.Fatal(want, err)
	}
	if err := f.Split(f.ctx, "w1", &r, "b"); err == nil {
		t.Fatal("split behind the cursor")
	}
	f.ok(f.Split(f.ctx, "w1", &r, "m"))
	s, err := f.ClaimRange(f.ctx, "w2")
	f.ok(err)
	if r.End != "m" || s.After != "m" || s.End != "" {
		t.Fatalf("%+v and %+v", r, s)
	}
	f.ok(f.Advance(f.ctx, "w1", &r, "m", nil, Progress{}, true))
	f.bucket(BucketListing)
	f.ok(f.Advance(f.ctx, "w2", &s, "z", nil, Progress{}, true))
	f.bucket(BucketListing)
	b, err := f.ClaimBatch(f.ctx, "w1")
	f.ok(err)
	f.ok(f.FinishBatch(f.ctx, "w1", b, Progress{1, 0}, Progress{}))
	f.bucket(BucketCopied)
}

func TestElectedOneAtATime(t *testing.T) {
	f := newFixture(t, 1)
	for i, tc := range []struct {
		session string
		want    bool
	}{{"a", true}, {"b", false}, {"a", true}} {
		if got, err := f.Elect(f.ctx, tc.session, "sweep", time.Minute); got != tc.want || err != nil {
			t.Errorf("%d: %v, %v", i, got, err)
		}
	}
}

func TestMemberConfirmsARouteOnlyWhenObeyed(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	unrecorded := int64(1)
	m := f.Join(MemberOptions{Role: RoleProxy, Instance: "pod", Unrecorded: func() int64 { return unrecorded }})
	epoch := func() int64 {
		for range 3 {
			if _, err := m.Beat(f.ctx); err != nil {
				t.Fatal(err)
			}
		}
		ss, err := f.Sessions(f.ctx)
		f.ok(err)
		return ss[0].Epoch
	}
	if epoch() != 0 {
		t.Error("confirmed with unrecorded writes")
	}
	if r, ok := m.Route(); !ok || r != steady {
		t.Errorf("route %+v", r)
	}
	unrecorded = 0
	if epoch() != 1 {
		t.Error("not confirmed")
	}
	old := m.ID()
	if _, err := f.Bury(f.ctx, old, time.Hour); err != nil {
		t.Fatal(err)
	}
	epoch()
	if m.ID() == old {
		t.Error("a fenced session must register anew")
	}
	epoch()
	f.ok(m.Leave(f.ctx))
	if ss, _ := f.Sessions(f.ctx); len(ss) != 1 {
		t.Errorf("sessions after leaving: %+v", ss)
	}
}

func TestAbandonedSessionGivesBackWhatItHeld(t *testing.T) {
	f := newFixture(t, 1)
	f.route(steady)
	m := f.Join(MemberOptions{Role: RoleWorker, Instance: "pod"})
	for range 3 {
		if _, err := m.Beat(f.ctx); err != nil {
			t.Fatal(err)
		}
	}
	old := m.ID()
	f.ok(f.Commit(f.ctx, f.begin(object, BeginOptions{})))
	if _, err := f.ClaimEvents(f.ctx, old, 1); err != nil { // the answer was lost
		t.Fatal(err)
	}
	m.Abandon(m.ID())
	if _, err := m.Beat(f.ctx); err != nil || m.ID() == old {
		t.Fatal("no new session", err)
	}
	// Another call under it fails later: that is no reason to give up the session after it,
	// which would leave when its process is stopped.
	next := m.ID()
	m.Abandon(old)
	if _, err := m.Beat(f.ctx); err != nil || m.ID() != next {
		t.Fatal("the session after it was given up too", err)
	}
	f.now = f.now.Add(20 * time.Second)
	if _, err := m.Beat(f.ctx); err != nil {
		t.Fatal(err)
	}
	dead, err := f.DeadSessions(f.ctx, 15*time.Second)
	f.ok(err)
	if len(dead) != 1 || dead[0].ID != old {
		t.Fatalf("dead: %+v", dead)
	}
	if done, err := f.Bury(f.ctx, old, 0); !done || err != nil {
		t.Fatal(done, err)
	}
	f.claim()
}
