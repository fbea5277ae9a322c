package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/crossfade-io/crossfade/test/faults/shim"
)

// How much a fault upsets: what a switch can go on through, what it waits a
// moment for, and what it waits for until no request can be on its way.
const (
	light = iota
	middling
	heavy
)

// kind is a kind of fault.
type kind struct {
	name   string
	weight int
	level  int
	make   func(w *world, rnd *rand.Rand) *fault
}

// fault is one fault, ready to go.
type fault struct {
	window
	takes []string      // names that no other fault may hold meanwhile
	rest  time.Duration // after it, before the next one on those names
	lasts time.Duration
	level int // when it is more than its kind's
	on    func(ctx context.Context) (off func(), err error)
	after func(ctx context.Context) // when it is over, before its names are free
}

func between(rnd *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rnd.Int64N(int64(to-from)))
}

// netFaults are what a network does. Only those that end connections give
// clients an excuse: what is slow is not broken.
func netFaults(rnd *rand.Rand, longest time.Duration) (f shim.Fault, lasts time.Duration, breaks bool) {
	lasts = between(rnd, 200*time.Millisecond, longest)
	share := 0.2 + 0.8*rnd.Float64()
	switch rnd.IntN(8) {
	case 0:
		return shim.Fault{Kind: shim.Delay, Delay: between(rnd, 5*time.Millisecond, 250*time.Millisecond)}, lasts, false
	case 1:
		return shim.Fault{Kind: shim.Throttle, Rate: 20_000 + rnd.IntN(300_000)}, lasts, false
	case 2:
		return shim.Fault{Kind: shim.Hold, Share: share}, lasts, false
	case 3:
		return shim.Fault{Kind: shim.Mute, Share: share}, lasts, false
	case 4:
		return shim.Fault{Kind: shim.Refuse, Share: share}, lasts / 2, true
	case 5:
		return shim.Fault{Kind: shim.HalfUp, Share: share, Bytes: rnd.Int64N(20_000)}, lasts / 2, true
	case 6:
		return shim.Fault{Kind: shim.HalfDown, Share: share, Bytes: rnd.Int64N(20_000)}, lasts / 2, true
	}
	return shim.Fault{Kind: shim.Kind("cut"), Share: share}, 0, true
}

// storeAnswers are what a store in trouble says.
var storeAnswers = []struct {
	status int
	code   string
}{{500, "InternalError"}, {502, "BadGateway"}, {503, "SlowDown"}, {503, "ServiceUnavailable"}, {507, "InsufficientStorage"}}

// put puts a fault on links; "cut" is over at once.
func put(f shim.Fault, links ...*shim.Link) (off func()) {
	var offs []func()
	for _, l := range links {
		if f.Kind == "cut" {
			l.Cut(f.Share)
			continue
		}
		offs = append(offs, l.Set(f))
	}
	return func() {
		for _, off := range offs {
			off()
		}
	}
}

// linksTo picks whose connections to something a fault hits: everybody's, or one process'.
func (w *world) linksTo(rnd *rand.Rand, to int) (links []*shim.Link, who string, hitsProxies bool, names []string) {
	one := w.procs[rnd.IntN(len(w.procs))]
	all := rnd.IntN(3) == 0
	who = one.name
	if all {
		who = "all"
	}
	for _, p := range w.procs {
		if all || p == one {
			links = append(links, p.links[to])
			names = append(names, p.links[to].Name)
			hitsProxies = hitsProxies || p.role == "proxy"
		}
	}
	return links, who, hitsProxies, names
}

func (w *world) storeNet(rnd *rand.Rand) *fault {
	s := rnd.IntN(2)
	f, lasts, breaks := netFaults(rnd, 6*time.Second)
	return w.storeFault(rnd, s, f, lasts, breaks)
}

func (w *world) storeAnswer(rnd *rand.Rand) *fault {
	a := storeAnswers[rnd.IntN(len(storeAnswers))]
	f := shim.Fault{Kind: shim.Answer, Share: 0.2 + 0.8*rnd.Float64(), Status: a.status, Code: a.code}
	if rnd.IntN(3) == 0 {
		f.Kind = shim.Late
	}
	out := w.storeFault(rnd, rnd.IntN(2), f, between(rnd, 200*time.Millisecond, 4*time.Second), true)
	out.Kind += " " + f.Code
	return out
}

