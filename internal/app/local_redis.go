package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// startRedis runs a redis-server of our own on a socket that only this user can
// open, with its append-only file in the state directory.
func startRedis(ctx context.Context, dir string) (redis.UniversalClient, func(), error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil, errNoRedis
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, nil, err
	}
	// Socket paths are short: sun_path holds 108 bytes.
	sockets, err := os.MkdirTemp("", "crossfade-redis-")
	if err != nil {
		return nil, nil, err
	}
	socket, log := filepath.Join(sockets, "redis.sock"), filepath.Join(dir, "redis.log")
	//nolint:gosec // no shell sees these, and the directory is the user's
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--logfile", log, "--daemonize", "no", "--maxmemory-policy", "noeviction")
	// Ctrl-C is for us: Redis must outlive the proxy's last commits.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endsWithUs(cmd.SysProcAttr)
	started, exited := make(chan error, 1), make(chan struct{})
	var ended error
	go func() {
		runtime.LockOSThread() // "us" is the thread that starts it
		err := cmd.Start()
		if started <- err; err == nil {
			ended = cmd.Wait()
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start redis-server: %w", err), os.RemoveAll(sockets))
	}
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, DisableIdentity: true, MaxRetries: -1})
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
		_ = os.RemoveAll(sockets) // in the system's temporary directory
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if rdb.Ping(ctx).Err() == nil {
			return rdb, stop, nil
		}
		select {
		case <-exited:
			stop()
			return nil, nil, fmt.Errorf("redis-server ended: see %s: %w", log, ended)
		case <-ctx.Done():
			stop()
			return nil, nil, ctx.Err()
		case <-tick.C:
		}
	}
	stop()
	return nil, nil, fmt.Errorf("redis-server did not answer within a minute: see %s", log)
}
