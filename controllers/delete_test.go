package controllers

import (
	"errors"
	"testing"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
)

func (w *world) gone() bool {
	return apierrors.IsNotFound(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos"}, &v1alpha1.Migration{}))
}

// steady lets the migration have a ledger.
func (w *world) steady() {
	w.t.Helper()
	w.e.set(func(e *fakeEngine) {
		e.out.State.Route = ledger.Route{Epoch: 1, Main: ledger.Source, State: ledger.Steady, Sync: true}
	})
	w.Eventually(func() bool { return w.read().Status.Route != nil }).Should(gomega.BeTrue())
}

func TestDeletionEndsTheRolesBeforeTheLedger(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	w.steady()
	pod := w.proxyPod("proxy")
	w.Expect(api.Delete(w.ctx, m)).To(gomega.Succeed())
	d := &appsv1.Deployment{}
	w.Eventually(func() bool {
		return apierrors.IsNotFound(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos-proxy"}, d))
	}).Should(gomega.BeTrue())
	w.Consistently(func() bool { return w.e.get(func(e *fakeEngine) bool { return e.destroyed }) || w.gone() }).
		Should(gomega.BeFalse(), "a proxy that runs on would write into a new ledger")
	w.Expect(api.Delete(w.ctx, pod, &client.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})).To(gomega.Succeed())
	w.Eventually(w.gone).Should(gomega.BeTrue())
	w.Expect(w.e.get(func(e *fakeEngine) bool { return e.destroyed })).To(gomega.BeTrue())
}

// deleteHalfWay deletes a migration in the middle of a switch, which waits.
func (w *world) deleteHalfWay() {
	w.t.Helper()
	m := w.start()
	w.e.set(func(e *fakeEngine) {
		switched(e)
		e.stranded = "the switch is half-way"
	})
	w.Eventually(func() v1alpha1.Phase { return w.read().Status.Phase }).Should(gomega.Equal(v1alpha1.PhaseSwitchStarted))
	w.Expect(api.Delete(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True DataOnOneStore"))
}

func TestDeletionWaitsWhileDataLivesOnOneStore(t *testing.T) {
	w := newWorld(t)
	w.deleteHalfWay()
	if msg := meta.FindStatusCondition(w.read().Status.Conditions, "Stalled").Message; msg !=
		"Deletion waits: The switch is half-way. To delete all the same, and leave what is where it is, annotate the Migration with crossfade.io/force-delete=true." {
		t.Error(msg)
	}
	steps := 0
	w.e.get(func(e *fakeEngine) bool { steps = e.steps; return true })
	w.Eventually(func() bool { return w.e.get(func(e *fakeEngine) bool { return e.steps > steps+3 }) }).
		Should(gomega.BeTrue(), "the switch must go on, else deletion would wait for ever")
	d := &appsv1.Deployment{}
	w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos-proxy"}, d)).To(gomega.Succeed())
	if n := w.eventCount("DeletionHeld", "half-way")(); n != 1 {
		t.Errorf("%d events", n)
	}
	w.e.set(func(e *fakeEngine) { e.stranded = "" })
	w.Eventually(w.gone).Should(gomega.BeTrue())
}

func TestDeletionCanBeForced(t *testing.T) {
	w := newWorld(t)
	w.deleteHalfWay()
	w.Expect(w.patch(`{"metadata":{"annotations":{"crossfade.io/force-delete":"true"}}}`)).To(gomega.Succeed())
	w.Eventually(w.gone).Should(gomega.BeTrue())
	w.Eventually(w.eventCount("ForceDeleted", "")).Should(gomega.Equal(1))
}

func TestAMigrationThatNeverBeganGoesWithoutItsSecrets(t *testing.T) {
	w := newWorld(t)
	m := w.migration("photos")
	w.Expect(api.Create(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True SecretNotFound"))
	w.Expect(api.Delete(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(w.gone).Should(gomega.BeTrue())
	w.Expect(w.e.get(func(e *fakeEngine) bool { return e.destroyed })).To(gomega.BeFalse())
}

func TestALostSecretDoesNotHideAHalfDoneSwitch(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	w.e.set(switched)
	w.Eventually(func() v1alpha1.Phase { return w.read().Status.Phase }).Should(gomega.Equal(v1alpha1.PhaseSwitchStarted))
	w.staysWithoutItsSecret(m)
}

// staysWithoutItsSecret deletes a store's secret and the Migration, which must not go.
func (w *world) staysWithoutItsSecret(m *v1alpha1.Migration) {
	w.t.Helper()
	secret := &corev1.Secret{}
	w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "old"}, secret)).To(gomega.Succeed())
	w.Expect(api.Delete(w.ctx, secret)).To(gomega.Succeed())
	w.Expect(api.Delete(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True DataOnOneStore"))
	w.Consistently(w.gone).Should(gomega.BeFalse())
}

func TestDeletionThatCannotCleanTheUsersRedisSaysSo(t *testing.T) {
	w := newWorld(t)
	w.secret("my-redis", "password")
	m := w.startWith(func(m *v1alpha1.Migration) {
		m.Spec.Redis = &v1alpha1.Redis{Addresses: []string{"r:6379"}, CredentialsRef: &v1alpha1.SecretReference{Name: "my-redis"}}
	})
	w.steady()
	w.e.set(func(e *fakeEngine) { e.stuck = errors.New("connection refused") })
	w.Expect(api.Delete(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True LedgerKeysLeft"))
	if msg := meta.FindStatusCondition(w.read().Status.Conditions, "Stalled").Message; msg !=
		"Deletion waits: the ledger's keys cannot be deleted from Redis (connection refused). Mend that, or annotate the Migration with crossfade.io/force-delete=true to leave them there." {
		t.Error(msg)
	}
	w.Consistently(w.gone).Should(gomega.BeFalse())
	w.Expect(w.patch(`{"metadata":{"annotations":{"crossfade.io/force-delete":"true"}}}`)).To(gomega.Succeed())
	w.Eventually(w.gone).Should(gomega.BeTrue())
}
