package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// timed is a proxy in a bubble, whose clock is virtual: it stands still while
// anybody has something to do, so that limits of time are met exactly, however
// slow the machine is. There is no Redis, and the store is a function.
type timed struct {
	*testing.T
	conn   net.Conn
	answer *bufio.Reader
	store  func(*http.Request) (*http.Response, error)
	end    func()
}

func (r *timed) RoundTrip(req *http.Request) (*http.Response, error) { return r.store(req) }

func newTimed(t *testing.T, dir string, idle, response time.Duration) *timed {
	t.Helper()
	r := &timed{T: t}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	rdb.AddHook(noRedis{})
	cfg := Config{Ledger: ledger.New(ledger.Options{Redis: rdb, Migration: "timed"}), Instance: "test", StateDir: dir,
		IdleTimeout: idle, ResponseTimeout: response, LedgerGrace: time.Millisecond, StartGrace: time.Millisecond}
	for i := range cfg.Stores {
		cfg.Stores[i] = Store{Endpoint: timedEndpoint, Transport: r}
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = p.Run(ctx); close(done) }()
	client, server := net.Pipe()
	conns := make(oneConn, 1)
	conns <- server
	srv := &http.Server{Handler: p.Handler()}
	go func() { _ = srv.Serve(conns) }()
	r.conn, r.answer = client, bufio.NewReader(client)
	r.end = func() {
		_ = client.Close()
		_ = srv.Close()
		cancel()
		<-done
		_ = rdb.Close()
	}
	return r
}

// noRedis refuses each call before a connection is made.
type noRedis struct{}

var errNoRedis = errors.New("there is no Redis")

func (noRedis) DialHook(next redis.DialHook) redis.DialHook { return next }

func (noRedis) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error { cmd.SetErr(errNoRedis); return errNoRedis }
}

func (noRedis) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			cmd.SetErr(errNoRedis)
		}
		return errNoRedis
	}
}

var timedEndpoint = s3.Endpoint{URL: "http://store.test", AccessKeyID: "key", SecretAccessKey: "secret"}

// oneConn is a listener on connections that are there already.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l oneConn) Close() error   { close(l); return nil }
func (l oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// request sends the head of one.
func (r *timed) request(method string, length int) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, "http://proxy.test/photos/k", http.NoBody)
	if err != nil {
		r.Fatal(err)
	}
	s3.NewSigner(timedEndpoint).Sign(req, s3.UnsignedPayload, time.Now())
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, req.URL.Path, req.URL.Host, length)
	for name, v := range req.Header {
		fmt.Fprintf(&head, "%s: %s\r\n", name, v[0])
	}
	if _, err := io.WriteString(r.conn, head.String()+"\r\n"); err != nil {
		r.Fatal(err)
	}
}

// drip writes bytes, with a pause before each.
func drip(w io.Writer, n int, pause time.Duration) (err error) {
	for range n {
		time.Sleep(pause)
		if _, err = io.WriteString(w, "x"); err != nil {
			break
		}
	}
	return err
}

// Time counts from the last byte, in both directions: however long a request
// takes in all, it goes on as long as something moves in time.
func TestTimeCountsFromTheLastByte(t *testing.T) {
	const idle, response, steps = 2 * time.Minute, 5 * time.Minute, 10
	for name, tt := range map[string]struct {
		method        string
		client, store time.Duration // between two bytes; before the answer
		status, body  string
	}{
		"a client writes slowly but steadily": {http.MethodPut, idle - time.Millisecond, 0, "200 OK", ""},
		"a client that writes stalls":         {http.MethodPut, idle + time.Millisecond, 0, "400 Bad Request", ""},
		"a store takes long after the body":   {http.MethodPut, idle - time.Millisecond, response - time.Millisecond, "200 OK", ""},
		"a store does not answer":             {http.MethodPut, 0, response + time.Millisecond, "503 Service Unavailable", ""},
		"a store sends slowly but steadily":   {http.MethodGet, 0, idle - time.Millisecond, "200 OK", strings.Repeat("x", steps)},
		"a store that sends stalls":           {http.MethodGet, 0, idle + time.Millisecond, io.ErrUnexpectedEOF.Error(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var drips sync.WaitGroup
				defer drips.Wait()
				r := newTimed(t, dir, idle, response)
				defer r.end()
				r.store = func(req *http.Request) (*http.Response, error) {
					out := answer(req, 200, "")
					if tt.method == http.MethodGet {
						body, slow := io.Pipe()
						context.AfterFunc(req.Context(), func() { _ = slow.CloseWithError(context.Cause(req.Context())) })
						drips.Go(func() { _ = drip(slow, steps, tt.store); _ = slow.Close() })
						out.Body, out.ContentLength = body, steps
						out.Header.Set("Content-Length", fmt.Sprint(steps))
						return out, nil
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil {
						return nil, err
					}
					select {
					case <-time.After(tt.store):
						return out, nil
					case <-req.Context().Done():
						return nil, context.Cause(req.Context())
					}
				}
				length := 0
				if tt.method == http.MethodPut {
					length = steps
				}
				r.request(tt.method, length)
				drips.Go(func() { _ = drip(r.conn, length, tt.client) })
				resp, err := http.ReadResponse(r.answer, nil)
				if err != nil {
					if err.Error() != tt.status {
						t.Error(err)
					}
					return
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.Status != tt.status || tt.body != "" && string(body) != tt.body {
					t.Errorf("%s, %q, %v", resp.Status, body, err)
				}
			})
		})
	}
}

// A client's reading is seen when all of a piece has gone out: in that measure it
// may be slow as well.
func TestClientThatReadsSlowlyIsServed(t *testing.T) {
	const idle, piece, pieces = 2 * time.Minute, 64 << 10, 4
	for name, tt := range map[string]struct {
		pause time.Duration // before each piece
		want  error
	}{"steadily": {idle - time.Millisecond, nil}, "not at all": {pieces * idle, io.ErrUnexpectedEOF}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				r := newTimed(t, dir, idle, idle)
				defer r.end()
				r.store = func(req *http.Request) (*http.Response, error) {
					out := answer(req, 200, strings.Repeat("x", pieces*piece))
					out.Header.Set("Content-Length", fmt.Sprint(pieces*piece))
					return out, nil
				}
				r.request(http.MethodGet, 0)
				resp, err := http.ReadResponse(r.answer, nil)
				if err != nil {
					t.Fatal(err)
				}
				for range pieces {
					time.Sleep(tt.pause)
					if _, err = io.CopyN(io.Discard, resp.Body, piece); err != nil {
						break
					}
				}
				if !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			})
		})
	}
}

// A byte that moves when the time is just up, and before anybody acts on that, counts.
func TestWatchdogThatIsSetInTimeDoesNotFire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			var fired atomic.Bool
			w := newWatchdog(time.Second, func() { fired.Store(true) })
			time.Sleep(time.Second - time.Nanosecond)
			// The timer fires while the lock is held, and has to wait for it.
			w.mu.Lock()
			time.Sleep(time.Nanosecond)
			w.extend(time.Second)
			w.mu.Unlock()
			time.Sleep(time.Second - time.Nanosecond)
			if fired.Load() {
				t.Fatal("fired too early")
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if !fired.Load() {
				t.Fatal("not fired")
			}
		}
	})
}
