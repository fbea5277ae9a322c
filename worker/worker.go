// Package worker moves what the ledger asks for from one store to the other:
// buckets and their configuration, listings, objects, deletes and events. It
// also does the ledger's chores: settling what dead sessions left behind and
// watching multipart uploads that a switch left on the old store.
//
// Any number of workers share the work; each may be killed at any instant.
package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// Config says what a worker works on, and how hard. Zero values mean the
// defaults named.
type Config struct {
	Ledger *ledger.Ledger
	// Instance is the pod or machine that the process runs in.
	Instance string
	// Stores are the two clients, by ledger.Store.
	Stores [2]*s3.Client
	// Capabilities of the two stores. One whose Reachable is not known is probed:
	// the target by writing scratch objects, the source by reading only.
	Capabilities [2]s3.Capabilities
	// BucketNames maps source buckets to target buckets of another name.
	BucketNames map[string]string
	// Named says that the spec names the buckets: others are not migrated.
	Named bool
	// Concurrency is how many objects are copied at a time; 32.
	Concurrency int
	Limits      Limits
	// MaxInFlight is the longest time that a request of a dead process can take
	// to land; 60 s.
	MaxInFlight time.Duration
	// DeadAfter is the silence after which a session is dead; 15 s.
	DeadAfter time.Duration
	// LockTTL bounds the lock of a final write during a switch; 15 s.
	LockTTL time.Duration
	// MaxAttempts is how often an object is tried before it is named as a failure,
	// and how often a store must have refused the object itself before it is given
	// up; 5. Of buckets, how often a store must have said no.
	MaxAttempts int
	// Backoff is the wait after the first failure; it doubles up to 30 s. 500 ms.
	Backoff time.Duration
	// Grace is how long copies may go on after Run's context ended; 20 s.
	Grace time.Duration
	// Heartbeat is the interval of the session's heartbeats; 500 ms.
	Heartbeat time.Duration
	// AuditPatience is how long an audit waits for clients to leave an object
	// alone before it has it copied instead of comparing it; 2 min.
	AuditPatience time.Duration
	// Dangling says how the drain deals with multipart uploads; it is asked each
	// time, for it may change while the worker runs. Nil waits.
	Dangling func() Dangling
	Log      logr.Logger
	Registry prometheus.Registerer
}

// Worker copies. New makes one, Run runs it.
type Worker struct {
	cfg     Config
	led     *ledger.Ledger
	log     logr.Logger
	stores  [2]*store
	member  *ledger.Member
	gate    gate
	slots   *slots
	parts   chan struct{} // parts of multipart uploads in flight
	buffers *semaphore.Weighted
	lim     limiter
	metrics *metrics
	settler *settler

	// held are the claims of writes that may still land, until ending ends.
	held   sync.WaitGroup
	ending context.Context //nolint:containedctx // Run's own, for what outlives a loop

	// lastCopied is when a copy was last written, in Unix nanoseconds.
	lastCopied atomic.Int64

	mu       sync.Mutex
	attempts map[string]int // tries of buckets by this process
	ready    bool
}

// New checks the configuration. It makes no request.
func New(cfg Config) (*Worker, error) {
	if cfg.Ledger == nil || cfg.Stores[0] == nil || cfg.Stores[1] == nil {
		return nil, errors.New("worker: ledger and both stores are needed")
	}
	def(&cfg.Concurrency, 32)
	def(&cfg.MaxInFlight, time.Minute)
	def(&cfg.DeadAfter, 15*time.Second)
	def(&cfg.LockTTL, 15*time.Second)
	def(&cfg.MaxAttempts, 5)
	def(&cfg.Backoff, 500*time.Millisecond)
	def(&cfg.Grace, 20*time.Second)
	def(&cfg.Heartbeat, 500*time.Millisecond)
	def(&cfg.AuditPatience, 2*time.Minute)
	if cfg.Log.GetSink() == nil {
		cfg.Log = logr.Discard()
	}
	w := &Worker{
		cfg: cfg, led: cfg.Ledger, log: cfg.Log, slots: newSlots(cfg.Concurrency),
		parts: make(chan struct{}, max(4, cfg.Concurrency)), buffers: semaphore.NewWeighted(bufferTotal), lim: newLimiter(cfg.Limits),
		metrics: newMetrics(cfg.Registry), attempts: map[string]int{},
	}
	w.settler = newSettler(w.led)
	for i, c := range cfg.Stores {
		w.stores[i] = &store{id: ledger.Store(i), api: w.lim.client(c.S3), region: c.Endpoint.Region, caps: cfg.Capabilities[i]}
	}
	w.stores[ledger.Target].names = cfg.BucketNames
	w.member = cfg.Ledger.Join(ledger.MemberOptions{
		Role: ledger.RoleWorker, Instance: cfg.Instance, Interval: cfg.Heartbeat, Log: cfg.Log, Apply: w.apply,
	})
	return w, nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// apply obeys a new route. For a route that is not Steady it returns once no
// final write without a lock is under way; while one is, heartbeats go on.
func (w *Worker) apply(ctx context.Context, r ledger.Route) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := w.gate.set(ctx, r.State == ledger.Steady, r.Main); err != nil {
		return fmt.Errorf("obey epoch %d: copies without a lock are being completed: %w", r.Epoch, err)
	}
	return nil
}

