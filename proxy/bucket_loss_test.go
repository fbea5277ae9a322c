package proxy

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// newBucket has a client make a bucket just before the switch.
func (r *rig) newBucket() {
	r.Helper()
	r.route(ledger.Source, ledger.Preparing)
	r.bucket += "-new"
	_, err := r.client.S3.CreateBucket(r.Context(), &awss3.CreateBucketInput{Bucket: &r.bucket})
	r.must(err)
	for _, c := range r.direct {
		r.Cleanup(func() { _ = s3test.RemoveBucket(context.Background(), c, r.bucket) })
	}
	r.settled()
}

// copied does what a worker does about a bucket that is on the source alone.
func (r *rig) copied() {
	r.Helper()
	_, err := r.direct[ledger.Target].S3.CreateBucket(r.Context(), &awss3.CreateBucketInput{Bucket: &r.bucket})
	r.must(err)
	r.sync()
}

// asked are requests that a bucket's absence would fail.
var asked = map[string]func(*rig) int{
	"write": func(r *rig) int { return rawPut(r, "k", "v") },
	"head":  func(r *rig) int { return r.raw(http.MethodHead, "/"+r.bucket, "", nil).StatusCode },
	"list":  func(r *rig) int { return r.raw(http.MethodGet, "/"+r.bucket+"?list-type=2", "", nil).StatusCode },
	"in all": func(r *rig) int {
		out, err := r.client.S3.ListBuckets(r.Context(), &awss3.ListBucketsInput{})
		r.must(err)
		for _, b := range out.Buckets {
			if aws.ToString(b.Name) == r.bucket {
				return 200
			}
		}
		return 404
	},
}

// While processes tell what was lost, nobody has told of a bucket that was made just
// before the switch yet.
func TestBucketMadeJustBeforeTheSwitchIsThereWhileALossIsFoundOut(t *testing.T) {
	for name, do := range asked {
		t.Run(name, func(t *testing.T) {
			r, rdb := lossRig(t)
			restore := snapshot(r, rdb)
			r.newBucket()
			r.route(ledger.Target, ledger.Switched)
			last := *r.proxy.route.Load()
			restore()
			r.must(r.ledger.SetRoute(t.Context(), last))
			done := make(chan int, 1)
			go func() { done <- do(r) }()
			r.eventually("it is asked", func() bool {
				return r.waited() || len(done) > 0 || testutil.ToFloat64(r.proxy.metrics.waits.WithLabelValues("replay")) > 0
			})
			r.moveLoss(ledger.Lost)
			r.copied()
			if s := <-done; s != 200 {
				t.Errorf("status %d", s)
			}
		})
	}
}

// Whoever made the bucket has died, and nobody tells of it: the stores are compared.
func TestBucketMadeJustBeforeTheSwitchOutlivesWhoMadeIt(t *testing.T) {
	for name, do := range asked {
		t.Run(name, func(t *testing.T) {
			r, _ := lossRig(t)
			r.newBucket()
			r.lostAll()
			done := make(chan int, 1)
			go func() { done <- do(r) }()
			r.eventually("it is known", func() bool {
				loc, err := r.ledger.Lookup(r.Context(), ledger.Object{Bucket: r.bucket})
				r.must(err)
				return len(done) > 0 || loc.Loss == ledger.Healthy && loc.Known
			})
			r.copied()
			if s := <-done; s != 200 {
				t.Errorf("status %d", s)
			}
		})
	}
}

// lostAll moves traffic to the target, and has the ledger forget what nobody tells.
func (r *rig) lostAll() {
	r.Helper()
	r.route(ledger.Target, ledger.Switched)
	r.eventually("all is forgotten", func() bool {
		claims, err := r.ledger.ClaimEvents(r.Context(), "worker", 100)
		r.must(err)
		for _, c := range claims {
			for _, err := range r.ledger.Settle(r.Context(), c) {
				r.must(err)
			}
		}
		return !r.open()
	})
	r.must(r.ledger.MarkLost(r.Context(), time.Now()))
	all, err := r.ledger.Losses(r.Context())
	r.must(err)
	r.must(r.ledger.MoveLoss(r.Context(), all[0], ledger.Lost, time.Now(), ledger.Gone{Proxy: true}))
}

// onDirty runs a function once, before what is dirty in a bucket is asked for.
type onDirty struct{ do atomic.Pointer[func()] }

func (*onDirty) DialHook(next redis.DialHook) redis.DialHook { return next }
func (*onDirty) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *onDirty) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if slices.Contains(cmd.Args(), any("-")) && slices.Contains(cmd.Args(), any("+")) {
			if do := h.do.Swap(nil); do != nil {
				(*do)()
			}
		}
		return next(ctx, cmd)
	}
}

