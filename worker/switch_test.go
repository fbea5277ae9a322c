package worker

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

func isWrite(r *http.Request, key string) bool {
	return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+key)
}

func TestDirtyObjectsReachTheNewMainWhileSwitching(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seed(ledger.Source, b, "gone", []byte("x"))
	l.start(nil)
	l.copyAll(b)
	l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
	l.obeyed()
	l.put(b, "small", "1", dressed)
	l.put(b, "medium", strings.Repeat("m", 2<<20))
	l.put(b, "large", strings.Repeat("l", 12<<20))
	l.put(b, "parts", "placeholder")
	l.change(b, "parts", func(*s3.Client) error { l.upload(ledger.Source, b, "parts", 5<<20, 1); return nil })
	l.delete(b, "gone")
	l.synced()
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	l.obeyed()
	// And back: the old store is kept in sync by events.
	l.put(b, "small", "2")
	l.delete(b, "medium")
	l.put(b, "born there", "3")
	l.synced()
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Steady, Sync: true, Run: true})
	l.obeyed()
	l.put(b, "later", "4")
	l.synced()
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		t.Error(diff)
	}
	for key, want := range map[string]string{"small": "2", "born there": "3", "later": "4", "large": strings.Repeat("l", 12<<20)} {
		for _, on := range []ledger.Store{ledger.Source, ledger.Target} {
			if _, got := l.get(on, b, key); got != want {
				t.Errorf("%s on %s: %d bytes, want %d", key, on, len(got), len(want))
			}
		}
	}
}

// A worker is paused between its decision to write and the store, longer than
// its lock: meanwhile a client writes the same object on the new main.
func TestClientsWriteSurvivesAWorkerPausedBeyondItsLock(t *testing.T) {
	for name, c := range map[string]struct {
		held    string // what the new main holds before
		content string
	}{
		"small, new":  {"", "old"},
		"small, over": {"older", "old"},
		"buffered":    {"older", strings.Repeat("o", 1<<20)},
		"deleted":     {"older", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			const b, key = "photos", "hot"
			l.bucket(ledger.Source, b)
			l.bucket(ledger.Target, b)
			if c.held != "" {
				l.seed(ledger.Target, b, key, []byte(c.held))
			}
			l.start(func(c *Config) { c.LockTTL = 1500 * time.Millisecond })
			paused, resume := make(chan struct{}), make(chan struct{})
			var once atomic.Bool
			zombie := make(chan int, 1)
			l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
				if !isWrite(r, key) && r.Method != http.MethodDelete || once.Swap(true) {
					return nil, nil
				}
				// The network delivers the request late, whatever the sender thinks by then.
				late := r.Clone(context.WithoutCancel(r.Context()))
				if r.Body != nil {
					body, _ := io.ReadAll(r.Body)
					late.Body = io.NopCloser(strings.NewReader(string(body)))
				}
				go func() {
					close(paused)
					<-resume
					resp, err := l.faults[ledger.Target].next.RoundTrip(late)
					if err == nil {
						_ = resp.Body.Close()
						zombie <- resp.StatusCode
					} else {
						zombie <- 0
					}
				}()
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
			l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
			l.obeyed()
			if c.content == "" {
				l.delete(b, key)
			} else {
				l.put(b, key, c.content)
			}
			<-paused
			l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
			l.put(b, key, "the client's")
			close(resume)
			// A store that refuses a large body may close the connection before
			// its answer is read.
			if status := <-zombie; status != http.StatusPreconditionFailed && (status != 0 || len(c.content) < 1<<16) {
				t.Errorf("the late write was answered %d", status)
			}
			l.synced()
			for _, on := range []ledger.Store{ledger.Target, ledger.Source} {
				if _, got := l.get(on, b, key); got != "the client's" {
					t.Errorf("%s holds %.20q", on, got)
				}
			}
			if all, err := l.led.Unclean(t.Context()); err != nil || len(all) != 0 {
				t.Errorf("unclean: %v, %v", all, err)
			}
		})
	}
}

