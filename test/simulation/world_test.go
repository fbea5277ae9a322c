package simulation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// world is one history while it is played.
type world struct {
	seed    uint64
	plan    *plan
	redis   *server
	teeth   *tooth
	tracing bool

	mu        sync.Mutex
	quiet     bool // no more faults
	began     time.Time
	stores    [2]*store
	down      map[peer]bool
	redisLost bool            // Redis answers with errors
	forgot    map[string]bool // scripts that Redis knew before it was restarted
	losses    []*loss
	lossy     bool                     // a loss took what only a process knew that has ended
	moments   map[string]chan struct{} // closed when the route has got there
	over      chan struct{}            // closed when the clients are done
	leases    map[string]time.Time
	memo      memo
	closers   []func()
	ends      []chan struct{} // closed when a process' last goroutine has ended

	nodes   []*node
	manager *manager
	dir     string

	clock     int64 // orders calls and answers
	lostAt    int64 // when Redis lost data last
	shakenAt  int64 // when it did, or was restarted
	history   []porcupine.Operation
	tags      map[string]string // content by ETag
	tagsOf    map[string][]string
	copied    map[string]bool // uploads of copies, by id
	stray     []strayCopy
	taken     map[string]time.Time // when a version of a key was last being deleted
	makers    map[string]string    // who made a version, by its id
	dropping  map[string]int       // ids of versions, how often somebody has asked to delete them
	vain      []string             // requests of workers that left a delete marker of nothing
	left      [2]int64             // when clients began to write to the other store only; 0: never
	mains     []mainFrom           // which store was main
	alone     [2]bool              // clients write to this one only
	moved     int64                // when they first began to write to another store than before; 0: never
	faultTill time.Time            // when the last fault's effects are over

	trace  []string
	digest uint64
	result result
}

// result is what a history came to.
type result struct {
	problem string
	kind    string // a word for the problem, so that a shrunk history is seen to fail alike
	ops     int
	steps   int
	failed  int // requests answered with 5xx
	faults  map[string]int
	told    []string // unclean events that excuse what clients saw
	routes  map[string]int
	digest  uint64
	trace   []string
	calls   []string // names of the calls that went wrong
	took    time.Duration
}

const bucketName = "b"

func newWorld(seed uint64, p *plan, s *server, dir string) *world {
	w := &world{seed: seed, plan: p, redis: s, dir: dir, down: map[peer]bool{}, leases: map[string]time.Time{}, moments: map[string]chan struct{}{},
		memo: newMemo(), taken: map[string]time.Time{}, makers: map[string]string{}, dropping: map[string]int{}, tags: map[string]string{}, tagsOf: map[string][]string{}, copied: map[string]bool{}}
	w.result = result{faults: map[string]int{}, routes: map[string]int{}}
	w.stores = [2]*store{newStore("source"), newStore("target")}
	for _, st := range w.stores {
		st.conditional = p.conditional
		if p.spareVersioned {
			st.keeps = spareBucket
		}
	}
	return w
}

// problem ends a history's good name; the first one counts. The caller holds the lock.
func (w *world) problem(format string, args ...any) {
	if w.result.problem != "" {
		return
	}
	w.result.kind, _, _ = strings.Cut(format, ":")
	w.result.problem = fmt.Sprintf(format, args...)
	w.write(nil, "PROBLEM %s", w.result.problem)
}

// write adds a line to the trace. The caller holds the lock.
func (w *world) write(p *process, format string, args ...any) {
	if !w.tracing {
		return
	}
	name := "-"
	if p != nil {
		name = p.name
	}
	w.trace = append(w.trace, fmt.Sprintf("%11.6f %-11s %s", time.Since(w.began).Seconds(), name, fmt.Sprintf(format, args...)))
}

