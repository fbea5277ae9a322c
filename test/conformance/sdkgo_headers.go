package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// customerKey is a key of the client's own (SSE-C): the store keeps none.
type customerKey struct{ algorithm, key, sum *string }

func newCustomerKey(fill byte) customerKey {
	k := bytes.Repeat([]byte{fill}, 32)
	sum := md5.Sum(k)
	return customerKey{aws.String("AES256"), aws.String(base64.StdEncoding.EncodeToString(k)), aws.String(base64.StdEncoding.EncodeToString(sum[:]))}
}

func (k customerKey) put(in *s3.PutObjectInput) {
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = k.algorithm, k.key, k.sum
}

func (k customerKey) get(in *s3.GetObjectInput) {
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = k.algorithm, k.key, k.sum
}

// notReadable wants a read without the key, or with another one, to be refused.
func (g *goCases) notReadable(ctx context.Context, key string) error {
	_, without := g.get(ctx, key)
	_, other := g.get(ctx, key, newCustomerKey('x').get)
	for what, err := range map[string]error{"without a key": without, "with another key": other} {
		if err == nil {
			return fmt.Errorf("%s was read %s", key, what)
		}
	}
	return nil
}

func (g *goCases) ssec(ctx context.Context) error {
	k := newCustomerKey('k')
	put, err := g.put(ctx, "ssec", "secret", k.put)
	if err != nil {
		return err
	}
	got, err := g.get(ctx, "ssec", k.get)
	if err != nil {
		return err
	}
	part, err := g.get(ctx, "ssec", k.get, func(in *s3.GetObjectInput) { in.Range = aws.String("bytes=1-3") })
	if err != nil {
		return err
	}
	head, err := g.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &g.bucket, Key: aws.String("ssec"),
		SSECustomerAlgorithm: k.algorithm, SSECustomerKey: k.key, SSECustomerKeyMD5: k.sum})
	if err != nil {
		return err
	}
	return errors.Join(same(got, "secret"), same(part, "ecr"), g.notReadable(ctx, "ssec"), same(aws.ToString(put.SSECustomerKeyMD5), *k.sum),
		same(aws.ToString(head.SSECustomerAlgorithm), "AES256"), same(aws.ToString(head.SSECustomerKeyMD5), *k.sum))
}

func (g *goCases) ssecCopy(ctx context.Context) error {
	from, to := newCustomerKey('f'), newCustomerKey('t')
	if _, err := g.put(ctx, "ssec-from", "secret", from.put); err != nil {
		return err
	}
	_, err := g.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &g.bucket, Key: aws.String("ssec-to"), CopySource: aws.String(g.bucket + "/ssec-from"),
		CopySourceSSECustomerAlgorithm: from.algorithm, CopySourceSSECustomerKey: from.key, CopySourceSSECustomerKeyMD5: from.sum,
		SSECustomerAlgorithm: to.algorithm, SSECustomerKey: to.key, SSECustomerKeyMD5: to.sum})
	if err != nil {
		return err
	}
	got, err := g.get(ctx, "ssec-to", to.get)
	return errors.Join(err, same(got, "secret"), g.notReadable(ctx, "ssec-to"))
}

func (g *goCases) ssecMultipart(ctx context.Context) error {
	k, key, one := newCustomerKey('m'), aws.String("ssec-parts"), aws.Int32(1)
	up, err := g.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &g.bucket, Key: key,
		SSECustomerAlgorithm: k.algorithm, SSECustomerKey: k.key, SSECustomerKeyMD5: k.sum})
	if err != nil {
		return err
	}
	part, err := g.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &g.bucket, Key: key, UploadId: up.UploadId, PartNumber: one, Body: bytes.NewReader(g.large),
		SSECustomerAlgorithm: k.algorithm, SSECustomerKey: k.key, SSECustomerKeyMD5: k.sum})
	if err != nil {
		return err
	}
	_, err = g.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &g.bucket, Key: key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: one, ETag: part.ETag}}}})
	if err != nil {
		return err
	}
	got, err := g.get(ctx, *key, k.get)
	return errors.Join(err, same(got, string(g.large)), g.notReadable(ctx, *key))
}

// responseOverrides asks for the answer's headers in the query.
func (g *goCases) responseOverrides(ctx context.Context) error {
	if _, err := g.put(ctx, "over", "hello"); err != nil {
		return err
	}
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	out, err := g.c.GetObject(ctx, &s3.GetObjectInput{Bucket: &g.bucket, Key: aws.String("over"),
		ResponseCacheControl: aws.String("no-store, max-age=0"), ResponseContentDisposition: aws.String(`attachment; filename="a b;c.txt"`),
		ResponseContentEncoding: aws.String("x-own"), ResponseContentLanguage: aws.String("nl, de"), ResponseContentType: aws.String("text/x-over; charset=utf-8"),
		ResponseExpires: &expires})
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, out.Body)
	_ = out.Body.Close()
	return errors.Join(same(aws.ToString(out.CacheControl), "no-store, max-age=0"), same(aws.ToString(out.ContentDisposition), `attachment; filename="a b;c.txt"`),
		same(aws.ToString(out.ContentEncoding), "x-own"), same(aws.ToString(out.ContentLanguage), "nl, de"),
		same(aws.ToString(out.ContentType), "text/x-over; charset=utf-8"), same(aws.ToString(out.ExpiresString), "Wed, 02 Jan 2030 03:04:05 GMT"))
}