// Run works until ctx ends, then completes or gives back what it holds, and
// leaves. Outages of Redis and of the stores are survived.
func (w *Worker) Run(ctx context.Context) error {
	// Heartbeats outlive the work, and the work outlives ctx by the grace.
	beat, stopBeat := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBeat()
	work, stopWork := context.WithCancel(beat)
	defer stopWork()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(w.cfg.Grace, stopWork) })
	defer stop()

	w.ending = ctx
	if err := w.probe(ctx); err != nil {
		return nil //nolint:nilerr // ctx ended before the stores answered
	}
	var beats errgroup.Group
	beats.Go(func() error { return w.member.Run(beat) })
	var g sync.WaitGroup
	loop := func(f func(take, work context.Context)) { g.Go(func() { f(ctx, work) }) }
	loop(w.bucketLoop)
	for range listers {
		loop(w.listLoop)
	}
	for range batchers {
		loop(w.batchLoop)
	}
	for range auditors {
		loop(w.auditLoop)
	}
	loop(w.suspectLoop)
	loop(w.eventLoop)
	loop(w.sweepLoop)
	loop(w.danglingLoop)
	loop(w.leftoversLoop)
	w.setReady(true)
	g.Wait()
	w.held.Wait()
	w.setReady(false)
	stopBeat()
	err := beats.Wait()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if lerr := w.member.Leave(leave); lerr != nil {
		w.log.Info("could not leave; another worker will clear up", "error", lerr.Error())
	}
	return err
}

// probe learns what the stores can do, where the caller did not say, and waits
// for stores that don't answer yet.
func (w *Worker) probe(ctx context.Context) error {
	for i, st := range w.stores {
		wait := w.cfg.Backoff
		for st.caps.Reachable != s3.Yes {
			var err error
			if st.id == ledger.Target {
				st.caps, err = s3.Probe(ctx, w.cfg.Stores[i], "")
			} else {
				st.caps, err = s3.ProbeReadOnly(ctx, w.cfg.Stores[i], "")
			}
			if err == nil {
				st.caps.Reachable = s3.Yes
				break
			}
			w.log.Info("store was not probed in full", "store", st.id.String(), "error", err.Error())
			if st.caps.Reachable == s3.Yes {
				break
			}
			if serr := sleep(ctx, wait); serr != nil {
				return serr
			}
			wait = min(2*wait, maxBackoff)
		}
	}
	return nil
}

// session returns the id that work is claimed with, once a route is known.
func (w *Worker) session() (string, ledger.Route, bool) {
	r, ok := w.member.Route()
	if !ok || !w.alive() {
		return "", r, false
	}
	return w.member.ID(), r, true
}

// alive says that no other worker can think this one dead: what it began may
// still be completed.
func (w *Worker) alive() bool { return time.Since(w.member.Contact()) < w.cfg.DeadAfter*2/3 }

func (w *Worker) setReady(v bool) {
	w.mu.Lock()
	w.ready = v
	w.mu.Unlock()
}

// tried counts one more try of something that the ledger does not count.
func (w *Worker) tried(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts[what]++
	return w.attempts[what]
}

func (w *Worker) forget(what string) {
	w.mu.Lock()
	delete(w.attempts, what)
	w.mu.Unlock()
}
