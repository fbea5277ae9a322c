package compare

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
)

func TestCompareFindsEveryDifference(t *testing.T) {
	if _, err := lab.FindBinary("versitygw"); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	server, e, err := lab.StartVersityGW(ctx, t.TempDir(), "127.0.0.1", "testkey", "testsecret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop(time.Second) })
	c := e.Client()

	cfg := seed.Config{Seed: 3, BucketPrefix: "same", Buckets: 1, Objects: 1100, Multipart: 2, MaxSmall: 2000, OddKeys: true, PosixKeys: true, Features: seed.Features{Tags: true, CORS: true, Policy: true, BucketTags: true, Lifecycle: true}, Conc: 8}
	res, err := seed.Run(ctx, e, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(cfg.Plan()); res.Objects != want || res.Multipart != 2 {
		t.Errorf("seeded %+v, want %d objects", res, want)
	}
	rep, err := Run(ctx, Config{A: e, B: e, Buckets: []Bucket{{"same-0", "same-0"}}})
	if err != nil || rep.Differences != 0 || rep.Objects != int64(res.Objects) || rep.Bytes != res.Bytes {
		t.Fatalf("a bucket differs from itself: %v %+v", err, rep)
	}

	put := func(bucket, key, body string, more func(*s3.PutObjectInput)) {
		t.Helper()
		in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body), ContentType: aws.String("text/plain")}
		if more != nil {
			more(in)
		}
		if _, err := c.PutObject(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []string{"left", "right"} {
		if err := lab.EnsureBucket(ctx, c, b); err != nil {
			t.Fatal(err)
		}
		put(b, "same", "x", nil)
	}
	put("left", "a/only-left", "x", nil)
	put("right", "z/only-right", "x", nil)
	put("left", "content", "one", nil)
	put("right", "content", "two", nil)
	put("left", "size", "one", nil)
	put("right", "size", "three", nil)
	put("left", "header", "x", func(in *s3.PutObjectInput) { in.CacheControl = aws.String("no-cache") })
	put("right", "header", "x", nil)
	put("left", "meta", "x", func(in *s3.PutObjectInput) { in.Metadata = map[string]string{"a": "b"} })
	put("right", "meta", "x", nil)
	put("left", "tags", "x", func(in *s3.PutObjectInput) { in.Tagging = aws.String("a=b") })
	put("right", "tags", "x", nil)
	put("left", "ignored", "one", nil)
	put("right", "ignored", "two", nil)
	// the same content, in parts on one side
	put("left", "parts", "x", nil)
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("right"), Key: aws.String("parts"), ContentType: aws.String("text/plain")})
	if err != nil {
		t.Fatal(err)
	}
	part, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: up.Bucket, Key: up.Key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: up.Bucket, Key: up.Key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}}}); err != nil {
		t.Fatal(err)
	}

	rep, err = Run(ctx, Config{A: e, B: e, Buckets: []Bucket{ParseBucket("left=right")}, Skip: func(_, k string) bool { return k == "ignored" }})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range rep.First {
		got = append(got, d.Key+" "+string(d.Kind))
	}
	want := map[string]bool{
		"a/only-left missing on b": true, "z/only-right missing on a": true, "header header": true, "meta metadata": true,
		"tags tags": true, "parts etag": true, "content etag": true, "content content": true,
		"size size": true, "size etag": true, "size content": true,
	}
	have := map[string]bool{}
	for _, g := range got {
		have[g] = true
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
	if rep.Differences != int64(len(want)) || rep.Objects != 9 {
		t.Errorf("%d differences in %d objects, want %d in 9", rep.Differences, rep.Objects, len(want))
	}

	rep, err = Run(ctx, Config{A: e, B: e, Buckets: []Bucket{{"left", "right"}}, ListingOnly: true, IgnoreETag: func(_, k string) bool { return true }})
	if err != nil || rep.Differences != 3 {
		t.Errorf("listings alone, without ETags: %v %v, want 3 differences", err, rep)
	}
	if _, err := Run(ctx, Config{A: e, B: e, Buckets: []Bucket{{"left", "nowhere"}}}); err == nil {
		t.Error("a bucket that is not there compares without an error")
	}
}
