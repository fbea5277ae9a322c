package controllers

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/stores"
)

var (
	restConfig *rest.Config // nil without an API server
	api        client.Client
	engines    = &fakeEngines{m: map[string]*fakeEngine{}}
	logged     logLines
	kubeconfig []byte // kubectl's
)

// logLines are what the manager has logged.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) add(prefix, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.WriteString(prefix + " " + args + "\n")
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run()
	}
	ctrl.SetLogger(logr.Discard())
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		ControlPlane:          envtest.ControlPlane{},
	}
	cfg, err := env.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start API server:", err)
		return 1
	}
	defer func() { _ = env.Stop() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	restricted, err := withRights(ctx, env, cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "set up rights:", err)
		return 1
	}
	human, err := env.AddUser(envtest.User{Name: "human", Groups: []string{"system:masters"}}, nil)
	if err == nil {
		kubeconfig, err = human.KubeConfig()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "set up kubectl's user:", err)
		return 1
	}
	var done rights
	done.watch(restricted)
	mgr, err := NewManager(restricted, Options{
		Images: Images{Crossfade: "crossfade:test", Redis: "valkey:test"}, Redis: RedisOptions{StorageSize: resource.MustParse("1Gi")},
		MetricsAddress: "0", ProbeAddress: "0", Open: engines.open, Log: funcr.New(logged.add, funcr.Options{Verbosity: 9}),
	})
	if err == nil {
		restConfig = cfg
		api, err = client.New(cfg, client.Options{Scheme: Scheme()})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start manager:", err)
		return 1
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := mgr.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "run manager:", err)
		}
	})
	code := m.Run()
	cancel()
	running.Wait()
	if all := flag.Lookup("test.run").Value.String() == ""; all && code == 0 {
		if unused := done.unused(); len(unused) > 0 {
			fmt.Fprintln(os.Stderr, "no test needs these of the manager's rights:", unused)
			return 1
		}
	}
	return code
}

// withRights is the configuration of a user that may do what the generated role
// grants, and no more: a right that is missing fails tests.
func withRights(ctx context.Context, env *envtest.Environment, admin *rest.Config) (*rest.Config, error) {
	role, err := managerRole()
	if err != nil {
		return nil, err
	}
	c, err := client.New(admin, client.Options{Scheme: Scheme()})
	if err != nil {
		return nil, err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "manager"}},
	}
	for _, obj := range []client.Object{role, binding} {
		if err := c.Create(ctx, obj); err != nil {
			return nil, err
		}
	}
	user, err := env.AddUser(envtest.User{Name: "manager"}, admin)
	if err != nil {
		return nil, err
	}
	return user.Config(), nil
}

// fakeEngines stand in for ledgers and stores, which the packages below test.
type fakeEngines struct {
	mu sync.Mutex
	m  map[string]*fakeEngine
}

func (f *fakeEngines) open(m *v1alpha1.Migration, secrets config.Secrets, now func() time.Time) (*Backend, error) {
	if m.Annotations["engine"] == "real" {
		return Open(m, secrets, now)
	}
	e := f.of(m.Namespace)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened++
	e.redis = m.Spec.Redis
	e.password, _ = secrets.Get(m.Spec.Redis.CredentialsRef.Name, config.RedisPasswordKey)
	return &Backend{Engine: e, Look: e.look, Close: func() {}}, nil
}

// of returns the engine of the migration in a namespace.
func (f *fakeEngines) of(namespace string) *fakeEngine {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[namespace] == nil {
		f.m[namespace] = &fakeEngine{out: migration.Output{Phase: migration.Pending, Next: 100 * time.Millisecond}, reachable: true}
	}
	return f.m[namespace]
}

type fakeEngine struct {
	mu        sync.Mutex
	opened    int
	redis     *v1alpha1.Redis
	password  string
	in        migration.Input
	steps     int
	out       migration.Output
	events    []migration.Event // for the next step
	err       error
	stranded  string
	destroyed bool
	stuck     error // why the ledger's keys stay
	reachable bool
}

func (e *fakeEngine) look(context.Context) [2]stores.Look {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := stores.Look{StoreFacts: migration.StoreFacts{Reachable: e.reachable}, Capabilities: map[string]string{"objectTagging": "Yes"}}
	return [2]stores.Look{l, l}
}

