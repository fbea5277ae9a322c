package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// schedule makes faults at random, up to a level. The choices follow the seed;
// what they meet does not.
type schedule struct {
	w     *world
	rnd   *rand.Rand
	mu    sync.Mutex
	level int                       // off below light
	on    [heavy + 1]sync.WaitGroup // by the fault's level
}

const off = light - 1

func newSchedule(w *world) *schedule {
	return &schedule{w: w, rnd: rand.New(rand.NewPCG(w.o.seed, 0x5c4ed)), level: off}
}

func (s *schedule) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := time.Duration(s.rnd.ExpFloat64() / s.w.o.faults * float64(time.Second))
		select {
		case <-ctx.Done():
		case <-time.After(min(wait, 5*time.Second)):
			for try := 0; try < 6 && !s.one(ctx); try++ {
			}
		}
	}
}

// one makes a fault of a kind that the level allows, unless it would get in the
// way of another.
func (s *schedule) one(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	level := s.level
	sum := 0
	for _, k := range kinds {
		if k.level <= level {
			sum += k.weight
		}
	}
	if sum == 0 {
		return true
	}
	n := s.rnd.IntN(sum)
	for _, k := range kinds {
		if k.level > level {
			continue
		}
		if n -= k.weight; n >= 0 {
			continue
		}
		f := k.make(s.w, s.rnd)
		if f == nil || f.level > level || !s.w.busy.take(f.takes...) {
			return false
		}
		s.on[max(k.level, f.level)].Go(func() { s.do(ctx, f) })
		return true
	}
	return false
}

func (s *schedule) do(ctx context.Context, f *fault) {
	s.w.note("+ %s", f)
	end := s.w.faults.begin(f.window)
	stop, err := f.on(context.WithoutCancel(ctx))
	if err != nil && ctx.Err() == nil {
		s.w.note("! %s: %v", f, err)
	}
	if f.lasts > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(f.lasts):
		}
	}
	if stop != nil {
		stop()
	}
	end()
	if f.after != nil {
		f.after(ctx)
	}
	s.w.busy.free(f.rest, f.takes...)
	s.w.note("- %s", f)
}

// set changes the level and waits until what is above it is over.
func (s *schedule) set(level int) {
	s.mu.Lock()
	s.level = level
	s.mu.Unlock()
	for i := max(level+1, light); i <= heavy; i++ {
		s.on[i].Wait()
	}
}
