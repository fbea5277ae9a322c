package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// waited says whether a request has had to wait for its bucket.
func (r *rig) waited() bool {
	return testutil.ToFloat64(r.proxy.metrics.waits.WithLabelValues("bucket")) > 0
}

// A bucket made just before the switch is on the old main only for a moment: what
// is done in it goes to the new one.
func TestObjectsOfABucketMadeJustBeforeTheSwitchWaitForIt(t *testing.T) {
	for name, do := range map[string]func(*rig) int{
		"write":  func(r *rig) int { return rawPut(r, "k", "v") },
		"read":   func(r *rig) int { return r.raw(http.MethodGet, "/"+r.bucket+"/none", "", nil).StatusCode - 204 },
		"list":   func(r *rig) int { return r.raw(http.MethodGet, "/"+r.bucket+"?list-type=2", "", nil).StatusCode },
		"upload": func(r *rig) int { return r.raw(http.MethodPost, "/"+r.bucket+"/k?uploads=", "", nil).StatusCode },
		"delete many": func(r *rig) int {
			_, err := r.client.S3.DeleteObjects(r.Context(), &awss3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("k")}}}})
			r.must(err)
			return 200
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.route(ledger.Source, ledger.Preparing)
			r.bucket += "-new"
			_, err := r.client.S3.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &r.bucket})
			r.must(err)
			t.Cleanup(func() {
				for _, c := range r.direct {
					_ = s3test.RemoveBucket(context.Background(), c, r.bucket)
				}
			})
			r.settled()
			r.route(ledger.Target, ledger.Switched)
			done := make(chan int, 1)
			go func() { done <- do(r) }()
			r.eventually("it waits", r.waited)
			_, err = r.direct[ledger.Target].S3.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &r.bucket})
			r.must(err)
			r.sync()
			if s := <-done; s != 200 {
				t.Errorf("status %d", s)
			}
		})
	}
}

// A bucket deleted just before the switch takes no write on the new main, where it
// is still there for a moment.
func TestBucketDeletedJustBeforeTheSwitchTakesNoWrite(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	_, err := r.client.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &r.bucket})
	r.must(err)
	r.settled()
	r.route(ledger.Target, ledger.Switched)
	done := make(chan int, 1)
	go func() { done <- rawPut(r, "k", "v") }()
	r.eventually("it waits", r.waited)
	_, err = r.direct[ledger.Target].S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &r.bucket})
	r.must(err) // nothing was put there, and no intent is in the way of what is deleted in it
	r.sync()
	if s := <-done; s != http.StatusNotFound {
		t.Errorf("status %d", s)
	}
}

// A copy of a bucket that was deleted since may still bring it to the store which is main
// again, for a moment. That neither store has it then, says nothing about the next moment.
func TestObjectsOfABucketWaitForACopyOfWhatItWas(t *testing.T) {
	r := newRig(t, rigOptions{})
	bucket := r.bucket + "-gone"
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	_, err := r.client.S3.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket})
	r.must(err)
	r.settled()
	claims, err := r.ledger.ClaimEvents(t.Context(), "worker", 100)
	r.must(err)
	r.must(r.ledger.Lock(t.Context(), claims[0], 15*time.Second)) // and sends CreateBucket
	_, err = r.client.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &bucket})
	r.must(err)
	r.settled()
	r.route(ledger.Source, ledger.Switched)
	done := make(chan int, 1)
	go func() { done <- r.raw(http.MethodDelete, "/"+bucket+"/k", "", nil).StatusCode }()
	r.eventually("it waits", func() bool { return r.waited() || len(done) > 0 })
	_, err = r.direct[ledger.Source].S3.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket})
	r.must(err)
	r.must(errors.Join(r.ledger.Settle(t.Context(), claims...)...))
	_, err = r.direct[ledger.Source].S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &bucket})
	r.must(err)
	r.sync()
	if s := <-done; s != http.StatusNotFound || !r.waited() {
		t.Errorf("status %d, waited %t", s, r.waited())
	}
}

// A setting that is not copied yet keeps nobody waiting.
func TestBucketWhoseSettingsDifferIsServed(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	_, err := r.client.S3.PutBucketTagging(t.Context(), &awss3.PutBucketTaggingInput{Bucket: &r.bucket,
		Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}})
	r.must(err)
	r.settled()
	r.route(ledger.Target, ledger.Switched)
	if s := rawPut(r, "k", "v"); s != 200 || r.waited() {
		t.Errorf("status %d, waited %t", s, r.waited())
	}
}

