package controllers

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
)

const (
	maxReports  = 100
	maxBehind   = 10
	maxUnclean  = 10
	maxWaiting  = 16
	maxText     = 1024
	maxFailures = 10
	// seenEvery is how often a ledger at rest is noted in status.
	seenEvery = time.Minute
)

// stateOf is what the phase engine kept in status.
func stateOf(st *v1alpha1.MigrationStatus) migration.State {
	out := migration.State{RetryFailed: st.RetriedFailed}
	if r := st.Route; r != nil {
		out.Route = config.RouteOf(r)
	}
	if r := st.PendingRoute; r != nil {
		out.Pending = config.RouteOf(r)
	}
	if st.StartedAt != nil {
		out.StartedAt = st.StartedAt.Time
	}
	if w := st.Switch; w != nil {
		out.PreparingSince, out.SwitchStartedAt, out.SwitchFinishedAt = timeOf(w.PreparingAt), timeOf(w.StartedAt), timeOf(w.FinishedAt)
		out.CalledOff, out.SwitchBehind = w.CalledOff, w.Behind
	}
	out.Audit = auditOf(st.Audit)
	if l := st.Ledger; l != nil {
		out.LedgerGeneration, out.AcknowledgedClean = l.Generation, l.AcknowledgedClean
		if l.SeenAt != nil {
			out.LedgerTick = l.SeenAt.Time
		}
		if l.BucketsListedAt != nil {
			out.BucketsListedAt = l.BucketsListedAt.Time
		}
	}
	return out
}

// furthest is the route that status remembers: a pending one may be in force already, and is put
// in force else before anything else is decided on.
func furthest(st *v1alpha1.MigrationStatus) *v1alpha1.Route {
	if p := st.PendingRoute; p != nil && (st.Route == nil || p.Epoch > st.Route.Epoch) {
		return p
	}
	return st.Route
}

func apiRoute(r ledger.Route) *v1alpha1.Route {
	if r.Epoch == 0 {
		return nil
	}
	return &v1alpha1.Route{
		Epoch: r.Epoch, Main: apiStore(r.Main), State: v1alpha1.RouteState(r.State),
		Hold: r.Hold, Sync: r.Sync, Uploads: apiStore(r.Uploads), Run: r.Run,
	}
}

// setState keeps the phase engine's state in status.
func setState(st *v1alpha1.MigrationStatus, s migration.State) {
	st.RetriedFailed = s.RetryFailed
	if s.Route.Epoch > 0 {
		st.Route = apiRoute(s.Route)
	}
	st.PendingRoute = apiRoute(s.Pending)
	if !s.StartedAt.IsZero() {
		st.StartedAt = &metav1.Time{Time: s.StartedAt}
	}
	if s.CalledOff != "" || !s.PreparingSince.IsZero() || !s.SwitchStartedAt.IsZero() {
		w := st.Switch
		if w == nil {
			w = &v1alpha1.SwitchStatus{}
			st.Switch = w
		}
		w.PreparingAt, w.StartedAt, w.FinishedAt = microTime(s.PreparingSince), microTime(s.SwitchStartedAt), microTime(s.SwitchFinishedAt)
		w.CalledOff, w.Behind = s.CalledOff, s.SwitchBehind
		w.Duration = nil
		if w.FinishedAt != nil && w.StartedAt != nil {
			w.Duration = &metav1.Duration{Duration: w.FinishedAt.Sub(w.StartedAt.Time).Truncate(time.Millisecond)}
		}
	}
	st.Audit = auditStatus(s.Audit)
	if st.Ledger == nil {
		st.Ledger = &v1alpha1.LedgerStatus{}
	}
	st.Ledger.Generation, st.Ledger.AcknowledgedClean = s.LedgerGeneration, clip(s.AcknowledgedClean, 512)
	// A time that moves at each step would have status written at each step.
	if old := st.Ledger.SeenAt; !s.LedgerTick.IsZero() && (old == nil || absolute(s.LedgerTick.Sub(old.Time)) >= seenEvery) {
		st.Ledger.SeenAt = &metav1.Time{Time: s.LedgerTick.Truncate(time.Second)}
	}
	st.Ledger.BucketsListedAt = nil
	if !s.BucketsListedAt.IsZero() {
		st.Ledger.BucketsListedAt = &metav1.Time{Time: s.BucketsListedAt.Truncate(time.Second)}
	}
}

