package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/test/traffic"
)

const (
	none = -1 // no store
	// grace is how long after a fault a request may still meet what it left
	// behind: a connection that nobody has noticed to be dead.
	grace = 2 * time.Second
	// around is how far off the route may be that the harness believes in force.
	around = 3 * time.Second
)

// window is one fault.
type window struct {
	Kind, On, Phase string
	Start, End      time.Time // End is zero while it is on

	// What it may do to clients: break connections, or make a store fail.
	conn  bool
	store int
}

// record is every fault so far.
type record struct {
	mu  sync.Mutex
	all []*window
	now string // phase
}

func (r *record) begin(w window) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Start, w.Phase = time.Now(), r.now
	p := &w
	r.all = append(r.all, p)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		p.End = time.Now()
	}
}

func (r *record) phase(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = name
}

func (r *record) phaseNow() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// explains tells whether a request may fail as it did. A client's connection
// dies with the proxy or the network that it goes through. A status comes from a
// store that fails, if that store may be asked, and from nothing else: not from
// a proxy, worker, engine or Redis that is gone, nor from the other store.
func (r *record) explains(f traffic.Failure, answering [2]bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	broke := f.Status < 400 // no answer, or a good one that broke off
	for _, w := range slices.Backward(r.all) {
		if !w.End.IsZero() && w.End.Add(grace).Before(f.Start) || w.Start.After(f.End) {
			continue
		}
		if broke && w.conn {
			return true
		}
		status := broke || f.Status >= 500 || f.Status == 400 && (f.Code == "RequestTimeout" || f.Code == "IncompleteBody")
		if w.store != none && answering[w.store] && status {
			return true
		}
	}
	return false
}

// routes is which route was in force when, as the ledger has it.
type routes struct {
	mu  sync.Mutex
	all []routeSince
}

type routeSince struct {
	since time.Time
	route ledger.Route
}

func (r *routes) follow(ctx context.Context, w *world) {
	for ctx.Err() == nil {
		c, cancel := context.WithTimeout(ctx, time.Second)
		route, err := w.ledger().Furthest(c)
		cancel()
		if err == nil {
			r.see(w, route)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (r *routes) see(w *world, route ledger.Route) {
	r.mu.Lock()
	last := ledger.Route{}
	if n := len(r.all); n > 0 {
		last = r.all[n-1].route
	}
	changed := route.Epoch > last.Epoch
	if changed {
		r.all = append(r.all, routeSince{time.Now(), route})
	}
	r.mu.Unlock()
	if changed {
		w.say("route %d: %s, main %s, hold %v", route.Epoch, route.State, route.Main, route.Hold)
	}
}

// last is the newest route.
func (r *routes) last() ledger.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return ledger.Route{Main: ledger.Source, State: ledger.Steady}
	}
	return r.all[len(r.all)-1].route
}

// answering tells which stores may have had to answer between two instants:
// main, and in a switch both, since a read goes to where the newest version is.
func (r *routes) answering(start, end time.Time) (out [2]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 || r.all[0].since.Add(around).After(start) {
		out[ledger.Source] = true
	}
	for i, x := range r.all {
		if x.since.After(end.Add(around)) || i+1 < len(r.all) && r.all[i+1].since.Add(around).Before(start) {
			continue
		}
		out[x.route.Main] = true
		if x.route.State == ledger.Switched {
			out[x.route.Main.Other()] = true
		}
	}
	return out
}

// yaml is status.route as a cluster's manager writes it.
func (r *routes) yaml() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return ""
	}
	x := r.all[len(r.all)-1].route
	return fmt.Sprintf("{epoch: %d, main: %s, state: %s, hold: %v, sync: %v, uploads: %s, run: %v}",
		x.Epoch, x.Main, x.State, x.Hold, x.Sync, x.Uploads, x.Run)
}

// busy keeps faults apart that would undo each other.
type busy struct {
	mu    sync.Mutex
	until map[string]time.Time // far off while taken
}

// take claims all the names or none of them.
func (b *busy) take(names ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil {
		b.until = map[string]time.Time{}
	}
	for _, n := range names {
		if time.Now().Before(b.until[n]) {
			return false
		}
	}
	for _, n := range names {
		b.until[n] = time.Now().Add(24 * time.Hour)
	}
	return true
}

// free gives names back after a rest.
func (b *busy) free(rest time.Duration, names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range names {
		b.until[n] = time.Now().Add(rest)
	}
}
