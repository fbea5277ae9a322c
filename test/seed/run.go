package seed

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/test/lab"
)

// Result says what Run wrote.
type Result struct {
	Buckets     int           `json:"buckets"`
	Objects     int           `json:"objects"`
	Bytes       int64         `json:"bytes"`
	Multipart   int           `json:"multipart"`
	Unsupported []string      `json:"unsupported,omitempty"` // features that the store refused
	Took        time.Duration `json:"took"`
}

type runner struct {
	client *s3.Client
	mu     sync.Mutex
	res    Result
}

// Run makes the buckets of cfg and writes its plan. A feature that the store
// does not know is noted in the result; any other refusal is an error.
func Run(ctx context.Context, e lab.Endpoint, cfg Config) (Result, error) {
	begin := time.Now()
	r := &runner{client: e.Client(lab.WithRetries(4))}
	for _, b := range cfg.BucketNames() {
		if err := r.bucket(ctx, b, cfg.Features); err != nil {
			return r.res, fmt.Errorf("bucket %s: %w", b, err)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(cfg.Conc, 1))
	for _, o := range cfg.Plan() {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := r.object(gctx, o); err != nil {
				return fmt.Errorf("%s/%q: %w", o.Bucket, o.Key, err)
			}
			return nil
		})
	}
	err := g.Wait()
	slices.Sort(r.res.Unsupported)
	r.res.Took = time.Since(begin)
	return r.res, err
}

// optional runs a call whose feature a store may lack.
func (r *runner) optional(feature string, err error) error {
	if err == nil || !lab.Unsupported(err) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.res.Unsupported, feature) {
		r.res.Unsupported = append(r.res.Unsupported, feature)
	}
	return nil
}

func (r *runner) object(ctx context.Context, o Object) error {
	body := o.Body()
	var etag *string
	if o.PartSize > 0 {
		out, err := r.multipart(ctx, o, body)
		if err != nil {
			return err
		}
		etag = out.ETag
	} else {
		in := &s3.PutObjectInput{Bucket: &o.Bucket, Key: &o.Key, Body: bytes.NewReader(body), Metadata: o.Meta, Tagging: TagHeader(o.Tags)}
		o.Header.onPut(in)
		out, err := r.client.PutObject(ctx, in)
		if err != nil {
			return err
		}
		etag = out.ETag
	}
	if aws.ToString(etag) == "" { // Ceph's gateway leaves it out when it completes an upload
		out, err := r.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key})
		if err != nil {
			return err
		}
		etag = out.ETag
	}
	if got, want := strings.Trim(aws.ToString(etag), `"`), lab.ETag(body, o.PartSize); got != want {
		return fmt.Errorf("the store gave ETag %s, not %s", got, want)
	}
	if o.PartSize > 0 && len(o.Tags) > 0 { // Ceph's gateway drops the tags of CreateMultipartUpload
		_, err := r.client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &o.Bucket, Key: &o.Key, Tagging: tagging(o.Tags)})
		if err != nil {
			return err
		}
	}
	if o.PublicRead {
		_, err := r.client.PutObjectAcl(ctx, &s3.PutObjectAclInput{Bucket: &o.Bucket, Key: &o.Key, ACL: types.ObjectCannedACLPublicRead})
		if err := r.optional("objectACL", err); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.res.Objects++
	r.res.Bytes += o.Size
	if o.PartSize > 0 {
		r.res.Multipart++
	}
	return nil
}

func (r *runner) multipart(ctx context.Context, o Object, body []byte) (*s3.CompleteMultipartUploadOutput, error) {
	in := &s3.CreateMultipartUploadInput{Bucket: &o.Bucket, Key: &o.Key, Metadata: o.Meta}
	o.Header.onCreate(in)
	up, err := r.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return nil, err
	}
	var parts []types.CompletedPart
	for off := int64(0); off < o.Size; off += o.PartSize {
		n := aws.Int32(int32(len(parts) + 1))
		part, err := r.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &o.Bucket, Key: &o.Key, UploadId: up.UploadId, PartNumber: n,
			Body: bytes.NewReader(body[off:min(off+o.PartSize, o.Size)]),
		})
		if err != nil {
			return nil, err
		}
		parts = append(parts, types.CompletedPart{ETag: part.ETag, PartNumber: n})
	}
	return r.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &o.Bucket, Key: &o.Key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
}

func (h Header) onPut(in *s3.PutObjectInput) {
	in.ContentType, in.CacheControl, in.ContentDisposition = opt(h.ContentType), opt(h.CacheControl), opt(h.ContentDisposition)
	in.ContentEncoding, in.ContentLanguage, in.Expires = opt(h.ContentEncoding), opt(h.ContentLanguage), h.expires()
}

func (h Header) onCreate(in *s3.CreateMultipartUploadInput) {
	in.ContentType, in.CacheControl, in.ContentDisposition = opt(h.ContentType), opt(h.CacheControl), opt(h.ContentDisposition)
	in.ContentEncoding, in.ContentLanguage, in.Expires = opt(h.ContentEncoding), opt(h.ContentLanguage), h.expires()
}

func (h Header) expires() *time.Time {
	t, err := time.Parse(httpTime, h.Expires)
	if err != nil {
		return nil
	}
	return &t
}

func opt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// TagHeader renders tags as the x-amz-tagging header has them; nil for none.
func TagHeader(tags map[string]string) *string {
	if len(tags) == 0 {
		return nil
	}
	v := url.Values{}
	for k, t := range tags {
		v.Set(k, t)
	}
	// Ceph's gateway reads a + in a tag's key as just that.
	s := strings.ReplaceAll(v.Encode(), "+", "%20")
	return &s
}

func tagging(tags map[string]string) *types.Tagging {
	t := &types.Tagging{}
	for k, v := range tags {
		t.TagSet = append(t.TagSet, types.Tag{Key: &k, Value: &v})
	}
	return t
}
