package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// The servers are shared; each test has its own migration and buckets.
var (
	sharedDir  string
	sharedStop []func()
	sharedMu   sync.Mutex
	stores     = sync.OnceValues(func() ([2]s3.Endpoint, error) {
		var out [2]s3.Endpoint
		for i := range out {
			iam, err := os.MkdirTemp(sharedDir, "iam-")
			if err != nil {
				return out, err
			}
			e, stop, err := s3test.Start(context.Background(), s3test.Options{Versioning: true, Args: []string{"--iam-dir", iam}})
			if err != nil {
				return out, err
			}
			onExit(stop)
			out[i] = e
		}
		return out, nil
	})
	sharedRedis = sync.OnceValues(func() (string, error) {
		s, err := ledgertest.Start(sharedDir)
		if err != nil {
			return "", err
		}
		onExit(func() { _ = s.Kill() })
		return s.Addr, nil
	})
)

func onExit(f func()) {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	sharedStop = append(sharedStop, f)
}

func TestMain(m *testing.M) {
	_ = os.Unsetenv("AWS_CA_BUNDLE")
	redis.SetLogger(silent{})
	var err error
	if sharedDir, err = os.MkdirTemp("", "crossfade-proxy-"); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, stop := range sharedStop {
		stop()
	}
	_ = os.RemoveAll(sharedDir)
	os.Exit(code)
}

// rig is a proxy with a real ledger before two real stores.
type rig struct {
	*testing.T
	ledger *ledger.Ledger
	proxy  *Proxy
	url    string
	client *s3.Client    // of the proxy
	direct [2]*s3.Client // of the stores
	hooks  [2]*hook
	bucket string
	epoch  int64
	end    func() // stops the proxy as SIGTERM would; may be called twice
}

type rigOptions struct {
	redis  string // address; empty: the shared server
	config func(*Config)
	route  *ledger.Route // nil: steady on the source
	none   bool          // no route at all
	known  int64         // the epoch that the Migration remembers
	shards int           // of the ledger; 0: one
	hook   redis.Hook    // of the connection to Redis
	names  bool          // the bucket has another name on the target
}

func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	if _, err := s3test.Binary("versitygw"); err != nil {
		t.Skip(err)
	}
	if o.redis == "" {
		addr, err := sharedRedis()
		if err != nil {
			t.Fatal(err)
		}
		o.redis = addr
	}
	ends, err := stores()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t}
	rdb := redis.NewClient(&redis.Options{Addr: o.redis, MaxRetries: -1, DialTimeout: 500 * time.Millisecond})
	t.Cleanup(func() { _ = rdb.Close() })
	if o.hook != nil {
		rdb.AddHook(o.hook)
	}
	r.ledger = ledger.New(ledger.Options{Redis: rdb, Migration: s3.NewRequestID(), Epoch: o.known, Shards: o.shards})
	cfg := Config{
		Ledger: r.ledger, Instance: "test", StateDir: t.TempDir(),
		Heartbeat: 20 * time.Millisecond, MaxInFlight: 4 * time.Second, LedgerGrace: 100 * time.Millisecond, LedgerWait: 3 * time.Second,
		StartGrace: 200 * time.Millisecond, DrainTimeout: 2 * time.Second,
	}
	for i, e := range ends {
		r.direct[i] = s3test.Client(t, e)
		r.hooks[i] = &hook{next: s3.NewTransport()}
		t.Cleanup(r.hooks[i].next.CloseIdleConnections)
		cfg.Stores[i] = Store{Endpoint: e, Transport: r.hooks[i], Trailers: func() bool { return true }}
	}
	r.bucket = s3test.Bucket(t, r.direct[0])
	other := r.bucket
	if o.names {
		other += "-eu"
		cfg.BucketNames = map[string]string{r.bucket: other}
	}
	if err := r.direct[1].CreateBucket(t.Context(), other, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s3test.RemoveBucket(context.Background(), r.direct[1], other) })
	if o.config != nil {
		o.config(&cfg)
	}
	if !o.none {
		if o.route == nil {
			o.route = &ledger.Route{Epoch: 1, Main: ledger.Source, State: ledger.Steady, Sync: true, Uploads: ledger.Source, Run: true}
		}
		r.must(r.ledger.SetRoute(t.Context(), *o.route))
		r.epoch = o.route.Epoch
	}
	r.start(cfg)
	if !o.none {
		r.eventually("the route is obeyed", func() bool { return r.proxy.route.Load() != nil })
	}
	return r
}

// start runs a proxy; an earlier one goes on until it is ended.
func (r *rig) start(cfg Config) {
	r.Helper()
	p, err := New(cfg)
	r.must(err)
	srv := httptest.NewServer(p.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = p.Run(ctx); close(done) }()
	end := sync.OnceFunc(func() { srv.Close(); cancel(); <-done })
	r.Cleanup(end)
	e := cfg.Stores[0].Endpoint
	e.URL = srv.URL
	r.proxy, r.url, r.end, r.client = p, srv.URL, end, s3test.Client(r, e)
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) eventually(what string, f func() bool) {
	r.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	r.Fatalf("never: %s", what)
}

