package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// sdkGoSuite is this program itself: the AWS SDK for Go as programs use it, with
// its own checksums, signing and Expect.
const sdkGoSuite = "sdk-go"

type goCases struct {
	c      *s3.Client
	bucket string
	large  []byte
}

type goCase struct {
	name string
	run  func(context.Context) error
}

// runSDKGo prints a line for each case, as any suite does.
func runSDKGo(ctx context.Context) {
	endpoint := os.Getenv("S3_ENDPOINT")
	g := &goCases{bucket: "conf-" + strings.ToLower(rand.Text()[:12]), large: make([]byte, 12<<20)}
	_, _ = rand.Read(g.large)
	g.c = s3.New(s3.Options{BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), "")})
	cases := []goCase{
		{"create_bucket", g.createBucket}, {"put_get_head", g.putGetHead}, {"large_object", g.largeObject}, {"strange_keys", g.strangeKeys},
		{"checksums", g.checksums}, {"conditions", g.conditions}, {"presigned", g.presigned}, {"presigned_form", g.presignedForm},
		{"multipart", g.multipart}, {"list_pages", g.listPages}, {"copy", g.copy}, {"tags", g.tags}, {"errors", g.errors},
		{"ssec", g.ssec}, {"ssec_copy", g.ssecCopy}, {"ssec_multipart", g.ssecMultipart}, {"response_overrides", g.responseOverrides},
		{"not_modified", g.notModified}, {"header_twice", g.headerTwice}, {"metadata_twice", g.metadataTwice},
	}
	cases = append(cases, g.conditionalReads()...)
	for _, one := range append(cases, goCase{"delete_all", g.deleteAll}) {
		fmt.Println("RUN", one.name)
		if err := one.run(ctx); err != nil {
			fmt.Printf("FAIL %s: %s\n", one.name, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println("PASS", one.name)
	}
}

func (g *goCases) put(ctx context.Context, key, body string, change ...func(*s3.PutObjectInput)) (*s3.PutObjectOutput, error) {
	in := &s3.PutObjectInput{Bucket: &g.bucket, Key: &key, Body: strings.NewReader(body)}
	for _, f := range change {
		f(in)
	}
	return g.c.PutObject(ctx, in)
}

func (g *goCases) get(ctx context.Context, key string, change ...func(*s3.GetObjectInput)) (string, error) {
	in := &s3.GetObjectInput{Bucket: &g.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled}
	for _, f := range change {
		f(in)
	}
	out, err := g.c.GetObject(ctx, in)
	if err != nil {
		return "", err
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	return string(b), err
}

func same[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("got %.80s, not %.80s", fmt.Sprint(got), fmt.Sprint(want))
	}
	return nil
}

// refused wants an error of that code.
func refused(err error, code string) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("not refused with %s, but: %w", code, err)
	}
	return same(api.ErrorCode(), code)
}

func (g *goCases) createBucket(ctx context.Context) error {
	if _, err := g.c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &g.bucket}); err != nil {
		return err
	}
	_, err := g.c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &g.bucket})
	return err
}

func (g *goCases) putGetHead(ctx context.Context) error {
	_, err := g.put(ctx, "a", "hello", func(in *s3.PutObjectInput) {
		in.Metadata, in.ContentType = map[string]string{"x": "1"}, aws.String("text/x-conf")
	})
	if err != nil {
		return err
	}
	got, err := g.get(ctx, "a")
	if err != nil {
		return err
	}
	head, err := g.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &g.bucket, Key: aws.String("a")})
	if err != nil {
		return err
	}
	part, err := g.get(ctx, "a", func(in *s3.GetObjectInput) { in.Range = aws.String("bytes=1-2") })
	return errors.Join(err, same(got, "hello"), same(part, "el"), same(aws.ToString(head.ContentType), "text/x-conf"), same(head.Metadata["x"], "1"))
}

// largeObject is above the size from which the SDK asks with Expect.
func (g *goCases) largeObject(ctx context.Context) error {
	if _, err := g.put(ctx, "large", string(g.large)); err != nil {
		return err
	}
	got, err := g.get(ctx, "large")
	missing := g.bucket + "-none"
	_, refusal := g.c.PutObject(ctx, &s3.PutObjectInput{Bucket: &missing, Key: aws.String("k"), Body: bytes.NewReader(g.large)})
	return errors.Join(err, same(got, string(g.large)), refused(refusal, "NoSuchBucket"))
}

func (g *goCases) strangeKeys(ctx context.Context) error {
	for _, key := range []string{"sp ace", "pl+us", "100%", "a%2Fb", "ünï/cödé", "q?mark#hash", "semi;colon", "日本"} {
		if _, err := g.put(ctx, key, key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		got, err := g.get(ctx, key)
		if err = errors.Join(err, same(got, key)); err != nil {
			return err
		}
	}
	return nil
}

func (g *goCases) checksums(ctx context.Context) error {
	for _, a := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
		if _, err := g.put(ctx, "sum", string(a), func(in *s3.PutObjectInput) { in.ChecksumAlgorithm = a }); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		got, err := g.get(ctx, "sum")
		if err = errors.Join(err, same(got, string(a))); err != nil {
			return err
		}
	}
	return nil
}

