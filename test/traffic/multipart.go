package traffic

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
)

// upload is a multipart upload that is open. It holds back its last part until
// it is due, so that parts are written long after the upload was created.
type upload struct {
	reg   *register
	id    string
	seq   int
	c     content
	body  []byte
	parts []types.CompletedPart
	due   time.Duration
	// straddle keeps the upload open until the first period is over.
	straddle bool
}

func (c *client) createUpload(reg *register) {
	if len(c.uploads) > 0 || !c.mayWrite(reg) {
		return
	}
	part := c.run.cfg.PartSize
	u := &upload{reg: reg, seq: reg.nextSeq(), straddle: c.rnd.IntN(3) == 0 && c.run.stats.current() == c.run.cfg.Period}
	u.due = c.run.now() + c.run.cfg.HoldUploads/2 + time.Duration(c.rnd.Int64N(int64(c.run.cfg.HoldUploads)))
	u.c, u.body = newContent(reg, u.seq, part+1+c.rnd.Int64N(64<<10))
	u.c.etag = lab.ETag(u.body, part)
	u.c.header = seed.Header{ContentType: "text/x-parts", CacheControl: "no-store"}
	a := c.run.call(CreateMultipartUpload, reg.bucket, reg.key, func(ctx context.Context) error {
		out, err := c.run.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
			Bucket: &reg.bucket, Key: &reg.key, Metadata: u.c.meta,
			ContentType: &u.c.header.ContentType, CacheControl: &u.c.header.CacheControl,
		})
		if err == nil {
			u.id = aws.ToString(out.UploadId)
		}
		return err
	})
	switch {
	case a.ok():
		c.uploads = append(c.uploads, u)
		c.sendPart(u)
	case a.unknown():
		c.stray("any of " + reg.key)
	default:
		c.run.unexpected(CreateMultipartUpload, reg, a)
	}
}

// sendPart uploads the next part and reports whether that went well.
func (c *client) sendPart(u *upload) bool {
	n := int64(len(u.parts))
	data := u.body[n*c.run.cfg.PartSize : min((n+1)*c.run.cfg.PartSize, u.c.size)]
	part := types.CompletedPart{PartNumber: aws.Int32(int32(n + 1))}
	a := c.run.call(UploadPart, u.reg.bucket, u.reg.key, func(ctx context.Context) error {
		out, err := c.run.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &u.reg.bucket, Key: &u.reg.key, UploadId: &u.id, PartNumber: part.PartNumber, Body: bytes.NewReader(data),
		})
		if err == nil {
			part.ETag = out.ETag
		}
		return err
	})
	if !a.ok() {
		if !a.unknown() {
			c.run.unexpected(UploadPart, u.reg, a)
		}
		return false
	}
	c.run.stats.moved(int64(len(data)))
	if got, want := trimETag(part.ETag), lab.ETag(data, 0); got != want {
		c.run.violate(KindCorrupt, UploadPart, u.reg, a, "answered ETag %s for part %d, not %s", got, n+1, want)
	}
	u.parts = append(u.parts, part)
	return true
}

// dueUpload ends an upload that is due and reports whether there was one.
func (c *client) dueUpload() bool {
	for _, u := range c.uploads {
		now := c.run.now()
		if now < u.due {
			continue
		}
		if u.straddle {
			changed := time.Duration(c.run.changed.Load())
			if changed == 0 || now < changed+time.Second {
				continue
			}
		}
		c.finish(u, c.rnd.IntN(5) > 0)
		return true
	}
	return false
}

// finish completes or aborts an upload.
func (c *client) finish(u *upload, complete bool) {
	for i, x := range c.uploads {
		if x == u {
			c.uploads = append(c.uploads[:i:i], c.uploads[i+1:]...)
			break
		}
	}
	for complete && int64(len(u.parts))*c.run.cfg.PartSize < u.c.size {
		complete = c.sendPart(u)
	}
	if !complete {
		c.abort(u)
		return
	}
	c.listParts(u)
	w := u.reg.begin(u.seq, u.c, c.run.now())
	var etag string
	a := c.run.call(CompleteMultipartUpload, u.reg.bucket, u.reg.key, func(ctx context.Context) error {
		out, err := c.run.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &u.reg.bucket, Key: &u.reg.key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		})
		if err == nil {
			etag = trimETag(out.ETag)
		}
		return err
	})
	c.run.conclude(u.reg, w, a)
	switch {
	case a.ok() && etag != "" && etag != u.c.etag: // Ceph's gateway leaves it empty
		c.run.violate(KindCorrupt, CompleteMultipartUpload, u.reg, a, "answered ETag %s for write %s", etag, &u.c)
	case a.unknown():
		c.stray(u.id)
	case !a.ok():
		c.stray(u.id)
		c.run.unexpected(CompleteMultipartUpload, u.reg, a)
	}
}

