package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// FindBinary looks for a lab binary in $CROSSFADE_BIN, in the checkout's bin
// directory and in PATH.
func FindBinary(name string) (string, error) {
	var dirs []string
	if d := os.Getenv("CROSSFADE_BIN"); d != "" {
		dirs = append(dirs, d)
	}
	if wd, err := os.Getwd(); err == nil {
		for d := wd; ; d = filepath.Dir(d) {
			if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
				dirs = append(dirs, filepath.Join(d, "bin"))
				break
			}
			if d == filepath.Dir(d) {
				break
			}
		}
	}
	for _, d := range dirs {
		p := filepath.Join(d, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return filepath.Abs(p)
		}
	}
	if p, err := exec.LookPath(name); err == nil {
		return filepath.Abs(p)
	}
	return "", fmt.Errorf("%s is neither in $CROSSFADE_BIN, nor in bin/, nor in PATH", name)
}

// StartVersityGW starts a versitygw that keeps its objects below dir, which
// must be on a file system with extended attributes.
func StartVersityGW(ctx context.Context, dir, host, access, secret string) (*Process, Endpoint, error) {
	bin, err := FindBinary("versitygw")
	if err != nil {
		return nil, Endpoint{}, err
	}
	data := filepath.Join(dir, "versitygw-data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, Endpoint{}, err
	}
	env := []string{"ROOT_ACCESS_KEY=" + access, "ROOT_SECRET_KEY=" + secret}
	return startOnFreePort(host, func(port int) (*Process, Endpoint, error) {
		addr := fmt.Sprintf("%s:%d", host, port)
		e := Endpoint{URL: "http://" + addr, Region: "us-east-1", AccessKey: access, SecretKey: secret}
		p, err := Start(dir, "versitygw", env, bin, "--port", addr, "--keep-alive", "--quiet", "posix", data)
		if err != nil {
			return nil, e, err
		}
		if err := p.AwaitHTTP(ctx, e.URL); err != nil {
			p.Stop(0)
			return nil, e, err
		}
		return p, e, nil
	})
}

// StartRedis starts a redis-server with an append-only file below dir and
// returns its address.
func StartRedis(ctx context.Context, dir string) (*Process, string, error) {
	bin, err := FindBinary("redis-server")
	if err != nil {
		return nil, "", err
	}
	p, e, err := startOnFreePort("127.0.0.1", func(port int) (*Process, Endpoint, error) {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		p, err := Start(dir, "redis", nil, bin, "--port", fmt.Sprint(port), "--bind", "127.0.0.1",
			"--dir", dir, "--appendonly", "yes", "--save", "")
		if err != nil {
			return nil, Endpoint{}, err
		}
		if err := p.AwaitTCP(ctx, addr); err != nil {
			p.Stop(0)
			return nil, Endpoint{}, err
		}
		return p, Endpoint{URL: addr}, nil
	})
	return p, e.URL, err
}

// StartRGW starts a Ceph object gateway over a memory store, with all that it
// needs, by the scripts in hack/rgw below root. The function it returns ends it.
func StartRGW(ctx context.Context, root, dir, host, access, secret string) (func(), Endpoint, error) {
	base := dir
	if _, err := os.Stat("/dev/shm"); err == nil {
		base = "/dev/shm" // the monitor syncs every write
	}
	state, err := os.MkdirTemp(base, "crossfade-rgw-")
	if err != nil {
		return nil, Endpoint{}, err
	}
	stop := func() {
		_ = exec.Command(filepath.Join(root, "hack/rgw/stop.sh"), state).Run()
		_ = os.RemoveAll(state)
	}
	_, e, err := startOnFreePort(host, func(port int) (*Process, Endpoint, error) {
		addr := fmt.Sprintf("%s:%d", host, port)
		e := Endpoint{URL: "http://" + addr, Region: "us-east-1", AccessKey: access, SecretKey: secret}
		p, err := Start(dir, "rgw-start", []string{"RGW_KEY=" + access, "RGW_SECRET=" + secret},
			filepath.Join(root, "hack/rgw/start.sh"), state, fmt.Sprint(port), host)
		if err != nil {
			return nil, e, err
		}
		select {
		case <-ctx.Done():
			p.Stop(time.Second)
			return nil, e, ctx.Err()
		case <-p.Done(): // it leaves daemons behind
		}
		if p.err != nil {
			text, _ := os.ReadFile(p.Log)
			return nil, e, fmt.Errorf("start RGW: %w: %s", p.err, text)
		}
		return nil, e, nil
	})
	if err != nil {
		stop()
		return nil, e, err
	}
	return stop, e, nil
}

// startOnFreePort tries again with another port when somebody was faster.
func startOnFreePort(host string, start func(port int) (*Process, Endpoint, error)) (*Process, Endpoint, error) {
	var errs []error
	for range 3 {
		port, err := FreePort(host)
		if err != nil {
			return nil, Endpoint{}, err
		}
		p, e, err := start(port)
		if err == nil {
			return p, e, nil
		}
		errs = append(errs, err)
	}
	return nil, Endpoint{}, errors.Join(errs...)
}
