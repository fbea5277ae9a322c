package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

func TestFailureIsNamedAfterLastTryAndCanBeRetried(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		final  bool // it waits for a human
	}{"refused": {400, true}, "denied": {403, false}, "the store's own error": {500, false}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			const b = "photos"
			l.bucket(ledger.Source, b)
			l.seed(ledger.Source, b, "poison", []byte("x"))
			for i := range 20 {
				l.seed(ledger.Source, b, fmt.Sprint("good ", i), []byte("y"))
			}
			l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/poison") {
					return answer(r, tc.status, "InvalidObjectName"), nil
				}
				return nil, nil
			})
			w, _ := l.start(nil)
			if err := l.led.AddBuckets(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			all := l.failures()
			if len(all) != 1 || all[0].Object.Key != "poison" || !strings.Contains(all[0].Cause, "Target: write: InvalidObjectName") {
				t.Errorf("failures: %+v", all)
			}
			if got := len(l.keys(ledger.Target, b)); got != 20 {
				t.Errorf("%d of 20 good objects copied", got)
			}
			if tc.final != (count(w.metrics.givenUp) == 1) {
				t.Errorf("given up: %v", count(w.metrics.givenUp))
			}
			l.faults[ledger.Target].set(nil)
			if tc.final {
				if n, err := l.led.RetryFailed(t.Context()); n != 1 || err != nil {
					t.Fatalf("RetryFailed: %d, %v", n, err)
				}
			}
			l.copiedAll()
			if _, got := l.get(ledger.Target, b, "poison"); got != "x" {
				t.Errorf("poison is %q", got)
			}
			if all, err := l.led.Failures(t.Context(), 10); len(all) > 0 || err != nil {
				t.Errorf("still named: %+v, %v", all, err)
			}
		})
	}
}

// Stores that come and go, networks and gateways between them, and a refusal in
// between: none of that may need a human once it is over.
func TestFaultsAloneNeverUseUpAnObjectsTries(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	gateway := func(r *http.Request) (*http.Response, error) { return respond(r, 404, "default backend - 404"), nil }
	faults := []func(r *http.Request) (*http.Response, error){
		func(r *http.Request) (*http.Response, error) { return answer(r, 500, "InternalError"), nil },
		func(r *http.Request) (*http.Response, error) { return answer(r, 503, "SlowDown"), nil },
		gateway,
		func(r *http.Request) (*http.Response, error) { return answer(r, 400, "InvalidPart"), nil },
		func(r *http.Request) (*http.Response, error) { return answer(r, 403, "RequestTimeTooSkewed"), nil },
		func(*http.Request) (*http.Response, error) { return nil, &net.OpError{Op: "dial", Err: io.EOF} },
		gateway, gateway, gateway,
		func(r *http.Request) (*http.Response, error) { return answer(r, 400, "InvalidPart"), nil },
		func(r *http.Request) (*http.Response, error) { return respond(r, 400, ""), nil },
	}
	var met atomic.Int64
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if !isWrite(r, "hot") {
			return nil, nil
		}
		if n := int(met.Add(1)); n <= len(faults) {
			return faults[n-1](r)
		}
		return nil, nil
	})
	w, _ := l.start(func(c *Config) { c.Backoff = time.Millisecond })
	l.put(b, "hot", "x")
	l.synced()
	if _, got := l.get(ledger.Target, b, "hot"); got != "x" || int(met.Load()) <= len(faults) || count(w.metrics.givenUp) > 0 {
		t.Errorf("%q after %d tries", got, met.Load())
	}
}

func TestOutageOfATargetIsNoBucketsFailure(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	var tries atomic.Int64
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPut || strings.Trim(r.URL.Path, "/") != b {
			return nil, nil
		}
		switch n := tries.Add(1); {
		case n <= 16: // four tries, each sent four times
			return answer(r, 503, "SlowDown"), nil
		case n == 17:
			return answer(r, 403, "AccessDenied"), nil
		}
		return nil, nil
	})
	l.start(func(c *Config) { c.Backoff = time.Millisecond })
	l.copyAll(b)
}