// route puts a route in force and waits until the proxy obeys it.
func (r *rig) route(main ledger.Store, state ledger.RouteState) {
	r.Helper()
	r.routeTo(ledger.Route{Main: main, State: state, Sync: true, Uploads: ledger.Source, Run: true})
}

func (r *rig) routeTo(route ledger.Route) {
	r.Helper()
	r.epoch++
	route.Epoch = r.epoch
	r.must(r.ledger.SetRoute(r.Context(), route))
	r.eventually("route obeyed", func() bool { now := r.proxy.route.Load(); return now != nil && now.Epoch == r.epoch })
}

func (r *rig) put(c *s3.Client, key, body string) {
	r.Helper()
	_, err := c.S3.PutObject(r.Context(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: strings.NewReader(body), ContentLength: size(body)})
	r.must(err)
}

func size(s string) *int64 { n := int64(len(s)); return &n }

func (r *rig) del(c *s3.Client, key string) {
	r.Helper()
	_, err := c.S3.DeleteObject(r.Context(), &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: &key})
	r.must(err)
}

// get returns an object's content, or the error's code.
func (r *rig) get(c *s3.Client, key string) string {
	r.Helper()
	out, err := c.S3.GetObject(r.Context(), &awss3.GetObjectInput{Bucket: &r.bucket, Key: &key})
	if err != nil {
		code, _ := s3.ErrorCode(err)
		if code == "" {
			r.Fatalf("get %q: %v", key, err)
		}
		return code
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	r.must(err)
	return string(b)
}

// settled waits until no intent of the proxy is on its way to the ledger.
func (r *rig) settled() {
	r.Helper()
	r.eventually("intents settled", func() bool { return r.proxy.settler.pending.Load() == 0 })
}

// newest is where the ledger says that a key is newest, "" if it is in sync.
func (r *rig) newest(key string) string {
	r.Helper()
	loc, err := r.ledger.Lookup(r.Context(), ledger.Object{Bucket: r.bucket, Key: key})
	r.must(err)
	if !loc.Known {
		return ""
	}
	return loc.Store.String()
}

// stats are the ledger's counters.
func (r *rig) dirty() int64 {
	r.Helper()
	n := int64(0)
	for _, s := range []ledger.Store{ledger.Source, ledger.Target} {
		p, err := r.ledger.DirtyRange(r.Context(), s, r.bucket, "", "", 1000)
		r.must(err)
		n += int64(len(p.Keys))
	}
	return n
}

// open says whether the ledger holds anything that is not in sync.
func (r *rig) open() bool {
	r.Helper()
	s, err := r.ledger.Stats(r.Context())
	r.must(err)
	return s.Dirty+s.Intents[ledger.Source]+s.Intents[ledger.Target] > 0
}

// sync does a worker's job: it copies what is dirty.
func (r *rig) sync() int {
	r.Helper()
	n := 0
	for {
		claims, err := r.ledger.ClaimEvents(r.Context(), "worker", 100)
		r.must(err)
		if len(claims) == 0 {
			return n
		}
		for _, c := range claims {
			n++
			from, to := r.direct[c.From], r.direct[c.To]
			if c.Object.Key == "" {
				// The bucket itself: the test has made it on both.
			} else if body := r.get(from, c.Object.Key); body == "NoSuchKey" {
				r.del(to, c.Object.Key)
			} else {
				r.put(to, c.Object.Key, body)
			}
			for _, err := range r.ledger.Settle(r.Context(), c) {
				if err != nil && !errors.Is(err, ledger.ErrClaimLost) {
					r.Fatal(err)
				}
			}
		}
	}
}

// hook is a store's transport that can fail.
type hook struct {
	next  *http.Transport
	calls atomic.Int64
	mu    sync.Mutex
	f     func(*http.Request, func(*http.Request) (*http.Response, error)) (*http.Response, error)
}

func (h *hook) set(f func(*http.Request, func(*http.Request) (*http.Response, error)) (*http.Response, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.f = f
}

func (h *hook) RoundTrip(r *http.Request) (*http.Response, error) {
	h.calls.Add(1)
	h.mu.Lock()
	f := h.f
	h.mu.Unlock()
	if f == nil {
		return h.next.RoundTrip(r)
	}
	return f(r, h.next.RoundTrip)
}

func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(bytes.NewReader([]byte(body))),
		ContentLength: int64(len(body)), Request: r}
}

func errorBody(code string) string {
	return fmt.Sprintf("<Error><Code>%s</Code><Message>m</Message></Error>", code)
}

func newRedis(t *testing.T) *ledgertest.Server {
	t.Helper()
	return ledgertest.New(t)
}

func redisClient(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// silent keeps go-redis from writing to the test's output when Redis is killed.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
