package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/migration"
)

// delete ends a migration: proxies and workers first, because they write to the
// ledger, then the ledger; the API server collects the other children. It
// returns false when deletion must wait while the migration goes on, because
// data lives on one store alone.
func (r *Reconciler) delete(ctx context.Context, s *scope) (gone bool, err error) {
	if !controllerutil.ContainsFinalizer(s.m, v1alpha1.Finalizer) {
		return true, nil
	}
	forced := s.m.Annotations[v1alpha1.AnnotationForceDelete] == "true"
	engine, openErr := r.engineForDeletion(ctx, s)
	why := ""
	if engine != nil {
		if why, err = engine.Stranded(ctx, stateOf(&s.m.Status)); err != nil {
			why, openErr = "", err
		}
	}
	// Where the ledger does not tell, status does: in any other state than
	// Steady, what is newest where is in the ledger alone.
	route := furthest(&s.m.Status)
	if openErr != nil && route != nil && route.State != v1alpha1.RouteSteady {
		why = "the ledger does not answer, and a switch is half-way: " + openErr.Error()
	}
	if why != "" {
		why = fmt.Sprintf("%s To delete all the same, and leave what is where it is, annotate the Migration with %s=true.",
			migration.Sentence(why), v1alpha1.AnnotationForceDelete)
		if !forced {
			s.held = why
			if !meta.IsStatusConditionTrue(s.old.Status.Conditions, v1alpha1.ConditionStalled) {
				s.events = append(s.events, event{warning: true, reason: v1alpha1.EventDeletionHeld, action: v1alpha1.ActionDelete, note: why})
			}
			return false, nil
		}
		s.events = append(s.events, event{warning: true, reason: v1alpha1.EventForceDeleted, action: v1alpha1.ActionDelete,
			note: "Deletion was forced although data may live on one store alone."})
	}
	if s.next, err = r.stopRoles(ctx, s); err != nil || s.next > 0 {
		s.events = nil
		return true, err
	}
	if engine != nil && openErr == nil {
		openErr = engine.Destroy(ctx)
	}
	if openErr != nil && !forced && s.m.Spec.Redis != nil && route != nil {
		// A Redis of the user's would keep the keys for ever.
		return true, &stallError{v1alpha1.ReasonLedgerKeysLeft, fmt.Sprintf(
			"Deletion waits: the ledger's keys cannot be deleted from Redis (%s). Mend that, or annotate the Migration with %s=true to leave them there.",
			strings.TrimSuffix(migration.Cause(openErr), "."), v1alpha1.AnnotationForceDelete)}
	}
	r.send(s)
	controllerutil.RemoveFinalizer(s.m, v1alpha1.Finalizer)
	if err := r.Client.Patch(ctx, s.m, client.MergeFrom(s.old)); client.IgnoreNotFound(err) != nil {
		return true, fmt.Errorf("remove finalizer: %w", err)
	}
	r.forget(s.key)
	s.next = time.Hour
	return true, nil
}

// engineForDeletion opens the ledger; a migration that has none needs none.
func (r *Reconciler) engineForDeletion(ctx context.Context, s *scope) (Engine, error) {
	if s.m.Status.Route == nil {
		return nil, nil
	}
	if err := r.readSecrets(ctx, s); err != nil {
		return nil, err
	}
	b, err := r.backend(s)
	if err != nil {
		return nil, err
	}
	return b.Engine, nil
}

// stopRoles deletes the proxies and workers, and says when to look again while
// pods are left.
func (r *Reconciler) stopRoles(ctx context.Context, s *scope) (again time.Duration, err error) {
	for _, component := range []string{componentProxy, componentWorker} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: childName(s.m, component)}}
		if err := r.deleteChild(ctx, s.m, d); err != nil {
			return 0, err
		}
		var pods corev1.PodList
		err := r.Reader.List(ctx, &pods, client.InNamespace(s.m.Namespace), client.MatchingLabels(selector(s.m, component)), client.Limit(1))
		if err != nil {
			return 0, fmt.Errorf("list pods: %w", err)
		}
		if len(pods.Items) > 0 {
			again = time.Second
		}
	}
	return again, nil
}
