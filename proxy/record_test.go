package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

func TestWriteIsRecordedByItsOutcome(t *testing.T) {
	type answerFunc = func(*http.Request, func(*http.Request) (*http.Response, error)) (*http.Response, error)
	refuse := func(status int, code string) answerFunc {
		return func(r *http.Request, _ func(*http.Request) (*http.Response, error)) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			return answer(r, status, errorBody(code)), nil
		}
	}
	tests := map[string]struct {
		hook       answerFunc
		wantStatus int
		wantOpen   bool // the intent stays open until a worker settles it
		wantDirty  bool
	}{
		"done":          {wantStatus: 200, wantDirty: true},
		"refused":       {hook: refuse(403, "AccessDenied"), wantStatus: 403},
		"not supported": {hook: refuse(501, "NotImplemented"), wantStatus: 501},
		"failed":        {hook: refuse(500, "InternalError"), wantStatus: 500, wantOpen: true},
		"slow down":     {hook: refuse(503, "SlowDown"), wantStatus: 503, wantOpen: true},
		"timed out":     {hook: refuse(408, "RequestTimeout"), wantStatus: 408, wantOpen: true},
		"broken after it was done": {
			hook: func(r *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
				if resp, err := next(r); err == nil {
					_ = resp.Body.Close()
				}
				return nil, errors.New("connection reset")
			},
			wantStatus: 503, wantOpen: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Long enough for a slow machine: what is late before it is sent leaves no doubt.
			r := newRig(t, rigOptions{config: func(c *Config) { c.MaxInFlight = 3 * time.Second }})
			r.hooks[ledger.Source].set(tt.hook)
			status := rawPut(r, "k", "hello")
			if status != tt.wantStatus {
				t.Errorf("status %d, want %d", status, tt.wantStatus)
			}
			r.settled()
			if open := r.open(); open != (tt.wantOpen || tt.wantDirty) {
				t.Errorf("open or dirty: %v", open)
			}
			if got := r.newest("k") != ""; got != (tt.wantDirty || tt.wantOpen) {
				t.Errorf("known to the ledger: %v", got)
			}
			if n := r.sync(); (n == 1) != tt.wantDirty {
				t.Errorf("%d copies queued", n)
			}
			if !tt.wantOpen {
				return
			}
			// A worker settles it once it can't land any more, and copies.
			r.eventually("the doubt is settled", func() bool {
				_, err := r.ledger.SettleDoubts(context.Background(), 10)
				r.must(err)
				return r.sync() > 0
			})
		})
	}
}

// rawPut puts an object once, without the SDK's retries.
func rawPut(r *rig, key, body string) int {
	r.Helper()
	return r.raw(http.MethodPut, "/"+r.bucket+"/"+key, body, nil).StatusCode
}

// signed is a request to the proxy.
func (r *rig) signed(method, path, body string) *http.Request {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	r.must(err)
	s3.NewSigner(r.direct[0].Endpoint).Sign(req, s3.UnsignedPayload, time.Now())
	return req
}

// raw sends a signed request to the proxy; the response's body is read and kept.
func (r *rig) raw(method, path, body string, header http.Header) *rawResponse {
	r.Helper()
	req := r.signed(method, path, body)
	for k, v := range header {
		req.Header[k] = v
	}
	s3.NewSigner(r.direct[0].Endpoint).Sign(req, s3.UnsignedPayload, time.Now())
	return r.do(req)
}

// do sends a request as it is; the response's body is read and kept.
func (r *rig) do(req *http.Request) *rawResponse {
	r.Helper()
	resp, err := r.client.HTTP.Transport.RoundTrip(req)
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	r.must(err)
	return &rawResponse{resp, string(b)}
}

type rawResponse struct {
	*http.Response
	text string
}

func TestWriteThatWasNotNewestIsRecordedBeforeTheAnswer(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "old")
	r.settled()
	r.route(ledger.Target, ledger.Switched)
	if got := r.newest("k"); got != "Source" {
		t.Fatalf("newest on %q", got)
	}
	r.put(r.client, "k", "new")
	if got := r.newest("k"); got != "Target" {
		t.Errorf("answered before the ledger knew: newest on %q", got)
	}
	if got := r.get(r.client, "k"); got != "new" {
		t.Errorf("read %q", got)
	}
}

func TestWriteThatWasSettledMeanwhileIsNotAcknowledged(t *testing.T) {
	r := newRig(t, rigOptions{})
	dirtyOn(r, "k")
	session := r.proxy.Member().ID()
	r.hooks[ledger.Target].set(func(req *http.Request, next next) (*http.Response, error) {
		// The process sleeps here; it is declared dead, and its intents are settled.
		r.eventually("buried", func() bool {
			done, err := r.ledger.Bury(t.Context(), session, 0)
			return err == nil && done
		})
		return next(req)
	})
	if resp := r.raw(http.MethodPut, "/"+r.bucket+"/k", "lost", nil); resp.StatusCode != 503 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if got := r.get(r.client, "k"); got != "newest" {
		t.Errorf("read %q", got)
	}
}

