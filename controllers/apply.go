package controllers

import (
	"context"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// appliedCache remembers what was applied last, so that nothing is sent while
// nothing changed: by migration, then by child.
type appliedCache struct {
	mu sync.Mutex
	m  map[types.NamespacedName]map[string]appliedState
}

type appliedState struct{ wanted, resourceVersion string }

func (c *appliedCache) get(key types.NamespacedName, child string) appliedState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[key][child]
}

func (c *appliedCache) set(key types.NamespacedName, child string, s appliedState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[types.NamespacedName]map[string]appliedState{}
	}
	if c.m[key] == nil {
		c.m[key] = map[string]appliedState{}
	}
	c.m[key][child] = s
}

func (c *appliedCache) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, key)
}

// apply makes a child what it should be, by server-side apply.
func (r *Reconciler) apply(ctx context.Context, s *scope, obj client.Object) error {
	if err := r.own(s.m, obj); err != nil {
		return err
	}
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	id := kind + "/" + obj.GetName()
	live, err := r.live(ctx, s.m, obj)
	if err != nil {
		return err
	}
	wanted := fingerprint(obj)
	if live != nil && r.applied.get(s.key, id) == (appliedState{wanted, live.GetResourceVersion()}) {
		return nil
	}
	if live != nil && createOnly(obj) {
		return nil
	}
	u, err := toApply(obj)
	if err != nil {
		return err
	}
	err = r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership)
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		return &stallError{v1alpha1.ReasonApplyFailed, fmt.Sprintf("The API server refuses %s %s: %s.", kind, obj.GetName(), err)}
	}
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", kind, obj.GetName(), err)
	}
	r.applied.set(s.key, id, appliedState{wanted, u.GetResourceVersion()})
	return nil
}

// createOnly: a claim's size and class are the user's to change once it exists.
func createOnly(obj client.Object) bool {
	_, ok := obj.(*corev1.PersistentVolumeClaim)
	return ok
}

func (r *Reconciler) own(m *v1alpha1.Migration, obj client.Object) error {
	gvk, err := apiutil.GVKForObject(obj, r.Client.Scheme())
	if err != nil {
		return fmt.Errorf("kind of child: %w", err)
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	if err := controllerutil.SetControllerReference(m, obj, r.Client.Scheme()); err != nil {
		return fmt.Errorf("own %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	return nil
}

// live returns the child as it is, or nil. Somebody else's object of the same
// name stalls the migration: it must not be taken over.
func (r *Reconciler) live(ctx context.Context, m *v1alpha1.Migration, obj client.Object) (client.Object, error) {
	live := obj.DeepCopyObject().(client.Object) //nolint:forcetypeassert // same type
	key := client.ObjectKeyFromObject(obj)
	var err error
	if !createOnly(obj) {
		err = r.Client.Get(ctx, key, live)
	}
	if createOnly(obj) || apierrors.IsNotFound(err) {
		// The cache holds our own objects only.
		err = r.Reader.Get(ctx, key, live)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", kind, obj.GetName(), err)
	}
	if !metav1.IsControlledBy(live, m) {
		return nil, &stallError{v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"%s %s exists and does not belong to this Migration: remove it, or give the Migration another name.", kind, obj.GetName())}
	}
	return live, nil
}

// toApply is obj with nothing but what we have an opinion on.
func toApply(obj client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("convert %T: %w", obj, err)
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "spec", "template", "metadata", "creationTimestamp")
	return u, nil
}

// prune deletes children that are not wanted any more.
func (r *Reconciler) prune(ctx context.Context, s *scope, wanted []client.Object) error {
	keep := map[string]bool{}
	for _, obj := range wanted {
		keep[fmt.Sprintf("%T/%s", obj, obj.GetName())] = true
	}
	for _, obj := range []client.Object{
		&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: childName(s.m, componentProxy)}},
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: childName(s.m, componentRedis)}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: childName(s.m, componentRedis)}},
	} {
		if !keep[fmt.Sprintf("%T/%s", obj, obj.GetName())] {
			if err := r.deleteChild(ctx, s.m, obj); err != nil {
				return err
			}
		}
	}
	return nil
}

// deleteChild deletes a child that the cache knows, if it is ours.
func (r *Reconciler) deleteChild(ctx context.Context, m *v1alpha1.Migration, obj client.Object) error {
	obj.SetNamespace(m.Namespace)
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	if err == nil && metav1.IsControlledBy(obj, m) && obj.GetDeletionTimestamp().IsZero() {
		err = r.Client.Delete(ctx, obj, client.PropagationPolicy(metav1.DeletePropagationBackground))
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %T %s: %w", obj, obj.GetName(), err)
	}
	return nil
}
