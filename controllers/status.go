package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/stores"
)

// setStatus turns what a reconcile found out into status. Nothing else does.
func (s *scope) setStatus(now time.Time) {
	st := &s.m.Status
	st.ObservedGeneration = s.m.Generation
	st.Phase = cmp.Or(st.Phase, v1alpha1.PhasePending)
	if s.out != nil {
		setState(st, s.out.State)
		setReport(st, s.m.Spec.Switch, s.out)
		st.Ledger.Addresses = s.redis.Addresses
		s.setStores()
	}
	if s.proxies != nil {
		st.Proxy = proxyStatus(s.m, s.proxies, s.service)
	}
	s.setConditions(now)
	s.noteChanges()
}

func (s *scope) setStores() {
	st := &s.m.Status
	if st.Stores == nil {
		st.Stores = &v1alpha1.Stores{}
	}
	main := v1alpha1.StoreSource
	if st.Route != nil {
		main = st.Route.Main
	}
	for _, x := range []struct {
		to   *v1alpha1.StoreStatus
		name v1alpha1.StoreName
		spec v1alpha1.Store
		look stores.Look
	}{
		{&st.Stores.Source, v1alpha1.StoreSource, s.m.Spec.Source, s.looks[ledger.Source]},
		{&st.Stores.Target, v1alpha1.StoreTarget, s.m.Spec.Target, s.looks[ledger.Target]},
	} {
		if x.to.Endpoint != x.spec.Endpoint {
			x.to.Capabilities = nil
		}
		x.to.Role, x.to.Endpoint = v1alpha1.RoleFollower, x.spec.Endpoint
		if x.name == main {
			x.to.Role = v1alpha1.RoleMain
		}
		if len(x.look.Capabilities) > 0 {
			x.to.Capabilities = map[string]v1alpha1.Capability{}
			for name, c := range x.look.Capabilities {
				x.to.Capabilities[name] = v1alpha1.Capability(clip(c, 256))
			}
		}
	}
}

func proxyStatus(m *v1alpha1.Migration, d *appsv1.Deployment, svc *corev1.Service) *v1alpha1.ProxyStatus {
	out := &v1alpha1.ProxyStatus{Ready: d.Status.ReadyReplicas}
	if d.Spec.Replicas != nil {
		out.Replicas = *d.Spec.Replicas
	}
	if svc.UID == "" {
		return out
	}
	host := svc.Name + "." + m.Namespace + ".svc"
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.Hostname != "" {
			host = in.Hostname
		} else if in.IP != "" {
			host = in.IP
		}
	}
	scheme, port := "http://", int32(80)
	if m.Spec.Proxy.TLS != nil {
		scheme, port = "https://", 443
	}
	out.Address = scheme + host
	if p := m.Spec.Proxy.Service.Port; p != port && p != 0 {
		out.Address = fmt.Sprintf("%s:%d", out.Address, p)
	}
	return out
}

func (s *scope) setConditions(now time.Time) {
	st := &s.m.Status
	set := func(typ string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: typ, Status: status, Reason: reason, Message: clip(message, 32768),
			ObservedGeneration: s.m.Generation, LastTransitionTime: metav1.Time{Time: now.Truncate(time.Second)},
		})
	}
	if s.out != nil {
		for _, c := range s.out.Conditions {
			status := metav1.ConditionUnknown
			if c.Status != nil && *c.Status {
				status = metav1.ConditionTrue
			} else if c.Status != nil {
				status = metav1.ConditionFalse
			}
			set(c.Type, status, c.Reason, c.Message)
		}
	}
	// Every condition is there from the start, so that waiting for it works.
	for _, typ := range v1alpha1.ConditionTypes {
		if meta.FindStatusCondition(st.Conditions, typ) == nil && typ != v1alpha1.ConditionReady && typ != v1alpha1.ConditionStalled {
			set(typ, metav1.ConditionUnknown, v1alpha1.ReasonPending, "Not known yet.")
		}
	}
	status, reason, message := s.ready()
	set(v1alpha1.ConditionReady, status, reason, message)
	switch {
	case s.held != "":
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDataOnOneStore, "Deletion waits: "+s.held)
	case s.stall != nil:
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, s.stall.reason, s.stall.message)
	default:
		set(v1alpha1.ConditionStalled, metav1.ConditionFalse, v1alpha1.ReasonProgressing, "Nothing needs a human.")
	}
}

