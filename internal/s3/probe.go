package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// ProbePrefix begins the name of everything that [Probe] creates.
	ProbePrefix  = "crossfade-probe-"
	probeTimeout = time.Minute
	// probeCleanup is the time for removing scratch objects, even when the
	// caller gave up.
	probeCleanup = 20 * time.Second
)

// Probe finds out what the store of c does, by trying it on scratch objects
// named crossfade-probe-…, which it removes. With a bucket, objects are put
// into it and its configuration is only read; without, Probe creates a scratch
// bucket, and removes it. A capability whose probe fails for another reason
// stays NotKnown. The error is non-nil only when the store can't be reached,
// refuses the keys, or no scratch object can be written; Capabilities then
// hold what was learnt. It takes at most a minute, and some more to clean up.
func Probe(ctx context.Context, c *Client, bucket string) (Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	p := &probe{c: c, ctx: ctx, bucket: bucket, prefix: ProbePrefix + strings.ToLower(NewRequestID())}
	// What was put is removed even when the caller gave up meanwhile.
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
		defer cancel()
		p.clean(clean)
	}()
	err := p.run()
	return p.caps, err
}

// ProbeReadOnly checks that the store of c can be reached and read, changing
// nothing: lists buckets and, with a bucket, heads it and lists one page of it.
// The error tells what failed; keys that may not list buckets are no error when
// a bucket is given.
func ProbeReadOnly(ctx context.Context, c *Client, bucket string) (Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	p := &probe{c: c, ctx: ctx, bucket: bucket}
	err := p.listBuckets()
	if err != nil && (bucket == "" || p.caps.Reachable == No) {
		return p.caps, fmt.Errorf("list buckets: %w", err)
	}
	if bucket == "" {
		return p.caps, nil
	}
	if _, err := c.S3.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &bucket}); err != nil {
		return p.caps, fmt.Errorf("head bucket %s: %w", bucket, err)
	}
	p.caps.Reachable = Yes
	if err := p.listObjects(); err != nil {
		return p.caps, fmt.Errorf("list bucket %s: %w", bucket, err)
	}
	return p.caps, nil
}

// probe is one run of Probe.
type probe struct {
	c   *Client
	ctx context.Context // the run's; a probe lives for one call

	bucket  string
	prefix  string
	scratch []string // buckets to remove
	uploads map[string]string
	caps    Capabilities
}