func (g *goCases) conditions(ctx context.Context) error {
	once := func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }
	if _, err := g.put(ctx, "once", "1", once); err != nil {
		return err
	}
	_, err := g.put(ctx, "once", "2", once)
	_, other := g.get(ctx, "once", func(in *s3.GetObjectInput) { in.IfMatch = aws.String(`"no"`) })
	return errors.Join(refused(err, "PreconditionFailed"), refused(other, "PreconditionFailed"))
}

func (g *goCases) presigned(ctx context.Context) error {
	p, key := s3.NewPresignClient(g.c), aws.String("presigned")
	send := func(method, url, body string) (int, string, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	put, err := p.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: &g.bucket, Key: key})
	if err != nil {
		return err
	}
	get, err := p.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &g.bucket, Key: key, ResponseContentType: aws.String("text/over")})
	if err != nil {
		return err
	}
	del, err := p.PresignDeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &g.bucket, Key: key})
	if err != nil {
		return err
	}
	status, text, err := send(http.MethodPut, put.URL, "hello")
	if err = errors.Join(err, same(status, 200)); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	status, text, err = send(http.MethodGet, get.URL, "")
	if err = errors.Join(err, same(status, 200), same(text, "hello")); err != nil {
		return err
	}
	status, _, err = send(http.MethodGet, put.URL, "")
	if err = errors.Join(err, same(status, 403)); err != nil {
		return fmt.Errorf("used for another method: %w", err)
	}
	status, text, err = send(http.MethodDelete, del.URL, "")
	return errors.Join(err, same(status, 204), same(text, ""))
}

func (g *goCases) presignedForm(ctx context.Context) error {
	form, err := s3.NewPresignClient(g.c).PresignPostObject(ctx, &s3.PutObjectInput{Bucket: &g.bucket, Key: aws.String("form")})
	if err != nil {
		return err
	}
	if err := postForm(ctx, form.URL, form.Values, "from a form"); err != nil {
		return err
	}
	got, err := g.get(ctx, "form")
	return errors.Join(err, same(got, "from a form"))
}

func (g *goCases) multipart(ctx context.Context) error {
	key := aws.String("parts")
	up, err := g.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &g.bucket, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	if err != nil {
		return err
	}
	var parts []types.CompletedPart
	for n := range int32(3) {
		number := n + 1
		out, err := g.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &g.bucket, Key: key, UploadId: up.UploadId, PartNumber: &number,
			Body: bytes.NewReader(g.large[int(n)*(5<<20) : min(len(g.large), int(number)*(5<<20))]), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
		if err != nil {
			return err
		}
		parts = append(parts, types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	}
	listed, err := g.c.ListParts(ctx, &s3.ListPartsInput{Bucket: &g.bucket, Key: key, UploadId: up.UploadId})
	if err != nil {
		return err
	}
	_, err = g.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &g.bucket, Key: key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	if err != nil {
		return err
	}
	got, err := g.get(ctx, "parts")
	return errors.Join(err, same(len(listed.Parts), 3), same(got, string(g.large)))
}

func (g *goCases) listPages(ctx context.Context) error {
	for i := range 12 {
		if _, err := g.put(ctx, fmt.Sprintf("list/%02d/x", i), "x"); err != nil {
			return err
		}
	}
	var keys, prefixes []string
	pages := s3.NewListObjectsV2Paginator(g.c, &s3.ListObjectsV2Input{Bucket: &g.bucket, Prefix: aws.String("list/"), MaxKeys: aws.Int32(5)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	pages = s3.NewListObjectsV2Paginator(g.c, &s3.ListObjectsV2Input{Bucket: &g.bucket, Prefix: aws.String("list/"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(5)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, p := range page.CommonPrefixes {
			prefixes = append(prefixes, *p.Prefix)
		}
	}
	return errors.Join(same(len(keys), 12), same(len(prefixes), 12))
}

func (g *goCases) copy(ctx context.Context) error {
	if _, err := g.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &g.bucket, Key: aws.String("copied"), CopySource: aws.String(g.bucket + "/a")}); err != nil {
		return err
	}
	got, err := g.get(ctx, "copied")
	return errors.Join(err, same(got, "hello"))
}

func (g *goCases) tags(ctx context.Context) error {
	_, err := g.c.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &g.bucket, Key: aws.String("a"),
		Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}})
	if err != nil {
		return err
	}
	out, err := g.c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &g.bucket, Key: aws.String("a")})
	if err != nil {
		return err
	}
	return same(len(out.TagSet), 1)
}

func (g *goCases) errors(ctx context.Context) error {
	_, noKey := g.get(ctx, "nothing")
	_, noHead := g.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &g.bucket, Key: aws.String("nothing")})
	_, noBucket := g.c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(g.bucket + "-none")})
	_, full := g.c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &g.bucket})
	return errors.Join(refused(noKey, "NoSuchKey"), refused(noHead, "NotFound"), refused(noBucket, "NoSuchBucket"), refused(full, "BucketNotEmpty"))
}

func (g *goCases) deleteAll(ctx context.Context) error {
	out, err := g.c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &g.bucket})
	if err != nil {
		return err
	}
	var ids []types.ObjectIdentifier
	for _, o := range out.Contents {
		ids = append(ids, types.ObjectIdentifier{Key: o.Key})
	}
	gone, err := g.c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &g.bucket, Delete: &types.Delete{Objects: ids}})
	if err != nil {
		return err
	}
	if _, err := g.c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &g.bucket}); err != nil {
		return err
	}
	_, err = g.c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &g.bucket})
	return errors.Join(same(len(gone.Deleted), len(ids)), refused(err, "NotFound"))
}
