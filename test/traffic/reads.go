package traffic

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
)

// String names a content for a person.
func (c *content) String() string {
	if c.absent {
		return "(deleted)"
	}
	return fmt.Sprintf("%d (%d bytes, ETag %s)", c.bodySeq, c.size, c.etag)
}

func (c *client) get(reg *register) {
	c.judge(GetObject, reg, c.run.fetch(c.run.client, GetObject, reg.bucket, reg), false)
}

func (c *client) head(reg *register) {
	got := sighting{}
	a := c.run.call(HeadObject, reg.bucket, reg.key, func(ctx context.Context) error {
		out, err := c.run.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &reg.bucket, Key: &reg.key})
		if err != nil {
			return err
		}
		got.c = content{
			size: aws.ToInt64(out.ContentLength), etag: trimETag(out.ETag), meta: out.Metadata,
			header: seed.Header{
				ContentType: aws.ToString(out.ContentType), CacheControl: aws.ToString(out.CacheControl),
				ContentDisposition: aws.ToString(out.ContentDisposition), ContentEncoding: aws.ToString(out.ContentEncoding),
				ContentLanguage: aws.ToString(out.ContentLanguage), Expires: aws.ToString(out.ExpiresString),
			},
		}
		return nil
	})
	got.answer = a
	c.judge(HeadObject, reg, got, false)
}

// sighting is an object as a read showed it.
type sighting struct {
	answer   answer
	c        content
	body     bool   // c.sum holds the body's sum
	head     []byte // start of the body
	tagCount *int32 // of the answer's header, if it had one
}

// fetch reads an object in full.
func (r *Run) fetch(client *s3.Client, op Op, bucket string, reg *register) sighting {
	got := sighting{body: true}
	got.answer = r.call(op, reg.bucket, reg.key, func(ctx context.Context) error {
		out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &reg.key})
		if err != nil {
			return err
		}
		defer func() { _ = out.Body.Close() }()
		sum, head := md5.New(), &headWriter{}
		n, err := io.Copy(io.MultiWriter(sum, head), out.Body)
		if err != nil {
			return fmt.Errorf("body broke off after %d of %d bytes: %w", n, aws.ToInt64(out.ContentLength), err)
		}
		r.stats.moved(n)
		got.head, got.tagCount = head.b, out.TagCount
		got.c = content{
			size: n, etag: trimETag(out.ETag), meta: out.Metadata, sum: [md5.Size]byte(sum.Sum(nil)),
			header: seed.Header{
				ContentType: aws.ToString(out.ContentType), CacheControl: aws.ToString(out.CacheControl),
				ContentDisposition: aws.ToString(out.ContentDisposition), ContentEncoding: aws.ToString(out.ContentEncoding),
				ContentLanguage: aws.ToString(out.ContentLanguage), Expires: aws.ToString(out.ExpiresString),
			},
		}
		return nil
	})
	return got
}

// headWriter keeps the first bytes written to it.
type headWriter struct{ b []byte }

func (h *headWriter) Write(p []byte) (int, error) {
	if room := 2048 - len(h.b); room > 0 {
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// fits tells whether the sighting is of the content c.
func (s *sighting) fits(c *content) bool {
	if c.absent || s.answer.missing() {
		return c.absent && s.answer.missing()
	}
	return s.sameBody(c) && sameTags(c.meta, s.c.meta) && c.header == s.c.header &&
		(s.tagCount == nil || int(*s.tagCount) == len(c.tags))
}

func (s *sighting) sameBody(c *content) bool {
	return !c.absent && c.size == s.c.size && c.etag == s.c.etag && (!s.body || c.sum == s.c.sum)
}

func (c *client) judge(op Op, reg *register, got sighting, final bool) {
	c.run.judge(op, reg, got, final)
}

// judge compares a read of a whole object with what may be there. At the end
// of the run, whatever is not there is a lost write.
func (r *Run) judge(op Op, reg *register, got sighting, final bool) {
	a := got.answer
	if a.unknown() {
		return
	}
	if !a.ok() && !a.missing() {
		r.unexpected(op, reg, a)
		return
	}
	v := reg.observe(a.start, a.end, got.fits)
	if v.ok {
		return
	}
	stale := KindStale
	if final {
		stale = KindLost
	}
	want := &content{absent: true}
	if v.want != nil {
		want = &v.want.c
	}
	key, seq, named := lab.BodyName(got.head)
	switch {
	case a.missing() && final:
		r.violate(KindLost, op, reg, a, "404 where write %s must be", want)
	case a.missing():
		r.stats.failed(a.period, op)
		r.violate(KindError, op, reg, a, "404 where write %s must be", want)
	case v.matched != nil:
		r.violate(stale, op, reg, a, "answered write %s; write %s is newer", &v.matched.c, want)
	case reg.possible(a.start, a.end, got.sameBody):
		r.violate(KindCorrupt, op, reg, a, "write %s with other metadata, headers or tags: %s", want, difference(want, &got))
	case named && key == reg.bucket+"/"+reg.key && seq != want.bodySeq:
		r.violate(stale, op, reg, a, "answered the body of write %d with ETag %s; write %s is newer", seq, got.c.etag, want)
	default:
		r.violate(KindCorrupt, op, reg, a, "%d bytes with ETag %s that no write of this key has; write %s must be there", got.c.size, got.c.etag, want)
	}
}

func difference(want *content, got *sighting) string {
	switch {
	case !maps.Equal(want.meta, got.c.meta) && len(want.meta)+len(got.c.meta) > 0:
		return fmt.Sprintf("metadata %v, not %v", got.c.meta, want.meta)
	case want.header != got.c.header:
		return fmt.Sprintf("headers %+v, not %+v", got.c.header, want.header)
	}
	return fmt.Sprintf("%d tags, not %d", aws.ToInt32(got.tagCount), len(want.tags))
}

// getRange reads a part of an object of which it knows the size.
func (c *client) getRange(reg *register) {
	w := reg.settled(c.run.now())
	if w == nil || w.c.absent || w.c.size == 0 {
		return
	}
	size := w.c.size
	from := c.rnd.Int64N(size)
	to := min(from+c.rnd.Int64N(64<<10), size-1)
	spec := fmt.Sprintf("bytes=%d-%d", from, to)
	switch c.rnd.IntN(4) {
	case 0:
		to = size - 1
		from = max(from, size-(1<<20))
		spec = fmt.Sprintf("bytes=%d-", from)
	case 1:
		n := min(size, 1+c.rnd.Int64N(1000))
		from, to = size-n, size-1
		spec = fmt.Sprintf("bytes=-%d", n)
	}
	var got []byte
	var etag, shown string
	a := c.run.call(GetObjectRange, reg.bucket, reg.key, func(ctx context.Context) error {
		out, err := c.run.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &reg.bucket, Key: &reg.key, Range: &spec})
		if err != nil {
			return err
		}
		defer func() { _ = out.Body.Close() }()
		etag, shown = trimETag(out.ETag), aws.ToString(out.ContentRange)
		got, err = io.ReadAll(out.Body)
		return err
	})
	c.judgeRange(reg, a, w, spec, got, etag, shown, from, to)
}

