package migration

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// AuditRequest is what the user asked for of audits.
type AuditRequest struct {
	// Mode is how contents are compared; "" means that there are no audits.
	Mode string
	// Repair copies what differs to the follower.
	Repair bool
	// Trigger asks for an audit each time it changes.
	Trigger string
}

// AuditState is the last audit, or the one that goes on, as the migration's
// owner keeps it: the ledger forgets it once it is over.
type AuditState struct {
	ledger.Audit
	// Percent of the objects that were compared, as far as it can be told.
	Percent int32
	// VerifiedAt is when the last audit began, by the ledger's clock, that left no
	// difference; zero if one that was complete since then did.
	VerifiedAt time.Time
}

func (a AuditState) running() bool { return a.ID != "" && a.Result == ledger.AuditRunning }

// auditChecksum is the mode that proves more than the other one.
const auditChecksum = "Checksum"

// auditRetry is the pause after an audit that failed.
const auditRetry = time.Minute

// audit takes the result of an audit over from the ledger, and begins one that is due.
func (e *Engine) audit(ctx context.Context, f *facts, out *Output) error {
	st := &out.State.Audit
	a, known, err := e.Ledger.Audit(ctx)
	if err != nil {
		return err
	}
	switch {
	case known && a.Result != ledger.AuditRunning && st.ID == a.ID && st.Result == a.Result:
		// It is kept in the State that we were given.
		if err := e.Ledger.EndAudit(ctx, a.ID, ""); err != nil {
			return err
		}
	case known:
		if err := e.takeOver(ctx, f, out, a); err != nil {
			return err
		}
	case st.running():
		st.Result, st.Problem, st.Finished = ledger.AuditFailed, "it was lost with the ledger", e.Now()
	}
	defer func() { f.audit = *st }()
	req := f.in.Spec.Audit
	switch {
	case st.running() && req.Mode == "":
		return e.Ledger.EndAudit(ctx, st.ID, "spec.audit.mode is Off")
	case st.running() && f.route.State == ledger.Steady && !f.route.Sync:
		return e.Ledger.EndAudit(ctx, st.ID, "spec.switch.reverse was off, so there is nothing to compare with any more")
	case req.Mode == "":
		return nil
	}
	why := e.auditDue(*f, *st)
	if why == "" {
		return nil
	}
	names, ok := e.auditBuckets(ctx, f, out)
	if !ok {
		return nil
	}
	spec := ledger.AuditSpec{ID: rand.Text()[:12], Mode: req.Mode, Repair: req.Repair, Trigger: req.Trigger,
		Foreign: out.State.StartedAt, Switch: f.route.State == ledger.Switched, Buckets: names}
	if n := len(f.unclean); n > 0 {
		spec.Since, spec.Explained = f.unclean[n-1].Reason, f.unclean[n-1].At
	}
	if err := e.Ledger.StartAudit(ctx, spec); err != nil {
		return err
	}
	out.Events = append(out.Events, Event{Reason: "AuditStarted", Message: "The stores are being compared: " + why + "."})
	if a, _, err = e.Ledger.Audit(ctx); err != nil {
		return err
	}
	return e.takeOver(ctx, f, out, a) // it is over if there is nothing to compare
}

// takeOver keeps how an audit stands. One that is over is kept only with its
// conclusions: until they are drawn, it has yet to be taken over.
func (e *Engine) takeOver(ctx context.Context, f *facts, out *Output, a ledger.Audit) error {
	st := &out.State.Audit
	before := *st
	st.Audit, st.Percent = a, auditPercent(a, f.buckets)
	if a.Left() > 0 {
		st.VerifiedAt = time.Time{} // whatever becomes of this audit
	}
	if a.Result == ledger.AuditRunning {
		return nil
	}
	err := e.auditDone(ctx, f, out)
	if err != nil {
		*st = before
	}
	return err
}

