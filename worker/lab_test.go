package worker

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

func TestMain(m *testing.M) {
	_ = os.Unsetenv("AWS_CA_BUNDLE")
	os.Exit(m.Run())
}

// versitygwCan is what the probe finds of it.
var versitygwCan = s3.Capabilities{
	Reachable: s3.Yes, PutIfNoneMatch: s3.Yes, PutIfMatch: s3.Yes, DeleteIfMatch: s3.Yes, CompleteIfNoneMatch: s3.Yes,
	CompleteIfMatch: s3.Yes, ChecksumsStored: s3.Yes, PartNumberGet: s3.Yes, AttributesParts: s3.No, ObjectTagging: s3.Yes,
	ObjectACL: s3.No, BucketACL: s3.No, BucketPolicy: s3.Yes, BucketLifecycle: s3.No, BucketCORS: s3.Yes, ObjectLock: s3.No,
}

// lab is a ledger and two stores, with clients that follow the protocol.
type lab struct {
	joinClient sync.Once
	proxy      *ledger.Member

	t      *testing.T
	redis  string // its address
	rdb    *redis.Client
	led    *ledger.Ledger
	stores [2]*s3.Client // the tests' own view, without faults
	worker [2]*s3.Client // what workers use
	faults [2]*faults
	can    [2]s3.Capabilities
	route  ledger.Route
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabOf(t, s3test.Versitygw(t, s3test.Options{}), s3test.Versitygw(t, s3test.Options{}))
}

func newLabOf(t *testing.T, source, target s3.Endpoint) *lab {
	t.Helper()
	t.Parallel()
	addr := ledgertest.Redis(t)
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = rdb.Close() })
	l := &lab{t: t, redis: addr, rdb: rdb, led: ledger.New(ledger.Options{Redis: rdb, Migration: "test"}), can: [2]s3.Capabilities{versitygwCan, versitygwCan}}
	for i, e := range []s3.Endpoint{source, target} {
		l.stores[i], l.worker[i] = s3test.Client(t, e), s3test.Client(t, e)
		l.faults[i] = &faults{next: l.worker[i].HTTP.Transport}
		l.worker[i].HTTP.Transport = l.faults[i]
	}
	l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Steady, Sync: true, Run: true})
	return l
}

func (l *lab) setRoute(r ledger.Route) {
	l.t.Helper()
	r.Epoch = l.route.Epoch + 1
	if err := l.led.SetRoute(l.t.Context(), r); err != nil {
		l.t.Fatal(err)
	}
	l.route = r
}

// obeyed waits until every worker obeys the route.
func (l *lab) obeyed() {
	l.t.Helper()
	waitFor(l.t, func() bool {
		all, err := l.led.Sessions(l.t.Context())
		for _, s := range all {
			if s.Epoch != l.route.Epoch {
				return false
			}
		}
		return err == nil && len(all) > 0
	})
}

// workers returns the workers' sessions.
func (l *lab) workers() []ledger.Session {
	l.t.Helper()
	all, err := l.led.Sessions(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(s ledger.Session) bool { return s.Role != ledger.RoleWorker })
}

