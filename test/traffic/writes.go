package traffic

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/test/seed"
)

// put writes an object, whatever is there.
func (c *client) put(reg *register, withTags bool) answer {
	if !c.mayWrite(reg) {
		return answer{}
	}
	in, w := c.newPut(reg, withTags)
	a := c.sendPut(PutObject, reg, w, in)
	if !a.ok() && !a.unknown() {
		c.run.unexpected(PutObject, reg, a)
	}
	return a
}

// putNew writes an object on condition that there is none.
func (c *client) putNew(reg *register) {
	had := c.certain(reg)
	if had == nil {
		return
	}
	in, w := c.newPut(reg, false)
	in.IfNoneMatch = aws.String("*")
	a := c.sendPut(PutObjectIfNoneMatch, reg, w, in)
	switch {
	case a.ok() && !had.absent:
		c.run.violate(KindStale, PutObjectIfNoneMatch, reg, a, "took effect although write %s was there", had)
	case a.status == http.StatusPreconditionFailed && had.absent:
		c.run.violate(KindStale, PutObjectIfNoneMatch, reg, a, "was refused although nothing was there")
	case !a.ok() && !a.unknown() && a.status != http.StatusPreconditionFailed:
		c.run.unexpected(PutObjectIfNoneMatch, reg, a)
	}
}

func (c *client) newPut(reg *register, withTags bool) (*s3.PutObjectInput, *write) {
	seq := reg.nextSeq()
	cont, body := newContent(reg, seq, c.randomSize())
	cont.header = c.randomHeader()
	if withTags {
		cont.tags = c.randomTags()
	}
	in := &s3.PutObjectInput{
		Bucket: &reg.bucket, Key: &reg.key, Body: bytes.NewReader(body), Metadata: cont.meta, Tagging: seed.TagHeader(cont.tags),
		ContentType: &cont.header.ContentType,
	}
	if cont.header.CacheControl != "" {
		in.CacheControl, in.ContentDisposition, in.ContentLanguage = &cont.header.CacheControl, &cont.header.ContentDisposition, &cont.header.ContentLanguage
	}
	return in, reg.begin(seq, cont, c.run.now())
}

func (c *client) sendPut(op Op, reg *register, w *write, in *s3.PutObjectInput) answer {
	var opts []func(*s3.Options)
	if w.seq%3 == 0 { // clients that don't sign the payload are common
		opts = append(opts, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	}
	var etag string
	a := c.run.call(op, reg.bucket, reg.key, func(ctx context.Context) error {
		out, err := c.run.client.PutObject(ctx, in, opts...)
		if err == nil {
			etag = trimETag(out.ETag)
		}
		return err
	})
	c.run.conclude(reg, w, a)
	if a.ok() {
		c.run.stats.moved(w.c.size)
		if etag != w.c.etag {
			c.run.violate(KindCorrupt, op, reg, a, "answered ETag %q for write %s", etag, &w.c)
		}
	}
	return a
}

func (c *client) delete(reg *register) {
	if !c.mayWrite(reg) {
		return
	}
	w := reg.begin(reg.nextSeq(), content{absent: true}, c.run.now())
	a := c.run.call(DeleteObject, reg.bucket, reg.key, func(ctx context.Context) error {
		_, err := c.run.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &reg.bucket, Key: &reg.key})
		return err
	})
	c.run.conclude(reg, w, a)
	if !a.ok() && !a.unknown() {
		c.run.unexpected(DeleteObject, reg, a)
	}
}

