package controllers

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/stores"
)

func TestChildrenAreCreatedAndDriftIsRepaired(t *testing.T) {
	w := newWorld(t)
	w.start()
	for name, obj := range map[string]client.Object{
		"photos-proxy":  &appsv1.Deployment{},
		"photos-worker": &appsv1.Deployment{},
		"photos-config": &corev1.ConfigMap{},
		"photos-redis":  &appsv1.StatefulSet{},
	} {
		w.Eventually(func() error { return api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, obj) }).Should(gomega.Succeed())
		if !metav1.IsControlledBy(obj, w.read()) {
			t.Errorf("%s would stay when the Migration goes", name)
		}
	}
	for name, obj := range map[string]client.Object{"photos-proxy": &policyv1.PodDisruptionBudget{}, "photos-redis": &corev1.PersistentVolumeClaim{}} {
		w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, obj)).To(gomega.Succeed())
	}

	d := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: w.ns, Name: "photos-proxy"}
	w.Expect(api.Get(w.ctx, key, d)).To(gomega.Succeed())
	d.Spec.Replicas = ptr.To[int32](0)
	w.Expect(api.Update(w.ctx, d)).To(gomega.Succeed())
	w.Eventually(func() int32 {
		w.Expect(api.Get(w.ctx, key, d)).To(gomega.Succeed())
		return *d.Spec.Replicas
	}).Should(gomega.Equal(int32(2)), "somebody scaled the proxies to nothing")

	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "photos-proxy"}}
	w.Expect(api.Delete(w.ctx, svc)).To(gomega.Succeed())
	w.Eventually(func() error { return api.Get(w.ctx, client.ObjectKeyFromObject(svc), svc) }).Should(gomega.Succeed(), "somebody deleted the Service")
}

func TestRedisPasswordIsMadeOnceAndReachesTheEngine(t *testing.T) {
	w := newWorld(t)
	w.start()
	s := &corev1.Secret{}
	w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos-redis"}, s)).To(gomega.Succeed())
	password := string(s.Data["password"])
	if len(password) < 20 || !strings.Contains(string(s.Data["redis.conf"]), password) {
		t.Errorf("password of %d characters", len(password))
	}
	w.Expect(w.patch(`{"spec":{"worker":{"replicas":3}}}`)).To(gomega.Succeed())
	w.Eventually(func() int64 { return w.read().Status.ObservedGeneration }).Should(gomega.Equal(int64(2)))
	w.Expect(api.Get(w.ctx, client.ObjectKeyFromObject(s), s)).To(gomega.Succeed())
	if string(s.Data["password"]) != password {
		t.Error("the password changed")
	}
	w.e.get(func(e *fakeEngine) bool {
		if e.password != password || e.redis.Addresses[0] != "photos-redis."+w.ns+".svc:6379" {
			t.Errorf("engine was opened with %v", e.redis)
		}
		if e.opened != 1 {
			t.Errorf("engine was opened %d times", e.opened)
		}
		return true
	})
}

// What the Secrets of this test hold is "value of ..."; Redis' password is random.
func TestNoSecretIsToldAnywhereElse(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.steady()
	w.serve()
	w.e.set(func(e *fakeEngine) { e.err = errors.New("trouble") })
	w.Eventually(logged.String).Should(gomega.ContainSubstring("trouble"))
	s := &corev1.Secret{}
	w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos-redis"}, s)).To(gomega.Succeed())
	told := map[string]string{"the log": logged.String()}
	for name, list := range map[string]client.ObjectList{
		"Migrations": &v1alpha1.MigrationList{}, "ConfigMaps": &corev1.ConfigMapList{}, "Services": &corev1.ServiceList{},
		"Deployments": &appsv1.DeploymentList{}, "StatefulSets": &appsv1.StatefulSetList{}, "events": &eventsv1.EventList{},
	} {
		w.Expect(api.List(w.ctx, list, client.InNamespace(w.ns))).To(gomega.Succeed())
		if meta.LenList(list) == 0 && name != "events" {
			t.Errorf("no %s", name)
		}
		b, err := json.Marshal(list)
		w.Expect(err).NotTo(gomega.HaveOccurred())
		told[name] = string(b)
	}
	for name, text := range told {
		for _, secret := range []string{"value of secretAccessKey", "value of accessKeyID", string(s.Data["password"])} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: holds %q", name, secret)
			}
		}
	}
}