// What is newest on the old store is lost after a delete of its bucket has looked whether the
// ledger has lost anything.
func TestBucketIsNotDeletedWhileNobodyKnowsWhatItHolds(t *testing.T) {
	h := &onDirty{}
	server := newRedis(t)
	r := newRig(t, rigOptions{redis: server.Addr, hook: h})
	rdb := redisClient(t, server.Addr)
	r.route(ledger.Source, ledger.Preparing)
	r.put(r.client, "k", "on the source alone")
	r.settled()
	r.route(ledger.Target, ledger.Switched)
	lose := func() {
		r.must(r.ledger.MarkLost(r.Context(), time.Now()))
		for _, pattern := range []string{"*:o:*", "*:x:*"} {
			keys, err := rdb.Keys(r.Context(), pattern).Result()
			r.must(err)
			for _, k := range keys {
				r.must(rdb.Del(r.Context(), k).Err())
			}
		}
	}
	h.do.Store(&lose)
	done := make(chan string, 1)
	go func() {
		_, err := r.client.S3.DeleteBucket(r.Context(), &awss3.DeleteBucketInput{Bucket: &r.bucket}, oneTry)
		code, _ := s3.ErrorCode(err)
		done <- code
	}()
	r.moveLoss(ledger.Lost)
	r.eventually("it is copied, and answered", func() bool { r.sync(); return len(done) > 0 })
	if code := <-done; code != "BucketNotEmpty" {
		t.Errorf("answered %q", code)
	}
	if got := r.get(r.client, "k"); got != "on the source alone" {
		t.Errorf("it holds %q", got)
	}
}

// A gateway that answers for a store says nothing of its buckets.
func TestGatewaysAnswerDoesNotDecideWhetherABucketExists(t *testing.T) {
	r, _ := lossRig(t)
	r.newBucket()
	r.lostAll()
	r.hooks[ledger.Source].set(func(req *http.Request, _ func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		return answer(req, 404, "<html><body>default backend</body></html>"), nil
	})
	_, err := r.client.S3.HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: &r.bucket}, oneTry)
	if _, status := s3.ErrorCode(err); status < 500 {
		t.Errorf("status %d", status)
	}
	if loc, err := r.ledger.Lookup(t.Context(), ledger.Object{Bucket: r.bucket}); err != nil || loc.Loss != ledger.Lost {
		t.Errorf("it counts as known where the bucket is: %+v, %v", loc, err)
	}
}

// What the ledger has kept of an object from before a loss does not count, and nobody copies
// it because of that. Where both stores lack it, DeleteBucket has nothing to wait for.
func TestBucketIsDeletedAfterALossThoughTheLedgerHasKeptADelete(t *testing.T) {
	r, rdb := lossRig(t)
	r.route(ledger.Source, ledger.Preparing)
	// By another proxy, which dies with what it could tell.
	other := ledger.New(ledger.Options{Redis: rdb, Migration: r.ledger.Migration()})
	m := other.Join(ledger.MemberOptions{Role: ledger.RoleProxy, Instance: "other"})
	_, err := m.Beat(t.Context())
	r.must(err)
	o := ledger.Object{Bucket: r.bucket, Key: "k"}
	in, err := other.Begin(t.Context(), m.ID(), o, ledger.BeginOptions{})
	r.must(err)
	r.must(other.Commit(t.Context(), in))
	r.route(ledger.Target, ledger.Switched)
	r.must(r.ledger.MarkLost(t.Context(), time.Now()))
	r.moveLoss(ledger.Lost)
	if loc, err := r.ledger.Lookup(t.Context(), o); err != nil || loc.Loss != ledger.Lost || !loc.Known {
		t.Fatalf("%+v, %v; want a record that does not count", loc, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := r.client.S3.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &r.bucket}, oneTry); err != nil {
		t.Error(err)
	}
}

// A version below a delete marker is read from the store that made the bucket, also before anybody
// has found out which one that is; and what is missing there is a key, not the bucket.
func TestVersionInABucketThatALossHasForgottenIsRead(t *testing.T) {
	for name, want := range map[string]string{"version": "", "missing": "NoSuchKey"} {
		t.Run(name, func(t *testing.T) {
			r, _ := lossRig(t)
			ctx := t.Context()
			r.newBucket()
			old := r.direct[ledger.Source].S3
			_, err := old.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &r.bucket,
				VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
			r.must(err)
			put, err := old.PutObject(ctx, &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Body: strings.NewReader("v")})
			r.must(err)
			r.del(r.direct[ledger.Source], "k")
			r.lostAll()
			in := &awss3.GetObjectInput{Bucket: &r.bucket, Key: aws.String("k")}
			if want == "" {
				in.VersionId = put.VersionId
			}
			_, err = r.client.S3.GetObject(ctx, in, oneTry)
			if code, _ := s3.ErrorCode(err); code != want || err != nil && want == "" {
				t.Error(err)
			}
		})
	}
}
