package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/stores"
)

// Engine is the phase engine, see internal/migration.
type Engine interface {
	Step(ctx context.Context, in migration.Input) (migration.Output, error)
	Stranded(ctx context.Context, st migration.State) (string, error)
	Destroy(ctx context.Context) error
}

// Backend is what one migration's reconciling talks to outside of Kubernetes:
// its ledger, through the phase engine, and its two stores.
type Backend struct {
	Engine Engine
	// Look says what was last seen of the two stores.
	Look func(ctx context.Context) [2]stores.Look
	// Close releases connections.
	Close func()
}

// OpenFunc opens a migration's backend. The spec's redis is never nil.
type OpenFunc func(m *v1alpha1.Migration, secrets config.Secrets, now func() time.Time) (*Backend, error)

// Open is the OpenFunc for the real thing.
func Open(m *v1alpha1.Migration, secrets config.Secrets, now func() time.Time) (*Backend, error) {
	both, err := OpenStores(m, secrets, now)
	if err != nil {
		return nil, err
	}
	rdb, err := config.OpenRedis(m.Spec.Redis, secrets)
	if err != nil {
		both.Close()
		return nil, err
	}
	return &Backend{
		Engine: &migration.Engine{
			Ledger:      ledger.New(ledger.Options{Redis: rdb, Migration: config.LedgerName(m)}),
			ListBuckets: both.ListBuckets,
			BucketsMade: both.BucketsMade,
			Now:         now,
		},
		Look:  both.Look,
		Close: func() { both.Close(); _ = rdb.Close() },
	}, nil
}

// OpenStores opens a migration's two stores, to be looked at.
func OpenStores(m *v1alpha1.Migration, secrets config.Secrets, now func() time.Time) (*stores.Stores, error) {
	endpoints, err := config.Stores(m, secrets)
	if err != nil {
		return nil, err
	}
	o := stores.Options{Endpoints: endpoints, Now: now, Known: knownCapabilities(m)}
	if len(m.Spec.Buckets) > 0 {
		b := m.Spec.Buckets[0]
		o.Bucket = [2]string{b.Name, cmp.Or(b.TargetName, b.Name)}
	}
	return stores.New(o)
}

// knownCapabilities spares stores another probe after a restart.
func knownCapabilities(m *v1alpha1.Migration) (out [2]map[string]string) {
	if m.Status.Stores == nil {
		return out
	}
	for i, s := range []v1alpha1.StoreStatus{m.Status.Stores.Source, m.Status.Stores.Target} {
		if s.Endpoint != [2]string{m.Spec.Source.Endpoint, m.Spec.Target.Endpoint}[i] {
			continue // those of another store
		}
		for name, c := range s.Capabilities {
			if out[i] == nil {
				out[i] = map[string]string{}
			}
			out[i][name] = string(c)
		}
	}
	return out
}

// backend returns the migration's backend, and opens it anew when what it was
// opened with has changed.
func (r *Reconciler) backend(s *scope) (*Backend, error) {
	key := fingerprint(s.m.UID, s.m.Spec.Source, s.m.Spec.Target, s.m.Spec.Buckets, s.redis, s.secrets)
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.backends[s.key]
	if old.Backend != nil && old.fingerprint == key {
		return old.Backend, nil
	}
	m := s.m.DeepCopy()
	m.Spec.Redis = s.redis
	b, err := r.Open(m, s.secrets, r.Now)
	if err != nil {
		return nil, fmt.Errorf("open ledger and stores: %w", err)
	}
	if old.Backend != nil {
		old.Close()
	}
	r.backends[s.key] = openBackend{Backend: b, fingerprint: key}
	return b, nil
}

type openBackend struct {
	*Backend
	fingerprint string
}
