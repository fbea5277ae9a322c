package s3test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// Keys of a server started without any.
const (
	DefaultAccessKeyID     = "crossfade-test"
	DefaultSecretAccessKey = "crossfade-test-secret"
)

// startTimeout is how long a server may take to answer.
const startTimeout = 20 * time.Second

// Options say how a versitygw is started; the zero value is good.
type Options struct {
	// Dir holds the objects. Empty: a new temporary directory, removed by stop.
	Dir string
	// Address is the host:port to listen on. Empty: a free loopback port.
	Address string
	// AccessKeyID and SecretAccessKey are the root user's. Empty: the defaults.
	AccessKeyID, SecretAccessKey string
	// Versioning lets buckets keep versions.
	Versioning bool
	// Args are further global arguments, such as --virtual-domain.
	Args []string
}

// Binary finds a server's program: in $CROSSFADE_BIN, in bin/ of the checkout
// that holds the working directory, or on PATH.
func Binary(name string) (string, error) {
	if dir := os.Getenv("CROSSFADE_BIN"); dir != "" {
		return exec.LookPath(filepath.Join(dir, name))
	}
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			if path, lookErr := exec.LookPath(filepath.Join(dir, "bin", name)); lookErr == nil {
				return path, nil
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither in $CROSSFADE_BIN, nor in bin/, nor on PATH", name)
	}
	return path, nil
}

// Start runs a versitygw and returns once it answers. stop ends it and waits;
// it may be called more than once. When ctx ends, the server ends too; on Linux also
// when this process is killed.
func Start(ctx context.Context, o Options) (endpoint s3.Endpoint, stop func(), err error) {
	binary, err := Binary("versitygw")
	if err != nil {
		return s3.Endpoint{}, nil, err
	}
	if o.AccessKeyID == "" {
		o.AccessKeyID, o.SecretAccessKey = DefaultAccessKeyID, DefaultSecretAccessKey
	}
	temporary := ""
	if o.Dir == "" {
		if temporary, err = os.MkdirTemp("", "crossfade-versitygw-"); err != nil {
			return s3.Endpoint{}, nil, err
		}
		o.Dir = temporary
	}
	// Another process may take a free port before the server does.
	for try := 0; ; try++ {
		endpoint, stop, err = start(ctx, binary, o)
		if err == nil || o.Address != "" || try == 3 || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		_ = os.RemoveAll(temporary)
		return s3.Endpoint{}, nil, err
	}
	end := stop
	return endpoint, func() {
		end()
		if temporary != "" {
			_ = os.RemoveAll(temporary)
		}
	}, nil
}

func start(ctx context.Context, binary string, o Options) (s3.Endpoint, func(), error) {
	address := o.Address
	if address == "" {
		free, err := freeAddress()
		if err != nil {
			return s3.Endpoint{}, nil, err
		}
		address = free
	}
	objects := filepath.Join(o.Dir, "objects")
	sidecar := filepath.Join(o.Dir, "meta")
	versions := filepath.Join(o.Dir, "versions")
	for _, dir := range []string{objects, sidecar, versions} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return s3.Endpoint{}, nil, err
		}
	}
	// Who answers may be somebody else's server, which came first: it does not know this path.
	health := "/healthz-" + strings.ToLower(rand.Text())
	args := append([]string{"--port", address, "--keep-alive", "--quiet", "--health", health}, o.Args...)
	args = append(args, "posix")
	if o.Versioning {
		args = append(args, "--versioning-dir", versions)
	}
	if !hasXattrs(objects) {
		args = append(args, "--sidecar", sidecar)
	}
	args = append(args, objects)

	ctx, cancel := context.WithCancel(ctx)
	var output tail
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+o.AccessKeyID, "ROOT_SECRET_ACCESS_KEY="+o.SecretAccessKey)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Dir = o.Dir
	endsWithUs(cmd)
	if err := cmd.Start(); err != nil {
		cancel()
		return s3.Endpoint{}, nil, fmt.Errorf("start versitygw: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	stop := func() {
		cancel()
		<-exited
	}
	url := "http://" + address
	if err := waitHealthy(ctx, url+health, exited); err != nil {
		stop()
		return s3.Endpoint{}, nil, fmt.Errorf("versitygw at %s: %w: %s", address, err, output.String())
	}
	return s3.Endpoint{URL: url, AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey}, stop, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

func waitHealthy(ctx context.Context, url string, exited <-chan struct{}) error {
	client := &http.Client{Transport: s3.NewTransport(), Timeout: time.Second}
	defer client.CloseIdleConnections()
	deadline := time.After(startTimeout)
	for {
		resp, err := client.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-exited:
			return errors.New("exited")
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return errors.New("no answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail keeps the end of a server's output for error messages.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.Len() > 64<<10 {
		t.buf.Reset()
	}
	return t.buf.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