func TestOutageOfAStoreIsWaitedForAndMakesLittleDirty(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seedMany(b, "%04d", 300)
	var refused atomic.Int64
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut && strings.Count(r.URL.Path, "/") > 1 || refused.Load() > 0 {
			refused.Add(1)
			return nil, fmt.Errorf("connection lost: %w", context.DeadlineExceeded)
		}
		return nil, nil
	})
	l.start(nil)
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return refused.Load() > 30 })
	s, err := l.led.Stats(t.Context())
	if err != nil || s.Dirty > 40 || s.Failed != 0 { // those that may have landed are
		t.Errorf("during the outage %d objects are dirty, %d failed (%v)", s.Dirty, s.Failed, err)
	}
	l.faults[ledger.Target].set(nil)
	l.copiedAll()
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		t.Error(diff)
	}
}

func TestUnreachableSourceNeverLooksEmpty(t *testing.T) {
	for name, do := range map[string]func(*http.Request) (*http.Response, error){
		"no such bucket": func(r *http.Request) (*http.Response, error) { return answer(r, 404, "NoSuchBucket"), nil },
		"404 of a proxy": func(r *http.Request) (*http.Response, error) {
			resp := answer(r, 404, "")
			resp.Body = http.NoBody
			return resp, nil
		},
		"unavailable": func(r *http.Request) (*http.Response, error) { return answer(r, 503, "ServiceUnavailable"), nil },
		"unreachable": func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("no route to host") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			const b = "photos"
			l.bucket(ledger.Source, b)
			l.seed(ledger.Source, b, "a", []byte("a"))
			l.seed(ledger.Source, b, "b", []byte("b"))
			l.start(nil)
			l.copyAll(b)
			var asked atomic.Int64
			l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) { asked.Add(1); return do(r) })
			l.put(b, "a", "a2")
			if err := l.led.AddBuckets(t.Context(), b, "other"); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return asked.Load() > 3 })
			if got := l.keys(ledger.Target, b); len(got) != 2 {
				t.Errorf("the target was emptied: %v", got)
			}
			l.faults[ledger.Source].set(nil)
			waitLong(t, time.Minute, func() bool {
				if _, err := l.led.RetryFailed(t.Context()); err != nil {
					t.Fatal(err)
				}
				_, got := l.get(ledger.Target, b, "a")
				return got == "a2"
			})
		})
	}
}

// What a gateway answers while the store behind it is away says nothing about the object:
// a client's delete would be forgotten, and the object be back once its store is main.
func TestDeleteIsNotDoneBecauseAGatewayKnowsNoObject(t *testing.T) {
	for name, state := range map[string]ledger.RouteState{"before the switch": ledger.Steady, "while it is under way": ledger.Switched} {
		for _, method := range []string{http.MethodHead, http.MethodDelete} {
			t.Run(name+", "+method, func(t *testing.T) {
				l := newLab(t)
				const b = "photos"
				l.bucket(ledger.Source, b)
				l.start(nil)
				l.seed(ledger.Source, b, "k", []byte("x"))
				l.copyAll(b)
				l.setRoute(ledger.Route{Main: ledger.Source, State: state, Sync: true, Run: true})
				l.obeyed()
				var asked atomic.Int64
				l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
					if strings.HasSuffix(r.URL.Path, "/k") && (r.Method == method || r.Method == http.MethodGet) && asked.Add(1) < 4 {
						return respond(r, 404, "default backend - 404"), nil
					}
					return nil, nil
				})
				l.delete(b, "k")
				l.synced()
				if _, got := l.get(ledger.Target, b, "k"); got != "" {
					t.Errorf("the follower still holds %q", got)
				}
			})
		}
	}
}

func TestClaimsOfADeadSessionAreTakenOver(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	dead := l.led.Join(ledger.MemberOptions{Role: ledger.RoleWorker, Instance: "gone"})
	if _, err := dead.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.put(b, "held", "1")
	if claims, err := l.led.ClaimEvents(t.Context(), dead.ID(), 10); err != nil || len(claims) != 1 {
		t.Fatalf("%v, %v", claims, err)
	}
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, err := l.led.ClaimBucket(t.Context(), dead.ID()); err != nil {
		t.Fatal(err)
	}
	l.start(func(c *Config) { c.DeadAfter, c.MaxInFlight = time.Second, time.Second })
	l.copiedAll()
	if _, got := l.get(ledger.Target, b, "held"); got != "1" {
		t.Errorf("held is %q", got)
	}
	if all := l.workers(); len(all) != 1 {
		t.Errorf("sessions: %+v", all)
	}
}

