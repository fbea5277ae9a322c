package controllers

import (
	"cmp"
	"time"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/stores"
)

// StateOf is what the phase engine kept in status.
func StateOf(st *v1alpha1.MigrationStatus) migration.State { return stateOf(st) }

// KeepState puts the phase engine's state into status, and nothing else.
func KeepState(st *v1alpha1.MigrationStatus, s migration.State) { setState(st, s) }

// ReportLocal turns what the engine decided into the status of a migration that
// runs in one process: the same as in a cluster, but for pods and Services.
func ReportLocal(m *v1alpha1.Migration, out *migration.Output, looks [2]stores.Look, address string, now time.Time) {
	s := &scope{m: m, out: out, looks: looks, local: true}
	st := &m.Status
	st.Phase = cmp.Or(st.Phase, v1alpha1.PhasePending)
	setState(st, out.State)
	setReport(st, m.Spec.Switch, out)
	s.setStores()
	s.setConditions(now)
	st.Proxy = &v1alpha1.ProxyStatus{Address: address, Ready: 1, Replicas: 1}
}
