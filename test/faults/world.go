package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/test/compare"
	"github.com/crossfade-io/crossfade/test/faults/shim"
	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
	"github.com/crossfade-io/crossfade/test/traffic"
)

const (
	access, secret = "faults-key", "faults-secret"
	migration      = "faults"
)

var storeNames = [2]string{"source", "target"}

// world is everything that runs.
type world struct {
	o         options
	dir, root string
	binary    string
	rnd       *rand.Rand
	began     time.Time

	stores [2]lab.Endpoint // the servers themselves
	server [2]*lab.Process // nil: cannot be stopped
	stops  []func()
	redis  *redisServer
	procs  []*process
	engine *process
	front  *shim.Link // where clients connect
	seed   seed.Config

	faults *record
	routes *routes
	busy   *busy
	load   *traffic.Run
	loaded time.Time // when it began

	mu       sync.Mutex
	events   *os.File
	problems []string
	helped   []string
	ready    map[string]bool
	asked    request
	lost     []loss
	ending   bool
}

func newWorld(o options, dir string) *world {
	w := &world{o: o, dir: dir, rnd: rand.New(rand.NewPCG(o.seed, 0xfa17)), began: time.Now(), ready: map[string]bool{},
		faults: &record{}, routes: &routes{}, busy: &busy{}}
	w.seed = seed.Config{Seed: o.seed, BucketPrefix: "faults", Buckets: 2, Objects: 1500, MaxSmall: 32 << 10, Multipart: 3,
		OddKeys: true, PosixKeys: true, Features: seed.Features{Tags: true}, Conc: 8}
	return w
}

func (w *world) pairs() []compare.Bucket {
	names := w.seed.BucketNames()
	return []compare.Bucket{{A: names[0], B: names[0]}, {A: names[1], B: names[1] + "-moved"}}
}

// say tells the reader and the log of events.
func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf("%7.1fs ", time.Since(w.began).Seconds()) + fmt.Sprintf(format, args...)
	fmt.Println(line)
	w.note("%s", line)
}

// note tells the log of events only.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.events != nil {
		_, _ = fmt.Fprintf(w.events, time.Now().Format("15:04:05.000 ")+format+"\n", args...)
	}
}

// problem is a violation that no client can see.
func (w *world) problem(format string, args ...any) {
	w.say("VIOLATION: "+format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) setUp(ctx context.Context) error {
	var err error
	if w.events, err = os.Create(filepath.Join(w.dir, "events.log")); err != nil {
		return err
	}
	if w.root, err = findRoot(); err != nil {
		return err
	}
	if err := w.build(ctx); err != nil {
		return err
	}
	start, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := w.startStores(start); err != nil {
		return err
	}
	if _, err := seed.Run(start, w.stores[0], w.seed); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if w.redis, err = startRedis(start, w.dir, filepath.Join(w.root, "test/faults/clock/clock.c")); err != nil {
		return err
	}
	w.stops = append(w.stops, w.redis.close)
	if w.front, err = shim.Listen("clients", w.readyProxies); err != nil {
		return err
	}
	w.stops = append(w.stops, w.front.Close)
	return w.startProcesses(start)
}

// build makes the binary whose roles run.
func (w *world) build(ctx context.Context) (err error) {
	if w.o.binary != "" {
		w.binary, err = filepath.Abs(w.o.binary)
		return err
	}
	w.binary = filepath.Join(w.dir, "crossfade")
	args := []string{"build", "-buildvcs=false", "-o", w.binary}
	if w.o.race {
		args = append(args, "-race")
	}
	build := exec.CommandContext(ctx, "go", append(args, ".")...)
	build.Dir = w.root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	return nil
}

func (w *world) startStores(ctx context.Context) error {
	for i := range w.stores {
		dir := filepath.Join(w.dir, storeNames[i])
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if _, err := exec.LookPath("radosgw"); i == 0 && err == nil && !w.o.quick {
			stop, e, err := lab.StartRGW(ctx, w.root, dir, "127.0.0.1", access, secret)
			if err != nil {
				return err
			}
			w.stops, w.stores[i] = append(w.stops, stop), e
			continue
		}
		p, e, err := lab.StartVersityGW(ctx, dir, "127.0.0.1", access, secret)
		if err != nil {
			return err
		}
		w.stops = append(w.stops, func() { p.Stop(2 * time.Second) })
		w.stores[i], w.server[i] = e, p
	}
	return nil
}

func (w *world) startProcesses(ctx context.Context) error {
	var names []string
	for i := range w.o.proxies {
		names = append(names, fmt.Sprintf("proxy-%d", i+1))
	}
	for _, n := range names {
		p, err := w.newProcess(n, "proxy")
		if err != nil {
			return err
		}
		w.procs = append(w.procs, p)
	}
	for i := range w.o.workers {
		p, err := w.newProcess(fmt.Sprintf("worker-%d", i+1), "worker")
		if err != nil {
			return err
		}
		w.procs = append(w.procs, p)
	}
	var err error
	if w.engine, err = w.newProcess("engine", "engine"); err != nil {
		return err
	}
	w.engine.proxies = names
	w.procs = append(w.procs, w.engine)
	for _, p := range w.procs {
		if err := p.start(); err != nil {
			return err
		}
	}
	go w.watchReady()
	for _, n := range names {
		w.awaitReady(ctx, n)
	}
	return ctx.Err()
}

// readyProxies are the addresses of proxies that take clients, as a Service in a
// cluster has them, in random order; all, when none is ready.
func (w *world) readyProxies() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var good, rest []string
	for _, p := range w.procs {
		if p.role != "proxy" {
			continue
		}
		if w.ready[p.name] {
			good = append(good, p.listen)
		} else {
			rest = append(rest, p.listen)
		}
	}
	rand.Shuffle(len(good), func(i, j int) { good[i], good[j] = good[j], good[i] })
	if len(good) > 0 {
		return good
	}
	return rest
}

// watchReady asks each proxy's probe like a kubelet in a hurry.
func (w *world) watchReady() {
	client := &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	for !w.over() {
		var wg sync.WaitGroup
		for _, p := range w.procs {
			if p.role != "proxy" {
				continue
			}
			wg.Go(func() {
				resp, err := client.Get("http://" + p.metrics + "/readyz")
				ok := err == nil && resp.StatusCode == http.StatusOK
				if err == nil {
					_ = resp.Body.Close()
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				w.ready[p.name] = ok
			})
		}
		wg.Wait()
		time.Sleep(200 * time.Millisecond)
	}
}

// awaitReady waits until a proxy takes clients, for a minute at most.
func (w *world) awaitReady(ctx context.Context, name string) {
	for deadline := time.Now().Add(time.Minute); ctx.Err() == nil && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		w.mu.Lock()
		ok := w.ready[name]
		w.mu.Unlock()
		if ok {
			return
		}
	}
}

func (w *world) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ending
}

func (w *world) close() {
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	for _, p := range w.procs {
		p.close()
	}
	for i := len(w.stops) - 1; i >= 0; i-- {
		w.stops[i]()
	}
}

// ledger is the harness' own view of the ledger, past every shim.
func (w *world) ledger() *ledger.Ledger {
	return ledger.New(ledger.Options{Redis: w.redis.client(), Migration: "default/" + migration})
}

func freeAddr() (string, error) {
	port, err := lab.FreePort("127.0.0.1")
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(port)), err
}

func findRoot() (string, error) {
	d, err := os.Getwd()
	for ; err == nil; d = filepath.Dir(d) {
		if _, serr := os.Stat(filepath.Join(d, "go.mod")); serr == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
	}
	return "", err
}
