package controllers

import (
	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
)

// maxDifferences is how many differences status names.
const maxDifferences = 10

// auditOf is what the phase engine must not forget of the last audit.
func auditOf(s *v1alpha1.AuditStatus) migration.AuditState {
	if s == nil {
		return migration.AuditState{}
	}
	out := migration.AuditState{Percent: s.Percent, VerifiedAt: timeOf(s.VerifiedAt)}
	out.ID, out.Trigger, out.Mode, out.Since, out.Problem = s.ID, s.Trigger, string(s.Mode), s.Since, s.Problem
	out.Repair = s.OnDifference == v1alpha1.AuditRepair
	out.Began, out.Finished = timeOf(s.StartedAt), timeOf(s.FinishedAt)
	out.AuditCounts = ledger.AuditCounts{Compared: s.Compared, Missing: s.Missing, Extra: s.Extra, Different: s.Different,
		Repaired: s.Repaired, Bypassed: s.Bypassed, Deferred: s.Deferred, NotKept: s.NotKept}
	if s.Phase != v1alpha1.AuditRunning {
		out.Result = string(s.Phase)
	}
	for _, d := range s.Differences {
		out.Differences = append(out.Differences, ledger.Difference{Bucket: d.Bucket, Key: d.Key, Kind: string(d.Kind), Detail: d.Detail, Bypassed: d.Bypassed})
	}
	return out
}

func auditStatus(a migration.AuditState) *v1alpha1.AuditStatus {
	if a.ID == "" {
		return nil
	}
	out := &v1alpha1.AuditStatus{
		ID: a.ID, Trigger: clip(a.Trigger, 253), Mode: v1alpha1.AuditMode(a.Mode), OnDifference: v1alpha1.AuditReport,
		Phase:     v1alpha1.AuditRunning,
		StartedAt: microTime(a.Began), FinishedAt: microTime(a.Finished), VerifiedAt: microTime(a.VerifiedAt),
		Since: clip(a.Since, maxText), Problem: clip(a.Problem, maxText), Percent: a.Percent,
		Compared: a.Compared, Missing: a.Missing, Extra: a.Extra, Different: a.Different,
		Repaired: a.Repaired, Bypassed: a.Bypassed, Deferred: a.Deferred, NotKept: a.NotKept,
	}
	if a.Repair {
		out.OnDifference = v1alpha1.AuditRepair
	}
	if a.Result != ledger.AuditRunning {
		out.Phase = v1alpha1.AuditPhase(a.Result)
	}
	for _, d := range a.Differences[:min(len(a.Differences), maxDifferences)] {
		out.Differences = append(out.Differences, v1alpha1.Difference{Bucket: clip(d.Bucket, 255), Key: clip(d.Key, maxText),
			Kind: v1alpha1.DifferenceKind(d.Kind), Detail: clip(d.Detail, 512), Bypassed: d.Bypassed})
	}
	return out
}