func TestWriteIsNotSentWhenTheProcessWasAsleep(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, err := r.proxy.begin(t.Context(), r.bucket, []string{"k"}, ledger.BeginOptions{})
	r.must(err)
	c.intents[0].Began = time.Now().Add(-time.Hour)
	q := &request{p: r.proxy}
	before := r.hooks[0].calls.Load()
	if _, err := q.sendChange(c, call{}); !errors.Is(err, s3.ErrSlowDown) {
		t.Errorf("got %v", err)
	}
	if r.hooks[0].calls.Load() != before {
		t.Error("the request was sent")
	}
	r.settled()
	if got := r.newest("k"); got != "" {
		t.Errorf("intent left behind: newest on %q", got)
	}
}

func TestFencedSessionRegistersAnew(t *testing.T) {
	r := newRig(t, rigOptions{})
	old := r.proxy.Member().ID()
	if _, err := r.ledger.Bury(t.Context(), old, time.Hour); err != nil {
		t.Fatal(err)
	}
	r.put(r.client, "k", "v")
	r.settled()
	if r.proxy.Member().ID() == old {
		t.Error("the fenced session goes on")
	}
	if got := r.newest("k"); got != "Source" {
		t.Errorf("newest on %q", got)
	}
}

func TestHeldWriteGoesOnAfterwards(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.routeTo(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Hold: true, Sync: true})
	done := make(chan int, 1)
	go func() { done <- rawPut(r, "k", "v") }()
	select {
	case s := <-done:
		t.Fatalf("not held: %d", s)
	case <-time.After(150 * time.Millisecond):
	}
	r.route(ledger.Target, ledger.Switched)
	if s := <-done; s != 200 {
		t.Errorf("status %d", s)
	}
	if got := r.get(r.direct[ledger.Target], "k"); got != "v" {
		t.Errorf("target holds %q", got)
	}
}

// Held writes wait for the engine to call the switch off, not for a proxy to lose patience.
func TestNoSwitchMayHoldWritesForLongerThanProxiesDo(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "config", "crd", "bases", "crossfade.io_migrations.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`duration\(self\)\s+<=\s+duration\('(\w+)'\)`).FindSubmatch(b)
	if m == nil {
		t.Fatal("the definition does not bound maxPause")
	}
	most, err := time.ParseDuration(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	if c.setDefaults(); c.MaxHold < most+10*time.Second {
		t.Errorf("writes are held for %s at most, and a switch may hold them for %s", c.MaxHold, most)
	}
}

func TestLockedObjectIsWaitedFor(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "old")
	r.settled()
	r.route(ledger.Target, ledger.Switched)
	claims, err := r.ledger.ClaimEvents(t.Context(), "worker", 1)
	r.must(err)
	r.must(r.ledger.Lock(t.Context(), claims[0], 300*time.Millisecond))
	began := time.Now()
	r.put(r.client, "k", "new")
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("the write did not wait for the copy: %v", d)
	}
	if got := r.get(r.client, "k"); got != "new" {
		t.Errorf("read %q", got)
	}
}

func TestRedisDownBeforeTheSwitch(t *testing.T) {
	redis := newRedis(t)
	r := newRig(t, rigOptions{redis: redis.Addr})
	r.put(r.client, "a", "1")
	r.settled()
	r.must(redis.Kill())
	for _, k := range []string{"b", "c", "c"} {
		r.put(r.client, k, "2")
	}
	r.del(r.client, "a")
	if got := r.get(r.client, "c"); got != "2" {
		t.Errorf("read %q", got)
	}
	if n := r.proxy.unrecorded.count(); n != 3 {
		t.Errorf("%d objects unrecorded, want 3", n)
	}
	r.must(redis.Restart())
	r.eventually("all recorded", func() bool { return r.proxy.unrecorded.count() == 0 })
	r.nothingLost()
	for _, k := range []string{"a", "b", "c"} {
		if got := r.newest(k); got != "Source" {
			t.Errorf("%s: newest on %q", k, got)
		}
	}
	r.sync()
	if a, c := r.get(r.direct[1], "a"), r.get(r.direct[1], "c"); a != "NoSuchKey" || c != "2" {
		t.Errorf("target holds %q and %q", a, c)
	}
}

