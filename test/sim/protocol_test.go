// Package sim plays whole migrations against the ledger's real scripts and the
// real phase engine: clients, proxies, workers and stores are steps of one
// seeded scheduler that interleaves, delays, crashes and pauses them. Every
// history is checked for linearizability, and the stores against each other.
package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
	"github.com/crossfade-io/crossfade/internal/migration"
)

var (
	histories = flag.Int("histories", 60, "how many histories to play")
	seed      = flag.Uint64("seed", 0, "play only this seed")
)

const (
	lockTTL    = 15 * time.Second
	landWithin = 60 * time.Second // bounded message delay
)

type op struct {
	kind  string // put, putIfAbsent, get
	key   string
	value string
}

type result struct {
	unknown bool
	ok      bool
	value   string
}

var model = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range h {
			k := o.Input.(op).key
			by[k] = append(by[k], o)
		}
		var out [][]porcupine.Operation
		for _, v := range by {
			out = append(out, v)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(string), input.(op), output.(result)
		switch in.kind {
		case "get":
			return out.value == s, s
		case "put":
			return true, in.value
		default:
			if out.unknown {
				if s == "" {
					return true, in.value
				}
				return true, s
			}
			if out.ok {
				return s == "", in.value
			}
			return s != "", s
		}
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(op), output.(result)
		return fmt.Sprintf("%s %s %q -> %+v", in.kind, in.key, in.value, out)
	},
}

// task is an actor's work: each call does one step and returns what follows, or nil.
type task func() task

type running struct {
	run  task
	wait int
}

type process struct {
	m      *ledger.Member
	dead   bool
	paused int
	role   ledger.Role
	// unlocked counts final writes on their way that took no lock; a worker
	// confirms a stricter route only when there is none.
	unlocked int
	obeyed   ledger.Route
	known    bool
	contact  time.Time // when the ledger last answered a heartbeat
}

type world struct {
	rng      *rand.Rand
	ctx      context.Context
	l        *ledger.Ledger
	e        *migration.Engine
	in       migration.Input
	now      time.Time
	stores   [2]map[string]string
	procs    []*process
	tasks    []running
	hist     []porcupine.Operation
	open     map[int]porcupine.Operation
	ops      int
	values   int
	trace    []string
	next     int
	pending  map[string]int // requests of a session that can still land
	quiet    bool
	sessions int
}

func (w *world) log(format string, a ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%6d ", len(w.trace))+fmt.Sprintf(format, a...))
}

func (w *world) call(o op) int {
	w.next++
	w.open[w.next] = porcupine.Operation{ClientId: w.next, Input: o, Call: int64(len(w.trace))}
	w.log("call %d %+v", w.next, o)
	return w.next
}

func (w *world) ret(id int, r result) {
	o := w.open[id]
	delete(w.open, id)
	o.Output, o.Return = r, int64(len(w.trace))
	w.hist = append(w.hist, o)
	w.log("return %d %+v", id, r)
}

func (w *world) spawn(role ledger.Role, instance string) {
	p := &process{role: role}
	p.m = w.l.Join(ledger.MemberOptions{Role: role, Instance: instance, NewID: w.sessionID, Apply: func(_ context.Context, r ledger.Route) error {
		if r.State != ledger.Steady && p.unlocked > 0 {
			return errors.New("unlocked writes are still on their way")
		}
		p.obeyed, p.known = r, true
		return nil
	}})
	w.procs = append(w.procs, p)
}