// Redis loses a lock, or what comes before it, and a client writes the object just
// before the worker looks at what it is going to overwrite.
func TestCopyDoesNotOverwriteWhatItSawBecauseRedisLostItsLock(t *testing.T) {
	l := newLab(t)
	const b, key = "photos", "hot"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seed(ledger.Target, b, key, []byte("older"))
	rdb := redis.NewClient(&redis.Options{Addr: l.redis})
	defer func() { _ = rdb.Close() }()
	looked := make(chan struct{})
	var once atomic.Bool
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/"+key) && !once.Swap(true) {
			if err := rdb.Del(t.Context(), "cf:{test/0}:o:"+b+"\x00"+key, "cf:{test/0}:q").Err(); err != nil {
				return nil, err
			}
			l.seed(ledger.Target, b, key, []byte("the client's"))
			close(looked)
		}
		return nil, nil
	})
	w, _ := l.start(nil)
	l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
	l.obeyed()
	l.put(b, key, "the old main's")
	<-looked
	waitFor(t, func() bool { return count(w.metrics.inFlight.WithLabelValues(forEvents.String())) == 0 })
	if _, got := l.get(ledger.Target, b, key); got != "the client's" {
		t.Errorf("the target holds %q", got)
	}
}

// Without conditional writes nothing stops a request that arrives late, so the
// ledger must say that the stores may differ.
func TestWriteInDoubtWithoutFenceIsAnUncleanEvent(t *testing.T) {
	l := newLab(t)
	l.can[ledger.Target].PutIfMatch, l.can[ledger.Target].PutIfNoneMatch = s3.No, s3.No
	const b, key = "photos", "hot"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	var once atomic.Bool
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if !isWrite(r, key) || once.Swap(true) {
			return nil, nil
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
	l.start(func(c *Config) { c.LockTTL = time.Second })
	l.obeyed()
	l.put(b, key, "x")
	l.synced()
	all, err := l.led.Unclean(t.Context())
	if err != nil || len(all) != 1 || !strings.Contains(all[0].Reason, "Target") {
		t.Errorf("unclean: %+v, %v", all, err)
	}
}

// Nor does the worker say so if it is dead: whoever buries it does.
func TestCopyOfADeadWorkerWithoutFenceIsAnUncleanEvent(t *testing.T) {
	for name, c := range map[string]struct {
		fence s3.Support
		want  int
	}{"conditional": {s3.Yes, 0}, "not": {s3.No, 1}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.can[ledger.Target].PutIfMatch, l.can[ledger.Target].PutIfNoneMatch = c.fence, c.fence
			const b, key = "photos", "hot"
			l.bucket(ledger.Source, b)
			l.bucket(ledger.Target, b)
			under, dead := make(chan struct{}), make(chan struct{})
			var once atomic.Bool
			l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
				if isWrite(r, key) && !once.Swap(true) {
					close(under)
					<-dead
				}
				return nil, nil
			})
			l.start(func(c *Config) { c.LockTTL = time.Second })
			l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
			l.obeyed()
			l.put(b, key, "x")
			<-under
			l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
			l.put(b, key, "the client's")
			all, err := l.led.Sessions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range all {
				if _, err := l.led.Bury(t.Context(), s.ID, 0); err != nil {
					t.Fatal(err)
				}
			}
			unclean, err := l.led.Unclean(t.Context())
			close(dead)
			n := 0
			for _, u := range unclean {
				if strings.Contains(u.Reason, "a worker ended with a copy on its way to the Target store") {
					n++
				}
			}
			if err != nil || n != c.want {
				t.Errorf("unclean: %+v, %v", unclean, err)
			}
		})
	}
}

func TestBarrierWaitsForWritesWithoutALock(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.start(nil)
	l.obeyed()
	under, let := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(let) })
	t.Cleanup(end) // the worker waits for it
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if isWrite(r, "slow") {
			close(under)
			<-let
		}
		return nil, nil
	})
	l.put(b, "slow", "x")
	<-under
	l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
	// Heartbeats go on, but the epoch is not acknowledged.
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if all := l.workers(); len(all) != 1 || all[0].Epoch == l.route.Epoch {
			t.Fatalf("acknowledged while a write without a lock was under way: %+v", all)
		}
	}
	end()
	l.obeyed()
	l.synced()
}

