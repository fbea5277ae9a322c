package controllers

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// rights are what the manager has done at the API server: "verb group/resource".
type rights struct {
	mu   sync.Mutex
	used map[string]bool
}

var requests = request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

func right(verb, group, resource string) string { return verb + " " + group + "/" + resource }

// watch notes each request that is made with a configuration from now on.
func (r *rights) watch(cfg *rest.Config) {
	r.used = map[string]bool{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(req *http.Request) (*http.Response, error) {
			if info, err := requests.NewRequestInfo(req); err == nil && info.IsResourceRequest {
				resource := info.Resource
				if info.Subresource != "" {
					resource += "/" + info.Subresource
				}
				r.mu.Lock()
				r.used[right(info.Verb, info.APIGroup, resource)] = true
				r.mu.Unlock()
			}
			return next.RoundTrip(req)
		})
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// unused are the rights that the generated role grants and nothing has needed.
func (r *rights) unused() (out []string) {
	role, err := managerRole()
	if err != nil {
		return []string{err.Error()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					// An apply that makes an object wants create too, a watch falls back
					// to list, and admission asks for the right to make an object
					// block its owner's deletion.
					implied := map[string]string{"create": "patch", "list": "watch"}[verb]
					used := r.used[right(verb, group, resource)] || r.used[right(implied, group, resource)]
					if !used && resource != "migrations/finalizers" {
						out = append(out, right(verb, group, resource))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func managerRole() (*rbacv1.ClusterRole, error) {
	role := &rbacv1.ClusterRole{}
	b, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	if err != nil {
		return nil, err
	}
	return role, yaml.Unmarshal(b, role)
}

// restrict lets nothing into the namespace but pods under the "restricted" policy.
func (w *world) restrict() {
	w.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	w.Expect(api.Patch(w.ctx, ns, client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)))).To(gomega.Succeed())
}

func (w *world) mayRun(what string, pod corev1.PodTemplateSpec) {
	w.t.Helper()
	p := &corev1.Pod{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
	p.Namespace, p.Name = w.ns, "any"
	if err := api.Create(w.ctx, p, client.DryRunAll); err != nil {
		w.t.Errorf("%s: %v", what, err)
	}
	for _, c := range pod.Spec.Containers {
		if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			w.t.Errorf("%s: container %s may write to its root", what, c.Name)
		}
		if c.LivenessProbe == nil || c.ReadinessProbe == nil {
			w.t.Errorf("%s: container %s lacks a probe", what, c.Name)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
			w.t.Errorf("%s: container %s has no bounds", what, c.Name)
		}
	}
}

func TestPodsKeepToTheRestrictedPolicy(t *testing.T) {
	w := newWorld(t)
	w.restrict()
	bad := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if err := api.Create(w.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "bad"}, Spec: bad.Spec}, client.DryRunAll); err == nil {
		t.Fatal("the API server lets in any pod")
	}
	for _, obj := range blueprintOf(load(t, sample)).all() {
		switch o := obj.(type) {
		case *appsv1.Deployment:
			w.mayRun(o.Name, o.Spec.Template)
		case *appsv1.StatefulSet:
			w.mayRun(o.Name, o.Spec.Template)
		}
	}
	b, err := os.ReadFile(filepath.Join("..", "config", "manager", "manager.yaml"))
	w.Expect(err).NotTo(gomega.HaveOccurred())
	d := &appsv1.Deployment{}
	w.Expect(yaml.UnmarshalStrict(b, d)).To(gomega.Succeed())
	w.mayRun("manager", d.Spec.Template)
}

func TestARedisOfTheUsersReplacesOurs(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.secret("my-redis", "password")
	key := client.ObjectKey{Namespace: w.ns, Name: "photos-redis"}
	for _, obj := range []client.Object{&appsv1.StatefulSet{}, &corev1.Service{}} {
		w.Eventually(func() error { return api.Get(w.ctx, key, obj) }).Should(gomega.Succeed())
	}
	w.Expect(w.patch(`{"spec":{"redis":{"addresses":["r:6379"],"credentialsRef":{"name":"my-redis"}}}}`)).To(gomega.Succeed())
	for _, obj := range []client.Object{&appsv1.StatefulSet{}, &corev1.Service{}} {
		w.Eventually(func() error { return client.IgnoreNotFound(errIfThere(api.Get(w.ctx, key, obj))) }).Should(gomega.Succeed())
	}
	w.Eventually(func() bool {
		return w.e.get(func(e *fakeEngine) bool { return e.redis.Addresses[0] == "r:6379" && e.password == "value of password" })
	}).Should(gomega.BeTrue())
	if w.read().Status.Phase != v1alpha1.PhasePending {
		t.Error("the migration has started")
	}
}

func errIfThere(err error) error {
	if err == nil {
		return fmt.Errorf("still there")
	}
	return err
}
