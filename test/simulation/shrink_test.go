package simulation

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var shrinkFor = flag.Duration("shrink-for", time.Minute, "how long to look for a shorter history that fails alike")

// explain shrinks a failing history and prints what is left of it.
func (l *lab) explain(t *testing.T, p *plan, seed uint64, broken *tooth, r result) {
	t.Helper()
	s := &shrinker{lab: l, t: t, seed: seed, broken: broken, kind: r.kind, until: time.Now().Add(*shrinkFor), best: p}
	s.calls(r.calls)
	s.all()
	last := l.play(t, seed, s.best, broken, true)
	fmt.Printf("seed %d, shrunk in %d runs: %s\n", seed, s.runs, last.problem)
	for _, f := range s.best.faults {
		fmt.Printf("  fault %+v\n", f)
	}
	for _, w := range s.best.switches {
		fmt.Printf("  switch %+v\n", w)
	}
	for c, ops := range s.best.clients {
		for _, o := range ops {
			fmt.Printf("  client %d: %+v\n", c, o)
		}
	}
	for _, line := range last.trace {
		if !strings.HasSuffix(line, "= [OK]") && !strings.Contains(line, "log \"level\"=1") {
			fmt.Println(line)
		}
	}
}

// shrinker looks for the least of a plan that still fails alike.
type shrinker struct {
	*lab
	t      *testing.T
	seed   uint64
	broken *tooth
	kind   string
	until  time.Time
	best   *plan
	runs   int
}

// try plays a smaller plan and keeps it if it fails alike.
func (s *shrinker) try(p *plan) bool {
	if time.Now().After(s.until) {
		return false
	}
	s.runs++
	if r := s.play(s.t, s.seed, p, s.broken, false); r.problem == "" || r.kind != s.kind {
		return false
	}
	s.best = p
	return true
}

// less removes parts of a list, large ones first, as long as it still fails.
func less[T any](s *shrinker, list []T, with func(*plan, []T)) {
	for size := max(1, len(list)/2); size > 0 && len(list) > 0; size /= 2 {
		for at := 0; at < len(list); {
			shorter := append(append([]T(nil), list[:at]...), list[min(at+size, len(list)):]...)
			p := *s.best
			with(&p, shorter)
			if s.try(&p) {
				list = shorter
			} else {
				at += size
			}
			if time.Now().After(s.until) {
				return
			}
		}
	}
}

// calls makes single calls go well that had gone wrong.
func (s *shrinker) calls(names []string) {
	less(s, names, func(p *plan, left []string) {
		keep := map[string]bool{}
		for _, n := range left {
			keep[n] = true
		}
		p.mask = map[string]bool{}
		for _, n := range names {
			if !keep[n] {
				p.mask[n] = true
			}
		}
	})
}

func (s *shrinker) all() {
	less(s, s.best.faults, func(p *plan, l []fault) { p.faults = l })
	for c := range s.best.clients {
		with := func(p *plan, l []op) {
			p.clients = append([][]op(nil), p.clients...)
			p.clients[c] = l
		}
		p := *s.best
		if with(&p, nil); !s.try(&p) {
			less(s, s.best.clients[c], with)
		}
	}
	less(s, s.best.switches, func(p *plan, l []switchAt) { p.switches = l })
}