// conditionalReads are all conditions, and the two pairs of which one decides.
func (g *goCases) conditionalReads() (cases []goCase) {
	var etag *string
	var written, before *time.Time
	other, part := aws.String(`"0123456789abcdef0123456789abcdef"`), aws.String("bytes=1-2")
	cases = append(cases, goCase{"read_conditions", func(ctx context.Context) error {
		put, err := g.put(ctx, "cond", "hello")
		if err != nil {
			return err
		}
		head, err := g.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &g.bucket, Key: aws.String("cond")})
		if err != nil {
			return err
		}
		etag, written, before = put.ETag, head.LastModified, aws.Time(head.LastModified.Add(-time.Hour))
		return nil
	}})
	for _, one := range []struct {
		name string
		in   func() s3.GetObjectInput
		want int
	}{
		{"if_match", func() s3.GetObjectInput { return s3.GetObjectInput{IfMatch: etag} }, 200},
		{"if_match_another", func() s3.GetObjectInput { return s3.GetObjectInput{IfMatch: other} }, 412},
		{"if_none_match", func() s3.GetObjectInput { return s3.GetObjectInput{IfNoneMatch: etag} }, 304},
		{"if_none_match_another", func() s3.GetObjectInput { return s3.GetObjectInput{IfNoneMatch: other} }, 200},
		{"if_modified_since_before", func() s3.GetObjectInput { return s3.GetObjectInput{IfModifiedSince: before} }, 200},
		{"if_modified_since", func() s3.GetObjectInput { return s3.GetObjectInput{IfModifiedSince: written} }, 304},
		{"if_unmodified_since_before", func() s3.GetObjectInput { return s3.GetObjectInput{IfUnmodifiedSince: before} }, 412},
		{"if_unmodified_since", func() s3.GetObjectInput { return s3.GetObjectInput{IfUnmodifiedSince: written} }, 200},
		{"if_match_decides", func() s3.GetObjectInput { return s3.GetObjectInput{IfMatch: etag, IfUnmodifiedSince: before} }, 200},
		{"if_none_match_decides", func() s3.GetObjectInput { return s3.GetObjectInput{IfNoneMatch: etag, IfModifiedSince: before} }, 304},
		{"range_if_match", func() s3.GetObjectInput { return s3.GetObjectInput{IfMatch: etag, Range: part} }, 206},
		{"range_if_none_match", func() s3.GetObjectInput { return s3.GetObjectInput{IfNoneMatch: etag, Range: part} }, 304},
		{"range_beyond_the_end", func() s3.GetObjectInput { return s3.GetObjectInput{Range: aws.String("bytes=10-20")} }, 416},
	} {
		cases = append(cases, goCase{"read_" + one.name, func(ctx context.Context) error {
			in := one.in()
			in.Bucket, in.Key = &g.bucket, aws.String("cond")
			resp, err := g.plain(ctx, &in)
			if err != nil {
				return err
			}
			return same(resp.StatusCode, one.want)
		}})
	}
	return cases
}

// notModified says of which content.
func (g *goCases) notModified(ctx context.Context) error {
	put, err := g.put(ctx, "kept", "hello")
	if err != nil {
		return err
	}
	resp, err := g.plain(ctx, &s3.GetObjectInput{Bucket: &g.bucket, Key: aws.String("kept"), IfNoneMatch: put.ETag})
	if err != nil {
		return err
	}
	return errors.Join(same(resp.StatusCode, http.StatusNotModified), same(resp.Header.Get("Etag"), *put.ETag))
}

// plain returns the HTTP response to a read, whatever its status; its body is read.
func (g *goCases) plain(ctx context.Context, in *s3.GetObjectInput) (*http.Response, error) {
	signed, err := s3.NewPresignClient(g.c).PresignGetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, signed.Method, signed.URL, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header = signed.SignedHeader
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}

// twice adds a second header of the same name, which means a list.
func twice(name, value string) func(*s3.Options) {
	return s3.WithAPIOptions(smithyhttp.AddHeaderValue(name, value))
}

func (g *goCases) headerTwice(ctx context.Context) error {
	_, err := g.c.PutObject(ctx, &s3.PutObjectInput{Bucket: &g.bucket, Key: aws.String("twice"), Body: strings.NewReader("v"),
		CacheControl: aws.String("max-age=60")}, twice("Cache-Control", "no-transform"))
	if err != nil {
		return err
	}
	head, err := g.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &g.bucket, Key: aws.String("twice")})
	if err != nil {
		return err
	}
	return same(strings.ReplaceAll(aws.ToString(head.CacheControl), ", ", ","), "max-age=60,no-transform")
}

func (g *goCases) metadataTwice(ctx context.Context) error {
	_, err := g.c.PutObject(ctx, &s3.PutObjectInput{Bucket: &g.bucket, Key: aws.String("meta-twice"), Body: strings.NewReader("v"),
		Metadata: map[string]string{"list": "one"}}, twice("X-Amz-Meta-List", "two"))
	if err != nil {
		return err
	}
	head, err := g.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &g.bucket, Key: aws.String("meta-twice")})
	if err != nil {
		return err
	}
	return same(strings.ReplaceAll(head.Metadata["list"], ", ", ","), "one,two")
}