// auditDone draws the conclusions from an audit that is over. An unclean event is
// healed by an audit that began after it and left no difference.
func (e *Engine) auditDone(ctx context.Context, f *facts, out *Output) error {
	st := &out.State.Audit
	switch {
	case st.Result == ledger.AuditFailed:
		out.Events = append(out.Events, Event{Warning: true, Reason: "AuditDone", Message: "The audit failed: " + Sentence(st.Problem)})
		return nil
	case st.Left() > 0:
		out.Events = append(out.Events, Event{Warning: true, Reason: "AuditDone", Message: found(st.Audit)})
		return nil
	}
	if err := e.Ledger.ClearUnclean(ctx, st.Began); err != nil {
		return err
	}
	st.VerifiedAt = st.Began
	out.Events = append(out.Events, Event{Warning: st.Bypassed > 0, Reason: "AuditDone", Message: found(st.Audit)})
	var err error
	f.unclean, err = e.Ledger.Unclean(ctx)
	return err
}

func found(a ledger.Audit) string {
	n := a.Missing + a.Extra + a.Different
	if n == 0 {
		return fmt.Sprintf("%d objects were compared; no difference was found.", a.Compared)
	}
	s := fmt.Sprintf("%d objects were compared; %d were different, %d of them were repaired", a.Compared, n, a.Repaired)
	if a.Bypassed > 0 {
		s += fmt.Sprintf("; %d can only have been written past the proxies", a.Bypassed)
	}
	return s + "."
}

func auditPercent(a ledger.Audit, buckets []ledger.BucketState) int32 {
	if a.Result == ledger.AuditComplete {
		return 100
	}
	var listed int64
	for _, b := range buckets {
		listed += b.Listed.Objects
	}
	if listed == 0 {
		return 0
	}
	return int32(min(99, 100*a.Compared/listed))
}

// auditDue says why an audit should begin now, or "".
func (e *Engine) auditDue(f facts, st AuditState) string {
	req := f.in.Spec.Audit
	if f.route.State == ledger.Preparing || !f.route.Run || !f.route.Sync || !allCopied(f) || len(recovering(f)) > 0 || len(lateWrites(f)) > 0 ||
		!f.in.Stores[ledger.Source].Reachable || !f.in.Stores[ledger.Target].Reachable {
		return ""
	}
	if f.route.State == ledger.Switched {
		return auditHolds(f, st, e.Now())
	}
	if req.Trigger != "" && req.Trigger != st.Trigger {
		return "spec.audit.trigger asks for it"
	}
	if st.running() {
		return ""
	}
	if n := len(f.unclean); n > 0 && !f.unclean[n-1].At.Before(st.Began) {
		return f.unclean[n-1].Reason
	}
	switch {
	case st.ID == "":
		return "all buckets are copied"
	case st.Result == ledger.AuditFailed && e.Now().Sub(st.Finished) >= auditRetry:
		return "the last audit failed"
	case req.Mode == auditChecksum && st.Mode != auditChecksum:
		return "spec.audit.mode asks for contents too"
	case req.Repair && !st.Repair && st.Left() > 0:
		return "spec.audit.onDifference asks for repair"
	}
	return ""
}

// auditHolds says why a switch that is under way waits for an audit which nobody
// makes yet, or "". Without one it would wait for a human.
func auditHolds(f facts, st AuditState, now time.Time) string {
	why := uncleanSince(f)
	switch {
	case why == "" || st.running() && st.Switch:
		return ""
	case st.running() || !f.unclean[len(f.unclean)-1].At.Before(st.Began),
		st.Result == ledger.AuditFailed && now.Sub(st.Finished) >= auditRetry:
		return why
	case f.in.Spec.Audit.Trigger != "" && f.in.Spec.Audit.Trigger != st.Trigger:
		return "spec.audit.trigger asks for it"
	}
	return ""
}

// allCopied says that the first copy is over, so that what is missing is missing.
// What failed for good is told by another guard.
func allCopied(f facts) bool {
	if f.route.Main != ledger.Source || f.route.State == ledger.Switched {
		return true
	}
	copied, failed := countBuckets(f.buckets)
	return f.listed && copied+failed == len(f.buckets) && len(unburied(f)) == 0
}

