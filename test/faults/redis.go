package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/test/faults/shim"
	"github.com/crossfade-io/crossfade/test/lab"
)

// redisServer is a redis-server with an append-only file, under changing processes.
type redisServer struct {
	dir   string
	clock string // library that moves its clock; "" where there is no C compiler

	mu      sync.Mutex
	current *lab.Process
	at      string
	skew    time.Duration
	runs    int
	rdb     *redis.Client
}

func startRedis(ctx context.Context, dir, clockSource string) (*redisServer, error) {
	r := &redisServer{dir: filepath.Join(dir, "redis"), clock: filepath.Join(dir, "clock.so")}
	if err := exec.CommandContext(ctx, "cc", "-shared", "-fPIC", "-O1", "-o", r.clock, clockSource).Run(); err != nil {
		r.clock = ""
	}
	return r, r.start(ctx)
}

func (r *redisServer) addr() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// client is a connection of the harness' own.
func (r *redisServer) client() *redis.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rdb
}

func (r *redisServer) process() *lab.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

func (r *redisServer) launch(ctx context.Context, dir string, more ...string) (*lab.Process, string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	bin, err := lab.FindBinary("redis-server")
	if err != nil {
		return nil, "", err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	var env []string
	r.mu.Lock()
	r.runs++
	name := fmt.Sprintf("redis.%03d", r.runs)
	if r.skew != 0 {
		env = []string{"LD_PRELOAD=" + r.clock, fmt.Sprintf("CLOCK_AHEAD=%d", r.skew.Milliseconds())}
	}
	r.mu.Unlock()
	argv := append([]string{bin, "--port", addr[len("127.0.0.1:"):], "--bind", "127.0.0.1", "--dir", dir, "--appendonly", "yes",
		"--appendfsync", "everysec", "--save", "", "--repl-diskless-sync-delay", "0"}, more...)
	p, err := lab.Start(dir, name, env, argv...)
	if err != nil {
		return nil, "", err
	}
	return p, addr, p.AwaitTCP(ctx, addr)
}

func (r *redisServer) start(ctx context.Context) error {
	p, addr, err := r.launch(ctx, r.dir)
	if err == nil {
		r.use(p, addr)
	}
	return err
}

func (r *redisServer) use(p *lab.Process, addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rdb != nil {
		_ = r.rdb.Close()
	}
	r.current, r.at = p, addr
	r.rdb = redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second})
}

// files are those that Redis keeps its data in.
func (r *redisServer) files() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return filepath.Join(r.dir, "appendonlydir")
}

// keep copies the files as they are, for older.
func (r *redisServer) keep() error {
	kept := filepath.Join(filepath.Dir(r.dir), "redis-kept")
	if err := os.RemoveAll(kept); err != nil {
		return err
	}
	return os.CopyFS(kept, os.DirFS(r.files()))
}

// older puts the files back that were kept.
func (r *redisServer) older(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.CopyFS(dir, os.DirFS(filepath.Join(filepath.Dir(r.dir), "redis-kept")))
}

// restart ends Redis, waits, and starts it again, with its files changed when file is not nil.
func (r *redisServer) restart(ctx context.Context, s syscall.Signal, pause time.Duration, file func(dir string) error) error {
	p := r.process()
	_ = p.Signal(s)
	<-p.Done()
	if file != nil {
		if err := file(r.files()); err != nil {
			return err
		}
	}
	time.Sleep(pause)
	return r.start(ctx)
}

// failover replaces Redis by a replica that has not heard of it for lag.
func (r *redisServer) failover(ctx context.Context, lag, pause time.Duration) error {
	old := r.addr()
	link, err := shim.Listen("replication", func() []string { return []string{old} })
	if err != nil {
		return err
	}
	defer link.Close()
	dir, err := os.MkdirTemp(filepath.Dir(r.dir), "redis-replica-")
	if err != nil {
		return err
	}
	p, addr, err := r.launch(ctx, dir, "--replicaof", "127.0.0.1 "+link.Addr()[len("127.0.0.1:"):])
	if err != nil {
		return err
	}
	rep := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true, MaxRetries: -1})
	defer func() { _ = rep.Close() }()
	for {
		info, err := rep.Do(ctx, "ROLE").Slice()
		if err == nil && len(info) > 3 && fmt.Sprint(info[3]) == "connected" {
			break
		}
		select {
		case <-ctx.Done():
			p.Stop(0)
			return fmt.Errorf("replica: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	defer link.Set(shim.Fault{Kind: shim.Hold})()
	time.Sleep(lag)
	dead := r.process()
	_ = dead.Signal(syscall.SIGKILL)
	<-dead.Done()
	time.Sleep(pause)
	if err := rep.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
		return err
	}
	r.mu.Lock()
	r.dir = dir
	r.mu.Unlock()
	r.use(p, addr)
	return nil
}

func (r *redisServer) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.rdb.Close()
	_ = r.current.Signal(syscall.SIGCONT)
	r.current.Stop(2 * time.Second)
}
