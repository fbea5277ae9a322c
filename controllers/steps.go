package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// observe reads the children that status tells of.
func (r *Reconciler) observe(ctx context.Context, s *scope) error {
	s.proxies, s.service = &appsv1.Deployment{}, &corev1.Service{}
	name := client.ObjectKey{Namespace: s.m.Namespace, Name: childName(s.m, componentProxy)}
	for _, obj := range []client.Object{s.proxies, s.service} {
		if err := r.Client.Get(ctx, name, obj); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get %T: %w", obj, err)
		}
	}
	return nil
}

// readSecrets reads the Secrets that the spec names, and makes Redis' own.
func (r *Reconciler) readSecrets(ctx context.Context, s *scope) error {
	s.redis = s.m.Spec.Redis
	s.secrets = config.MemorySecrets{}
	if s.redis == nil {
		s.redis = managedRedis(s.m)
		if err := r.ensureRedisSecret(ctx, s); err != nil {
			return err
		}
	}
	need := map[string][]string{}
	for _, name := range s3Secrets(s.m) {
		need[name] = []string{s3.AccessKeyIDFile, s3.SecretAccessKeyFile}
	}
	if ref := s.redis.CredentialsRef; ref != nil {
		need[ref.Name] = append(need[ref.Name], config.RedisPasswordKey)
	}
	if t := s.m.Spec.Proxy.TLS; t != nil {
		need[t.SecretName] = append(need[t.SecretName], config.TLSCertKey, config.TLSKeyKey)
	}
	for _, name := range sortedKeys(need) {
		secret := &corev1.Secret{}
		err := r.Reader.Get(ctx, client.ObjectKey{Namespace: s.m.Namespace, Name: name}, secret)
		if apierrors.IsNotFound(err) {
			return &stallError{v1alpha1.ReasonSecretNotFound,
				fmt.Sprintf("Secret %s does not exist: create it in namespace %s with the keys %v.", name, s.m.Namespace, need[name])}
		}
		if err != nil {
			return fmt.Errorf("get Secret %s: %w", name, err)
		}
		for _, key := range need[name] {
			if len(secret.Data[key]) == 0 {
				return &stallError{v1alpha1.ReasonSecretInvalid,
					fmt.Sprintf("Secret %s in namespace %s lacks the key %s: add it.", name, s.m.Namespace, key)}
			}
		}
		s.secrets.Add(secret)
	}
	return nil
}

// applyChildren makes the child objects what they should be.
func (r *Reconciler) applyChildren(ctx context.Context, s *scope) error {
	wanted := r.children(s)
	for _, obj := range wanted {
		if err := r.apply(ctx, s, obj); err != nil {
			return err
		}
	}
	if err := r.prune(ctx, s, wanted); err != nil {
		return err
	}
	r.settle(s)
	return nil
}

// stepEngine lets the phase engine do the next thing.
func (r *Reconciler) stepEngine(ctx context.Context, s *scope) error {
	b, err := r.backend(s)
	if err != nil {
		return &stallError{v1alpha1.ReasonInvalidSpec, migration.Sentence(err.Error())}
	}
	if err := r.listInstances(ctx, s); err != nil {
		return err
	}
	s.looks = b.Look(ctx)
	out, err := b.Engine.Step(ctx, migration.Input{
		Spec:      config.EngineSpec(&s.m.Spec),
		State:     stateOf(&s.m.Status),
		Stores:    [2]migration.StoreFacts{s.looks[0].StoreFacts, s.looks[1].StoreFacts},
		Instances: s.instances,
		Persist:   func(ctx context.Context, st migration.State) error { return r.persist(ctx, s, st) },
	})
	if err != nil {
		return fmt.Errorf("step: %w", err)
	}
	s.out, s.next = &out, out.Next
	for _, e := range out.Events {
		s.events = append(s.events, event{warning: e.Warning, reason: e.Reason, action: actionOf(e.Reason), note: e.Message})
	}
	return nil
}

// persist keeps the engine's state in status in the middle of a step.
func (r *Reconciler) persist(ctx context.Context, s *scope, st migration.State) error {
	setState(&s.m.Status, st)
	if err := r.patchStatus(ctx, s); err != nil {
		return err
	}
	s.old.Status = *s.m.Status.DeepCopy()
	return nil
}

// listInstances lists the proxy pods that exist. While a switch is asked for, or
// under way, it reads past the cache: a proxy that the cache has not seen yet may serve
// clients already.
func (r *Reconciler) listInstances(ctx context.Context, s *scope) error {
	reader := client.Reader(r.Client)
	route, asked := furthest(&s.m.Status), s.m.Spec.Switch
	if route != nil && route.State != v1alpha1.RouteSteady || asked != nil && (route == nil || route.Main != asked.To) {
		reader = r.Reader
	}
	var pods corev1.PodList
	err := reader.List(ctx, &pods, client.InNamespace(s.m.Namespace), client.MatchingLabels(selector(s.m, componentProxy)))
	if err != nil {
		return fmt.Errorf("list proxy pods: %w", err)
	}
	s.instances = map[string]bool{}
	for _, p := range pods.Items {
		// A pod that has no node or has ended serves nobody.
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if p.Spec.NodeName != "" && !ended {
			s.instances[p.Name] = true
		}
	}
	return nil
}

func actionOf(reason string) string {
	switch reason {
	case v1alpha1.EventSwitchPreparing, v1alpha1.EventSwitchCancelled, v1alpha1.EventSwitchPostponed, v1alpha1.EventSwitchCalledOff, v1alpha1.EventSwitchStarted,
		v1alpha1.EventSwitchReversed, v1alpha1.EventSwitchDone:
		return v1alpha1.ActionSwitch
	case v1alpha1.EventStarted, v1alpha1.EventRetryingFailed, v1alpha1.EventListBucketsFailed:
		return v1alpha1.ActionCopy
	case v1alpha1.EventAuditStarted, v1alpha1.EventAuditDone:
		return v1alpha1.ActionAudit
	}
	return v1alpha1.ActionReconcile
}

// apiStore is a store's name in the API.
func apiStore(s ledger.Store) v1alpha1.StoreName { return v1alpha1.StoreName(s.String()) }

func truncate(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Truncate(time.Millisecond)
	}
	return d.Truncate(time.Second)
}
