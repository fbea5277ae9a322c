package controllers

import (
	"strings"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
)

// undone is what status holds of a manager that died when it had put the next route in force:
// the one that it took over from was killed before it could say that there is a switch at all.
func undone(e *fakeEngine) {
	switched(e)
	e.out.Phase = ""
	e.out.State.Pending = e.out.State.Route
	e.out.State.Route = ledger.Route{Epoch: 2, Main: ledger.Source, State: ledger.Steady, Sync: true, Run: true}
}

func TestALostSecretDoesNotHideASwitchThatStatusKnowsAsPendingOnly(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	w.e.set(undone)
	w.Eventually(func() bool { return w.read().Status.PendingRoute != nil }).Should(gomega.BeTrue())
	w.staysWithoutItsSecret(m)
}

// A proxy that starts while Redis is away would serve the old store alone.
func TestProxiesAreToldOfARouteThatMayBeInForce(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.e.set(undone)
	w.Eventually(func() string {
		cm := &corev1.ConfigMap{}
		w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos-config"}, cm)).To(gomega.Succeed())
		_, pending, _ := strings.Cut(cm.Data[manifestFile], "pendingRoute:")
		return pending
	}).Should(gomega.ContainSubstring("state: Switched"))
}

// They are told before the engine steps, see run.
func TestChildrenAreLookedAtForAPendingRoute(t *testing.T) {
	m := &v1alpha1.Migration{Status: v1alpha1.MigrationStatus{Route: &v1alpha1.Route{Epoch: 2}}}
	before := epochOf(m)
	if m.Status.PendingRoute = (&v1alpha1.Route{Epoch: 3}); epochOf(m) == before {
		t.Error("the route that proxies are told of has changed, and nobody looks")
	}
}