func TestWritesWhileRedisIsOutOfMemoryAreRecordedLater(t *testing.T) {
	redis := newRedis(t)
	r := newRig(t, rigOptions{redis: redis.Addr})
	admin := redisClient(t, redis.Addr)
	r.must(admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
	for _, k := range []string{"a", "b"} {
		r.put(r.client, k, "1")
	}
	r.must(admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
	r.eventually("all recorded", func() bool { return r.proxy.unrecorded.count() == 0 })
	r.nothingLost()
	for _, k := range []string{"a", "b"} {
		if got := r.newest(k); got != "Source" {
			t.Errorf("%s: newest on %q", k, got)
		}
	}
	r.sync()
	if a, b := r.get(r.direct[1], "a"), r.get(r.direct[1], "b"); a != "1" || b != "1" {
		t.Errorf("target holds %q and %q", a, b)
	}
}

func TestJournalOutlivesTheProcess(t *testing.T) {
	redis := newRedis(t)
	var cfg Config
	r := newRig(t, rigOptions{redis: redis.Addr, config: func(c *Config) { c.DrainTimeout = 50 * time.Millisecond; cfg = *c }})
	r.must(redis.Kill())
	r.put(r.client, "nasty \x01 ключ/..//é", "1")
	r.end()
	r.must(redis.Restart())
	cfg.MaxInFlight = 200 * time.Millisecond
	cfg.Registry = nil
	r.start(cfg)
	if n := r.proxy.unrecorded.count(); n != 1 {
		t.Fatalf("%d objects found in the journal", n)
	}
	r.eventually("recorded", func() bool { return r.proxy.unrecorded.count() == 0 })
	if got := r.newest("nasty \x01 ключ/..//é"); got != "Source" {
		t.Errorf("newest on %q", got)
	}
	r.end()
	r.start(cfg)
	if n := r.proxy.unrecorded.count(); n != 0 {
		t.Errorf("%d objects left in the journal", n)
	}
}

func TestEpochIsNotAcknowledgedWhileWritesAreUnrecorded(t *testing.T) {
	redis := newRedis(t)
	r := newRig(t, rigOptions{redis: redis.Addr})
	release := make(chan struct{})
	r.must(redis.Kill())
	r.hooks[0].set(func(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		<-release
		return next(req)
	})
	done := make(chan int, 1)
	go func() { done <- rawPut(r, "k", "v") }()
	r.eventually("the write is under way", func() bool { return r.proxy.unrecorded.count() == 1 })
	r.must(redis.Restart())
	r.route(ledger.Source, ledger.Preparing)
	for range 10 {
		sessions, err := r.ledger.Sessions(t.Context())
		r.must(err)
		for _, s := range sessions {
			if s.Epoch == r.epoch {
				t.Fatal("acknowledged with a write under way that the ledger does not know of")
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	close(release)
	if s := <-done; s != 200 {
		t.Fatalf("status %d", s)
	}
	r.eventually("the epoch is acknowledged", func() bool {
		sessions, err := r.ledger.Sessions(t.Context())
		r.must(err)
		return len(sessions) == 1 && sessions[0].Epoch == r.epoch
	})
	if got := r.newest("k"); got != "Source" {
		t.Errorf("newest on %q", got)
	}
}

func TestRedisDownWhileSwitchingRefusesWrites(t *testing.T) {
	redis := newRedis(t)
	r := newRig(t, rigOptions{redis: redis.Addr, config: func(c *Config) { c.LedgerWait = 300 * time.Millisecond }})
	r.route(ledger.Source, ledger.Preparing)
	r.must(redis.Kill())
	if resp := r.raw(http.MethodPut, "/"+r.bucket+"/k", "v", nil); resp.StatusCode != 503 || !strings.Contains(resp.text, "SlowDown") {
		t.Errorf("a write was answered without the ledger: %d %s", resp.StatusCode, resp.text)
	}
	if got := r.get(r.direct[0], "k"); got != "NoSuchKey" {
		t.Errorf("source holds %q", got)
	}
}

func TestNoRedisSinceTheStart(t *testing.T) {
	redis := newRedis(t)
	r := newRig(t, rigOptions{redis: redis.Addr, none: true, config: func(*Config) { _ = redis.Kill() }})
	r.put(r.client, "k", "v")
	if got := r.get(r.client, "k"); got != "v" {
		t.Errorf("read %q", got)
	}
	if n := r.proxy.unrecorded.count(); n != 1 {
		t.Errorf("%d objects unrecorded", n)
	}
}

func TestGracefulEndLeavesNoSession(t *testing.T) {
	r := newRig(t, rigOptions{})
	for i := range 50 {
		r.put(r.client, string(rune('a'+i)), "v")
	}
	r.end()
	sessions, err := r.ledger.Sessions(t.Context())
	r.must(err)
	if len(sessions) != 0 {
		t.Errorf("sessions left: %v", sessions)
	}
	if n := r.dirty(); n != 50 {
		t.Errorf("%d objects dirty, want 50", n)
	}
}
