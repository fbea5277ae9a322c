package simulation

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/proxy"
	"github.com/crossfade-io/crossfade/worker"
)

// node is a pod: a process, and the next one after it ended.
type node struct {
	kind     string
	number   int
	instance string
	life     int // processes before this one
	p        *process
	proxy    *proxy.Proxy
	dir      string
	cancel   context.CancelFunc
	done     chan struct{}
}

func endpoint(i int) s3.Endpoint {
	return s3.Endpoint{URL: fmt.Sprintf("http://store%d.test", i), AccessKeyID: "crossfade", SecretAccessKey: "crossfade-secret"}
}

func (w *world) addNode(kind string, number int) {
	n := &node{kind: kind, number: number, instance: fmt.Sprintf("%s-%d", kind, number)}
	w.mu.Lock()
	w.nodes = append(w.nodes, n)
	w.mu.Unlock()
	w.begin(n, "")
}

// begin starts a node's process. It does not begin at the same instant as others.
func (w *world) begin(n *node, journal string) {
	p := w.newProcess(fmt.Sprintf("%s%d.%d", n.kind, n.number, n.life))
	w.mu.Lock()
	n.p = p
	w.mu.Unlock()
	r := roll(w.seed, "start "+n.p.name)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.mu.Lock()
	n.cancel, n.done = cancel, done
	w.ends = append(w.ends, done)
	w.mu.Unlock()
	after := between(r, 0, 700*time.Millisecond)
	if n.kind == "worker" {
		wk := w.newWorker(n)
		go func() {
			defer close(done)
			time.Sleep(after)
			_ = wk.Run(ctx)
		}()
		return
	}
	n.dir = w.stateDir(journal, n.p.name)
	// What the Migration says of the route, as roles have it in their configuration.
	var known *ledger.Route
	w.mu.Lock()
	if r := w.manager.state.Route; r.Epoch > 0 {
		known = &r
	}
	w.mu.Unlock()
	pr, err := proxy.New(proxy.Config{Fallback: known, Ledger: w.ledgerOf(n.p), Instance: n.instance, StateDir: n.dir, Stores: [2]proxy.Store{
		{Endpoint: endpoint(0), Trailers: func() bool { return true }, Transport: transport{n.p, 0}}, {Endpoint: endpoint(1), Trailers: func() bool { return true }, Transport: transport{n.p, 1}},
	}, MaxInFlight: w.plan.maxInFlight, Log: w.log(n.p), Heartbeat: time.Second})
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	n.proxy = pr
	w.mu.Unlock()
	go func() {
		defer close(done)
		time.Sleep(after)
		_ = pr.Run(ctx)
	}()
}

