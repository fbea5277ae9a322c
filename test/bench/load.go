package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load sends requests to one contender.
type load struct {
	addr  string
	wires []wire

	moved atomic.Int64
	done  atomic.Int64 // requests
	stop  atomic.Bool
	next  atomic.Int64

	mu     sync.Mutex
	times  []time.Duration // of requests that began in the measured time
	failed error
}

func newLoad(addr string, ws []wire) *load { return &load{addr: addr, wires: ws} }

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	l.stop.Store(true)
}

// each runs f for each connection, and waits.
func (l *load) each(conns int, f func(i int, c *conn) ([]time.Duration, error)) func() error {
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			c, err := dial(l.addr, &l.moved)
			if err != nil {
				l.fail(err)
				return
			}
			defer func() { _ = c.Close() }()
			times, err := f(i, c)
			if err != nil {
				l.fail(err)
			}
			l.mu.Lock()
			l.times = append(l.times, times...)
			l.mu.Unlock()
		})
	}
	return func() error { wg.Wait(); return l.failed }
}

// closed keeps each connection busy: after warm for d, and until every request
// that was begun has ended. It returns the bytes moved a second.
func (l *load) closed(ctx context.Context, conns int, warm, d time.Duration) (float64, error) {
	var measured atomic.Bool
	wait := l.each(conns, func(i int, c *conn) (times []time.Duration, err error) {
		for n := i; !l.stop.Load(); n += conns {
			counts, began := measured.Load(), time.Now()
			if err := c.do(&l.wires[n%len(l.wires)]); err != nil {
				return nil, err
			}
			if counts {
				times = append(times, time.Since(began))
			}
			l.done.Add(1)
		}
		return times, nil
	})
	sleep(ctx, warm)
	measured.Store(true)
	began, before := time.Now(), l.moved.Load()
	sleep(ctx, d)
	rate := float64(l.moved.Load()-before) / time.Since(began).Seconds()
	l.stop.Store(true)
	return rate, wait()
}

// open sends a request every 1/rate s, whether or not others have been answered.
// One that had to wait for a free connection counts from when it was due.
func (l *load) open(ctx context.Context, conns, rate int, warm, d time.Duration) (float64, error) {
	began := time.Now()
	every := time.Second / time.Duration(rate)
	total := int64((warm + d) / every)
	first := int64(warm / every)
	wait := l.each(conns, func(_ int, c *conn) (times []time.Duration, err error) {
		for !l.stop.Load() {
			n := l.next.Add(1)
			if n > total {
				break
			}
			due := began.Add(time.Duration(n) * every)
			if early := time.Until(due); early > 0 {
				// A timer's own lateness is not the contender's.
				sleep(ctx, early)
				due = time.Now()
			}
			if err := c.do(&l.wires[n%int64(len(l.wires))]); err != nil {
				return nil, err
			}
			if n > first {
				times = append(times, time.Since(due))
			}
			l.done.Add(1)
		}
		return times, nil
	})
	err := wait()
	return float64(l.moved.Load()) / time.Since(began).Seconds(), err
}

// quantile of the measured times; 0 when there are none.
func (l *load) quantile(q float64) time.Duration {
	if len(l.times) == 0 {
		return 0
	}
	slices.Sort(l.times)
	return l.times[min(len(l.times)-1, int(q*float64(len(l.times))))]
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