func TestReadyFollowsTheProxies(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.Eventually(w.condition("Ready")).Should(gomega.Equal("False NoProxyReady"))
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("False Progressing"))
	w.serve()
	w.Eventually(w.condition("Ready")).Should(gomega.Equal("True Serving"))
	m := w.read()
	if m.Status.ObservedGeneration != m.Generation || m.Status.Proxy.Address != "http://photos-proxy."+w.ns+".svc" || m.Status.Proxy.Ready != 2 {
		t.Errorf("generation %d of %d, proxy %+v", m.Status.ObservedGeneration, m.Generation, m.Status.Proxy)
	}
	for _, typ := range v1alpha1.ConditionTypes {
		if c := meta.FindStatusCondition(m.Status.Conditions, typ); c == nil || c.ObservedGeneration != m.Generation && c.Reason != v1alpha1.ReasonPending {
			t.Errorf("condition %s: %+v", typ, c)
		}
	}
	// A scale-up is not served in full until its pods are.
	w.Expect(w.patch(`{"spec":{"proxy":{"replicas":3}}}`)).To(gomega.Succeed())
	w.Eventually(w.condition("Ready")).Should(gomega.Equal("False ProxiesNotReady"))
	w.serve()
	w.Eventually(w.condition("Ready")).Should(gomega.Equal("True Serving"))
	w.e.set(func(e *fakeEngine) { e.reachable = false })
	w.Eventually(w.condition("Ready")).Should(gomega.Equal("False MainUnreachable"))
}

// Before a switch clients do not notice when Redis is away; in the middle of one they wait.
func TestReadyKnowsThatASwitchNeedsTheLedger(t *testing.T) {
	no := false
	away := []migration.Condition{{Type: migration.CondLedgerHealthy, Status: &no, Reason: "Unreachable", Message: "Redis does not answer."}}
	for state, want := range map[ledger.RouteState]string{"": "True Serving", ledger.Steady: "True Serving", ledger.Preparing: "False LedgerUnreachable", ledger.Switched: "False LedgerUnreachable"} {
		m := manifestOf(t, "")
		out := &migration.Output{Conditions: away}
		out.State.Route = ledger.Route{Epoch: 3, Main: ledger.Source, State: state}
		ReportLocal(m, out, [2]stores.Look{}, "http://127.0.0.1:8080", time.Now())
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
		if got := string(c.Status) + " " + c.Reason; got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
}

func TestMissingSecretStallsAndSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.secret("old", "accessKeyID", "secretAccessKey")
	w.Expect(api.Create(w.ctx, w.migration("photos"))).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True SecretNotFound"))
	if msg := meta.FindStatusCondition(w.read().Status.Conditions, "Stalled").Message; !strings.Contains(msg, "Secret new does not exist: create it") {
		t.Error(msg)
	}
	w.Expect(w.condition("Ready")()).To(gomega.Equal("False SecretNotFound"))
	w.secret("new", "accessKeyID")
	w.Expect(w.patch(`{"metadata":{"annotations":{"look":"again"}}}`)).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True SecretInvalid"))
	w.Expect(api.Patch(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "new"}},
		client.RawPatch("application/merge-patch+json", []byte(`{"stringData":{"secretAccessKey":"x"}}`)))).To(gomega.Succeed())
	w.Expect(w.patch(`{"metadata":{"annotations":{"look":"once more"}}}`)).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("False Progressing"))
}

func TestSomebodyElsesServiceIsNotTakenOver(t *testing.T) {
	w := newWorld(t)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "photos-proxy"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1234}}}}
	w.Expect(api.Create(w.ctx, svc)).To(gomega.Succeed())
	w.secret("old", "accessKeyID", "secretAccessKey")
	w.secret("new", "accessKeyID", "secretAccessKey")
	w.Expect(api.Create(w.ctx, w.migration("photos"))).To(gomega.Succeed())
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True NameTaken"))
	w.Expect(api.Get(w.ctx, client.ObjectKeyFromObject(svc), svc)).To(gomega.Succeed())
	if svc.Spec.Ports[0].Port != 1234 {
		t.Error("taken over")
	}
}

func TestAutoscalerComesAndGoes(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.Expect(w.patch(`{"spec":{"proxy":{"autoscaling":{"maxReplicas":4}}}}`)).To(gomega.Succeed())
	h := &autoscalingv2.HorizontalPodAutoscaler{}
	key := client.ObjectKey{Namespace: w.ns, Name: "photos-proxy"}
	w.Eventually(func() error { return api.Get(w.ctx, key, h) }).Should(gomega.Succeed())
	w.Expect(w.patch(`{"spec":{"proxy":{"autoscaling":null}}}`)).To(gomega.Succeed())
	w.Eventually(func() bool { return apierrors.IsNotFound(api.Get(w.ctx, key, h)) }).Should(gomega.BeTrue())
}