func TestWorkGoesOnAfterAWorkerWasStopped(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seedMany(b, "%05d", 1500)
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	stopped := 0
	for i := range 3 {
		// The grace of the first is too short to complete anything.
		w, stop := l.start(func(c *Config) {
			c.Limits.RequestsPerSecond = 300 // none of them gets to the end, even if it is stopped late
			c.Grace = time.Millisecond
			if i > 0 {
				c.Grace = 20 * time.Second
			}
		})
		waitFor(t, func() bool { return count(w.metrics.objects.WithLabelValues("batch", "copied")) > 100 })
		stop()
		stopped++
		// A write that was cut off may still land: its session is buried later.
		if all := l.workers(); i > 0 && len(all) > 1 {
			t.Errorf("sessions after the stop: %+v", all)
		}
	}
	l.start(nil)
	l.copiedAll()
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		t.Errorf("after %d stops: %s", stopped, diff)
	}
	if all, _ := l.led.Buckets(t.Context()); all[0].Listed.Objects != 1500 {
		t.Errorf("listed %d of 1500", all[0].Listed.Objects)
	}
}

// A worker that is stopped while it asks for work waits for what it is answered: a session that
// is given up, for nobody knows what it holds, keeps switches waiting until it is buried.
func TestWorkerThatIsStoppedWhileItAsksForWorkLeaves(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	if err := l.led.AddBuckets(t.Context(), "photos"); err != nil {
		t.Fatal(err)
	}
	h := &held{at: make(chan struct{}), on: make(chan struct{})}
	l.rdb.AddHook(h)
	_, stop := l.start(nil)
	l.copiedAll()
	h.hold.Store(true)
	<-h.at
	go func() {
		time.Sleep(50 * time.Millisecond)
		close(h.on)
	}()
	stop()
	if all := l.workers(); len(all) > 0 {
		t.Errorf("sessions after the stop: %+v", all)
	}
}

// held keeps a claim of tasks on its way to Redis until its caller has been told to stop.
type held struct {
	hold   atomic.Bool
	once   sync.Once
	at, on chan struct{}
}

func (*held) DialHook(next redis.DialHook) redis.DialHook { return next }
func (*held) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *held) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.hold.Load() && strings.HasPrefix(cmd.Name(), "eval") && slices.Contains(cmd.Args(), any("cf:{test}:")) && slices.Contains(cmd.Args(), any("b")) {
			h.once.Do(func() { close(h.at); <-h.on })
		}
		return next(ctx, cmd)
	}
}

func TestLimitsAreKept(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	for i := range 4 {
		l.seed(ledger.Source, b, fmt.Sprint(i), bytes.Repeat([]byte("x"), 1<<20))
	}
	w, _ := l.start(func(c *Config) { c.Limits = Limits{BytesPerSecond: 2 << 20, RequestsPerSecond: 200} })
	began := time.Now()
	l.copyAll(b)
	// 4 MiB at 2 MiB/s, of which a quarter of a second goes at once.
	if took := time.Since(began); took < 1500*time.Millisecond || took > time.Minute {
		t.Errorf("took %s", took)
	}
	if n := count(w.metrics.bytes.WithLabelValues("batch")); n != 4<<20 {
		t.Errorf("counted %v bytes", n)
	}
}

// landsLate has the first such request to the follower lose its answer and land 2 s
// later: lost is closed then, and landed has the status that it got.
func (l *lab) landsLate(such func(*http.Request) bool) (lost chan struct{}, landed chan int) {
	lost, landed = make(chan struct{}), make(chan int, 1)
	var once atomic.Bool
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if !such(r) || once.Swap(true) {
			return nil, nil
		}
		late := r.Clone(context.WithoutCancel(r.Context()))
		if r.Body != nil {
			body, _ := io.ReadAll(r.Body)
			late.Body = io.NopCloser(bytes.NewReader(body))
		}
		go func() {
			time.Sleep(2 * time.Second) // the network's delay
			resp, err := l.faults[ledger.Target].next.RoundTrip(late)
			if err != nil {
				landed <- 0
				return
			}
			_ = resp.Body.Close()
			landed <- resp.StatusCode
		}()
		close(lost)
		return nil, io.ErrUnexpectedEOF
	})
	return lost, landed
}

