package worker

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const photosPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/*"}]}`

func TestBucketConfigurationFollowsAndItsRemovalToo(t *testing.T) {
	l := newLab(t)
	const b, eu = "photos", "photos-eu"
	l.bucket(ledger.Source, b)
	src, dst := l.stores[ledger.Source].S3, l.stores[ledger.Target].S3
	ctx := t.Context()
	rules := []types.CORSRule{{AllowedMethods: []string{"GET"}, AllowedOrigins: []string{"https://example.com"}}}
	_, err1 := src.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: aws.String(b), Policy: aws.String(photosPolicy)})
	_, err2 := src.PutBucketCors(ctx, &awss3.PutBucketCorsInput{Bucket: aws.String(b), CORSConfiguration: &types.CORSConfiguration{CORSRules: rules}})
	_, err3 := src.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: aws.String(b), Tagging: &types.Tagging{
		TagSet: []types.Tag{{Key: aws.String("team"), Value: aws.String("a b")}}}})
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	// A store that knows no CORS, as some don't.
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if _, ok := r.URL.Query()["cors"]; ok {
			return answer(r, 501, "NotImplemented"), nil
		}
		return nil, nil
	})
	l.start(func(c *Config) { c.BucketNames = map[string]string{b: eu} })
	l.seed(ledger.Source, b, "a", []byte("a"))
	l.copyAll(b)
	all, err := l.led.Buckets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"CORS: target does not support it (NotImplemented)"}, all[0].Unsupported); diff != "" {
		t.Error(diff)
	}
	p, err := dst.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: aws.String(eu)})
	if err != nil || *p.Policy != strings.ReplaceAll(photosPolicy, ":::photos/", ":::photos-eu/") {
		t.Errorf("policy on the target: %v, %v", p, err)
	}
	tags, err := dst.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: aws.String(eu)})
	if err != nil || len(tags.TagSet) != 1 || *tags.TagSet[0].Value != "a b" {
		t.Errorf("tags on the target: %+v, %v", tags, err)
	}
	if _, got := l.get(ledger.Target, eu, "a"); got != "a" {
		t.Error("objects go into the bucket of the other name")
	}

	// Clients change the configuration: events bring that.
	l.faults[ledger.Target].set(nil)
	l.change(b, "", func(c *s3.Client) error {
		_, err := c.S3.DeleteBucketPolicy(ctx, &awss3.DeleteBucketPolicyInput{Bucket: aws.String(b)})
		return err
	})
	l.synced()
	if _, err := dst.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: aws.String(eu)}); !isCode(err, "NoSuchBucketPolicy") {
		t.Errorf("the policy outlived its removal: %v", err)
	}
	cors, err := dst.GetBucketCors(ctx, &awss3.GetBucketCorsInput{Bucket: aws.String(eu)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"https://example.com"}, cors.CORSRules[0].AllowedOrigins); diff != "" {
		t.Error(diff)
	}
	if all, err := l.led.Buckets(ctx); err != nil || len(all[0].Unsupported) != 0 {
		t.Errorf("still reported: %+v, %v", all, err)
	}
}

func TestBucketsThatClientsCreateAndDeleteFollow(t *testing.T) {
	l := newLab(t)
	const b = "fresh"
	l.start(nil)
	ctx := t.Context()
	l.change(b, "", func(c *s3.Client) error { return c.CreateBucket(ctx, b, false) })
	l.put(b, "a", "a")
	l.synced()
	if _, got := l.get(ledger.Target, b, "a"); got != "a" {
		t.Errorf("a is %q", got)
	}
	// Object and bucket go; the events may be taken in any order.
	l.delete(b, "a")
	l.change(b, "", func(c *s3.Client) error {
		_, err := c.S3.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String(b)})
		return err
	})
	l.synced()
	if _, err := l.stores[ledger.Target].S3.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String(b)}); err == nil {
		t.Error("the bucket is still on the target")
	}
}

func TestBucketWithForeignContentIsNotDeleted(t *testing.T) {
	l := newLab(t)
	const b = "fresh"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seed(ledger.Target, b, "somebody's", []byte("x"))
	l.start(nil)
	l.change(b, "", func(c *s3.Client) error {
		_, err := c.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String(b)})
		return err
	})
	waitFor(t, func() bool {
		all, err := l.led.Failures(t.Context(), 10)
		return err == nil && len(all) == 1 && strings.Contains(all[0].Cause, "still holds objects")
	})
	if got := l.keys(ledger.Target, b); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestForeignBucketFailsByName(t *testing.T) {
	l := newLab(t)
	const b = "taken"
	l.bucket(ledger.Source, b)
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		return answer(r, 403, "AccessDenied"), nil
	})
	l.start(nil)
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		all, err := l.led.Buckets(t.Context())
		return err == nil && len(all) == 1 && all[0].State == ledger.BucketFailed && strings.Contains(all[0].Error, "belongs to somebody else")
	})
}

// A client deletes a bucket, and that is copied, just before the first copy makes it.
func TestBucketDeletedBeforeItsFirstCopyIsMadeGoesAgain(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	var once atomic.Bool
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut && strings.Trim(r.URL.Path, "/") == b && r.URL.RawQuery == "" && !once.Swap(true) {
			l.change(b, "", func(c *s3.Client) error {
				_, err := c.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String(b)})
				return err
			})
			l.synced()
		}
		return nil, nil
	})
	l.start(nil)
	l.must(l.led.AddBuckets(t.Context(), b))
	waitFor(t, once.Load)
	l.copiedAll()
	waitFor(t, func() bool {
		_, err := l.stores[ledger.Target].S3.HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: aws.String(b)})
		return s3.Classify(err) == s3.NotFound
	})
}

// A gateway refuses whatever it is asked while the store behind it is away. A policy that a
// client was told is in force must not be missing once that store is main.
func TestSettingIsNotGivenUpBecauseAGatewayRefusesIt(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	source, target := &subresources{holds: map[string]string{}}, &subresources{holds: map[string]string{}}
	l.faults[ledger.Source].set(source.answer)
	var away atomic.Int64
	away.Store(-1)
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if n := away.Load(); n > 0 && (r.Method == http.MethodPut && r.URL.Query().Has("publicAccessBlock") || r.Method == http.MethodHead) {
			away.Store(n - 1)
			return respond(r, http.StatusNotFound, "default backend - 404"), nil
		}
		return target.answer(r)
	})
	l.start(nil)
	l.copyAll(b)
	const blocked = `<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>`
	away.Store(3)
	l.change(b, "", func(*s3.Client) error {
		source.mu.Lock()
		defer source.mu.Unlock()
		source.holds["publicAccessBlock"] = blocked
		return nil
	})
	l.synced()
	target.mu.Lock()
	defer target.mu.Unlock()
	if target.holds["publicAccessBlock"] == "" || away.Load() > 0 {
		t.Errorf("the follower holds %v, and its gateway has %d refusals left", target.holds, away.Load())
	}
}
