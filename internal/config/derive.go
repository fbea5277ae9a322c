package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// DefaultUploadsAfter is spec.switch.danglingUploads.after, which the schema
// cannot default because it counts only with policy Abort.
const DefaultUploadsAfter = time.Hour

// LedgerName is the identity that a migration's ledger keys are below. Two
// Migrations never share one, even one after the other under the same name.
func LedgerName(m *v1alpha1.Migration) string {
	ns := m.Namespace
	if ns == "" {
		ns = "default"
	}
	name := ns + "/" + m.Name
	if m.UID != "" {
		name += "/" + string(m.UID)
	}
	return name
}

// Endpoint returns how one of the two stores is reached.
func Endpoint(s v1alpha1.Store, secrets Secrets) (s3.Endpoint, error) {
	creds, err := secrets.Credentials(s.CredentialsRef.Name)
	if err != nil {
		return s3.Endpoint{}, err
	}
	return s3.Endpoint{
		URL:         s.Endpoint,
		Region:      s.Region,
		Addressing:  s3.Addressing(s.Addressing),
		Credentials: creds,
	}, nil
}

// Stores returns how both stores are reached, by identity.
func Stores(m *v1alpha1.Migration, secrets Secrets) (out [2]s3.Endpoint, err error) {
	if out[ledger.Source], err = Endpoint(m.Spec.Source, secrets); err != nil {
		return out, fmt.Errorf("spec.source.credentialsRef: %w", err)
	}
	if out[ledger.Target], err = Endpoint(m.Spec.Target, secrets); err != nil {
		return out, fmt.Errorf("spec.target.credentialsRef: %w", err)
	}
	return out, nil
}

// Client is who may sign requests, and whom it is at the stores.
type Client struct {
	Keys s3.KeysFunc
	// Stores are its own keys at a store, by identity; nil: those of the store.
	Stores [2]s3.CredentialsFunc
}

// Clients returns who may sign requests: spec.proxy.clients, or whoever has the
// source's own keys. All follow their Secrets.
func Clients(m *v1alpha1.Migration, secrets Secrets) ([]Client, error) {
	if len(m.Spec.Proxy.Clients) == 0 {
		keys, err := secrets.Keys(m.Spec.Source.CredentialsRef.Name)
		if err != nil {
			return nil, fmt.Errorf("spec.source.credentialsRef: %w", err)
		}
		return []Client{{Keys: keys}}, nil
	}
	var out []Client
	for i, c := range m.Spec.Proxy.Clients {
		keys, err := secrets.Keys(c.SecretName)
		if err != nil {
			return nil, fmt.Errorf("spec.proxy.clients[%d]: %w", i, err)
		}
		client := Client{Keys: keys}
		for store, ref := range map[ledger.Store]*v1alpha1.SecretReference{ledger.Source: c.SourceCredentialsRef, ledger.Target: c.TargetCredentialsRef} {
			if ref == nil {
				continue
			}
			if client.Stores[store], err = secrets.Credentials(ref.Name); err != nil {
				return nil, fmt.Errorf("spec.proxy.clients[%d].%sCredentialsRef: %w", i, strings.ToLower(store.String()), err)
			}
		}
		out = append(out, client)
	}
	return out, nil
}

// Regions returns the regions that clients may sign for; nil: any.
func Regions(m *v1alpha1.Migration) []string {
	out := m.Spec.Proxy.Regions
	if len(out) == 0 {
		out = []string{m.Spec.Source.Region, m.Spec.Target.Region}
	}
	if slices.Contains(out, "*") || slices.Contains(out, "") {
		return nil
	}
	return out
}

// TakesTrailers says whether bodies with trailing checksums may be sent to a
// store that was found to have the given capabilities. What is not known of the
// source is what its clients do already.
func TakesTrailers[C ~string](store ledger.Store, capabilities map[string]C) bool {
	switch capabilities["streamingTrailer"] {
	case C(s3.Yes):
		return true
	case C(s3.No):
		return false
	}
	return store == ledger.Source
}

// TargetNames returns the target's names of the buckets that are called
// something else there, by their source name.
func TargetNames(m *v1alpha1.Migration) map[string]string {
	out := map[string]string{}
	for _, b := range m.Spec.Buckets {
		if b.TargetName != "" && b.TargetName != b.Name {
			out[b.Name] = b.TargetName
		}
	}
	return out
}