func (w *world) sessionID() string {
	w.sessions++
	return fmt.Sprint("session-", w.sessions)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// alive delays a step while its process is paused and drops it when it is dead.
func (w *world) alive(p *process, died func(), f task) task {
	var g task
	g = func() task {
		if p.dead {
			if died != nil {
				died()
			}
			return nil
		}
		if p.paused > 0 {
			return g
		}
		return f()
	}
	return g
}

// write is a client's write through a proxy.
func (w *world) write(p *process, o op) task {
	id := w.call(o)
	sid := p.m.ID()
	key := ledger.Object{Bucket: "b", Key: o.key}
	unanswered := func() {}
	var begin, apply task
	var in ledger.Intent
	apply = func() task {
		// The request is on its way: it lands although its sender dies.
		w.pending[sid]--
		st := w.stores[in.Store]
		fail := o.kind == "putIfAbsent" && st[o.key] != ""
		lost := !w.quiet && w.rng.IntN(12) == 0
		if !fail && (!lost || w.rng.IntN(2) == 0) {
			st[o.key] = o.value
		}
		w.log("apply %d on %v fail=%v lost=%v", id, in.Store, fail, lost)
		return w.alive(p, unanswered, func() task {
			switch {
			case lost:
				must(w.l.Doubt(w.ctx, landWithin, in))
				return nil // the client got a 5xx: unknown
			case fail:
				must(w.l.Abort(w.ctx, in))
				w.ret(id, result{})
				return nil
			case in.Newest:
				w.ret(id, result{ok: true})
				return w.alive(p, nil, func() task {
					err := w.l.Commit(w.ctx, in)
					w.log("commit %d: %v", id, err)
					if !errors.Is(err, ledger.ErrSettled) { // its session was buried: a later write is the newest
						must(err)
					}
					return nil
				})
			}
			err := w.l.Commit(w.ctx, in)
			w.log("commit %d: %v", id, err)
			if errors.Is(err, ledger.ErrSettled) {
				return nil // a 503: nobody will see it
			}
			must(err)
			w.ret(id, result{ok: true})
			return nil
		})
	}
	begin = func() task {
		var err error
		in, err = w.l.Begin(w.ctx, p.m.ID(), key, ledger.BeginOptions{InSync: o.kind == "putIfAbsent", Removes: o.value == ""})
		switch {
		case errors.Is(err, ledger.ErrLocked), errors.Is(err, ledger.ErrHeld), errors.Is(err, ledger.ErrNotInSync), errors.Is(err, ledger.ErrFenced):
			return w.alive(p, unanswered, begin)
		case err != nil:
			panic(err)
		}
		sid = in.Session
		w.pending[sid]++
		w.log("begin %d on %v newest=%v", id, in.Store, in.Newest)
		return apply
	}
	return w.alive(p, unanswered, begin)
}

func (w *world) read(p *process, o op) task {
	id := w.call(o)
	var obeyed ledger.Route
	var fetch func(s ledger.Store) task
	fetch = func(s ledger.Store) task {
		return w.alive(p, nil, func() task {
			v := w.stores[s][o.key]
			return w.alive(p, nil, func() task {
				newest := s
				if p.obeyed != obeyed || p.obeyed.State != ledger.Steady {
					newest = p.obeyed.Main
					if p.obeyed.State != ledger.Steady {
						loc, err := w.l.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: o.key})
						must(err)
						newest = loc.Store
					}
				}
				if newest != s {
					return fetch(newest)
				}
				w.ret(id, result{ok: true, value: v})
				return nil
			})
		})
	}
	return w.alive(p, nil, func() task {
		obeyed = p.obeyed
		if p.obeyed.State == ledger.Steady {
			return fetch(p.obeyed.Main)
		}
		loc, err := w.l.Lookup(w.ctx, ledger.Object{Bucket: "b", Key: o.key})
		must(err)
		w.log("lookup %d: %v known=%v", id, loc.Store, loc.Known)
		return fetch(loc.Store)
	})
}

