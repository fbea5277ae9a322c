package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/test/lab"
)

// Kinds of store.
const (
	kindVersityGW = "versitygw"          // without versions
	kindVersions  = "versitygw-versions" // with --versioning-dir
	kindRGW       = "rgw"
)

// setup is a pair of stores, and what is run on it.
type setup struct {
	name, source, target string
	suites               []string
}

func allSetups(short bool) []setup {
	some := []string{"boto3", "awscli", "rclone", "sdk-js", sdkGoSuite, "s3cmd", "restic", "mc"}
	if short {
		return []setup{{name: "versitygw-versions", source: kindVersions, target: kindVersions, suites: []string{"boto3", sdkGoSuite}}}
	}
	return []setup{
		{name: "versitygw", source: kindVersityGW, target: kindVersityGW, suites: append([]string{versitygwSuite, minioGoSuite}, some...)},
		{name: "versitygw-versions", source: kindVersions, target: kindVersions, suites: append([]string{versitygwVersionsSuite, minioGoSuite}, some...)},
		{name: "rgw", source: kindRGW, target: kindVersions, suites: append([]string{versitygwVersionsSuite, minioGoSuite}, some...)},
	}
}

// main is the kind of store that serves clients in a phase.
func (s setup) main(p phase) string {
	if p.onTarget {
		return s.target
	}
	return s.source
}

func (s setup) missing() string {
	for _, kind := range []string{s.source, s.target} {
		if _, err := exec.LookPath("radosgw"); kind == kindRGW && err != nil {
			return "radosgw is not installed (hack/rgw.sh)"
		}
	}
	return ""
}

const (
	accessKey = "conformance"
	secretKey = "conformance-secret"
)

type store struct {
	endpoint lab.Endpoint
	stop     func()
}

func startStore(ctx context.Context, root, dir, kind, name string) (*store, error) {
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if kind == kindRGW {
		stop, e, err := lab.StartRGW(ctx, root, dir, "127.0.0.1", accessKey, secretKey)
		return &store{endpoint: e, stop: stop}, err
	}
	bin, err := lab.FindBinary("versitygw")
	if err != nil {
		return nil, err
	}
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	args := []string{bin, "--port", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)), "--keep-alive", "--quiet", "--iam-dir", filepath.Join(dir, "iam"), "posix"}
	if kind == kindVersions {
		args = append(args, "--versioning-dir", filepath.Join(dir, "versions"))
	}
	for _, sub := range []string{"iam", "versions", "objects"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	env := []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey}
	p, err := lab.Start(dir, kind, env, append(args, filepath.Join(dir, "objects"))...)
	if err != nil {
		return nil, err
	}
	e := lab.Endpoint{URL: fmt.Sprintf("http://127.0.0.1:%d", port), Region: "us-east-1", AccessKey: accessKey, SecretKey: secretKey}
	stop := func() {
		p.Stop(2 * time.Second)
		_ = os.RemoveAll(filepath.Join(dir, "objects")) // some cases write hundreds of MB
		_ = os.RemoveAll(filepath.Join(dir, "versions"))
	}
	if err := p.AwaitHTTP(ctx, e.URL); err != nil {
		stop()
		return nil, err
	}
	return &store{endpoint: e, stop: stop}, nil
}

func bucketsOf(ctx context.Context, c *s3.Client) (names []string) {
	out, err := c.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return nil
	}
	for _, b := range out.Buckets {
		names = append(names, *b.Name)
	}
	return names
}

// emptyBucket removes a bucket with all that it holds, as far as it can.
func emptyBucket(ctx context.Context, c *s3.Client, bucket string) {
	yes := true
	if out, err := c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &bucket}); err == nil {
		for _, v := range out.Versions {
			_, _ = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: v.Key, VersionId: v.VersionId, BypassGovernanceRetention: &yes})
		}
		for _, v := range out.DeleteMarkers {
			_, _ = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: v.Key, VersionId: v.VersionId})
		}
	}
	if out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket}); err == nil {
		for _, o := range out.Contents {
			_, _ = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key})
		}
	}
	_, _ = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
}