// After a loss it is told of a copy that got no answer, too: it may be what main holds.
func TestCopyWithoutAnAnswerIsToldOfAfterALoss(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	w, _ := l.start(nil)
	lost, _ := l.landsLate(func(r *http.Request) bool { return r.Method == http.MethodPut })
	l.put(b, "k", "1")
	<-lost
	waitFor(t, func() bool { return count(w.metrics.objects.WithLabelValues("event", "dropped")) == 1 })
	l.must(l.led.MarkLost(t.Context(), time.Now()))
	rdb := redis.NewClient(&redis.Options{Addr: l.redis})
	defer func() { _ = rdb.Close() }()
	waitFor(t, func() bool {
		all, err := l.led.Losses(t.Context())
		return err == nil && len(all) == 1 && len(all[0].Replayed) > 0
	})
	out, _ := l.get(ledger.Source, b, "k")
	if got, err := rdb.HGet(t.Context(), "cf:{test/0}:put", "t"+b+"\x00k").Result(); err != nil || !strings.Contains(got, strings.Trim(*out.ETag, `"`)) {
		t.Errorf("%q %v", got, err)
	}
}

// A bucket's delete that got no answer may land on one that was made again since,
// which no condition keeps it off.
func TestBucketDeleteWithoutAnAnswerDoesNotLandOnANewBucket(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	lost, landed := l.landsLate(func(r *http.Request) bool {
		return r.Method == http.MethodDelete && strings.Trim(r.URL.Path, "/") == b
	})
	l.start(nil)
	l.copyAll(b)
	l.obeyed()
	l.change(b, "", func(c *s3.Client) error {
		_, err := c.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String(b)})
		return err
	})
	<-lost
	l.change(b, "", func(c *s3.Client) error { return c.CreateBucket(t.Context(), b, false) })
	<-landed
	l.synced()
	if _, err := l.stores[ledger.Target].S3.HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: aws.String(b)}); err != nil {
		t.Errorf("the follower lacks the new bucket: %v", err)
	}
}

// The answer of a copy is lost and the request lands late: whatever clients have
// written meanwhile must be what the follower holds in the end.
func TestCopyWithoutAnAnswerDoesNotLandOnANewerOne(t *testing.T) {
	for name, end := range map[string]string{"overwritten": "newer", "deleted": ""} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			const b, key = "photos", "hot"
			l.bucket(ledger.Source, b)
			l.bucket(ledger.Target, b)
			lost, landed := l.landsLate(func(r *http.Request) bool { return isWrite(r, key) })
			l.start(nil)
			l.obeyed()
			l.put(b, key, "old")
			<-lost
			if end == "" {
				l.delete(b, key)
			} else {
				l.put(b, key, end)
			}
			if status := <-landed; status != http.StatusOK {
				t.Fatalf("the late request was answered %d", status)
			}
			l.synced()
			if _, got := l.get(ledger.Target, b, key); got != end {
				t.Errorf("the follower holds %q, want %q", got, end)
			}
		})
	}
}

func TestChangesWaitForABucketThatIsYetToBeCreated(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	var open atomic.Bool
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut && strings.Trim(r.URL.Path, "/") == b && !open.Load() {
			return answer(r, http.StatusServiceUnavailable, "SlowDown"), nil
		}
		return nil, nil
	})
	l.start(func(c *Config) { c.MaxAttempts, c.Backoff = 2, 10*time.Millisecond })
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	l.put(b, "early", "x")
	tried := 0
	for deadline := time.Now().Add(20 * time.Second); tried < 4 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		tried++
		st, err := l.led.Stats(t.Context())
		if err != nil || st.Failed > 0 {
			t.Fatalf("%d objects given up while their bucket is to be created: %v", st.Failed, err)
		}
		if st.Dirty == 0 {
			t.Fatal("copied into no bucket")
		}
		time.Sleep(200 * time.Millisecond)
	}
	open.Store(true)
	l.copiedAll()
	waitLong(t, time.Minute, func() bool {
		st, err := l.led.Stats(t.Context())
		if err == nil && st.Failed > 0 {
			t.Fatalf("%d objects given up", st.Failed)
		}
		return err == nil && st.Dirty == 0
	})
	if _, got := l.get(ledger.Target, b, "early"); got != "x" {
		t.Errorf("early is %q", got)
	}
}
