// Package ledgertest starts a real redis-server for tests.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a running redis-server on a loopback port.
type Server struct {
	Addr string
	Dir  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs redis-server from PATH with its append-only file in dir.
func Start(dir string, args ...string) (*Server, error) {
	// Another process may take a free port before the server does.
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s := &Server{Addr: l.Addr().String(), Dir: dir, args: args}
		_ = l.Close()
		if err = s.Restart(); err == nil || try == 3 {
			return s, err
		}
	}
}

// Restart starts the server again on the same address, after Stop or Kill.
func (s *Server) Restart() error {
	_, port, _ := net.SplitHostPort(s.Addr)
	log := filepath.Join(s.Dir, "redis.log")
	s.cmd = exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.Dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "no", "--logfile", log, "--daemonize", "no"}, s.args...)...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("redis-server (Debian package redis-server): %w", err)
	}
	s.done = make(chan struct{})
	go func(c *exec.Cmd, done chan struct{}) { _ = c.Wait(); close(done) }(s.cmd, s.done)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.done:
			b, _ := os.ReadFile(log)
			return fmt.Errorf("redis-server ended on port %s: %s", strconv.Quote(port), b)
		default:
		}
		// Who answers may be somebody else's server, which came first.
		info, err := rdb.Info(context.Background(), "server").Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.Pid())) {
			return nil
		}
	}
	return errors.Join(errors.New("redis-server did not answer in 20 s"), s.Kill())
}

// Kill ends the server at once.
func (s *Server) Kill() error {
	err := s.cmd.Process.Kill()
	<-s.done
	return err
}

// Pid returns the server's process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// New starts a server that ends with the test.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := Start(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	return s
}

// Redis starts a server that ends with the test and returns its address.
func Redis(t testing.TB) string {
	t.Helper()
	return New(t).Addr
}