// OpenRedis returns a client of the Redis that keeps the ledger. It connects at
// first use, and each new connection has the password that the Secret holds then. A
// nil spec is an error: somebody must run one.
func OpenRedis(r *v1alpha1.Redis, secrets Secrets) (redis.UniversalClient, error) {
	if r == nil || len(r.Addresses) == 0 {
		return nil, errors.New("spec.redis is left out: name the Redis that keeps the ledger")
	}
	o := &redis.UniversalOptions{
		Addrs:           slices.Clone(r.Addresses),
		MasterName:      r.MasterName,
		IsClusterMode:   r.Mode == v1alpha1.RedisCluster,
		MaxRetries:      -1,   // what is not known to have failed is the caller's to decide
		DisableIdentity: true, // old servers and proxies refuse CLIENT SETINFO
	}
	if r.CredentialsRef != nil {
		for key, to := range map[string]*string{
			RedisUsernameKey: &o.Username, RedisPasswordKey: &o.Password, RedisSentinelPasswordKey: &o.SentinelPassword,
		} {
			v, err := secrets.Get(r.CredentialsRef.Name, key)
			if err != nil {
				return nil, fmt.Errorf("spec.redis.credentialsRef: %w", err)
			}
			*to = v
		}
		o.CredentialsProvider = followPassword(secrets, r.CredentialsRef.Name, o.Username, o.Password)
	}
	return redis.NewUniversalClient(o), nil
}

// followPassword returns the user and password that a Secret holds now; those that it
// held last while it can't be read or has no password.
func followPassword(secrets Secrets, name, user, password string) func() (string, string) {
	var mu sync.Mutex
	return func() (string, string) {
		mu.Lock()
		defer mu.Unlock()
		u, uerr := secrets.Get(name, RedisUsernameKey)
		p, perr := secrets.Get(name, RedisPasswordKey)
		if uerr == nil && perr == nil && p != "" {
			user, password = u, p
		}
		return user, password
	}
}

// EngineSpec is what the phase engine needs to know of a spec.
func EngineSpec(s *v1alpha1.MigrationSpec) migration.Spec {
	out := migration.Spec{Paused: s.Paused, RetryFailed: s.RetryFailed}
	for _, b := range s.Buckets {
		out.Buckets = append(out.Buckets, b.Name)
	}
	if a := s.Audit; a.Mode != v1alpha1.AuditOff {
		out.Audit = migration.AuditRequest{Mode: string(a.Mode), Repair: a.OnDifference != v1alpha1.AuditReport, Trigger: a.Trigger}
	}
	if w := s.Switch; w != nil {
		r := migration.DefaultRequest(StoreOf(w.To))
		r.PauseWrites = w.Mode == v1alpha1.SwitchPauseWrites
		if w.MaxPause != nil {
			r.MaxPause = w.MaxPause.Duration
		}
		if w.Reverse != nil {
			r.Reverse = *w.Reverse
		}
		if w.MaxDirty != nil {
			r.MaxDirty = *w.MaxDirty
		}
		if w.MaxLag != nil {
			r.MaxLag = w.MaxLag.Duration
		}
		for _, g := range w.Overrides {
			if r.Overrides == nil {
				r.Overrides = map[migration.Guard]bool{}
			}
			r.Overrides[migration.Guard(g)] = true
		}
		r.Attempt = w.Attempt
		out.Switch = &r
	}
	return out
}

// StoreOf is the ledger's name of a store.
func StoreOf(s v1alpha1.StoreName) ledger.Store {
	if s == v1alpha1.StoreSource {
		return ledger.Source
	}
	return ledger.Target
}

// RouteOf is the ledger's form of a route in a status.
func RouteOf(r *v1alpha1.Route) ledger.Route {
	return ledger.Route{
		Epoch: r.Epoch, Main: StoreOf(r.Main), State: ledger.RouteState(r.State),
		Hold: r.Hold, Sync: r.Sync, Uploads: StoreOf(r.Uploads), Run: r.Run,
	}
}

// AbortUploadsAfter returns how long past a switch dangling uploads are
// aborted; false when they are waited for.
func AbortUploadsAfter(s *v1alpha1.MigrationSpec) (time.Duration, bool) {
	if s.Switch == nil || s.Switch.DanglingUploads.Policy != v1alpha1.UploadsAbort {
		return 0, false
	}
	if after := s.Switch.DanglingUploads.After; after != nil {
		return after.Duration, true
	}
	return DefaultUploadsAfter, true
}
