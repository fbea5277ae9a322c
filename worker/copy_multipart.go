package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	// partsAtOnce bounds the parts of one object in flight.
	partsAtOnce = 4
	// partTries is how often one part is sent.
	partTries = 3
	// guesses bounds how often an object is sent to find its part boundaries.
	guesses = 3
	// bigPart cuts objects that one PUT can't write and that came without parts.
	bigPart = 64 * mib
)

// part is one piece of an object. size < 0: whatever the source's part is.
type part struct {
	number int32
	offset int64
	size   int64
}

// multipart writes the object in n parts with the source's own boundaries, so
// that its ETag survives. n is 0 for an object that came in one piece.
func (k *copying) multipart(ctx context.Context, p properties, n int) error {
	parts, guessed, err := k.plan(ctx, p, n)
	if err != nil {
		return err
	}
	if p.checksums.algorithm() != "" && (k.plain.Load() || p.checksums.kind != types.ChecksumTypeComposite) {
		// Only composite checksums are made of the parts' own. CRC64NVME is what
		// stores add by themselves.
		if p.checksums.crc64 == nil {
			k.metrics.lost.WithLabelValues(propChecksum).Inc()
		}
		p.checksums = checksums{}
	}
	if r, _ := k.member.Route(); k.tries == 0 && (k.on == forEvents || r.State == ledger.Switched) {
		_, k.others = k.dropLeftovers(ctx, k.c.Object, k.c.To)
	}
	mine, err := k.led.CreatingUpload(ctx, k.c.Object, k.c.To, time.Now(), k.others)
	if err != nil {
		return err
	}
	// Sent again by the SDK, it could leave an upload that nobody has heard of.
	up, err := k.to.api.CreateMultipartUpload(ctx, p.create(k.dst, k.key), p.options, once)
	if err != nil {
		return k.to.wrap("begin multipart upload", err)
	}
	// Clients list uploads on both stores during a switch: this one is none of
	// theirs, which the ledger says by placing it on the other store.
	id := *up.UploadId
	err = k.led.PutUpload(ctx, k.c.Object, id, k.c.From)
	var sent []sentPart
	if err == nil {
		sent, err = k.sendParts(ctx, p, id, parts)
	}
	if err == nil {
		err = k.wholeSent(p, sent)
	}
	if err == nil && n > 0 && guessed && k.tries < guesses && !k.etagFits(p, sent) {
		err = errAgain
	}
	if err == nil {
		err = k.completeUpload(ctx, p, id, sent)
	}
	ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err == nil || k.abort(ectx, id) {
		_ = k.led.EndedUpload(ectx, mine)            // else somebody has a look
		_ = k.led.DeleteUpload(ectx, k.c.Object, id) // else forgotten when the switch is done
	}
	return err
}

// abort ends a copy's upload, and reports whether it is gone.
func (k *copying) abort(ctx context.Context, id string) bool {
	_, err := k.to.api.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &k.dst, Key: &k.key, UploadId: &id})
	return err == nil || isCode(err, "NoSuchUpload", "NoSuchBucket", "NoSuchKey") // else it may be a gateway's 404
}

// plan finds the part boundaries: the source's own where it tells them, else
// the next guess.
func (k *copying) plan(ctx context.Context, p properties, n int) (parts []part, guessed bool, err error) {
	if n == 0 {
		size := max(bigPart, (p.size/maxParts/mib+1)*mib)
		return cut(p.size, size), false, nil
	}
	if k.from.caps.PartNumberGet != s3.No && k.tries == 0 && n > 1 {
		head, err := k.from.api.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &k.src, Key: &k.key,
			PartNumber: aws.Int32(1), IfMatch: &p.etag})
		if err == nil && int(aws.ToInt32(head.PartsCount)) == n && aws.ToInt64(head.ContentLength) < p.size {
			for i := range n {
				parts = append(parts, part{number: int32(i + 1), size: -1})
			}
			return parts, false, nil
		}
	}
	sizes := partSizes(p.size, n, guesses)
	if len(sizes) == 0 {
		// No even cut gives n parts: the ETag can't be kept.
		return cut(p.size, max(8*mib, (p.size+int64(n)-1)/int64(n))), false, nil
	}
	i := min(k.tries, len(sizes)-1)
	k.tries++
	if i == len(sizes)-1 {
		k.tries = guesses
	}
	return cut(p.size, sizes[i]), true, nil
}

func cut(total, size int64) []part {
	var out []part
	for at := int64(0); at < total || len(out) == 0; at += size {
		out = append(out, part{number: int32(len(out) + 1), offset: at, size: min(size, total-at)})
	}
	return out
}

// sentPart is a part as the follower took it.
type sentPart struct {
	types.CompletedPart
	size int64
}

func (k *copying) sendParts(ctx context.Context, p properties, upload string, parts []part) ([]sentPart, error) {
	sent := make([]sentPart, len(parts))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	for i, pt := range parts {
		select {
		case k.parts <- struct{}{}:
		case <-gctx.Done():
			return nil, errors.Join(g.Wait(), ctx.Err())
		}
		g.Go(func() error {
			defer func() { <-k.parts }()
			for try := 1; ; try++ {
				s, err := k.sendPart(gctx, p, upload, pt)
				if err == nil {
					sent[i] = s
					return nil
				}
				if class := s3.Classify(err); try == partTries || gctx.Err() != nil || class != s3.Retryable && class != s3.Throttled {
					return err
				}
				if err := sleep(gctx, k.backoff(try)); err != nil {
					return err
				}
			}
		})
	}
	return sent, g.Wait()
}