func (c *client) abort(u *upload) {
	a := c.run.call(AbortMultipartUpload, u.reg.bucket, u.reg.key, func(ctx context.Context) error {
		_, err := c.run.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.reg.bucket, Key: &u.reg.key, UploadId: &u.id})
		return err
	})
	if !a.ok() {
		c.stray(u.id)
		if !a.unknown() {
			c.run.unexpected(AbortMultipartUpload, u.reg, a)
		}
	}
}

// listParts checks that the store knows the parts sent so far.
func (c *client) listParts(u *upload) {
	var got []types.Part
	a := c.run.call(ListParts, u.reg.bucket, u.reg.key, func(ctx context.Context) error {
		out, err := c.run.client.ListParts(ctx, &s3.ListPartsInput{Bucket: &u.reg.bucket, Key: &u.reg.key, UploadId: &u.id})
		if err == nil {
			got = out.Parts
		}
		return err
	})
	if !a.ok() {
		if !a.unknown() {
			c.run.unexpected(ListParts, u.reg, a)
		}
		return
	}
	same := len(got) == len(u.parts)
	for i := 0; same && i < len(got); i++ {
		same = trimETag(got[i].ETag) == trimETag(u.parts[i].ETag) && aws.ToInt32(got[i].PartNumber) == aws.ToInt32(u.parts[i].PartNumber)
	}
	if !same {
		c.run.violate(KindListing, ListParts, u.reg, a, "lists %d parts, not the %d that were sent", len(got), len(u.parts))
	}
}

// listUploads checks that exactly the open uploads are listed.
func (c *client) listUploads() {
	var got []types.MultipartUpload
	a := c.run.call(ListMultipartUploads, c.bucket, c.prefix, func(ctx context.Context) error {
		out, err := c.run.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &c.bucket, Prefix: &c.prefix})
		if err == nil {
			got = out.Uploads
		}
		return err
	})
	at := &register{bucket: c.bucket, key: c.prefix}
	if !a.ok() {
		if !a.unknown() && a.status != http.StatusNotImplemented {
			c.run.unexpected(ListMultipartUploads, at, a)
		}
		return
	}
	listed := map[string]bool{}
	for _, u := range got {
		listed[aws.ToString(u.UploadId)+" "+aws.ToString(u.Key)] = true
		known := c.strays[aws.ToString(u.UploadId)] || c.strays["any of "+aws.ToString(u.Key)]
		for _, o := range c.uploads {
			known = known || (o.id == aws.ToString(u.UploadId) && o.reg.key == aws.ToString(u.Key))
		}
		if c.run.cfg.AbortStrays && known && !c.open(aws.ToString(u.UploadId)) {
			c.abortStray(aws.ToString(u.Key), aws.ToString(u.UploadId))
		}
		if !known {
			c.run.violate(KindListing, ListMultipartUploads, at, a, "lists upload %s of %q, which was ended or never begun", aws.ToString(u.UploadId), aws.ToString(u.Key))
		}
	}
	for _, o := range c.uploads {
		if !listed[o.id+" "+o.reg.key] {
			c.run.violate(KindListing, ListMultipartUploads, at, a, "does not list open upload %s of %q", o.id, o.reg.key)
		}
	}
}

// stray notes an upload whose end or beginning got no answer: by its id, or by
// its key when it never came to have one.
func (c *client) stray(name string) {
	c.strays[name] = true
	c.tidy.until = c.run.now() + c.run.cfg.Settle + 4*tidyEvery
}

// tidyEvery is how often a client looks for uploads that it lost.
const tidyEvery = 5 * time.Second

// dueTidying looks for lost uploads when it is time to, and reports whether it did.
func (c *client) dueTidying() bool {
	now := c.run.now()
	if !c.run.cfg.AbortStrays || now > c.tidy.until || now < c.tidy.next {
		return false
	}
	c.tidy.next = now + tidyEvery
	c.listUploads()
	return true
}

func (c *client) open(id string) bool {
	for _, u := range c.uploads {
		if u.id == id {
			return true
		}
	}
	return false
}

// abortStray ends a lost upload; if that fails, the next look finds it again.
func (c *client) abortStray(key, id string) {
	at := &register{bucket: c.bucket, key: key}
	a := c.run.call(AbortMultipartUpload, c.bucket, key, func(ctx context.Context) error {
		_, err := c.run.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &c.bucket, Key: &key, UploadId: &id})
		return err
	})
	switch {
	case a.unknown():
		c.stray(id)
	case !a.ok() && !a.missing(): // one that was just completed is not there
		c.run.unexpected(AbortMultipartUpload, at, a)
	}
}