// ready: clients are served as the spec asks.
func (s *scope) ready() (metav1.ConditionStatus, string, string) {
	if !s.m.DeletionTimestamp.IsZero() {
		return metav1.ConditionFalse, v1alpha1.ReasonDeleting, "The Migration is being deleted."
	}
	if s.stall != nil {
		return metav1.ConditionFalse, s.stall.reason, s.stall.message
	}
	if s.out != nil && (s.out.State.Route.State == ledger.Preparing || s.out.State.Route.State == ledger.Switched) && ledgerAway(s.out) {
		return metav1.ConditionFalse, v1alpha1.ReasonLedgerUnreachable,
			"Clients' requests wait for Redis, because a switch is half-way: see condition LedgerHealthy."
	}
	if s.local {
		return metav1.ConditionTrue, v1alpha1.ReasonServing, "Clients are served."
	}
	d := s.proxies
	if d == nil || d.UID == "" || d.Spec.Replicas == nil {
		return metav1.ConditionFalse, v1alpha1.ReasonNoProxyReady, "The proxies have not been started yet."
	}
	want := *d.Spec.Replicas
	switch {
	case d.Status.AvailableReplicas == 0:
		return metav1.ConditionFalse, v1alpha1.ReasonNoProxyReady, "No proxy is ready, so clients are not served: see the pods of Deployment " + d.Name + "."
	case s.out != nil && !s.looks[s.out.State.Route.Main].Reachable:
		main := s.out.State.Route.Main
		return metav1.ConditionFalse, v1alpha1.ReasonMainUnreachable,
			fmt.Sprintf("The %s, which clients' requests go to, is not reachable: see condition %sReachable.", strings.ToLower(main.String()), main)
	case d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < want || d.Status.AvailableReplicas < want:
		return metav1.ConditionFalse, v1alpha1.ReasonProxiesNotReady, "Clients are served, but not all proxies are ready yet: see the pods of Deployment " + d.Name + "."
	}
	return metav1.ConditionTrue, v1alpha1.ReasonServing, "The proxies serve clients."
}

// ledgerAway says whether Redis did not answer the phase engine.
func ledgerAway(out *migration.Output) bool {
	return slices.ContainsFunc(out.Conditions, func(c migration.Condition) bool {
		return c.Type == migration.CondLedgerHealthy && c.Reason == v1alpha1.ReasonUnreachable
	})
}

// noteChanges tells of what changed since the last reconcile.
func (s *scope) noteChanges() {
	if was, is := s.old.Status.Phase, s.m.Status.Phase; was != "" && was != is {
		s.events = append(s.events, event{reason: v1alpha1.EventPhaseChanged, action: v1alpha1.ActionReconcile,
			note: fmt.Sprintf("The phase is %s now, after %s.", is, was)})
	}
	for _, typ := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionSourceReachable,
		v1alpha1.ConditionTargetReachable, v1alpha1.ConditionLedgerHealthy,
	} {
		was, is := meta.FindStatusCondition(s.old.Status.Conditions, typ), meta.FindStatusCondition(s.m.Status.Conditions, typ)
		if typ == v1alpha1.ConditionLedgerHealthy && s.old.Status.Route == nil && (s.m.Spec.Redis == nil || is.Reason == v1alpha1.ReasonWaiting) {
			continue // our own Redis starts, or the stores are looked at first
		}
		if e, ok := changeOf(was, is); ok && s.held == "" {
			s.events = append(s.events, e)
		}
	}
}

// changeOf is an event when a condition turned bad, or good again. That the
// proxies are not ready at first is no news.
func changeOf(was, is *metav1.Condition) (event, bool) {
	bad := metav1.ConditionFalse
	if is.Type == v1alpha1.ConditionStalled {
		bad = metav1.ConditionTrue
	}
	wasBad := was != nil && was.Status == bad
	isBad := is.Status == bad
	news := wasBad != isBad || (isBad && is.Type == v1alpha1.ConditionStalled && was.Reason != is.Reason)
	first := was == nil && is.Type == v1alpha1.ConditionReady
	if !news || first || is.Status == metav1.ConditionUnknown || is.Reason == v1alpha1.ReasonDeleting {
		return event{}, false
	}
	return event{warning: isBad, reason: v1alpha1.EventConditionChanged, action: v1alpha1.ActionReconcile,
		note: is.Type + " is " + string(is.Status) + ": " + is.Message}, true
}

// send records the events of this reconcile.
func (r *Reconciler) send(s *scope) {
	for _, e := range s.events {
		typ := corev1.EventTypeNormal
		if e.warning {
			typ = corev1.EventTypeWarning
		}
		r.Recorder.Eventf(s.m, nil, typ, e.reason, e.action, "%s", clip(e.note, maxText))
	}
}