func (p *probe) run() error {
	if err := p.listBuckets(); err != nil && p.caps.Reachable != Yes {
		return fmt.Errorf("list buckets: %w", err)
	}
	own := p.bucket == ""
	if own {
		name := p.prefix
		if err := p.c.CreateBucket(p.ctx, name, false); err != nil {
			p.caps.CreateBucket = refused(err)
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
		p.caps.CreateBucket = Yes
		p.bucket, p.scratch = name, append(p.scratch, name)
	}
	if err := p.writable(); err != nil {
		return err
	}
	_ = p.listObjects()
	p.conditionalPut()
	p.deleteIfMatch()
	p.multipart()
	p.streamingTrailer()
	p.checksums()
	p.tagsAndACL()
	if own {
		p.setConfiguration()
	} else {
		p.readConfiguration()
	}
	return nil
}

func (p *probe) listBuckets() error {
	out, err := p.c.S3.ListBuckets(p.ctx, &awss3.ListBucketsInput{})
	if err == nil && out.Buckets == nil {
		err = ErrNoListing
	}
	_, status := ErrorCode(err)
	p.caps.ListBuckets = refused(err)
	// A refusal is an answer too, if it is not about the keys themselves.
	switch {
	case err == nil, status > 0 && status < 500 && (Classify(err) != Denied || codeIs(err, ErrAccessDenied)):
		p.caps.Reachable = Yes
	case status == 0:
		p.caps.Reachable = No
	}
	return err
}

func (p *probe) listObjects() error {
	_, err := p.c.S3.ListObjectsV2(p.ctx, &awss3.ListObjectsV2Input{Bucket: &p.bucket, MaxKeys: aws.Int32(1)})
	p.caps.ListObjects = refused(err)
	return err
}

func (p *probe) key(name string) *string { return aws.String(p.prefix + "/" + name) }

// put writes a scratch object and returns its ETag.
func (p *probe) put(name, body string, edit func(*awss3.PutObjectInput)) (etag string, err error) {
	in := &awss3.PutObjectInput{Bucket: &p.bucket, Key: p.key(name), Body: strings.NewReader(body)}
	if edit != nil {
		edit(in)
	}
	out, err := p.c.S3.PutObject(p.ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}

func (p *probe) get(name string) ([]byte, error) {
	out, err := p.c.S3.GetObject(p.ctx, &awss3.GetObjectInput{Bucket: &p.bucket, Key: p.key(name)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Body.Close() }()
	return io.ReadAll(io.LimitReader(out.Body, 1<<20))
}

func (p *probe) writable() error {
	const body = "crossfade"
	if _, err := p.put("write", body, nil); err != nil {
		p.caps.Writable = refused(err)
		return fmt.Errorf("write a scratch object to bucket %s: %w", p.bucket, err)
	}
	p.caps.Reachable = Yes
	got, err := p.get("write")
	if err == nil && !bytes.Equal(got, []byte(body)) {
		err = errors.New("content differs from what was written")
	}
	if err == nil {
		_, err = p.c.S3.DeleteObject(p.ctx, &awss3.DeleteObjectInput{Bucket: &p.bucket, Key: p.key("write")})
	}
	if err != nil {
		p.caps.Writable = refused(err)
		return fmt.Errorf("read and delete a scratch object in bucket %s: %w", p.bucket, err)
	}
	p.caps.Writable = Yes
	return nil
}

// refused turns the outcome of a plain call into a Support: errors that say
// nothing about the store itself leave it open.
func refused(err error) Support {
	switch Classify(err) {
	case None, NotFound:
		return Yes
	case Unsupported, Fatal, Denied:
		return No
	}
	return NotKnown
}

// supported is like refused for a call that the keys may just lack the right for.
func supported(err error) Support {
	if codeIs(err, ErrSignatureDoesNotMatch) {
		// The keys are good, as other calls showed: the store computes another
		// signature because it does not know the subresource (Ceph).
		return No
	}
	switch Classify(err) {
	case None, NotFound:
		return Yes
	case Unsupported:
		return No
	case Fatal:
		if _, status := ErrorCode(err); status >= 400 && status < 500 {
			return No
		}
	}
	return NotKnown
}

func codeIs(err error, want *Error) bool {
	code, _ := ErrorCode(err)
	return code == want.Code
}

// guarded is the outcome of a conditional write that must be refused and of one
// that must be carried out.
func guarded(wrong, right error) Support {
	w, r := Classify(wrong), Classify(right)
	switch {
	case w == Precondition && r == None:
		return Yes
	case w == None, w == Precondition && r == Precondition, w == Unsupported, w == Fatal:
		return No
	}
	return NotKnown
}

// clean removes all scratch objects, uploads and buckets.
func (p *probe) clean(ctx context.Context) {
	if p.bucket == "" {
		return
	}
	for name, upload := range p.uploads {
		_, _ = p.c.S3.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &p.bucket, Key: p.key(name), UploadId: aws.String(upload)})
	}
	prefix := aws.String(p.prefix + "/")
	remove := func(key, version *string) {
		_, _ = p.c.S3.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &p.bucket, Key: key, VersionId: version})
	}
	if versions, err := p.c.S3.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &p.bucket, Prefix: prefix}); err == nil {
		for _, v := range versions.Versions {
			remove(v.Key, v.VersionId)
		}
		for _, m := range versions.DeleteMarkers {
			remove(m.Key, m.VersionId)
		}
	}
	// What is left where versions can't be listed.
	if objects, err := p.c.S3.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &p.bucket, Prefix: prefix}); err == nil {
		for _, o := range objects.Contents {
			remove(o.Key, nil)
		}
	}
	for _, name := range p.scratch {
		_, _ = p.c.S3.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String(name)})
	}
}
