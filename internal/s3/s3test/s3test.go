// Package s3test gives tests real S3 servers: a versitygw that it starts, and a
// Ceph RGW that the environment names.
package s3test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// Versitygw starts a versitygw for t, with its data in t's temporary directory
// unless o names one. It skips t when there is no binary.
func Versitygw(t testing.TB, o Options) s3.Endpoint {
	t.Helper()
	if _, err := Binary("versitygw"); err != nil {
		t.Skip(err)
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	endpoint, stop, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return endpoint
}

// RGW returns the Ceph RGW named by CROSSFADE_RGW (its URL), CROSSFADE_RGW_KEY
// and CROSSFADE_RGW_SECRET, and skips t when they are not set.
func RGW(t testing.TB) s3.Endpoint {
	t.Helper()
	url := os.Getenv("CROSSFADE_RGW")
	if url == "" {
		t.Skip("CROSSFADE_RGW is not set")
	}
	return s3.Endpoint{
		URL:             url,
		AccessKeyID:     os.Getenv("CROSSFADE_RGW_KEY"),
		SecretAccessKey: os.Getenv("CROSSFADE_RGW_SECRET"),
	}
}

// Client returns a client of e.
func Client(t testing.TB, e s3.Endpoint) *s3.Client {
	t.Helper()
	c, err := s3.NewClient(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

// Bucket creates a bucket with a fresh name, which is emptied and removed when
// t ends.
func Bucket(t testing.TB, c *s3.Client) string {
	t.Helper()
	name := fmt.Sprintf("test-%s", strings.ToLower(s3.NewRequestID()))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.CreateBucket(ctx, name, false); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := RemoveBucket(ctx, c, name); err != nil {
			t.Logf("remove bucket %s: %v", name, err)
		}
	})
	return name
}

// RemoveBucket removes all that is in a bucket (objects, versions, uploads),
// then the bucket.
func RemoveBucket(ctx context.Context, c *s3.Client, bucket string) error {
	uploads, err := c.S3.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &bucket})
	if err == nil {
		for _, u := range uploads.Uploads {
			_, _ = c.S3.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &bucket, Key: u.Key, UploadId: u.UploadId})
		}
	}
	versions, err := c.S3.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &bucket})
	for err == nil && len(versions.Versions)+len(versions.DeleteMarkers) > 0 {
		for _, v := range versions.Versions {
			if err := remove(ctx, c, bucket, v.Key, v.VersionId); err != nil {
				return err
			}
		}
		for _, m := range versions.DeleteMarkers {
			if err := remove(ctx, c, bucket, m.Key, m.VersionId); err != nil {
				return err
			}
		}
		versions, err = c.S3.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &bucket})
	}
	if err := removeCurrent(ctx, c, bucket); err != nil {
		return err
	}
	_, err = c.S3.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &bucket})
	return err
}

// removeCurrent is for stores that don't list versions.
func removeCurrent(ctx context.Context, c *s3.Client, bucket string) error {
	for {
		page, err := c.S3.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &bucket})
		if err != nil || len(page.Contents) == 0 {
			return err
		}
		for _, o := range page.Contents {
			if err := remove(ctx, c, bucket, o.Key, nil); err != nil {
				return err
			}
		}
	}
}

func remove(ctx context.Context, c *s3.Client, bucket string, key, version *string) error {
	_, err := c.S3.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: key, VersionId: version})
	return err
}

// EnableVersioning turns versioning of a bucket on.
func EnableVersioning(t testing.TB, c *s3.Client, bucket string) {
	t.Helper()
	_, err := c.S3.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{
		Bucket:                  &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatalf("enable versioning: %v", err)
	}
}
