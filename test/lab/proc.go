package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a server that the lab started. It dies with its starter.
type Process struct {
	Name string
	Log  string // file with its output
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start runs a server whose output goes to DIR/NAME.log. Extra environment
// comes as KEY=VALUE.
func Start(dir, name string, env []string, argv ...string) (*Process, error) {
	return StartShown(nil, dir, name, env, argv...)
}

// StartShown is Start with the server's standard output going to show, not to
// the log.
func StartShown(show io.Writer, dir, name string, env []string, argv ...string) (*Process, error) {
	logPath := filepath.Join(dir, name+".log")
	out, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(cleanEnv(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	if show != nil {
		cmd.Stdout = show
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, Log: logPath, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// cleanEnv is the environment without what would redirect an S3 client.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") {
			env = append(env, kv)
		}
	}
	return env
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the process to end, waits for grace, then kills it.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// AwaitHTTP waits until something answers at url, with whatever status.
func (p *Process) AwaitHTTP(ctx context.Context, url string) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: Transport()}
	defer client.CloseIdleConnections()
	return p.await(ctx, url, func() bool {
		resp, err := client.Get(url)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return true
	})
}

// AwaitTCP waits until addr takes connections.
func (p *Process) AwaitTCP(ctx context.Context, addr string) error {
	return p.await(ctx, addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

func (p *Process) await(ctx context.Context, what string, ready func() bool) error {
	for {
		if ready() {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before %s answered: %w; its log: %s", p.Name, what, errors.Join(p.err, errors.New("exited")), p.Log)
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s at %s: %w; its log: %s", p.Name, what, ctx.Err(), p.Log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// FreePort returns a port of this host that was free a moment ago.
func FreePort(host string) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