// deleteMany deletes some of its own keys in one request.
func (c *client) deleteMany() {
	writes := map[string]*write{}
	regs := map[string]*register{}
	in := &s3.DeleteObjectsInput{Bucket: &c.bucket, Delete: &types.Delete{}}
	for range 2 + c.rnd.IntN(4) {
		reg := c.mine()
		if writes[reg.key] != nil || !c.mayWrite(reg) {
			continue
		}
		writes[reg.key], regs[reg.key] = reg.begin(reg.nextSeq(), content{absent: true}, c.run.now()), reg
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: &reg.key})
	}
	if len(writes) == 0 {
		return
	}
	var out *s3.DeleteObjectsOutput
	a := c.run.call(DeleteObjects, c.bucket, c.prefix, func(ctx context.Context) error {
		var err error
		out, err = c.run.client.DeleteObjects(ctx, in)
		return err
	})
	for key, w := range writes {
		each := a
		if a.ok() {
			each = deleteAnswer(a, out, key)
		}
		c.run.conclude(regs[key], w, each)
		if !each.ok() && (a.ok() || !a.unknown()) {
			c.run.unexpected(DeleteObjects, regs[key], each)
		}
	}
}

// deleteAnswer picks the answer for one key out of that for many.
func deleteAnswer(a answer, out *s3.DeleteObjectsOutput, key string) answer {
	for _, d := range out.Deleted {
		if aws.ToString(d.Key) == key {
			return a
		}
	}
	for _, e := range out.Errors {
		if aws.ToString(e.Key) == key {
			a.status, a.err = http.StatusInternalServerError, fmt.Errorf("%s: %s", aws.ToString(e.Code), aws.ToString(e.Message))
			return a
		}
	}
	a.status, a.err = http.StatusInternalServerError, fmt.Errorf("the answer does not mention the key")
	return a
}

// copy copies one of its own objects to another of its keys.
func (c *client) copy(from, to *register) {
	src, dst := c.certain(from), c.certain(to)
	// What becomes of tags and of large objects in a copy differs from store
	// to store, so those are no sources here.
	if src == nil || dst == nil || from == to || src.absent || len(src.tags) > 0 || strings.Contains(src.etag, "-") {
		return
	}
	in := &s3.CopyObjectInput{Bucket: &to.bucket, Key: &to.key, CopySource: aws.String(escapePath(from.bucket + "/" + from.key))}
	cont, seq := *src, to.nextSeq()
	if c.rnd.IntN(2) == 0 {
		cont.meta = map[string]string{"write": fmt.Sprint(seq), "copied": "yes"}
		cont.header = seed.Header{ContentType: "text/x-copied"}
		in.MetadataDirective, in.Metadata, in.ContentType = types.MetadataDirectiveReplace, cont.meta, &cont.header.ContentType
	}
	w := to.begin(seq, cont, c.run.now())
	var etag string
	a := c.run.call(CopyObject, to.bucket, to.key, func(ctx context.Context) error {
		out, err := c.run.client.CopyObject(ctx, in)
		if err == nil && out.CopyObjectResult != nil {
			etag = trimETag(out.CopyObjectResult.ETag)
		}
		return err
	})
	c.run.conclude(to, w, a)
	switch {
	case a.ok() && etag != cont.etag:
		c.run.violate(KindStale, CopyObject, to, a, "copied something with ETag %q from %q, not write %s", etag, from.key, src)
	case !a.ok() && !a.unknown():
		c.run.unexpected(CopyObject, to, a)
	}
}

// putTags replaces the tags of one of its own objects.
func (c *client) putTags(reg *register) {
	had := c.certain(reg)
	if had == nil || had.absent {
		return
	}
	cont := *had
	cont.tags = c.randomTags()
	var set []types.Tag
	for k, v := range maps.All(cont.tags) {
		set = append(set, types.Tag{Key: &k, Value: &v})
	}
	w := reg.begin(reg.nextSeq(), cont, c.run.now())
	a := c.run.call(PutObjectTagging, reg.bucket, reg.key, func(ctx context.Context) error {
		_, err := c.run.client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &reg.bucket, Key: &reg.key, Tagging: &types.Tagging{TagSet: set}})
		return err
	})
	c.run.conclude(reg, w, a)
	if !a.ok() && !a.unknown() {
		c.run.unexpected(PutObjectTagging, reg, a)
	}
}

func trimETag(s *string) string { return strings.Trim(aws.ToString(s), `"`) }

// escapePath percent-encodes each segment of a path.
func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.ReplaceAll(strings.Join(parts, "/"), "+", "%2B")
}
