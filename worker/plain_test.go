package worker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

func TestDirectoryMarkersAndKeysThatLookLikePathsFollow(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seed(ledger.Source, b, "dir/", nil)
	l.seed(ledger.Source, b, "dir/child", []byte("x"))
	l.seed(ledger.Source, b, "empty dir/", nil)
	l.seed(ledger.Source, b, "dir/sub dir/", nil)
	l.start(nil)
	l.copyAll(b)
	l.compare(b)
	if n := len(l.keys(ledger.Target, b)); n != 4 {
		t.Errorf("%d of 4 keys followed", n)
	}
	l.put(b, "later/", "")
	l.put(b, "later/child", "y")
	l.delete(b, "dir/")
	l.synced()
	l.compare(b)
	if _, ok := l.keys(ledger.Target, b)["dir/child"]; !ok {
		t.Error("the marker's delete took a child with it")
	}
}

func TestDeleteLeavesKeysThatBeginAlike(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.bucket(ledger.Source, "photos-old")
	for _, b := range []string{"photos", "photos-old"} {
		for _, k := range []string{"foo", "foobar", "foo.d/x", "fo"} {
			l.seed(ledger.Source, b, k, []byte(k))
		}
	}
	l.start(nil)
	l.copyAll("photos", "photos-old")
	l.delete("photos", "foo")
	l.synced()
	for b, want := range map[string][]string{"photos": {"foobar", "foo.d/x", "fo"}, "photos-old": {"foo", "foobar", "foo.d/x", "fo"}} {
		got := l.keys(ledger.Target, b)
		for _, k := range want {
			if _, ok := got[k]; !ok {
				t.Errorf("%s/%s is gone", b, k)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s holds %v", b, got)
		}
	}
}

func TestDeletedVersionShowsTheOneBeforeItOnTheFollowerToo(t *testing.T) {
	l := newLabOf(t, s3test.Versitygw(t, s3test.Options{Versioning: true}), s3test.Versitygw(t, s3test.Options{}))
	const b = "photos"
	l.bucket(ledger.Source, b)
	bucket := b
	if _, err := l.stores[ledger.Source].S3.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{Bucket: &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	l.seed(ledger.Source, b, "k", []byte("first"))
	l.seed(ledger.Source, b, "k", []byte("second"))
	l.start(nil)
	l.copyAll(b) // it ends, although the follower keeps no versions
	if _, got := l.get(ledger.Target, b, "k"); got != "second" {
		t.Fatalf("copied %q", got)
	}
	newest, _ := l.get(ledger.Source, b, "k")
	l.change(b, "k", func(c *s3.Client) error {
		key := "k"
		_, err := c.S3.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key, VersionId: newest.VersionId})
		return err
	})
	l.synced()
	if _, got := l.get(ledger.Target, b, "k"); got != "first" {
		t.Errorf("the follower holds %q", got)
	}
}

func TestWorkerWaitsForAStoreThatIsDownWhenItStarts(t *testing.T) {
	for _, down := range []ledger.Store{ledger.Source, ledger.Target} {
		t.Run(down.String(), func(t *testing.T) {
			l := newLab(t)
			l.can = [2]s3.Capabilities{}
			const b = "photos"
			l.bucket(ledger.Source, b)
			l.seed(ledger.Source, b, "k", []byte("x"))
			var asked atomic.Int64
			l.faults[down].set(func(*http.Request) (*http.Response, error) {
				asked.Add(1)
				return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
			})
			w, _ := l.start(nil)
			waitLong(t, 30*time.Second, func() bool { return asked.Load() > 2 })
			answer := httptest.NewRecorder()
			w.Readyz().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if answer.Code == http.StatusOK {
				t.Error("it counts as ready")
			}
			l.faults[down].set(nil)
			l.copyAll(b)
			l.compare(b)
		})
	}
}

// cable is the way to Redis of one process.
type cable struct {
	mu    sync.Mutex
	conns []net.Conn
	cut   bool
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut && err == nil {
		return nil, errors.Join(conn.Close(), errors.New("cut"))
	}
	c.conns = append(c.conns, conn)
	return conn, err
}

func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// A worker whose heartbeat does not get through may be thought dead. It must have
// stopped by then: what it claimed is somebody else's.
func TestLostLeaseStopsTheWork(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seedMany(b, "%04d", 400)
	var way cable
	rdb := redis.NewClient(&redis.Options{Addr: l.redis, Dialer: way.dial, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	var last atomic.Int64 // when a copy was sent
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut && r.ContentLength > 0 {
			last.Store(time.Now().UnixNano())
			select { // slow enough that there is work left
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
		return nil, nil
	})
	const deadAfter = 3 * time.Second
	// What is read when the way is cut arrives when others may think the worker dead.
	var pulled atomic.Bool
	var late atomic.Int64
	released := make(chan struct{})
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		if pulled.Load() && r.Method == http.MethodGet {
			late.Add(1)
			select {
			case <-released:
			case <-r.Context().Done():
			}
		}
		return nil, nil
	})
	w, _ := l.start(func(c *Config) {
		c.Ledger = ledger.New(ledger.Options{Redis: rdb, Migration: "test"})
		c.Concurrency, c.DeadAfter = 4, deadAfter
	})
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	waitLong(t, 30*time.Second, func() bool { return len(l.keys(ledger.Target, b)) > 20 })
	pulled.Store(true)
	waitLong(t, 30*time.Second, func() bool { return late.Load() > 2 })
	way.pull()
	at := time.Now()
	waitLong(t, 30*time.Second, func() bool { return !w.alive() && time.Since(at) > deadAfter })
	close(released)
	waitLong(t, 30*time.Second, func() bool { return time.Since(at) > deadAfter+2*time.Second })
	if over := time.Unix(0, last.Load()).Sub(at); over >= deadAfter {
		t.Errorf("a copy was sent %s after the last heartbeat, when others may think it dead", over)
	}
	if n := len(l.keys(ledger.Target, b)); n == 400 {
		t.Fatal("there was no work left to stop")
	}
	// Another one finishes.
	l.faults[ledger.Target].set(nil)
	l.start(nil)
	l.copiedAll()
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		t.Error(diff)
	}
}