func (e *fakeEngine) Step(_ context.Context, in migration.Input) (migration.Output, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.in = in
	e.steps++
	out := e.out
	out.Events, e.events = e.events, nil
	return out, e.err
}

func (e *fakeEngine) Stranded(context.Context, migration.State) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stranded, nil
}

func (e *fakeEngine) Destroy(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.destroyed = e.stuck == nil
	return e.stuck
}

func (e *fakeEngine) set(f func(*fakeEngine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

func (e *fakeEngine) get(f func(*fakeEngine) bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f(e)
}

// world is a namespace with a migration and its engine.
type world struct {
	*gomega.WithT
	t   *testing.T
	ctx context.Context
	ns  string
	e   *fakeEngine
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if restConfig == nil {
		t.Skip("needs an API server: set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and kubectl")
	}
	t.Parallel()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	w := &world{WithT: gomega.NewWithT(t), t: t, ctx: t.Context(), ns: ns.Name, e: engines.of(ns.Name)}
	w.SetDefaultEventuallyTimeout(60 * time.Second)
	w.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	w.SetDefaultConsistentlyDuration(time.Second)
	return w
}

func (w *world) secret(name string, keys ...string) {
	w.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, StringData: map[string]string{}}
	for _, k := range keys {
		s.StringData[k] = "value of " + k
	}
	w.Expect(api.Create(w.ctx, s)).To(gomega.Succeed())
}

func (w *world) migration(name string) *v1alpha1.Migration {
	return &v1alpha1.Migration{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		Spec: v1alpha1.MigrationSpec{
			Source: v1alpha1.Store{Endpoint: "http://old:9000", CredentialsRef: v1alpha1.SecretReference{Name: "old"}},
			Target: v1alpha1.Store{Endpoint: "http://new:9000", CredentialsRef: v1alpha1.SecretReference{Name: "new"}},
		},
	}
}

// start creates a migration with its Secrets and waits until it is looked after.
func (w *world) start() *v1alpha1.Migration {
	w.t.Helper()
	return w.startWith(func(*v1alpha1.Migration) {})
}

func (w *world) startWith(change func(*v1alpha1.Migration)) *v1alpha1.Migration {
	w.t.Helper()
	w.secret("old", "accessKeyID", "secretAccessKey")
	w.secret("new", "accessKeyID", "secretAccessKey")
	m := w.migration("photos")
	change(m)
	w.Expect(api.Create(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(func() bool { return w.e.get(func(e *fakeEngine) bool { return e.steps > 0 }) }).Should(gomega.BeTrue())
	return m
}

func (w *world) read() *v1alpha1.Migration {
	w.t.Helper()
	m := &v1alpha1.Migration{}
	w.Expect(api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos"}, m)).To(gomega.Succeed())
	return m
}

func (w *world) patch(merge string) error {
	m := w.migration("photos")
	return api.Patch(w.ctx, m, client.RawPatch("application/merge-patch+json", []byte(merge)))
}

// condition is "status reason" of a condition, for Eventually.
func (w *world) condition(typ string) func() string {
	return func() string {
		c := meta.FindStatusCondition(w.read().Status.Conditions, typ)
		if c == nil {
			return "none"
		}
		return string(c.Status) + " " + c.Reason
	}
}

// serve plays the Deployment controller: every proxy is ready.
func (w *world) serve() {
	w.t.Helper()
	w.Eventually(func() error {
		d := &appsv1.Deployment{}
		if err := api.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "photos-proxy"}, d); err != nil {
			return err
		}
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
		return api.Status().Update(w.ctx, d)
	}).Should(gomega.Succeed())
}

// proxyPod is a proxy's pod on a node.
func (w *world) proxyPod(name string) *corev1.Pod {
	w.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Labels: labelsOf(w.migration("photos"), componentProxy)},
		Spec:       corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "proxy", Image: "crossfade:test"}}},
	}
	w.Expect(api.Create(w.ctx, p)).To(gomega.Succeed())
	return p
}

// switched is what the engine says in the middle of a switch.
func switched(e *fakeEngine) {
	e.out.Phase = migration.SwitchStarted
	e.out.State.Route = ledger.Route{Epoch: 4, Main: ledger.Target, State: ledger.Switched, Sync: true, Uploads: ledger.Source, Run: true}
	e.out.State.SwitchStartedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e.out.WaitingFor = []string{"writes still under way on the old store"}
}
