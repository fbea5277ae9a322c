package simulation

import (
	"fmt"
	"strings"
	"time"
)

// runFault lets one fault happen when its time comes, and mends it.
func (w *world) runFault(f fault) {
	if f.on != "" {
		select {
		case <-w.reached(f.on):
		case <-w.over:
			return
		}
	}
	time.Sleep(f.at)
	w.fault(f.kind, "")
	w.mu.Lock()
	w.disturbed(f.span + w.plan.maxInFlight + 20*time.Second)
	if f.loses() {
		w.disturbed(f.span + f.gap + w.plan.maxInFlight + time.Minute)
	}
	w.write(nil, "FAULT %s of %d for %v (%s)", f.kind, f.who, f.span, f.to)
	w.mu.Unlock()
	verb, who := f.kind, ""
	for _, name := range []string{"Proxy", "Worker", "Manager"} {
		if v, ok := strings.CutSuffix(f.kind, name); ok {
			verb, who = v, strings.ToLower(name)
		}
	}
	set := func(m map[peer]bool, v bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		m[f.to] = v
	}
	switch {
	case f.kind == "redisDown":
		f.to = redisPeer
		set(w.down, true)
		time.Sleep(f.span)
		set(w.down, false)
	case f.kind == "storeDown":
		f.span /= 2
		set(w.down, true)
		time.Sleep(f.span)
		set(w.down, false)
	case f.kind == "redisRefuses":
		w.refusing(true)
		time.Sleep(f.span)
		w.refusing(false)
	case f.loses():
		w.lose(f)
	case who == "manager":
		w.faultManager(verb, f)
	default:
		w.faultNode(verb, who, f)
	}
	w.mu.Lock()
	w.write(nil, "mended %s of %d", f.kind, f.who)
	w.mu.Unlock()
}

// reached returns what is closed when the route has got to a state for the n-th
// time: "Switched#1".
func (w *world) reached(name string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.moments[name] == nil {
		w.moments[name] = make(chan struct{})
	}
	return w.moments[name]
}

// reach notes that the route has got to a state. The caller holds the lock.
func (w *world) reach(state string) {
	w.result.routes[state]++
	name := fmt.Sprintf("%s#%d", state, w.result.routes[state])
	if w.moments[name] == nil {
		w.moments[name] = make(chan struct{})
	}
	close(w.moments[name])
}

func (w *world) refusing(v bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.redisLost = v
}

func (w *world) faultManager(verb string, f fault) {
	m := w.manager
	p := m.p
	switch verb {
	case "crash":
		if p.alive() {
			m.crash()
			time.Sleep(min(f.span, 20*time.Second))
			m.start()
		}
	default:
		w.disturb(p, verb, f)
	}
}

// disturb keeps a process from running, or from reaching somebody, for a while.
func (w *world) disturb(p *process, verb string, f fault) {
	switch verb {
	case "stop":
		p.stop()
		time.Sleep(f.span)
		p.resume()
	case "cut":
		w.setCut(p, f.to, true)
		time.Sleep(f.span)
		w.setCut(p, f.to, false)
	}
}

func (w *world) setCut(p *process, to peer, v bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.cut[to] = v
}

func (w *world) faultNode(verb, kind string, f fault) {
	var of []*node
	w.mu.Lock()
	for _, n := range w.nodes {
		if n.kind == kind {
			of = append(of, n)
		}
	}
	w.mu.Unlock()
	n := of[f.who%len(of)]
	p := n.p
	if !p.alive() {
		return // another fault has it
	}
	switch verb {
	case "wakeDie":
		w.disturb(p, "stop", f)
		time.Sleep(between(roll(w.seed, f.id+p.name), 0, 1500*time.Millisecond))
		if p.alive() {
			w.kill(n)
			time.Sleep(time.Second)
			w.restart(n)
		}
	case "crash":
		w.kill(n)
		time.Sleep(min(f.span, 25*time.Second))
		w.restart(n)
	case "end": // as SIGTERM would, and a new process in the same pod
		n.cancel()
		<-n.done
		if p.alive() {
			p.crash()
			time.Sleep(f.span / 4)
			w.restart(n)
		}
	default:
		w.disturb(p, verb, f)
	}
}
