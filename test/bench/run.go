package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// kase is one kind of load.
type kase struct {
	op    string
	size  int64
	conns int
	rate  int // requests a second; 0: closed loop
}

var sizes = []int64{1 << 10, 64 << 10, 16 << 20}

func sizeName(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

func (k kase) String() string {
	s := fmt.Sprintf("%s %s × %d", k.op, sizeName(k.size), k.conns)
	if k.rate > 0 {
		s = fmt.Sprintf("%s %s at %d/s", k.op, sizeName(k.size), k.rate)
	}
	return s
}

// cases of a backend. The open loop asks for about a quarter of what the
// slowest contender can do.
func cases(o options, kind string) (out []kase) {
	conns := map[int64][]int{sizes[0]: {1, 16, 64, 256}, sizes[1]: {1, 16, 64, 256}, sizes[2]: {1, 16, 256}}
	rates := map[int64]int{sizes[0]: 1000, sizes[1]: 500, sizes[2]: 10}
	if kind != "light" {
		conns = map[int64][]int{sizes[0]: {16, 256}, sizes[1]: {16}, sizes[2]: {16}}
		rates = map[int64]int{sizes[0]: 400}
	}
	if o.quick {
		conns, rates = map[int64][]int{sizes[0]: {16}, sizes[1]: {16}, sizes[2]: {16, 256}}, map[int64]int{sizes[0]: 500}
	}
	for _, size := range sizes {
		for _, op := range []string{http.MethodGet, http.MethodPut} {
			for _, n := range conns[size] {
				out = append(out, kase{op, size, n, 0})
			}
			if rates[size] > 0 {
				out = append(out, kase{op, size, 64, rates[size]})
			}
		}
	}
	if o.only == "" {
		return out
	}
	var chosen []kase
	for _, k := range out {
		for part := range strings.SplitSeq(o.only, ",") {
			if strings.Contains(k.String(), part) {
				chosen = append(chosen, k)
				break
			}
		}
	}
	return chosen
}

// sample is what one case, contender and round came to; costs are a request's.
type sample struct {
	bytes    float64 // a second
	p50, p99 time.Duration
	cost     counters
	peak     int64
}

// bench runs every case on a backend, the contenders taking turns.
func bench(ctx context.Context, o options, kind, dir string) (*results, error) {
	g, err := startRig(ctx, o, kind, dir)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	res := &results{kind: kind, o: o, samples: map[kase]map[string][]sample{}}
	for _, c := range g.contenders {
		res.contenders = append(res.contenders, c.name)
	}
	for _, k := range cases(o, kind) {
		res.cases = append(res.cases, k)
		res.samples[k] = map[string][]sample{}
		ws, err := wires(g.store, k.op, k.size, o.signed)
		if err != nil {
			return nil, err
		}
		for range o.rounds {
			for _, c := range g.contenders {
				s, err := g.measure(ctx, o, k, c, ws)
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", k, c.name, err)
				}
				res.samples[k][c.name] = append(res.samples[k][c.name], s)
			}
		}
		fmt.Println(res.line(k))
	}
	return res, nil
}

func (g *rig) measure(ctx context.Context, o options, k kase, c *contender, ws []wire) (s sample, err error) {
	warm, d := o.time/4, o.time
	if k.size*int64(k.conns) > 1<<30 {
		warm, d = 2*warm, 2*d // the sockets' buffers fill first
	}
	if k.rate > 0 && k.rate < 100 {
		d *= 3
	}
	if c.process != nil {
		resetPeak(c.process)
	}
	stopProfile := c.profile(ctx, o, k, warm+d)
	defer stopProfile()
	l := newLoad(c.addr, ws)
	before, err := g.count(ctx, c)
	if err != nil {
		return s, err
	}
	began := time.Now()
	if k.rate > 0 {
		s.bytes, err = l.open(ctx, k.conns, k.rate, warm, d)
	} else {
		s.bytes, err = l.closed(ctx, k.conns, warm, d)
	}
	if err != nil {
		return s, err
	}
	// Writes are settled after their answers.
	sleep(ctx, 20*time.Millisecond)
	took := time.Since(began).Seconds()
	after, err := g.count(ctx, c)
	if err != nil {
		return s, err
	}
	s.p50, s.p99 = l.quantile(0.5), l.quantile(0.99)
	n, d2 := float64(l.done.Load()), after.less(before)
	s.cost = counters{cpu: time.Duration(float64(d2.cpu) / n), allocs: d2.allocs / n, heap: d2.heap / n, asked: d2.asked / n,
		scripts: (d2.scripts - g.idle.scripts*took) / n, trips: (d2.trips - g.idle.trips*took) / n,
		busy: time.Duration(float64(d2.busy) / n)}
	if c.process != nil {
		s.peak = peakOf(c.process)
	}
	return s, nil
}

// profile takes a CPU profile of a proxy; the function it returns waits for it.
func (c *contender) profile(ctx context.Context, o options, k kase, d time.Duration) func() {
	if o.profile == "" || !c.crossfade() {
		return func() {}
	}
	name := strings.NewReplacer(" ", "", "×", "-", "/", "").Replace(k.String()) + "-" + c.name + ".pprof"
	done := make(chan error, 1)
	go func() {
		done <- fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.pprof, max(1, int(d.Seconds()))), filepath.Join(o.profile, name))
	}()
	return func() {
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "no profile:", err)
		}
	}
}

func fetch(ctx context.Context, url, file string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, resp.Body); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
