// Package controllers reconciles Migrations: it runs the proxies, the workers
// and perhaps a Redis, lets the phase engine do the next step, and writes what
// it says into status, conditions and events.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
)

const (
	// fieldOwner owns the fields of child objects that we apply.
	fieldOwner = client.FieldOwner("crossfade")
	// stalledEvery is how often something that a human must mend is looked at.
	stalledEvery = 15 * time.Second
	// soonest keeps a step that wants to be called again at once from spinning.
	soonest = 20 * time.Millisecond
	// childrenEvery is how often Secrets and children are looked at. The phase
	// engine steps more often, in a switch many times a second.
	childrenEvery = 3 * time.Second
)

// Reconciler reconciles Migrations.
type Reconciler struct {
	Client client.Client
	// Reader reads past the cache: Secrets, which are never cached, and what
	// must not be stale.
	Reader   client.Reader
	Recorder events.EventRecorder
	Open     OpenFunc
	Images   Images
	Redis    RedisOptions
	Now      func() time.Time

	mu       sync.Mutex
	backends map[types.NamespacedName]openBackend
	passes   map[types.NamespacedName]pass
	applied  appliedCache
}

// SetupWithManager registers the reconciler. workers is how many Migrations are
// looked after at a time.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	r.backends = map[types.NamespacedName]openBackend{}
	r.passes = map[types.NamespacedName]pass{}
	// Our own status patches are no reason to look again.
	changed := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	err := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Migration{}, builder.WithPredicates(changed)).
		Owns(&appsv1.Deployment{}).
		Owns(&appsv1.StatefulSet{}).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}).
		Owns(&policyv1.PodDisruptionBudget{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&corev1.ConfigMap{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the Migration controller: %w", err)
	}
	return nil
}

// Reconcile looks after one Migration.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &scope{key: req.NamespacedName, m: &v1alpha1.Migration{}, log: ctrl.LoggerFrom(ctx)}
	// Past the cache: the route in status must be the last one written.
	if err := r.Reader.Get(ctx, req.NamespacedName, s.m); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("get Migration: %w", err)
	}
	s.old = s.m.DeepCopy()
	if s.m.DeletionTimestamp.IsZero() && controllerutil.AddFinalizer(s.m, v1alpha1.Finalizer) {
		if err := r.Client.Patch(ctx, s.m, client.MergeFrom(s.old)); err != nil {
			return ctrl.Result{}, fmt.Errorf("add finalizer: %w", err)
		}
		return ctrl.Result{RequeueAfter: soonest}, nil
	}
	if !s.m.DeletionTimestamp.IsZero() {
		gone, err := r.delete(ctx, s)
		if stall := (*stallError)(nil); errors.As(err, &stall) {
			return r.conclude(ctx, s, err)
		}
		if err != nil || gone {
			return ctrl.Result{RequeueAfter: jitter(s.next)}, err
		}
		// Held: the migration goes on until nothing lives on one store alone.
	}

	return r.conclude(ctx, s, r.run(ctx, s))
}

// conclude puts what was found out, and the error that ended the steps, into
// status and events.
func (r *Reconciler) conclude(ctx context.Context, s *scope, stepErr error) (ctrl.Result, error) {
	if stall := (*stallError)(nil); errors.As(stepErr, &stall) {
		s.stall, stepErr = stall, nil
		s.next = stalledEvery
	}
	s.setStatus(r.Now())
	if err := r.patchStatus(ctx, s); err != nil {
		return ctrl.Result{}, errors.Join(stepErr, err)
	}
	r.send(s)
	if stepErr != nil {
		return ctrl.Result{}, stepErr
	}
	return ctrl.Result{RequeueAfter: jitter(s.next)}, nil
}

// run does the steps in order and stops at the first error.
func (r *Reconciler) run(ctx context.Context, s *scope) error {
	steps := []func(context.Context, *scope) error{r.observe, r.readSecrets, r.applyChildren, r.observe, r.stepEngine}
	if r.settled(s) {
		steps = []func(context.Context, *scope) error{r.observe, r.stepEngine}
	}
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// settled says whether this spec's children were looked at just now, and if so
// takes over what was read then.
func (r *Reconciler) settled(s *scope) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.passes[s.key]
	if !ok || last.uid != s.m.UID || last.generation != s.m.Generation || last.epoch != epochOf(s.m) || absolute(r.Now().Sub(last.at)) >= childrenEvery {
		return false
	}
	s.redis, s.secrets = last.redis, last.secrets
	return true
}

func epochOf(m *v1alpha1.Migration) int64 {
	r := furthest(&m.Status)
	if r == nil {
		return 0
	}
	return r.Epoch
}

// pass is what was read when the children were looked at last.
type pass struct {
	uid        types.UID
	generation int64
	epoch      int64
	at         time.Time
	redis      *v1alpha1.Redis
	secrets    config.MemorySecrets
}

func (r *Reconciler) settle(s *scope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passes[s.key] = pass{s.m.UID, s.m.Generation, epochOf(s.m), r.Now(), s.redis, s.secrets}
}

func (r *Reconciler) patchStatus(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(&s.old.Status, &s.m.Status) {
		return nil
	}
	// No optimistic lock: nobody else writes status, and it must not be lost
	// because somebody changed the spec meanwhile.
	patched := s.m.DeepCopy()
	err := r.Client.Status().Patch(ctx, patched, client.MergeFrom(s.old), fieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	return nil
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.backends[key]; b.Backend != nil {
		b.Close()
	}
	delete(r.backends, key)
	delete(r.passes, key)
	r.applied.forget(key)
}

// jitter keeps many Migrations from being looked at in step.
func jitter(d time.Duration) time.Duration {
	d = max(d, soonest)
	return d + time.Duration(rand.Int64N(int64(d)/5))
}