func (w *world) storeFault(rnd *rand.Rand, s int, f shim.Fault, lasts time.Duration, breaks bool) *fault {
	links, who, proxies, names := w.linksTo(rnd, s)
	out := &fault{window: window{Kind: "store " + string(f.Kind), On: who + ">" + linkNames[s] + " " + f.String(), store: none}, takes: names, lasts: lasts,
		on: func(context.Context) (func(), error) { return put(f, links...), nil }}
	out.level = heavy
	if breaks && proxies {
		// Long enough apart that requests are also made while no store fails.
		out.store, out.rest = s, 3*time.Second
		out.takes = append(out.takes, "fails "+linkNames[s])
	}
	return out
}

func (w *world) clientNet(rnd *rand.Rand) *fault {
	f, lasts, breaks := netFaults(rnd, 4*time.Second)
	if f.Share > 0.5 {
		f.Share -= 0.5
	}
	return &fault{window: window{Kind: "client " + string(f.Kind), On: f.String(), store: none, conn: breaks}, takes: []string{"clients"}, lasts: lasts,
		on: func(context.Context) (func(), error) { return put(f, w.front), nil }}
}

func (w *world) redisNet(rnd *rand.Rand) *fault {
	f, lasts, breaks := netFaults(rnd, 5*time.Second)
	links, who, _, names := w.linksTo(rnd, toRedis)
	out := &fault{window: window{Kind: "redis " + string(f.Kind), On: who + " " + f.String(), store: none}, takes: append(names, "ledger"), lasts: lasts, rest: 4 * time.Second,
		on: func(context.Context) (func(), error) { return put(f, links...), nil }}
	if breaks || f.Kind != shim.Delay {
		out.level = heavy
	}
	return out
}

// redisDown makes Redis itself go away, or misbehave.
func (w *world) redisDown(name string, lasts time.Duration, on func(ctx context.Context) (func(), error)) *fault {
	return &fault{window: window{Kind: name, On: "redis", store: none}, takes: []string{"ledger"}, lasts: lasts, rest: regain, on: on}
}

// regain is how long Redis is left alone after a fault of its own: one that is
// restarted over and over before anybody could find out whether it lost
// something is never believed again.
const regain = 12 * time.Second

func (w *world) pick(rnd *rand.Rand, role string) *process {
	var of []*process
	for _, p := range w.procs {
		if p.role == role {
			of = append(of, p)
		}
	}
	return of[rnd.IntN(len(of))]
}

// recovery is how long a process is left alone after it was started again:
// one that never gets to do anything meets no faults either.
const recovery = 6 * time.Second

// killing ends a process and starts it again when the fault is over.
func killing(role string, s syscall.Signal) func(*world, *rand.Rand) *fault {
	return func(w *world, rnd *rand.Rand) *fault {
		p := w.pick(rnd, role)
		name := role + " killed"
		if s == syscall.SIGTERM {
			name = role + " ended"
		}
		f := &fault{window: window{Kind: name, On: p.name, store: none, conn: role == "proxy"}, takes: []string{p.name}, rest: recovery,
			lasts: between(rnd, 0, 3*time.Second)}
		if role == "proxy" && w.o.proxies > 1 {
			// Somebody must be left to serve; and one that starts does not yet.
			f.takes = append(f.takes, "proxies")
			f.after = func(ctx context.Context) { w.awaitReady(ctx, p.name) }
		}
		f.on = func(context.Context) (func(), error) {
			p.kill(s, 30*time.Second)
			return func() {
				if err := p.start(); err != nil {
					w.problem("%s does not start: %v", p.name, err)
				}
			}, nil
		}
		return f
	}
}

func stopping(role, how string, from, to time.Duration) func(*world, *rand.Rand) *fault {
	return func(w *world, rnd *rand.Rand) *fault {
		p := w.pick(rnd, role)
		return &fault{window: window{Kind: role + " stopped" + how, On: p.name, store: none}, takes: []string{p.name}, rest: recovery / 2,
			lasts: between(rnd, from, to),
			on: func(context.Context) (func(), error) {
				p.signal(syscall.SIGSTOP)
				return func() { p.signal(syscall.SIGCONT) }, nil
			}}
	}
}

func redisRestart(name string, s syscall.Signal, file func(dir string) error) func(*world, *rand.Rand) *fault {
	return func(w *world, rnd *rand.Rand) *fault {
		pause := between(rnd, 0, 5*time.Second)
		return w.redisDown(name, 0, func(ctx context.Context) (func(), error) {
			return func() {}, w.redis.restart(ctx, s, pause, file)
		})
	}
}

// skewed restarts Redis with its clock moved.
func skewed(name string, from, to time.Duration) func(*world, *rand.Rand) *fault {
	return func(w *world, rnd *rand.Rand) *fault {
		by := between(rnd, from, to)
		if w.redis.clock == "" {
			return nil
		}
		return w.redisDown(name, 0, func(ctx context.Context) (func(), error) {
			w.redis.mu.Lock()
			w.redis.skew += by
			w.redis.mu.Unlock()
			return func() {}, w.redis.restart(ctx, syscall.SIGTERM, 0, nil)
		})
	}
}