// copyOne is a worker's copy of one claimed object.
func (w *world) copyOne(p *process, c ledger.Claim) task {
	sid := c.Session
	k := c.Object.Key
	w.log("claim %s %v->%v v%d by %s", k, c.From, c.To, c.Version, sid)
	return w.alive(p, nil, func() task {
		value := w.stores[c.From][k]
		w.log("copier read %s = %q", k, value)
		return w.alive(p, nil, func() task {
			if p.m.ID() != sid || w.now.Sub(p.contact) > 10*time.Second {
				_ = w.l.Unclaim(w.ctx, c) // others may think it dead
				return nil
			}
			locked := p.obeyed.State != ledger.Steady
			var until time.Time
			var seen string
			if locked {
				if err := w.l.Lock(w.ctx, c, lockTTL); err != nil {
					w.log("lock lost %s", k)
					must(w.l.Unclaim(w.ctx, c))
					return nil
				}
				until, seen = w.now.Add(lockTTL*2/3), w.stores[c.To][k]
			} else {
				p.unlocked++
			}
			w.pending[sid]++
			sent, given := w.now, false
			back := func() {
				if !locked {
					p.unlocked--
				}
			}
			// On its way: it lands whatever becomes of the sender, unless its
			// deadline has passed; a fenced one lands only on what was seen.
			land := func() bool {
				w.pending[sid]--
				switch {
				case locked && (given || w.now.After(until)) && w.stores[c.To][k] != seen:
					w.log("copy of %s refused: the store holds another version", k)
				case w.now.Sub(sent) > landWithin:
					w.log("copy of %s timed out", k)
				default:
					w.stores[c.To][k] = value
					w.log("copy %s = %q lands on %v", k, value, c.To)
					return true
				}
				return false
			}
			if !w.quiet && w.rng.IntN(10) == 0 {
				// No answer: the claim is kept while it may land.
				w.tasks = append(w.tasks, running{run: func() task { land(); return nil }, wait: w.rng.IntN(40)})
				var hold task
				hold = w.alive(p, func() { p.unlocked = 0 }, func() task {
					if w.now.Sub(sent) <= landWithin {
						return hold
					}
					back()
					given = true
					must(w.l.Unclaim(w.ctx, c))
					w.log("gave %s back", k)
					return nil
				})
				return hold
			}
			return func() task {
				landed := land()
				return w.alive(p, func() { p.unlocked = 0 }, func() task {
					back()
					if !landed {
						must(w.l.Unclaim(w.ctx, c))
						return nil
					}
					err := errors.Join(w.l.Settle(w.ctx, c)...)
					w.log("settle %s: %v", k, err)
					if errors.Is(err, ledger.ErrOverrun) {
						must(w.l.Unclaim(w.ctx, c))
					}
					return nil
				})
			}
		})
	})
}

func (w *world) of(role ledger.Role) *process {
	var ps []*process
	for _, p := range w.procs {
		if p.role == role && !p.dead {
			ps = append(ps, p)
		}
	}
	return ps[w.rng.IntN(len(ps))]
}

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(100)) * time.Millisecond)
	for _, p := range w.procs {
		p.paused = max(0, p.paused-1)
	}
	switch n := w.rng.IntN(1000); {
	case n < 550 && len(w.tasks) > 0:
		i := w.rng.IntN(len(w.tasks))
		if w.tasks[i].wait > 0 {
			w.tasks[i].wait--
			return
		}
		if w.tasks[i].run = w.tasks[i].run(); w.tasks[i].run == nil {
			w.tasks = slices.Delete(w.tasks, i, i+1)
		} else if !w.quiet && w.rng.IntN(8) == 0 {
			w.tasks[i].wait = w.rng.IntN(40) // a message, or a process, that is slow
		}
	case n < 680:
		p := w.procs[w.rng.IntN(len(w.procs))]
		if !p.dead && p.paused == 0 {
			if _, err := p.m.Beat(w.ctx); err == nil {
				p.contact = w.now
			}
		}
	case n < 680+w.managing():
		w.manage()
	case n < 820:
		w.work()
	case n < 840:
		w.sweep()
	case n < 850 && !w.quiet:
		p := w.procs[w.rng.IntN(len(w.procs))]
		p.paused = w.rng.IntN(300)
	case n < 853 && !w.quiet:
		p := w.of([]ledger.Role{ledger.RoleProxy, ledger.RoleWorker}[w.rng.IntN(2)])
		p.dead = true
		w.log("crash %s", p.m.ID())
		w.spawn(p.role, fmt.Sprintf("%s-%d", p.role, len(w.procs)))
	case n < 856 && !w.quiet:
		w.now = w.now.Add(time.Duration(w.rng.IntN(20)) * time.Second)
	case n < 880 && !w.quiet:
		w.ask()
	case w.ops > 0 && len(w.tasks) < 12:
		w.client()
	}
}