// start runs a worker until stop is called or the test ends.
func (l *lab) start(change func(*Config)) (w *Worker, stop func()) {
	l.t.Helper()
	cfg := Config{Ledger: l.led, Instance: "test", Stores: l.worker, Capabilities: l.can, Concurrency: 8, Heartbeat: 50 * time.Millisecond,
		Backoff: 20 * time.Millisecond, MaxAttempts: 3, MaxInFlight: 5 * time.Second, DeadAfter: 5 * time.Second, Registry: prometheus.NewRegistry()}
	if testing.Verbose() {
		cfg.Log = funcr.New(func(prefix, args string) { fmt.Println(prefix, args) }, funcr.Options{Verbosity: 1})
	}
	if change != nil {
		change(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
			l.t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	l.t.Cleanup(stop)
	return w, stop
}

func (l *lab) bucket(on ledger.Store, name string) {
	l.t.Helper()
	if err := l.stores[on].CreateBucket(l.t.Context(), name, false); err != nil {
		l.t.Fatal(err)
	}
}

type edit func(*awss3.PutObjectInput)

// seed writes an object behind the proxies' back, as before the migration.
func (l *lab) seed(on ledger.Store, bucket, key string, content []byte, edits ...edit) {
	l.t.Helper()
	in := &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(content)}
	for _, e := range edits {
		e(in)
	}
	if _, err := l.stores[on].S3.PutObject(l.t.Context(), in); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) seedMany(bucket, format string, n int) {
	l.t.Helper()
	var g sync.WaitGroup
	next := make(chan int)
	for range 16 {
		g.Go(func() {
			for i := range next {
				l.seed(ledger.Source, bucket, fmt.Sprintf(format, i), fmt.Appendf(nil, "content %d", i))
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	g.Wait()
}

// change is a client's request through a proxy.
func (l *lab) change(bucket, key string, do func(c *s3.Client) error) {
	l.t.Helper()
	var in ledger.Intent
	waitFor(l.t, func() bool {
		var err error
		in, err = l.led.Begin(l.t.Context(), l.client(), ledger.Object{Bucket: bucket, Key: key}, ledger.BeginOptions{})
		return err == nil
	})
	if err := do(l.stores[in.Store]); err != nil {
		l.t.Fatal(err)
	}
	if err := l.led.Commit(l.t.Context(), in); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) put(bucket, key string, content string, edits ...edit) {
	l.t.Helper()
	l.change(bucket, key, func(c *s3.Client) error {
		in := &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(content)}
		for _, e := range edits {
			e(in)
		}
		_, err := c.S3.PutObject(l.t.Context(), in)
		return err
	})
}

func (l *lab) delete(bucket, key string) {
	l.t.Helper()
	l.change(bucket, key, func(c *s3.Client) error {
		_, err := c.S3.DeleteObject(l.t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		return err
	})
}

// client is the session of a proxy that lives: what shards know of others is buried.
func (l *lab) client() string {
	l.joinClient.Do(func() {
		l.proxy = l.led.Join(ledger.MemberOptions{Role: ledger.RoleProxy, Instance: "proxy-test"})
		if _, err := l.proxy.Beat(l.t.Context()); err != nil {
			l.t.Error(err)
		}
		go func() { _ = l.proxy.Run(l.t.Context()) }()
	})
	return l.proxy.ID()
}

func (l *lab) copyAll(buckets ...string) {
	l.t.Helper()
	if err := l.led.AddBuckets(l.t.Context(), buckets...); err != nil {
		l.t.Fatal(err)
	}
	l.copiedAll()
}

// copiedAll waits until all buckets are copied and nothing is dirty.
func (l *lab) copiedAll() {
	l.t.Helper()
	waitLong(l.t, time.Minute, func() bool {
		all, err := l.led.Buckets(l.t.Context())
		for _, b := range all {
			if b.State == ledger.BucketFailed {
				l.t.Fatalf("bucket %s failed: %s", b.Name, b.Error)
			}
			if b.State != ledger.BucketCopied {
				return false
			}
		}
		return err == nil && len(all) > 0
	})
	l.synced()
}

// failures waits until something is named as failed.
func (l *lab) failures() (all []ledger.Failure) {
	l.t.Helper()
	waitLong(l.t, time.Minute, func() bool {
		var err error
		all, err = l.led.Failures(l.t.Context(), 10)
		return err == nil && len(all) > 0
	})
	return all
}

func (l *lab) synced() {
	l.t.Helper()
	waitFor(l.t, func() bool {
		s, err := l.led.Stats(l.t.Context())
		if err != nil || s.Dirty > 0 {
			return false
		}
		// What a session left behind may be a copy that nobody did.
		all, err := l.led.DeadSessions(l.t.Context(), time.Second)
		return err == nil && len(all) == 0
	})
}

func (l *lab) get(on ledger.Store, bucket, key string) (*awss3.GetObjectOutput, string) {
	l.t.Helper()
	out, err := l.stores[on].S3.GetObject(l.t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	if isCode(err, "NoSuchKey", "NoSuchBucket") {
		return nil, ""
	}
	if err != nil {
		l.t.Fatalf("get %s from %s: %v", key, on, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return out, string(b)
}

func (l *lab) tags(on ledger.Store, bucket, key string) map[string]string {
	l.t.Helper()
	out, err := l.stores[on].S3.GetObjectTagging(l.t.Context(), &awss3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
	if err != nil {
		if isCode(err, "NoSuchTagSet", "NoSuchTagSetError") {
			return map[string]string{}
		}
		l.t.Fatal(err)
	}
	tags := map[string]string{}
	for _, t := range out.TagSet {
		tags[*t.Key] = *t.Value
	}
	return tags
}

// keys lists a bucket: each key with its ETag.
func (l *lab) keys(on ledger.Store, bucket string) map[string]string {
	l.t.Helper()
	out := map[string]string{}
	p := awss3.NewListObjectsV2Paginator(l.stores[on].S3, &awss3.ListObjectsV2Input{Bucket: &bucket})
	for p.HasMorePages() {
		page, err := p.NextPage(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		for _, o := range page.Contents {
			out[*o.Key] = aws.ToString(o.ETag)
		}
	}
	return out
}

func (l *lab) upload(on ledger.Store, bucket, key string, sizes ...int) {
	l.t.Helper()
	l.uploadWith(on, bucket, key, "", sizes...)
}

func (l *lab) uploadWith(on ledger.Store, bucket, key string, sum types.ChecksumAlgorithm, sizes ...int) {
	l.t.Helper()
	api := l.stores[on].S3
	up, err := api.CreateMultipartUpload(l.t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key,
		ChecksumAlgorithm: sum, ContentType: aws.String("video/mp4"), Metadata: map[string]string{"camera": "two"}})
	if err != nil {
		l.t.Fatal(err)
	}
	var done types.CompletedMultipartUpload
	for i, n := range sizes {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		num := int32(i + 1)
		out, err := api.UploadPart(l.t.Context(), &awss3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: &num, Body: bytes.NewReader(b), ChecksumAlgorithm: sum})
		if err != nil {
			l.t.Fatal(err)
		}
		done.Parts = append(done.Parts, types.CompletedPart{PartNumber: &num, ETag: out.ETag, ChecksumSHA256: out.ChecksumSHA256})
	}
	if _, err := api.CompleteMultipartUpload(l.t.Context(), &awss3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, MultipartUpload: &done}); err != nil {
		l.t.Fatal(err)
	}
}

// faults stands between workers and a store.
type faults struct {
	next http.RoundTripper
	mu   sync.Mutex
	do   func(*http.Request) (*http.Response, error) // nil, nil: let it through
}

func (f *faults) set(do func(*http.Request) (*http.Response, error)) {
	f.mu.Lock()
	f.do = do
	f.mu.Unlock()
}

func (f *faults) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	do := f.do
	f.mu.Unlock()
	if do != nil {
		resp, err := do(r)
		if resp != nil || err != nil {
			return resp, err
		}
	}
	return f.next.RoundTrip(r)
}

// answer is a store's S3 error.
func answer(r *http.Request, status int, code string) *http.Response {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return respond(r, status, fmt.Sprintf("<Error><Code>%s</Code><Message>as the test wants</Message></Error>", code))
}

// respond is any answer.
func respond(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func count(c prometheus.Collector) float64 { return testutil.ToFloat64(c) }