func redisCommand(name string, longest time.Duration, on, off []any) func(*world, *rand.Rand) *fault {
	return func(w *world, rnd *rand.Rand) *fault {
		lasts := time.Duration(0)
		if longest > 0 {
			lasts = between(rnd, 100*time.Millisecond, longest)
		}
		return w.redisDown(name, lasts, func(ctx context.Context) (func(), error) {
			err := w.redis.client().Do(ctx, on...).Err()
			return func() {
				if off != nil {
					_ = w.redis.client().Do(ctx, off...).Err()
				}
			}, err
		})
	}
}

const (
	blink = 50 * time.Millisecond
	// lease is how long a process may be silent before others act for it, and a lock lasts.
	lease = 15 * time.Second
)

// kinds are all kinds of faults.
var kinds = []kind{
	{"client network", 18, light, (*world).clientNet},
	{"store network", 28, heavy, (*world).storeNet},
	{"store answers", 18, heavy, (*world).storeAnswer},
	{"redis network", 24, heavy, (*world).redisNet},
	{"store stopped", 4, middling, func(w *world, rnd *rand.Rand) *fault {
		s := rnd.IntN(2)
		if w.server[s] == nil {
			s = 1 - s
		}
		return &fault{window: window{Kind: "store stopped", On: storeNames[s], store: none}, takes: []string{"server " + storeNames[s]}, lasts: between(rnd, 100*time.Millisecond, 5*time.Second),
			on: func(context.Context) (func(), error) {
				_ = w.server[s].Signal(syscall.SIGSTOP)
				return func() { _ = w.server[s].Signal(syscall.SIGCONT) }, nil
			}}
	}},
	{"proxy killed", 6, middling, killing("proxy", syscall.SIGKILL)},
	{"proxy ended", 2, middling, killing("proxy", syscall.SIGTERM)},
	{"proxy stopped briefly", 5, light, stopping("proxy", "", blink, 2*time.Second)},
	{"proxy stopped past its lease", 2, heavy, stopping("proxy", " past its lease", lease, 40*time.Second)},
	{"worker killed", 6, heavy, killing("worker", syscall.SIGKILL)},
	{"worker ended", 2, middling, killing("worker", syscall.SIGTERM)},
	{"worker stopped briefly", 5, light, stopping("worker", "", blink, 2*time.Second)},
	{"worker stopped past its lease", 2, heavy, stopping("worker", " past its lease", lease, 40*time.Second)},
	{"engine killed", 8, light, killing("engine", syscall.SIGKILL)},
	{"engine stopped", 4, light, stopping("engine", "", blink, 5*time.Second)},
	{"redis killed", 4, heavy, redisRestart("redis killed", syscall.SIGKILL, nil)},
	{"redis restarted", 2, heavy, redisRestart("redis restarted", syscall.SIGTERM, nil)},
	{"redis stopped", 3, heavy, func(w *world, rnd *rand.Rand) *fault {
		return w.redisDown("redis stopped", between(rnd, 50*time.Millisecond, 6*time.Second), func(context.Context) (func(), error) {
			p := w.redis.process()
			_ = p.Signal(syscall.SIGSTOP)
			return func() { _ = p.Signal(syscall.SIGCONT) }, nil
		})
	}},
	{"redis out of memory", 3, heavy, redisCommand("redis out of memory", 4*time.Second,
		[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"})},
	{"redis script flush", 2, heavy, redisCommand("redis script flush", 0, []any{"SCRIPT", "FLUSH"}, nil)},
	{"redis clients killed", 2, heavy, redisCommand("redis clients killed", 0, []any{"CLIENT", "KILL", "TYPE", "normal"}, nil)},
	{"redis writes paused", 2, heavy, redisCommand("redis writes paused", 4*time.Second, []any{"CLIENT", "PAUSE", "3000", "WRITE"}, []any{"CLIENT", "UNPAUSE"})},
	{"redis clock ahead", 2, heavy, skewed("redis clock ahead", 500*time.Millisecond, 6*time.Second)},
	{"redis clock back", 1, heavy, skewed("redis clock back", -6*time.Second, -500*time.Millisecond)},
}

// String names a fault in the log of events.
func (f *fault) String() string {
	return fmt.Sprintf("%s: %s for %s", f.Kind, f.On, f.lasts.Round(time.Millisecond))
}