// managing is the share of the manager's steps: slow while traffic goes on, so
// that much happens in every state of the route.
func (w *world) managing() int {
	if w.quiet || w.in.State.Route.State == ledger.Steady {
		return 60
	}
	return 15
}

func (w *world) ask() {
	r := migration.DefaultRequest(ledger.Store(w.rng.IntN(2)))
	if w.quiet || w.in.State.Route.State == ledger.Steady {
		r.To = w.in.State.Route.Main.Other()
	}
	r.PauseWrites = w.rng.IntN(8) == 0
	r.Attempt = fmt.Sprint(len(w.trace))
	r.Overrides = map[migration.Guard]bool{migration.GuardAuditClean: true, migration.GuardCaughtUp: true}
	w.in.Spec.Switch = &r
	w.log("ask for %v pause=%v", r.To, r.PauseWrites)
}

func (w *world) client() {
	p := w.of(ledger.RoleProxy)
	if !p.known {
		return
	}
	w.ops--
	o := op{key: fmt.Sprintf("k%d", w.rng.IntN(2))}
	switch n := w.rng.IntN(10); {
	case n < 5:
		o.kind = "get"
		w.tasks = append(w.tasks, running{run: w.read(p, o)})
		return
	case n < 7:
		o.kind = "put"
		w.values++
		o.value = fmt.Sprint("v", w.values)
	case n < 8:
		o.kind = "put" // a delete
	default:
		o.kind = "putIfAbsent"
		w.values++
		o.value = fmt.Sprint("v", w.values)
	}
	w.tasks = append(w.tasks, running{run: w.write(p, o)})
}

// manage is the manager: it knows which proxies exist.
func (w *world) manage() {
	w.in.Instances = map[string]bool{}
	for _, p := range w.procs {
		if p.role == ledger.RoleProxy && !p.dead && p.known {
			w.in.Instances[instanceOf(w, p)] = true
		}
	}
	before := w.in.State.Route
	out, err := w.e.Step(w.ctx, w.in)
	must(err)
	w.in.State = out.State
	if out.State.Route != before {
		w.log("route %+v", out.State.Route)
	}
	if out.State.Route.State == ledger.Switched {
		must(w.l.ReportDangling(w.ctx, w.now, out.State.Route.Epoch, 0, time.Time{}))
	}
}

func instanceOf(w *world, p *process) string {
	return fmt.Sprintf("%s-%d", p.role, slices.Index(w.procs, p))
}

func (w *world) work() {
	p := w.of(ledger.RoleWorker)
	if !p.known || p.paused > 0 {
		return
	}
	cs, err := w.l.ClaimEvents(w.ctx, p.m.ID(), 2)
	if errors.Is(err, ledger.ErrFenced) {
		return
	}
	must(err)
	for _, c := range cs {
		w.tasks = append(w.tasks, running{run: w.copyOne(p, c)})
	}
}

// sweep buries the dead once nothing of theirs can land any more.
func (w *world) sweep() {
	_, err := w.l.SettleDoubts(w.ctx, 10)
	must(err)
	dead, err := w.l.DeadSessions(w.ctx, 15*time.Second)
	must(err)
	for _, s := range dead {
		wait := landWithin
		if w.pending[s.ID] > 0 {
			wait = time.Hour * 1e4 // the bound on message delay holds
		}
		done, err := w.l.Bury(w.ctx, s.ID, wait)
		must(err)
		w.log("bury %s: %v", s.ID, done)
	}
}