func TestEngineIsToldWhatWasAskedAndWhichProxiesExist(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.proxyPod("alive")
	ended := w.proxyPod("ended")
	ended.Status.Phase = corev1.PodFailed
	w.Expect(api.Status().Update(w.ctx, ended)).To(gomega.Succeed())
	w.Expect(w.patch(`{"spec":{"paused":true,"switch":{"mode":"PauseWrites","maxPause":"5s"}}}`)).To(gomega.Succeed())
	w.Eventually(func() bool {
		return w.e.get(func(e *fakeEngine) bool {
			r := e.in.Spec.Switch
			return e.in.Spec.Paused && r != nil && r.To == ledger.Target && r.PauseWrites && r.Reverse && r.MaxPause == 5*time.Second &&
				e.in.Stores[0].Reachable && len(e.in.Instances) == 1 && e.in.Instances["alive"]
		})
	}).Should(gomega.BeTrue())
}

func TestEngineGetsBackTheStateThatItGave(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.e.set(func(e *fakeEngine) {
		switched(e)
		e.out.State.LedgerGeneration = "ABC"
	})
	w.Eventually(func() bool {
		return w.e.get(func(e *fakeEngine) bool {
			return e.in.State.Route == e.out.State.Route && e.in.State.LedgerGeneration == "ABC" && e.in.State.SwitchStartedAt.Equal(e.out.State.SwitchStartedAt)
		})
	}).Should(gomega.BeTrue())
	m := w.read()
	if m.Status.Phase != "SwitchStarted" || m.Status.Stores.Target.Role != "Main" || m.Status.Stores.Source.Role != "Follower" ||
		m.Status.Stores.Target.Capabilities["objectTagging"] != "Yes" || !slices.Equal(m.Status.Switch.WaitingFor, []string{"writes still under way on the old store"}) {
		t.Errorf("%+v", m.Status)
	}
	// A proxy that starts while Redis is down must find the route.
	cm := &corev1.ConfigMap{}
	w.Eventually(func() string {
		w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos-config"}, cm)).To(gomega.Succeed())
		return cm.Data[manifestFile]
	}).Should(gomega.ContainSubstring("state: Switched"))
}

func (w *world) events() []eventsv1.Event {
	w.t.Helper()
	var l eventsv1.EventList
	w.Expect(api.List(w.ctx, &l, client.InNamespace(w.ns))).To(gomega.Succeed())
	return l.Items
}

func (w *world) eventCount(reason, note string) func() int {
	return func() int {
		n := 0
		for _, e := range w.events() {
			if e.Reason == reason && strings.Contains(e.Note, note) {
				n++
				if e.Series != nil {
					n += int(e.Series.Count)
				}
			}
		}
		return n
	}
}

func TestEventsAreSentOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.e.set(func(e *fakeEngine) {
		e.out.Phase = migration.Copying
		e.events = []migration.Event{{Reason: "Started", Message: "Copying has begun."}}
		no := false
		e.out.Conditions = []migration.Condition{{Type: "TargetReachable", Status: &no, Reason: "Unreachable", Message: "Down."}}
	})
	w.Eventually(w.eventCount("Started", "begun")).Should(gomega.Equal(1))
	w.Eventually(w.eventCount("PhaseChanged", "Copying")).Should(gomega.Equal(1))
	w.Eventually(w.eventCount("ConditionChanged", "TargetReachable is False: Down.")).Should(gomega.Equal(1))
	steps := 0
	w.e.get(func(e *fakeEngine) bool { steps = e.steps; return true })
	w.Eventually(func() bool { return w.e.get(func(e *fakeEngine) bool { return e.steps > steps+5 }) }).Should(gomega.BeTrue())
	for _, c := range []func() int{w.eventCount("Started", ""), w.eventCount("PhaseChanged", ""), w.eventCount("ConditionChanged", "TargetReachable")} {
		if n := c(); n != 1 {
			t.Errorf("sent %d times", n)
		}
	}
	w.e.set(func(e *fakeEngine) { e.events = []migration.Event{{Reason: "Started", Message: "Copying has begun."}} })
	w.Eventually(w.eventCount("Started", "begun")).Should(gomega.BeNumerically(">", 1), "what happens again is counted")
}

func TestEngineTroubleIsNotTheUsers(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.serve()
	w.Eventually(w.condition("Stalled")).Should(gomega.Equal("False Progressing"))
	w.e.set(func(e *fakeEngine) { e.err = errors.New("trouble") })
	w.Consistently(w.condition("Stalled")).Should(gomega.Equal("False Progressing"))
	w.e.set(func(e *fakeEngine) { e.err = nil; e.out.Phase = migration.CatchingUp })
	w.Eventually(func() v1alpha1.Phase { return w.read().Status.Phase }).Should(gomega.Equal(v1alpha1.PhaseCatchingUp))
}
