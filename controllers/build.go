package controllers

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// Images of the children, and how they are pulled.
type Images struct {
	// Crossfade is the image of the proxies and workers.
	Crossfade string
	// Redis is the image of the Redis that we run; it has redis-server on its PATH.
	Redis string
	// PullPolicy of both; empty leaves it to Kubernetes.
	PullPolicy corev1.PullPolicy
	// PullSecrets are names of Secrets in the Migration's namespace.
	PullSecrets []string
}

const (
	componentProxy  = "proxy"
	componentWorker = "worker"
	componentRedis  = "redis"
	componentConfig = "config"
)

const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	// labelManagedBy marks everything that the cache holds.
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "crossfade"
	// annotationConfig changes when pods must be replaced to follow the spec.
	annotationConfig = "crossfade.io/config"
)

// children are the objects that a migration should have.
func (r *Reconciler) children(s *scope) []client.Object {
	b := blueprint{m: s.m, redis: s.redis, images: r.Images, redisOptions: r.Redis}
	if s.proxies != nil && s.proxies.UID != "" {
		b.proxyReplicas = s.proxies.Spec.Replicas
	}
	return b.all()
}

// blueprint makes child objects from a spec; it is pure.
type blueprint struct {
	m     *v1alpha1.Migration
	redis *v1alpha1.Redis // as the roles shall use it

	images       Images
	redisOptions RedisOptions
	// proxyReplicas is how many the autoscaler has set, if it could.
	proxyReplicas *int32
}

func (b blueprint) all() []client.Object {
	out := []client.Object{b.config()}
	if b.m.Spec.Redis == nil {
		out = append(out, b.redisObjects()...)
	}
	out = append(out, b.serviceAccount(componentProxy), b.serviceAccount(componentWorker))
	out = append(out, b.proxyService(), b.proxyDeployment(), b.disruptionBudget(componentProxy))
	if b.m.Spec.Proxy.Autoscaling != nil {
		out = append(out, b.proxyAutoscaler())
	}
	return append(out, b.workerDeployment(), b.disruptionBudget(componentWorker))
}

func childName(m *v1alpha1.Migration, component string) string { return m.Name + "-" + component }

// selector picks the pods of a component. It can never change.
func selector(m *v1alpha1.Migration, component string) map[string]string {
	return map[string]string{labelName: managedBy, labelInstance: m.Name, labelComponent: component}
}

func labelsOf(m *v1alpha1.Migration, component string) map[string]string {
	l := selector(m, component)
	l[labelManagedBy] = managedBy
	return l
}

func (b blueprint) meta(component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: childName(b.m, component), Namespace: b.m.Namespace, Labels: labelsOf(b.m, component)}
}

// serviceAccount has no rights: proxies and workers never call the Kubernetes API.
func (b blueprint) serviceAccount(component string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: b.meta(component), AutomountServiceAccountToken: ptr.To(false)}
}

func (b blueprint) disruptionBudget(component string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: b.meta(component),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable:             ptr.To(intstr.FromInt32(1)),
			Selector:                   &metav1.LabelSelector{MatchLabels: selector(b.m, component)},
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
		},
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