// auditBuckets names the buckets to compare. Since a switch has begun, the source is
// asked as well: a ledger that was lost since then knows of no bucket; and the target, if there is
// an unclean event: what clients have made there since may not have come to the source.
func (e *Engine) auditBuckets(ctx context.Context, f *facts, out *Output) ([]string, bool) {
	var names []string
	for _, b := range f.buckets {
		if b.State != ledger.BucketFailed {
			names = append(names, b.Name)
		}
	}
	if f.route.Main != ledger.Source || f.route.State == ledger.Switched {
		more, ok := e.wantedBuckets(ctx, f, out)
		if !ok {
			return nil, false
		}
		names = append(names, more...)
		if more, ok = e.madeBuckets(ctx, f, out); !ok {
			return nil, false
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// madeBuckets are those that were made on the target since the migration began. It returns false
// when they can't be listed, which is told once.
func (e *Engine) madeBuckets(ctx context.Context, f *facts, out *Output) ([]string, bool) {
	if f.in.Spec.Buckets != nil || e.BucketsMade == nil || out.State.StartedAt.IsZero() || len(f.unclean) == 0 {
		return nil, true // else the ledger knows of all that clients made, and others are not theirs
	}
	names, err := e.BucketsMade(ctx, out.State.StartedAt)
	why := ""
	if err != nil {
		if why = err.Error(); why != e.unmade {
			out.Events = append(out.Events, Event{Warning: true, Reason: "ListBucketsFailed", Message: Sentence(why)})
		}
	}
	e.unmade = why
	return names, err == nil
}

// unverified says why the stores are not known to be equal, in the words of a
// condition and of a guard; reason "" when they are.
func unverified(f facts) (reason, why string) {
	a, on := f.audit, f.in.Spec.Audit.Mode != ""
	switch n := len(f.unclean); {
	case n > 0:
		reason = "Stale"
		if a.VerifiedAt.IsZero() {
			reason = "NotVerified"
		}
		why = "the stores may differ where nobody noticed since: " + f.unclean[n-1].Reason
		if !on {
			return reason, why + "; set spec.audit.mode to have them compared, or compare them and add AuditClean to spec.switch.overrides"
		}
		if a.running() {
			return reason, why + "; they are being compared"
		}
		if f.route.State == ledger.Steady && !f.route.Sync {
			return reason, why + "; but spec.switch.reverse was off, so there is nothing to compare with any more: add AuditClean to spec.switch.overrides"
		}
		if a.Result == ledger.AuditComplete && a.Left() > 0 {
			return "DifferencesLeft", differencesLeft(a)
		}
		return reason, why + "; they will be compared"
	case !on:
		return "", ""
	case !a.VerifiedAt.IsZero():
		return "", ""
	case a.running() && a.Left() > 0:
		return "DifferencesLeft", "the audit that goes on has found differences that are not repaired so far, see status.audit"
	case a.running():
		return "NotVerified", "the stores are being compared: see status.audit"
	case a.Result == ledger.AuditFailed:
		return "AuditFailed", "the last audit failed: " + a.Problem + "; it is repeated"
	case a.Result == ledger.AuditComplete:
		return "DifferencesLeft", differencesLeft(a)
	}
	return "NotVerified", "no audit has run yet: one begins when every bucket is copied"
}

func differencesLeft(a AuditState) string {
	if !a.Repair {
		return "the last audit found differences, see status.audit; set spec.audit.onDifference to Repair, or mend them and change spec.audit.trigger"
	}
	return "the last audit found differences that are not repaired, see status.audit and status.progress.failures; mend the cause and change spec.audit.trigger"
}

func auditCondition(f facts) Condition {
	reason, why := unverified(f)
	switch {
	case reason != "" && len(f.unclean) == 0 && reason == "NotVerified":
		return unknown(CondAudited, reason, Sentence(why))
	case reason != "":
		return cond(CondAudited, false, reason, Sentence(why))
	case f.in.Spec.Audit.Mode == "" && f.audit.VerifiedAt.IsZero():
		return unknown(CondAudited, "NotVerified", "No audit is asked for: set spec.audit.mode.")
	}
	return cond(CondAudited, true, "Verified", "The stores were compared, and nothing has happened since that could have gone unrecorded.")
}