func (w *world) newWorker(n *node) *worker.Worker {
	can := s3.Capabilities{Reachable: s3.Yes, PartNumberGet: s3.Yes, AttributesParts: s3.No, ObjectTagging: s3.No, ObjectACL: s3.No,
		BucketACL: s3.No, ChecksumsStored: s3.No, ObjectLock: s3.No}
	if w.plan.conditional {
		can.PutIfNoneMatch, can.PutIfMatch, can.DeleteIfMatch, can.CompleteIfMatch, can.CompleteIfNoneMatch = s3.Yes, s3.Yes, s3.Yes, s3.Yes, s3.Yes
	}
	var clients [2]*s3.Client
	for i := range clients {
		c, err := s3.NewClient(endpoint(i))
		if err != nil {
			panic(err)
		}
		c.HTTP = &http.Client{Transport: transport{n.p, i}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		c.S3 = awss3.New(c.S3.Options(), func(o *awss3.Options) {
			o.HTTPClient = c.HTTP
			o.Retryer = aws.NopRetryer{}
		})
		clients[i] = c
	}
	wk, err := worker.New(worker.Config{Ledger: w.ledgerOf(n.p), Instance: n.instance, Stores: clients, Capabilities: [2]s3.Capabilities{can, can},
		Named: !w.plan.buckets, MaxInFlight: w.plan.maxInFlight, Concurrency: 6, Log: w.log(n.p), Heartbeat: time.Second,
		Dangling: func() worker.Dangling {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.quiet {
				return worker.Dangling{Policy: worker.Abort, After: 30 * time.Second}
			}
			return worker.Dangling{Policy: worker.Wait}
		}})
	if err != nil {
		panic(err)
	}
	return wk
}

// kill ends a node's process at once; nothing that it still does gets out.
func (w *world) kill(n *node) {
	n.p.crash()
	n.cancel()
}

// restart replaces a process that ended by another one in the same pod.
func (w *world) restart(n *node) {
	journal := ""
	if n.kind == "proxy" {
		journal = n.dir
	}
	n.life++
	w.begin(n, journal)
}

// ready says whether a load balancer would send requests to the node.
func (w *world) ready(n *node) bool {
	if n.kind != "proxy" {
		return false
	}
	w.mu.Lock()
	p, pr := n.p, n.proxy
	w.mu.Unlock()
	if pr == nil || !p.alive() {
		return false
	}
	rec := httptest.NewRecorder()
	pr.Readyz().ServeHTTP(rec, nil)
	return rec.Code == http.StatusOK
}

// manager is the operator: it persists the engine's state after each step, and
// may die at any instant.
type manager struct {
	w      *world
	p      *process
	life   int
	state  migration.State // what the Migration's status holds
	spec   migration.Spec
	ended  chan struct{}
	cancel context.CancelFunc
	out    migration.Output
	told   map[string]bool // unclean events that it saw
}

func newManager(w *world) *manager {
	m := &manager{w: w, spec: migration.Spec{Buckets: []string{bucketName}}, told: map[string]bool{}}
	if w.plan.buckets {
		m.spec.Buckets = nil // all of them, and those created meanwhile
	}
	if w.plan.audit {
		m.spec.Audit = migration.AuditRequest{Mode: "ETag", Repair: true}
	}
	return m
}

func (m *manager) start() {
	m.p = m.w.newProcess(fmt.Sprintf("manager.%d", m.life))
	m.life++
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.ended = cancel, make(chan struct{})
	go m.run(ctx, m.p, m.ended)
}

func (m *manager) run(ctx context.Context, p *process, ended chan struct{}) {
	defer close(ended)
	w := m.w
	e := &migration.Engine{Ledger: w.ledgerOf(p), Now: time.Now, ListBuckets: w.listBuckets, BucketsMade: w.bucketsMade}
	r := roll(w.seed, "rhythm "+p.name)
	for p.alive() {
		w.mu.Lock()
		in := migration.Input{State: m.state, Spec: m.spec, Stores: [2]migration.StoreFacts{{Reachable: true}, {Reachable: true}}, Instances: map[string]bool{},
			Persist: func(ctx context.Context, st migration.State) error {
				time.Sleep(between(r, time.Millisecond, 20*time.Millisecond))
				if w.plan.slowEnd > 0 && m.state.Route.State == ledger.Switched && st.Pending.State == ledger.Steady {
					time.Sleep(between(roll(w.seed, "slow end"), 0, w.plan.slowEnd))
				}
				if err := p.up(ctx); err != nil {
					return err
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				m.state = st
				w.follow(st.Route)
				w.follow(st.Pending)
				return nil
			}}
		for _, n := range w.nodes {
			if n.kind == "proxy" {
				in.Instances[n.instance] = true
			}
		}
		w.mu.Unlock()
		began := time.Now()
		out, err := e.Step(ctx, in)
		if p.up(ctx) != nil {
			return
		}
		w.mu.Lock()
		if err != nil && ctx.Err() == nil {
			w.write(p, "step: %v", err)
		}
		if out.State.Route != m.state.Route {
			w.write(p, "ROUTE %+v", out.State.Route)
			w.reach(string(out.State.Route.State))
		}
		m.state, m.out = out.State, out
		for _, u := range out.UncleanList {
			m.told[u.Reason] = true
		}
		for _, c := range out.Conditions {
			if c.Type == migration.CondLedgerHealthy && c.Status != nil && !*c.Status && c.Reason != "Unreachable" {
				w.seeLoss(began)
			}
		}
		w.mu.Unlock()
		time.Sleep(min(max(out.Next, 200*time.Millisecond), 2*time.Second) + between(r, 0, w.plan.slowManager))
	}
}

// listBuckets lists the source's buckets.
func (w *world) listBuckets(context.Context) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.stores[0].buckets)), nil
}

// bucketsMade are all of the target's: it had none before.
func (w *world) bucketsMade(context.Context, time.Time) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.stores[1].buckets)), nil
}

func (m *manager) crash() {
	m.p.crash()
	m.cancel()
	<-m.ended
}

// revive makes sure that a manager runs.
func (m *manager) revive() {
	m.w.mu.Lock()
	clear(m.p.cut)
	m.w.mu.Unlock()
	m.retry("quiet")
	m.p.resume()
	if !m.p.alive() {
		m.start()
	}
}

// retry changes spec.retryFailed.
func (m *manager) retry(word string) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.spec.RetryFailed = word
}

func (m *manager) waits() []string {
	out := append([]string(nil), m.out.WaitingFor...)
	for _, c := range m.out.Conditions {
		if c.Status != nil && !*c.Status {
			out = append(out, c.Type+": "+c.Message)
		}
	}
	return out
}

// ask changes spec.switch.
func (m *manager) ask(i int, s switchAt) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	to := s.to
	if s.flip {
		to = m.state.Route.Main.Other()
	}
	req := migration.DefaultRequest(to)
	req.PauseWrites, req.MaxPause, req.Attempt, req.Reverse = s.pause, 20*time.Second, fmt.Sprint(i), !s.noReverse
	// Nobody says that the stores are equal while an audit can.
	req.Overrides = map[migration.Guard]bool{migration.GuardAuditClean: !w.plan.audit, migration.GuardCaughtUp: true}
	m.spec.Switch = &req
	if s.none {
		m.spec.Switch = nil
	}
	w.write(nil, "ASK %v pause=%v none=%v noReverse=%v", to, s.pause, s.none, s.noReverse)
}