// While a key's delete is not copied, its old store may lack a bucket that was made
// again since: then the key is missing, and not its bucket; nor is it what main holds.
func TestKeyOfABucketMadeAgainIsMissingNotItsBucket(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "v")
	r.settled()
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.del(r.client, "k") // dirty on the source
	_, err := r.client.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &r.bucket})
	r.must(err)
	r.settled()
	r.route(ledger.Target, ledger.Switched)
	// The bucket is back on the new main; the worker has not brought the key's end over yet.
	claims, err := r.ledger.ClaimEvents(t.Context(), "worker", 100)
	r.must(err)
	for _, c := range claims {
		if c.Object.Key == "" {
			r.must(errors.Join(r.ledger.Settle(t.Context(), c)...))
		}
	}
	_, err = r.client.S3.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &r.bucket, Key: aws.String("k")})
	if code, _ := s3.ErrorCode(err); code != "NoSuchKey" {
		t.Errorf("%q: %v", code, err)
	}
}

// Whoever waits for a bucket keeps off no copy that it waits for.
func TestRequestsThatWaitForABucketHoldNoIntent(t *testing.T) {
	for name, do := range map[string]func(*rig) int{
		"write": func(r *rig) int { return rawPut(r, "k", "v") },
		"delete many": func(r *rig) int {
			_, err := r.client.S3.DeleteObjects(r.Context(), &awss3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("k")}}}})
			r.must(err)
			return 200
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.newBucket()
			r.route(ledger.Target, ledger.Switched)
			intents := func() int64 {
				s, err := r.ledger.Stats(r.Context())
				r.must(err)
				return s.Intents[ledger.Source] + s.Intents[ledger.Target]
			}
			done := make(chan int, 1)
			go func() { done <- do(r) }()
			r.eventually("it waits", r.waited)
			r.eventually("it holds nothing", func() bool { return intents() == 0 })
			for range 200 {
				if intents() > 0 {
					t.Fatal("it has begun again")
				}
				time.Sleep(time.Millisecond)
			}
			r.copied()
			if s := <-done; s != 200 {
				t.Errorf("status %d", s)
			}
		})
	}
}

// What lives on the old store goes with its bucket when that is deleted on the new one, also
// before the old one knows: neither is a version read or deleted there, nor an upload ended.
func TestWhatABucketHoldsOnTheOldStoreGoesWithIt(t *testing.T) {
	r := versioned(t)
	ctx := t.Context()
	id := r.createUpload("u")
	part := r.part("u", id, 1, "part")
	put, err := r.direct[ledger.Source].S3.PutObject(ctx, &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Body: strings.NewReader("v")})
	r.must(err)
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	_, err = r.client.S3.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &r.bucket})
	r.must(err)
	r.settled()
	requests := map[string]func() error{
		"read": func() error {
			_, err := r.client.S3.GetObject(ctx, &awss3.GetObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: put.VersionId}, oneTry)
			return err
		},
		"look": func() error {
			_, err := r.client.S3.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: put.VersionId}, oneTry)
			if _, status := s3.ErrorCode(err); status == http.StatusNotFound {
				return &types.NoSuchBucket{} // it has no body that could say so
			}
			return err
		},
		"delete": func() error {
			_, err := r.client.S3.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: put.VersionId}, oneTry)
			return err
		},
		"delete of many": func() error {
			_, err := r.client.S3.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: &r.bucket,
				Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("k"), VersionId: put.VersionId}}}}, oneTry)
			return err
		},
		"end of an upload": func() error {
			_, err := r.client.S3.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("u"), UploadId: &id,
				MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{part}}}, oneTry)
			return err
		},
	}
	for name, do := range requests {
		if code, status := s3.ErrorCode(do()); code != "NoSuchBucket" {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	if got := r.versionsOf(0, "k"); len(got) != 1 {
		t.Errorf("versions on the old store: %v", got)
	}
}

// Nor is an upload ended on the old store while its bucket is being deleted on the new one, which
// has looked for what is under way there before.
func TestUploadOnTheOldStoreWaitsForTheDeleteOfItsBucket(t *testing.T) {
	r := newRig(t, rigOptions{})
	ctx := t.Context()
	id := r.createUpload("u")
	part := r.part("u", id, 1, "part")
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	at, on := make(chan struct{}), make(chan struct{})
	r.hooks[1].set(func(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		if req.Method == http.MethodDelete {
			close(at)
			<-on
		}
		return next(req)
	})
	deleted, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := r.client.S3.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &r.bucket}, oneTry)
		deleted <- err
	}()
	<-at
	go func() {
		_, err := r.client.S3.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("u"), UploadId: &id,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{part}}}, oneTry)
		ended <- err
	}()
	r.eventually("it waits", func() bool { return r.waited() || len(ended) > 0 })
	close(on)
	r.must(<-deleted)
	if code, status := s3.ErrorCode(<-ended); code != "NoSuchBucket" {
		t.Errorf("%d %s", status, code)
	}
}
