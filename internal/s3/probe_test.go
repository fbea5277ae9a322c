package s3_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

func TestProbeTellsWhatVersitygwDoes(t *testing.T) {
	c := s3test.Client(t, s3test.Versitygw(t, s3test.Options{Versioning: true}))
	got, err := s3.Probe(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}
	want := s3.Capabilities{
		Reachable: s3.Yes, Writable: s3.Yes, CreateBucket: s3.Yes, ListBuckets: s3.Yes, ListObjects: s3.Yes,
		PutIfNoneMatch: s3.Yes, PutIfMatch: s3.Yes, DeleteIfMatch: s3.Yes,
		CompleteIfNoneMatch: s3.Yes, CompleteIfMatch: s3.Yes,
		StreamingTrailer: s3.Yes, ChecksumsStored: s3.Yes, PartNumberGet: s3.Yes, AttributesParts: s3.No,
		ObjectTagging: s3.Yes, ObjectACL: s3.No, BucketACL: s3.No, BucketPolicy: s3.Yes,
		BucketLifecycle: s3.No, BucketCORS: s3.Yes, BucketTagging: s3.Yes, BucketVersioning: s3.Yes,
		BucketWebsite: s3.Yes, ObjectLock: s3.Yes,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	requireNothingLeft(t, c, "")
}

func TestProbeOfGivenBucketLeavesItAsItWas(t *testing.T) {
	c := s3test.Client(t, s3test.Versitygw(t, s3test.Options{Versioning: true}))
	bucket := s3test.Bucket(t, c)
	s3test.EnableVersioning(t, c, bucket)
	got, err := s3.Probe(t.Context(), c, bucket)
	if err != nil {
		t.Fatal(err)
	}
	if got.PutIfNoneMatch != s3.Yes || got.CreateBucket != s3.NotKnown {
		t.Errorf("got %v", got.Strings())
	}
	requireNothingLeft(t, c, bucket)
}

func TestProbeReadOnly(t *testing.T) {
	e := s3test.Versitygw(t, s3test.Options{})
	c := s3test.Client(t, e)
	bucket := s3test.Bucket(t, c)
	wrong := e
	wrong.SecretAccessKey = "another"
	nowhere := e
	nowhere.URL = "http://127.0.0.1:1"
	tests := map[string]struct {
		endpoint  s3.Endpoint
		bucket    string
		wantClass s3.ErrorClass
		wantReach s3.Support
	}{
		"service":      {e, "", s3.None, s3.Yes},
		"bucket":       {e, bucket, s3.None, s3.Yes},
		"no bucket":    {e, "crossfade-none", s3.NotFound, s3.Yes},
		"wrong secret": {wrong, "", s3.Denied, s3.NotKnown},
		"nobody there": {nowhere, "", s3.Retryable, s3.No},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caps, err := s3.ProbeReadOnly(t.Context(), s3test.Client(t, tt.endpoint), tt.bucket)
			if class := s3.Classify(err); class != tt.wantClass || caps.Reachable != tt.wantReach {
				t.Errorf("got %q (%v), reachable %q; want %q, %q", class, err, caps.Reachable, tt.wantClass, tt.wantReach)
			}
		})
	}
}

func TestProbeTellsWhatRGWDoes(t *testing.T) {
	c := s3test.Client(t, s3test.RGW(t))
	got, err := s3.Probe(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"writable": "Yes", "putIfNoneMatch": "Yes", "putIfMatch": "No", "deleteIfMatch": "No",
		"completeIfMatch": "No", "completeIfNoneMatch": "No", "streamingTrailer": "No",
		"checksumsStored": "No", "partNumberGet": "No", "attributesParts": "No",
		"objectTagging": "Yes", "objectACL": "Yes", "bucketACL": "Yes", "bucketPolicy": "Yes",
		"bucketLifecycle": "Yes", "bucketCORS": "Yes", "bucketVersioning": "Yes", "objectLock": "Yes",
	}
	have := got.Strings()
	for name, value := range want {
		if have[name] != value {
			t.Errorf("%s: got %s, want %s", name, have[name], value)
		}
	}
}

// requireNothingLeft checks that the probe removed its buckets and, in bucket,
// its objects with all their versions.
func requireNothingLeft(t *testing.T, c *s3.Client, bucket string) {
	t.Helper()
	ctx := context.Background()
	buckets, err := c.S3.ListBuckets(ctx, &awss3.ListBucketsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range buckets.Buckets {
		if strings.HasPrefix(aws.ToString(b.Name), s3.ProbePrefix) {
			t.Errorf("bucket %s is left", *b.Name)
		}
	}
	if bucket == "" {
		return
	}
	versions, err := c.S3.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(versions.Versions) + len(versions.DeleteMarkers); n > 0 {
		t.Errorf("%d versions and delete markers are left", n)
	}
}