func (k *copying) sendPart(ctx context.Context, p properties, upload string, pt part) (sentPart, error) {
	in := &awss3.GetObjectInput{Bucket: &k.src, Key: &k.key, IfMatch: &p.etag}
	if pt.size < 0 {
		in.PartNumber = &pt.number
		if p.checksums.algorithm() != "" {
			in.ChecksumMode = types.ChecksumModeEnabled
		}
	} else if pt.size > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", pt.offset, pt.offset+pt.size-1))
	}
	get, err := k.from.api.GetObject(ctx, in)
	if err != nil {
		return sentPart{}, k.from.wrap("read part", err)
	}
	defer func() { _ = get.Body.Close() }()
	size := aws.ToInt64(get.ContentLength)
	if pt.size >= 0 && size != pt.size {
		return sentPart{}, k.from.wrap("read part", fmt.Errorf("asked for %d bytes, got %d", pt.size, size))
	}
	content := &body{ctx: ctx, r: get.Body, lim: k.lim, watch: k.watch, stall: stallAfter}
	put := &awss3.UploadPartInput{Bucket: &k.dst, Key: &k.key, UploadId: &upload, PartNumber: &pt.number, ContentLength: &size, Body: content}
	done := types.CompletedPart{PartNumber: &pt.number}
	if algorithm := p.checksums.algorithm(); algorithm != "" {
		sums := checksumsOf(get)
		if sums.algorithm() != algorithm {
			if size > summedPart {
				k.plain.Store(true)
				return sentPart{}, errAgain
			}
			if err := k.buffers.Acquire(ctx, size); err != nil {
				return sentPart{}, err
			}
			defer k.buffers.Release(size)
			buf := make([]byte, size)
			if _, err := io.ReadFull(content, buf); err != nil {
				return sentPart{}, k.from.wrap("read part", err)
			}
			put.Body, sums = bytes.NewReader(buf), sumOf(algorithm, buf)
		}
		put.ChecksumCRC32, put.ChecksumCRC32C, put.ChecksumCRC64NVME = sums.crc32, sums.crc32c, sums.crc64
		put.ChecksumSHA1, put.ChecksumSHA256 = sums.sha1, sums.sha256
		done.ChecksumCRC32, done.ChecksumCRC32C, done.ChecksumCRC64NVME = sums.crc32, sums.crc32c, sums.crc64
		done.ChecksumSHA1, done.ChecksumSHA256 = sums.sha1, sums.sha256
	}
	out, err := k.to.api.UploadPart(ctx, put)
	if err != nil {
		return sentPart{}, k.to.wrap("write part", err)
	}
	done.ETag = out.ETag
	return sentPart{done, size}, nil
}

// wholeSent guards against a source that serves parts of a wrong length.
func (k *copying) wholeSent(p properties, sent []sentPart) error {
	var total int64
	for _, s := range sent {
		total += s.size
	}
	if total == p.size {
		return nil
	}
	if k.tries == 0 {
		k.tries = 1 // from here on, guess
		return errAgain
	}
	return k.from.wrap("read parts", fmt.Errorf("they hold %d bytes, the object %d", total, p.size))
}

func (k *copying) etagFits(p properties, sent []sentPart) bool {
	tags := make([]string, len(sent))
	for i, s := range sent {
		tags[i] = aws.ToString(s.ETag)
	}
	return sameETag(joinedETag(tags), p.etag)
}

func (k *copying) completeUpload(ctx context.Context, p properties, upload string, sent []sentPart) error {
	match, noneMatch := k.to.caps.CompleteIfMatch, k.to.caps.CompleteIfNoneMatch
	if p.tagging != nil {
		match, noneMatch = s3.No, s3.No // see keepTags
	}
	// Stores may join parts one by one.
	f, err := k.beginFinal(ctx, k.cfg.LockTTL+time.Duration(len(sent))*20*time.Millisecond, match, noneMatch)
	if err != nil {
		return err
	}
	defer f.end()
	in := &awss3.CompleteMultipartUploadInput{Bucket: &k.dst, Key: &k.key, UploadId: &upload,
		MultipartUpload: &types.CompletedMultipartUpload{}, ChecksumType: p.checksums.kind}
	for _, s := range sent {
		in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, s.CompletedPart)
	}
	in.IfMatch, in.IfNoneMatch = k.conditions(f, k.to.caps.CompleteIfMatch, k.to.caps.CompleteIfNoneMatch)
	out, err := k.to.api.CompleteMultipartUpload(f.ctx, in, once)
	if err != nil {
		return k.writeFailed(ctx, f, p.etag, err)
	}
	k.compareETag(p.etag, out.ETag)
	return k.keepTags(ctx, f, p)
}

// keepTags puts the tags into place that some stores, Ceph among them, drop from
// an upload. It is a part of the final write: f still stands.
func (k *copying) keepTags(ctx context.Context, f *final, p properties) error {
	if p.tagging == nil {
		return nil
	}
	out, err := k.to.api.GetObjectTagging(f.ctx, &awss3.GetObjectTaggingInput{Bucket: &k.dst, Key: &k.key})
	if err != nil && !noTags(err) {
		return k.to.wrap("read tags", err)
	}
	if err == nil && encodeTags(out.TagSet) == *p.tagging {
		return nil
	}
	want, err := url.ParseQuery(*p.tagging)
	if err != nil {
		return err
	}
	in := &awss3.PutObjectTaggingInput{Bucket: &k.dst, Key: &k.key, Tagging: &types.Tagging{}}
	for name := range want {
		in.Tagging.TagSet = append(in.Tagging.TagSet, types.Tag{Key: aws.String(name), Value: aws.String(want.Get(name))})
	}
	k.fenced = false // no store makes it depend on the ETag
	if _, err := k.to.api.PutObjectTagging(f.ctx, in, once); err != nil {
		return k.writeFailed(ctx, f, "", err)
	}
	return nil
}