func (w *world) note(p *process, format string, args ...any) {
	if !w.tracing {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(p, format, args...)
}

// step counts a call that is being applied.
func (w *world) step(_ *process, _ string, f fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.steps++
	w.digest = mix(w.digest ^ uint64(time.Since(w.began)) ^ uint64(len(f.name)))
}

// fault counts a fault, after which requests may fail for a while.
func (w *world) fault(kind, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind, _, _ = strings.Cut(kind, " ")
	w.result.faults[kind]++
	if name != "" {
		w.result.calls = append(w.result.calls, name)
	}
	w.disturbed(w.plan.maxInFlight)
	if kind == "late" {
		w.disturbed(3 * w.plan.maxInFlight) // a copy's claim is held, and clients wait for its end
	}
	w.write(nil, "FAULT %s %s", kind, name)
}

// disturbed notes that something goes wrong for a while. The caller holds the lock.
func (w *world) disturbed(span time.Duration) {
	if till := time.Now().Add(span); till.After(w.faultTill) {
		w.faultTill = till
	}
}

func (w *world) log(p *process) logr.Logger {
	if !w.tracing {
		return logr.Discard()
	}
	return funcr.New(func(_, args string) { w.note(p, "log %s", args) }, funcr.Options{Verbosity: 1})
}

// play runs the whole history; it is called inside of the bubble.
func (w *world) play() {
	w.began, w.over = time.Now(), make(chan struct{})
	for _, st := range w.stores[:1] {
		b := st.newBucket()
		b.versioned = w.plan.versioned || w.plan.suspended
		st.buckets[bucketName] = b
		if w.plan.suspended {
			for _, k := range keys[:2] {
				o := b.put(k, oldOf[k], nil)
				w.knowTag(o.etag, o.data)
				w.record(input{kind: "write", key: k, value: o.data}, output{}, w.tick(), w.tick())
			}
			b.suspended = true
		}
		for i, k := range keys[:2] {
			if i == 1 && w.plan.suspended {
				break
			}
			o := b.put(k, fmt.Sprintf("<init%d>", i), nil)
			w.knowTag(o.etag, o.data)
			w.record(input{kind: "write", key: k, value: o.data}, output{}, w.tick(), w.tick())
		}
	}
	w.record(input{kind: "deleteBucket", key: spare}, output{ok: true}, w.tick(), w.tick()) // there is none
	w.manager = newManager(w)
	w.manager.start()
	for i := range w.plan.proxies {
		w.addNode("proxy", i)
	}
	for i := range w.plan.workers {
		w.addNode("worker", i)
	}
	var clients, others sync.WaitGroup
	for i, ops := range w.plan.clients {
		clients.Go(func() { w.runClient(i, ops) })
	}
	for _, f := range w.plan.faults {
		others.Go(func() { w.runFault(f) })
	}
	others.Go(w.watch)
	others.Go(func() {
		at := time.Duration(0)
		for i, s := range w.plan.switches {
			time.Sleep(s.at - at)
			at = s.at
			w.manager.ask(i, s)
		}
	})
	clients.Wait()
	close(w.over)
	others.Wait()
	w.settle()
	w.end()
}

// settle lets everything come to rest without faults, and looks at what is left.
func (w *world) settle() {
	w.mu.Lock()
	w.quiet, w.redisLost = true, false
	w.write(nil, "QUIET")
	clear(w.down)
	nodes := append([]*node(nil), w.nodes...)
	w.mu.Unlock()
	for _, n := range nodes {
		w.mu.Lock()
		clear(n.p.cut)
		w.mu.Unlock()
		n.p.resume()
		if !n.p.alive() {
			w.restart(n)
		}
	}
	w.manager.revive()
	oracle := w.newProcess("oracle")
	oracle.oracle = true
	l := w.ledgerOf(oracle)
	ctx := context.Background()
	limit := time.Now().Add(15 * time.Minute)
	var why string
	asked, calm := time.Now(), time.Now()
	for {
		time.Sleep(time.Second)
		if time.Since(asked) > 40*time.Second {
			asked = time.Now()
			w.manager.retry(asked.String())
		}
		if why = w.unsettled(ctx, l); why == "" {
			break
		}
		w.operate(ctx, l, calm)
		if time.Now().After(limit) {
			w.mu.Lock()
			for _, k := range texts(w.redis.do([]any{"KEYS", "*:o:*"})[0].([]any)) {
				w.write(nil, "LEFT %q %v", k, w.redis.do([]any{"HGETALL", k})[0])
			}
			w.problem("does not come to rest: %s; the engine waits for %q", why, w.manager.waits())
			w.mu.Unlock()
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told()
	w.noticed()
	w.compare()
}

// unsettled says what is still under way, "" when nothing is.
func (w *world) unsettled(ctx context.Context, l *ledger.Ledger) string {
	s, err := l.Stats(ctx)
	if err != nil {
		return err.Error()
	}
	if n := s.Dirty + s.Doubts + s.Queued + s.Intents[0] + s.Intents[1] + s.Newest[0] + s.Newest[1] + s.Failed; n != 0 {
		return fmt.Sprintf("the ledger holds %+v", s)
	}
	r, err := l.Route(ctx)
	if err != nil || r.State != ledger.Steady {
		return fmt.Sprintf("the route is %+v, %v", r, err)
	}
	if !r.Run {
		return "the migration has not started"
	}
	buckets, err := l.Buckets(ctx)
	if err != nil || len(buckets) == 0 || slices.ContainsFunc(buckets, func(b ledger.BucketState) bool { return b.State != ledger.BucketCopied }) {
		return fmt.Sprintf("the buckets are %+v, %v", buckets, err)
	}
	dead, err := l.DeadSessions(ctx, 15*time.Second)
	if err != nil || len(dead) > 0 {
		return fmt.Sprintf("dead sessions %+v, %v", dead, err)
	}
	sessions, err := l.Sessions(ctx)
	for _, s := range sessions {
		if s.Unrecorded > 0 || s.Epoch != r.Epoch {
			return fmt.Sprintf("session %+v", s)
		}
	}
	if why := w.unhealed(ctx, l); why != "" {
		return why
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range texts(w.redis.do([]any{"KEYS", "*"})[0].([]any)) {
		_, name, _ := strings.Cut(k, "}:")
		switch kind, _, found := strings.Cut(name, ":"); {
		case found && (kind == "o" || kind == "i" || kind == "cl" || kind == "x"):
			return "the ledger holds the key " + k
		case name == "q" || name == "age" || name == "doubt" || name == "fail":
			return "the ledger holds the key " + k
		}
	}
	if err != nil {
		return err.Error()
	}
	if len(w.losses) > 0 {
		return "" // what was noted of copies' uploads may be lost
	}
	for _, st := range w.stores {
		for _, b := range st.buckets {
			for id, u := range b.uploads {
				if u.copied {
					return "a copy has left the upload " + id
				}
			}
		}
	}
	return ""
}

// compare looks at both stores and adds the last reads. The caller holds the lock.
func (w *world) compare() {
	a, b := w.stores[0].contents(bucketName), w.stores[1].contents(bucketName)
	// With spec.switch.reverse off the old store is left behind. An audit has to heal whatever is told of.
	equal := w.manager.state.Route.Sync && (w.plan.audit || len(w.result.told) == 0)
	for _, k := range w.plan.keys() {
		if a[k] != b[k] && equal {
			w.problem("stores differ: %s is %q on the source and %q on the target", k, a[k], b[k])
		}
	}
	if a, b := w.stores[0].spare(), w.stores[1].spare(); a != b && equal {
		w.problem("stores differ: %s is %q on the source and %q on the target", spare, a, b)
	}
	main := w.manager.state.Route.Main
	w.clock++
	w.record(input{kind: "read", key: spare}, output{value: w.stores[main].spare()}, w.clock, w.clock+1)
	w.clock++
	for _, k := range w.plan.keys() {
		if len(w.vain) > 0 && len(w.result.told) == 0 && len(w.losses) == 0 { // a copy from before a loss may land as well
			w.problem("a delete marker of nothing: %s", w.vain[0])
		}
		value := ""
		if o := w.stores[main].buckets[bucketName].objects[k]; o != nil {
			value = o.data
		}
		w.clock++
		w.record(input{kind: "read", key: k}, output{value: value}, w.clock, w.clock+1)
		w.clock++
	}
}

// end stops everything, so that the bubble can end.
func (w *world) end() {
	w.result.took = time.Since(w.began)
	for _, n := range w.nodes {
		n.cancel()
	}
	w.manager.crash()
	for _, ended := range w.ends {
		<-ended // those of crashed ones too
	}
	for _, n := range w.nodes {
		n.p.crash()
	}
	for _, f := range w.closers {
		f()
	}
	time.Sleep(3 * time.Minute) // handlers whose client or process is gone
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.digest, w.result.trace = w.digest, w.trace
}

// stateDir returns a directory of a proxy, a copy of what from holds.
func (w *world) stateDir(from, name string) string {
	to := filepath.Join(w.dir, name)
	if err := os.MkdirAll(to, 0o700); err != nil {
		panic(err)
	}
	if from != "" {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil && !errors.Is(err, os.ErrExist) {
			panic(err)
		}
	}
	return to
}
