// Package ledger is Crossfade's protocol on Redis: who holds the newest
// version of an object, which writes are under way, what is left to copy, and
// which store takes writes. It knows nothing of S3 and nothing of Kubernetes.
//
// Every method is one atomic script on one hash slot, unless its comment says
// otherwise. Times come from Redis, so that all processes share one clock.
package ledger

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Store names one of the two object stores by identity.
type Store uint8

// The two stores of a migration.
const (
	Source Store = iota
	Target
)

// Other returns the opposite store.
func (s Store) Other() Store { return 1 - s }

func (s Store) String() string {
	if s == Source {
		return "Source"
	}
	return "Target"
}

func (s Store) code() string {
	if s == Source {
		return "s"
	}
	return "t"
}

func storeOf(code string) Store {
	if code == "t" {
		return Target
	}
	return Source
}

// Object names an object by its source bucket and key. An empty key names the
// bucket itself: its existence and configuration are versioned like an object.
type Object struct {
	Bucket string
	Key    string
}

// RouteState says which routing rule is in force.
type RouteState string

// The states of a route.
const (
	// Steady: reads and writes go to main; reads need no ledger.
	Steady RouteState = "Steady"
	// Preparing: writes go to main, reads look the object up. First barrier.
	Preparing RouteState = "Preparing"
	// Switched: writes go to the new main, reads to the newest store.
	Switched RouteState = "Switched"
)

// Route is the rule that every proxy and worker obeys. The Migration owns it;
// the ledger only distributes it.
type Route struct {
	// Epoch grows with every change.
	Epoch int64
	// Main takes the clients' writes.
	Main  Store
	State RouteState
	// Hold makes Begin answer ErrHeld: writes wait at the proxies (PauseWrites).
	Hold bool
	// HoldFor bounds that, for whoever asked for it may be gone: from then on writes go on as
	// without Hold. It counts from when writes began to be held; 0 means LongestHold. It is not
	// told again.
	HoldFor time.Duration
	// Sync says that changes on main are copied to the follower: always before
	// the switch, and after it when reverse events are on.
	Sync bool
	// Uploads is the store that multipart upload ids live on which the ledger
	// does not know.
	Uploads Store
	// Run lets workers take bucket, listing and copy tasks. Events, drains and
	// settling go on regardless.
	Run bool
}

// Options configure Open.
type Options struct {
	// Redis is any go-redis client: single, Sentinel or Cluster.
	Redis redis.UniversalClient
	// Migration is the identity that all keys are below, e.g. namespace/name/uid.
	Migration string
	// Shards is how many hash slots the objects spread over; it is fixed when
	// the ledger is created. 0 means 1, or 16 on Redis Cluster.
	Shards int
	// Epoch is known to have been in force: answers from before it are not used, so
	// that a process which starts beside a Redis with older data does not obey that.
	Epoch int64
	// Now replaces Redis' clock, for simulations.
	Now func() time.Time
}

// Ledger is one migration's state in Redis. It is safe for concurrent use.
type Ledger struct {
	rdb    redis.UniversalClient
	name   string
	shards int
	now    func() time.Time
	texts  map[*script]*script
	seen   atomic.Int64 // largest epoch that is known to have been in force
	calls  atomic.Uint64
	told   witness
}

// New returns the ledger of a migration. It makes no call.
func New(o Options) *Ledger {
	n := o.Shards
	if n <= 0 {
		n = 1
		if _, ok := o.Redis.(*redis.ClusterClient); ok {
			n = 16
		}
	}
	l := &Ledger{rdb: o.Redis, name: o.Migration, shards: n, now: o.Now, texts: ownTexts(o.Migration)}
	l.saw(o.Epoch)
	return l
}

// Migration is the identity that all keys are below.
func (l *Ledger) Migration() string { return l.name }

// Ping asks Redis whether it answers.
func (l *Ledger) Ping(ctx context.Context) error {
	if err := l.rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func (l *Ledger) shardOf(o Object) int {
	if l.shards == 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(o.Bucket))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(o.Key))
	return int(h.Sum32() % uint32(l.shards))
}

// saw notes an epoch that is, or was, in force.
func (l *Ledger) saw(epoch int64) {
	for {
		cur := l.seen.Load()
		if epoch <= cur || l.seen.CompareAndSwap(cur, epoch) {
			return
		}
	}
}