func play(t *testing.T, rdb *redis.Client, seed uint64) {
	must(rdb.FlushAll(t.Context()).Err())
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), ctx: t.Context(), now: time.UnixMilli(1_700_000_000_000),
		stores: [2]map[string]string{{}, {}}, open: map[int]porcupine.Operation{}, pending: map[string]int{}, ops: 150}
	clock := func() time.Time { return w.now }
	w.l = ledger.New(ledger.Options{Redis: rdb, Migration: "sim", Now: clock, Shards: 1 + w.rng.IntN(2)})
	w.e = &migration.Engine{Ledger: w.l, Now: clock, ListBuckets: func(context.Context) ([]string, error) { return nil, nil }}
	w.in.Stores = [2]migration.StoreFacts{{Reachable: true}, {Reachable: true}}
	w.manage()
	for _, r := range []ledger.Role{ledger.RoleProxy, ledger.RoleProxy, ledger.RoleWorker, ledger.RoleWorker} {
		w.spawn(r, fmt.Sprintf("%s-%d", r, len(w.procs)))
	}
	for i := 0; i < 20000 && (w.ops > 0 || len(w.tasks) > 0); i++ {
		w.step()
	}
	// Let everything settle: no more faults, no more clients.
	w.quiet, w.ops = true, 0
	for i := range 20000 {
		w.step()
		if i%100 == 0 {
			w.now = w.now.Add(5 * time.Second)
			w.sweep()
			s, err := w.l.Stats(w.ctx)
			must(err)
			if s.Dirty+s.Doubts+s.Intents[0]+s.Intents[1] == 0 && len(w.tasks) == 0 && w.in.State.Route.State == ledger.Steady {
				break
			}
		}
	}
	fail := func(format string, a ...any) {
		t.Helper()
		for _, l := range w.trace {
			t.Log(l)
		}
		t.Fatalf("seed %d: "+format, append([]any{seed}, a...)...)
	}
	for k := range w.stores[0] {
		if w.stores[0][k] != w.stores[1][k] {
			s, _ := w.l.Stats(w.ctx)
			fail("stores differ at %s: %q and %q; %+v", k, w.stores[0][k], w.stores[1][k], s)
		}
	}
	s, err := w.l.Stats(w.ctx)
	must(err)
	if s.Dirty+s.Doubts+s.Queued+s.Intents[0]+s.Intents[1]+s.Newest[0]+s.Newest[1] != 0 {
		fail("ledger not empty: %+v", s)
	}
	// The last reads tell lost writes.
	for _, k := range []string{"k0", "k1"} {
		id := w.call(op{kind: "get", key: k})
		w.ret(id, result{ok: true, value: w.stores[w.in.State.Route.Main][k]})
	}
	end := int64(len(w.trace)) + 1
	for _, o := range w.open {
		if o.Input.(op).kind != "get" {
			o.Output, o.Return = result{unknown: true}, end
			w.hist = append(w.hist, o)
		}
	}
	if !porcupine.CheckOperations(model, w.hist) {
		fail("history is not linearizable: %s", shortest(w.hist))
	}
}

// shortest names the first answer that no order of the writes explains.
func shortest(hist []porcupine.Operation) string {
	slices.SortFunc(hist, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
	for i := range hist {
		// What had been called by then and is answered later may count, or not.
		part := slices.Clone(hist[:i+1])
		for _, o := range hist[i+1:] {
			if o.Call < hist[i].Return && o.Input.(op).kind != "get" {
				o.Output, o.Return = result{unknown: true}, hist[i].Return+1
				part = append(part, o)
			}
		}
		if !porcupine.CheckOperations(model, part) {
			return fmt.Sprintf("answer %d, %s", hist[i].Return, model.DescribeOperation(hist[i].Input, hist[i].Output))
		}
	}
	return "at the end"
}

func TestProtocolHistoriesAreLinearizable(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: ledgertest.Redis(t)})
	t.Cleanup(func() { _ = rdb.Close() })
	if *seed != 0 {
		play(t, rdb, *seed)
		return
	}
	for i := range *histories {
		play(t, rdb, uint64(i)+1)
	}
}