func (c *client) judgeRange(reg *register, a answer, w *write, spec string, got []byte, etag, shown string, from, to int64) {
	var fits func(*content) bool
	switch {
	case a.unknown():
		return
	case a.ok():
		c.run.stats.moved(int64(len(got)))
		// Another client may have replaced the object in the meantime by one
		// of another size; then only the ETag can be judged.
		fits = func(x *content) bool {
			if x.absent || x.etag != etag {
				return false
			}
			if x.size != w.c.size {
				return true
			}
			return shown == fmt.Sprintf("bytes %d-%d/%d", from, to, x.size) &&
				bytes.Equal(got, lab.Body(x.bodyKey, x.bodySeq, x.size)[from:to+1])
		}
	case a.missing():
		fits = isAbsent
	case a.status == http.StatusRequestedRangeNotSatisfiable:
		fits = func(x *content) bool { return !x.absent && x.size <= from }
	default:
		c.run.unexpected(GetObjectRange, reg, a)
		return
	}
	v := reg.observe(a.start, a.end, fits)
	switch {
	case v.ok:
	case !a.ok():
		c.run.unexpected(GetObjectRange, reg, a)
	case v.matched != nil:
		c.run.violate(KindStale, GetObjectRange, reg, a, "%s answered write %s; write %s is newer", spec, &v.matched.c, &w.c)
	default:
		c.run.violate(KindCorrupt, GetObjectRange, reg, a, "%s answered %d bytes (%s) with ETag %s, which do not fit write %s", spec, len(got), shown, etag, &w.c)
	}
}

func (c *client) getTags(reg *register) { c.run.checkTags(c.run.client, reg.bucket, reg, false) }

func (r *Run) checkTags(client *s3.Client, bucket string, reg *register, final bool) {
	got := map[string]string{}
	a := r.call(GetObjectTagging, reg.bucket, reg.key, func(ctx context.Context) error {
		out, err := client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: &reg.key})
		if err != nil {
			return err
		}
		for _, t := range out.TagSet {
			got[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		return nil
	})
	if a.unknown() {
		return
	}
	if !a.ok() && !a.missing() {
		r.unexpected(GetObjectTagging, reg, a)
		return
	}
	v := reg.observe(a.start, a.end, func(x *content) bool {
		return x.absent == a.missing() && (x.absent || sameTags(x.tags, got))
	})
	kind := KindStale
	if final {
		kind = KindLost
	}
	switch {
	case v.ok:
	case a.missing() && !final:
		r.unexpected(GetObjectTagging, reg, a)
	case v.want != nil:
		r.violate(kind, GetObjectTagging, reg, a, "answered tags %v; write %s has %v", got, &v.want.c, v.want.c.tags)
	default:
		r.violate(kind, GetObjectTagging, reg, a, "answered tags %v", got)
	}
}

// waitSettled waits until no unanswered write of a key can land any more.
func (r *Run) waitSettled(regs []*register) {
	var until time.Duration
	for _, reg := range regs {
		until = max(until, reg.unsafeUntil())
	}
	if wait := until - r.now(); wait > 0 {
		time.Sleep(wait)
	}
}