// A streamed body is not complete before its last byte, so shutting the gate
// does not wait for its transfer, and the copy goes on under a lock.
func TestStreamedCopyInFlightAtTheSwitchTakesALock(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.start(nil)
	l.obeyed()
	first, let := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/big") {
			return nil, nil
		}
		resp, err := l.faults[ledger.Source].next.RoundTrip(r)
		once.Do(func() {
			resp.Body = &heldBody{ReadCloser: resp.Body, left: 1 << 20, reached: first, let: let}
		})
		return resp, err
	})
	l.put(b, "big", strings.Repeat("b", 3<<20))
	<-first
	l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
	l.obeyed()
	close(let)
	l.synced()
	if _, got := l.get(ledger.Target, b, "big"); len(got) != 3<<20 {
		t.Errorf("big has %d bytes", len(got))
	}
}

type heldBody struct {
	io.ReadCloser
	left         int
	reached, let chan struct{}
}

func (h *heldBody) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if h.left > 0 {
		if h.left -= n; h.left <= 0 {
			close(h.reached)
			<-h.let
		}
	}
	return n, err
}

func TestUploadsLeftOnTheOldMainAreReportedAndAborted(t *testing.T) {
	for name, policy := range map[string]DanglingPolicy{"wait": Wait, "abort": Abort} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			const b = "photos"
			l.bucket(ledger.Source, b)
			for i := range 3 {
				if _, err := l.stores[ledger.Source].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{
					Bucket: aws.String(b), Key: aws.String(fmt.Sprint("film ", i))}); err != nil {
					t.Fatal(err)
				}
			}
			l.start(func(c *Config) { c.Dangling = func() Dangling { return Dangling{Policy: policy} } })
			l.copyAll(b)
			l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
			want := map[DanglingPolicy]int64{Wait: 3, Abort: 0}[policy]
			waitFor(t, func() bool {
				d, err := l.led.Dangling(t.Context())
				return err == nil && d.Epoch == l.route.Epoch && d.Uploads == want && (want == 0 || !d.Oldest.IsZero())
			})
		})
	}
}

// The time that clients have to end an upload begins with the switch, however long
// before it they began.
func TestUploadsAreAbortedSomeTimePastTheSwitch(t *testing.T) {
	l := newLab(t)
	const b, after = "photos", 5 * time.Second
	l.bucket(ledger.Source, b)
	if _, err := l.stores[ledger.Source].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{
		Bucket: aws.String(b), Key: aws.String("film")}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.start(func(c *Config) { c.Dangling = func() Dangling { return Dangling{Policy: Abort, After: after} } })
	l.copyAll(b)
	waitFor(t, func() bool { return time.Since(began) > after })
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	moved := time.Now()
	var d ledger.Dangling
	seen := func() bool {
		var err error
		d, err = l.led.Dangling(t.Context())
		return err == nil && d.Epoch == l.route.Epoch
	}
	waitFor(t, seen)
	if d.Uploads != 1 && time.Since(moved) < after {
		t.Error("it was aborted at once")
	}
	waitFor(t, func() bool { return seen() && d.Uploads == 0 })
	if took := time.Since(moved); took < after {
		t.Errorf("it was aborted %s after the switch", took)
	}
}

func TestBucketThatIsGoneDoesNotHoldTheSwitch(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Source, "gone")
	l.start(nil)
	l.copyAll(b, "gone")
	for _, s := range l.stores { // as when a client has deleted it
		if _, err := s.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String("gone")}); err != nil {
			t.Fatal(err)
		}
	}
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	waitFor(t, func() bool {
		d, err := l.led.Dangling(t.Context())
		return err == nil && d.Epoch == l.route.Epoch
	})
}
