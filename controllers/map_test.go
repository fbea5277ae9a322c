package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
)

func TestStateSurvivesStatus(t *testing.T) {
	at := func(n int) time.Time { return time.Date(2026, 1, 2, 3, 4, n, 0, time.UTC) }
	want := migration.State{
		Route:     ledger.Route{Epoch: 7, Main: ledger.Target, State: ledger.Switched, Hold: true, Sync: true, Uploads: ledger.Source, Run: true},
		StartedAt: at(1), PreparingSince: at(2).Add(time.Millisecond), SwitchStartedAt: at(3).Add(time.Microsecond), SwitchFinishedAt: at(4),
		CalledOff: "Target/two", RetryFailed: "again", LedgerTick: at(5), LedgerGeneration: "ABC", BucketsListedAt: at(6),
		Audit: migration.AuditState{Percent: 7, VerifiedAt: at(7), Audit: ledger.Audit{
			AuditSpec:   ledger.AuditSpec{ID: "id", Mode: "Checksum", Repair: true, Trigger: "now", Since: "a loss"},
			AuditCounts: ledger.AuditCounts{Compared: 1, Missing: 2, Extra: 3, Different: 4, Repaired: 5, Bypassed: 6, Deferred: 7, NotKept: 8},
			Began:       at(8).Add(time.Millisecond), Finished: at(9), Result: ledger.AuditComplete, Problem: "none",
			Differences: []ledger.Difference{{Bucket: "b", Key: "k", Kind: "Missing", Detail: "d", Bypassed: true}},
		}},
	}
	var st v1alpha1.MigrationStatus
	setState(&st, want)
	if d := cmp.Diff(want, stateOf(&st)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(migration.State{}, stateOf(&v1alpha1.MigrationStatus{})); d != "" {
		t.Error(d)
	}
}

func TestALedgerAtRestIsNotWrittenAtEachStep(t *testing.T) {
	var st v1alpha1.MigrationStatus
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	setState(&st, migration.State{LedgerTick: at})
	setState(&st, migration.State{LedgerTick: at.Add(30 * time.Second)})
	if !st.Ledger.SeenAt.Time.Equal(at) {
		t.Error("status moved within a minute")
	}
	setState(&st, migration.State{LedgerTick: at.Add(time.Hour)})
	if !st.Ledger.SeenAt.Time.Equal(at.Add(time.Hour)) {
		t.Error("status did not move after an hour")
	}
	setState(&st, migration.State{LedgerTick: at})
	if !st.Ledger.SeenAt.Time.Equal(at) {
		t.Error("a ledger that went back in time would be found so for ever")
	}
}

func TestAnotherStoreIsNotTakenForTheOldOne(t *testing.T) {
	m := load(t, sample)
	s := &scope{m: m}
	s.looks[ledger.Target].Capabilities = map[string]string{"acl": "Yes"}
	s.setStores()
	if got := knownCapabilities(m)[ledger.Target]["acl"]; got != "Yes" {
		t.Errorf("acl is %q", got)
	}
	m.Spec.Target.Endpoint = "http://other:9000"
	if got := knownCapabilities(m)[ledger.Target]; got != nil {
		t.Errorf("another store is said to have %v", got)
	}
	s.looks[ledger.Target].Capabilities = nil // it does not answer
	s.setStores()
	if got := m.Status.Stores.Target.Capabilities; got != nil {
		t.Errorf("status tells %v of another store", got)
	}
}

func TestWhatIsNotKnownStaysAsItWas(t *testing.T) {
	var st v1alpha1.MigrationStatus
	out := &migration.Output{Phase: migration.CatchingUp, Progress: migration.Progress{Percent: 100}, Dirty: 3}
	setState(&st, out.State)
	setReport(&st, nil, out)
	want := st.DeepCopy()
	setReport(&st, nil, &migration.Output{})
	if d := cmp.Diff(want, &st); d != "" {
		t.Errorf("an outage of Redis changes what status tells:\n%s", d)
	}
}

func TestReportFitsTheBoundsOfTheAPI(t *testing.T) {
	long := strings.Repeat("é", 3000)
	out := &migration.Output{
		Phase: migration.Copying,
		Progress: migration.Progress{BytesPerSecond: 123456789, Listed: ledger.Progress{Objects: 9, Bytes: 90},
			Copied: ledger.Progress{Objects: 3, Bytes: 30}, Skipped: ledger.Progress{Objects: 1, Bytes: 10}},
		Lag:   1234567 * time.Microsecond,
		State: migration.State{Route: ledger.Route{Epoch: 2}},
		Sessions: []ledger.Session{{Role: ledger.RoleProxy, Instance: "p", Epoch: 2}, {Role: ledger.RoleWorker, Instance: "w", Epoch: 1},
			{Role: ledger.RoleProxy, Fenced: true}},
	}
	for range 200 {
		out.Progress.Failures = append(out.Progress.Failures, ledger.Failure{Object: ledger.Object{Bucket: "b", Key: "k\xff"}, Cause: long})
		out.Buckets = append(out.Buckets, ledger.BucketState{Name: "b", Unsupported: []string{"acl"}}, ledger.BucketState{Name: "fine"})
	}
	var st v1alpha1.MigrationStatus
	setState(&st, out.State)
	setReport(&st, nil, out)
	p := st.Progress
	if len(p.Failures) != maxFailures || len([]rune(p.Failures[0].Error)) != maxText || p.Failures[0].Key != "k\uFFFD" {
		t.Errorf("%d failures, %q", len(p.Failures), p.Failures[0].Key)
	}
	if len(st.BucketReports) != maxReports {
		t.Errorf("%d reports", len(st.BucketReports))
	}
	if p.Bytes.Copied != 40 || p.Rate.BytesPerSecond.String() != "117Mi" || st.Lag.Age.Duration != time.Second {
		t.Errorf("bytes %d, rate %s, lag %s", p.Bytes.Copied, p.Rate.BytesPerSecond.String(), st.Lag.Age.Duration)
	}
	if d := cmp.Diff(&v1alpha1.Sessions{Proxies: 1, Workers: 1, Behind: []string{"worker w"}}, st.Sessions); d != "" {
		t.Error(d)
	}
}

func TestALedgerThatIsJustSetUpIsNoNews(t *testing.T) {
	healthy := func(status metav1.ConditionStatus, reason string) v1alpha1.MigrationStatus {
		return v1alpha1.MigrationStatus{Conditions: []metav1.Condition{{Type: "LedgerHealthy", Status: status, Reason: reason, Message: "why"}}}
	}
	started := healthy("True", "Healthy")
	started.Route = &v1alpha1.Route{Epoch: 1}
	for name, c := range map[string]struct {
		redis    *v1alpha1.Redis
		was, is  v1alpha1.MigrationStatus
		wantNews int
	}{
		"our Redis starts":      {is: healthy("False", "Unreachable")},
		"our Redis has started": {was: healthy("False", "Unreachable"), is: started},
		"stores come first":     {redis: &v1alpha1.Redis{}, is: healthy("False", "Waiting")},
		"the user's is away":    {redis: &v1alpha1.Redis{}, is: healthy("False", "Unreachable"), wantNews: 1},
		"it goes away":          {was: started, is: healthy("False", "Unreachable"), wantNews: 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := load(t, sample)
			m.Spec.Redis = c.redis
			s := &scope{m: m, old: m.DeepCopy()}
			s.old.Status, m.Status = c.was, c.is
			s.setConditions(time.Now())
			for _, typ := range v1alpha1.ConditionTypes { // the others are as they were
				if typ != v1alpha1.ConditionLedgerHealthy {
					meta.SetStatusCondition(&s.old.Status.Conditions, *meta.FindStatusCondition(m.Status.Conditions, typ))
				}
			}
			s.noteChanges()
			if len(s.events) != c.wantNews {
				t.Errorf("%+v", s.events)
			}
		})
	}
}