func absolute(d time.Duration) time.Duration { return max(d, -d) }

func timeOf(t *metav1.MicroTime) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

func microTime(t time.Time) *metav1.MicroTime {
	if t.IsZero() {
		return nil
	}
	return &metav1.MicroTime{Time: t.Truncate(time.Microsecond)}
}

// setReport puts what the phase engine saw into status, if it saw anything.
func setReport(st *v1alpha1.MigrationStatus, to *v1alpha1.Switch, out *migration.Output) {
	if out.Phase == "" {
		return
	}
	st.Phase = v1alpha1.Phase(out.Phase)
	st.Progress = progressOf(out.Progress)
	st.Lag = &v1alpha1.Lag{Objects: out.Dirty, Age: metav1.Duration{Duration: truncate(out.Lag)}}
	st.BucketReports = reportsOf(out.Buckets)
	st.Sessions = sessionsOf(out)
	if st.Switch != nil {
		st.Switch.WaitingFor = limit(out.WaitingFor, maxWaiting, 512)
		if to != nil {
			st.Switch.To = to.To
		}
	}
	var unclean []string
	for _, u := range out.UncleanList {
		unclean = append(unclean, u.Reason)
	}
	st.Ledger.Unclean = limit(unclean, maxUnclean, maxText)
}

func progressOf(p migration.Progress) *v1alpha1.Progress {
	out := &v1alpha1.Progress{
		Buckets: v1alpha1.BucketProgress{Total: p.BucketsTotal, Copied: p.BucketsCopied, Failed: p.BucketsFailed},
		Objects: v1alpha1.ObjectProgress{Listed: p.Listed.Objects, Copied: p.Copied.Objects, Skipped: p.Skipped.Objects, Failed: p.Failed},
		Bytes:   v1alpha1.ByteProgress{Listed: p.Listed.Bytes, Copied: p.Copied.Bytes + p.Skipped.Bytes},
		Percent: &p.Percent,
		Rate:    &v1alpha1.Rate{BytesPerSecond: roundBytes(p.BytesPerSecond), ObjectsPerSecond: int64(p.ObjectsPerSecond)},
	}
	if p.ETA > 0 {
		out.ETA = &metav1.Duration{Duration: truncate(p.ETA)}
	}
	for _, f := range p.Failures[:min(len(p.Failures), maxFailures)] {
		out.Failures = append(out.Failures, v1alpha1.Failure{
			Bucket: clip(f.Object.Bucket, 255), Key: clip(f.Object.Key, maxText), Error: clip(f.Cause, maxText)})
	}
	return out
}

// roundBytes is a quantity that people can read, like 85Mi.
func roundBytes(n float64) resource.Quantity {
	unit := int64(1)
	for n/float64(unit) >= 10*1024 && unit < 1<<30 {
		unit <<= 10
	}
	return *resource.NewQuantity(int64(n)/unit*unit, resource.BinarySI)
}

func reportsOf(buckets []ledger.BucketState) []v1alpha1.BucketReport {
	var out []v1alpha1.BucketReport
	for _, b := range buckets {
		if len(b.Unsupported) > 0 && len(out) < maxReports {
			out = append(out, v1alpha1.BucketReport{Name: b.Name, Unsupported: limit(b.Unsupported, 32, 256)})
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.BucketReport) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func sessionsOf(out *migration.Output) *v1alpha1.Sessions {
	s := &v1alpha1.Sessions{}
	var behind []string
	for _, x := range out.Sessions {
		if x.Fenced {
			continue
		}
		if x.Role == ledger.RoleProxy {
			s.Proxies++
		} else {
			s.Workers++
		}
		if x.Epoch < out.State.Route.Epoch {
			behind = append(behind, string(x.Role)+" "+x.Instance)
		}
	}
	slices.Sort(behind)
	s.Behind = limit(behind, maxBehind, 253)
	return s
}

func limit(in []string, n, size int) []string {
	var out []string
	for _, s := range in[:min(len(in), n)] {
		out = append(out, clip(s, size))
	}
	return out
}

// clip cuts s to at most size characters, which the API counts, and makes it valid UTF-8.
func clip(s string, size int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > size {
		return string(r[:size])
	}
	return s
}
