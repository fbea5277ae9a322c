package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// The kinds of differences, as seen from the follower.
const (
	kindMissing   = "Missing"
	kindExtra     = "Extra"
	kindDifferent = "Different"
)

// finding is what a look at an object on both stores has shown.
type finding struct {
	kind   string // "": equal
	detail string
	// metadata: the contents are equal.
	metadata bool
	// main and follower are when each store's object was written, by this process'
	// clock; zero: it has none.
	main, follower time.Time
}

// errAppeared: an object came into being between two requests.
var errAppeared = errors.New("the object changed while it was compared")

// look compares an object on both stores. What it finds is the truth only if
// nobody wrote the object meanwhile.
//
// Sizes that differ are a difference. ETags that agree prove the contents equal,
// but for mode Checksum. ETags that do not agree prove nothing: an object that
// was uploaded in parts has another one where it was cut otherwise. Then the
// checksums that both stores keep decide, or, of an object in parts in mode ETag,
// that the follower's was written after main's; else both are read.
func (w *Worker) look(ctx context.Context, from, to *store, bucket, key, mode string) (finding, error) {
	if key == "" {
		return lookBucket(ctx, from, to, bucket)
	}
	a, err := from.head(ctx, bucket, key)
	if err != nil {
		return finding{}, err
	}
	b, err := to.head(ctx, bucket, key)
	if err != nil && !errors.Is(err, errSourceGone) {
		return finding{}, err
	}
	var f finding
	if a != nil {
		f.main = a.written()
	}
	if b != nil {
		f.follower = b.written()
	}
	switch {
	case a == nil && b == nil:
		return f, nil
	case a == nil:
		f.kind = kindExtra
		return f, nil
	case b == nil:
		f.kind = kindMissing
		return f, nil
	case a.size != b.size:
		f.kind, f.detail = kindDifferent, fmt.Sprintf("size: %d bytes, not %d", b.size, a.size)
		return f, nil
	}
	same, err := w.sameContent(ctx, from, to, bucket, key, mode, a, b)
	if err != nil {
		return f, err
	}
	if !same {
		f.kind, f.detail = kindDifferent, "content"
		return f, nil
	}
	names, err := w.sameMetadata(ctx, from, to, bucket, key, a, b)
	if err != nil {
		return f, err
	}
	if len(names) > 0 {
		f.kind, f.detail, f.metadata = kindDifferent, strings.Join(names, ", "), true
	}
	return f, nil
}

func lookBucket(ctx context.Context, from, to *store, bucket string) (finding, error) {
	onMain, err := from.hasBucket(ctx, bucket)
	if err != nil {
		return finding{}, err
	}
	onFollower, err := to.hasBucket(ctx, bucket)
	switch {
	case err != nil:
		return finding{}, err
	case !onMain && onFollower:
		return finding{}, from.wrap("look for bucket", errSourceGone)
	case onMain && !onFollower:
		return finding{kind: kindMissing, detail: "bucket"}, nil
	}
	return finding{}, nil
}

// head returns an object's properties, nil when it does not exist: only the
// store's own word that the key is missing says so.
func (s *store) head(ctx context.Context, bucket, key string) (*properties, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := s.bucket(bucket)
	in := &awss3.HeadObjectInput{Bucket: &name, Key: &key}
	if s.caps.ChecksumsStored != s3.No {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	o, err := s.api.HeadObject(ctx, in)
	if err == nil {
		now, _ := awsmiddleware.GetServerTime(o.ResultMetadata)
		return &properties{
			now: now, size: aws.ToInt64(o.ContentLength), etag: aws.ToString(o.ETag), modified: aws.ToTime(o.LastModified),
			cacheControl: o.CacheControl, contentDisposition: o.ContentDisposition, contentEncoding: contentEncoding(o.ContentEncoding),
			contentLanguage: o.ContentLanguage, contentType: o.ContentType, expires: aws.ToString(o.ExpiresString), metadata: o.Metadata,
			checksums: checksums{kind: o.ChecksumType, crc32: o.ChecksumCRC32, crc32c: o.ChecksumCRC32C,
				crc64: o.ChecksumCRC64NVME, sha1: o.ChecksumSHA1, sha256: o.ChecksumSHA256},
		}, nil
	}
	if s3.Classify(err) != s3.NotFound {
		return nil, s.wrap("look at object", err)
	}
	get, err := s.api.GetObject(ctx, &awss3.GetObjectInput{Bucket: &name, Key: &key})
	switch {
	case isCode(err, "NoSuchKey"):
		return nil, nil //nolint:nilnil // there is none
	case isCode(err, "NoSuchBucket"):
		return nil, s.wrap("look at object", errSourceGone)
	case err != nil:
		return nil, s.wrap("look at object", err)
	}
	_ = get.Body.Close()
	return nil, s.wrap("look at object", errAppeared)
}

func (w *Worker) sameContent(ctx context.Context, from, to *store, bucket, key, mode string, a, b *properties) (bool, error) {
	if mode != auditChecksum && a.etag != "" && sameETag(a.etag, b.etag) {
		return true, nil
	}
	if same, known := sameSums(a.checksums, b.checksums); known {
		return same, nil
	}
	inParts := partCount(a.etag) > 0 || partCount(b.etag) > 0
	if mode != auditChecksum && inParts && b.writtenSince(a) {
		return true, nil
	}
	return w.readBoth(ctx, from, to, bucket, key, a, b)
}

// written is when an object that was just looked at was written, by this process'
// clock: those of the stores may be wrong by hours.
func (p *properties) written() time.Time {
	if p.now.IsZero() || p.modified.IsZero() {
		return p.modified
	}
	return p.modified.Add(time.Since(p.now))
}

// writtenSince says that b was written after a, each by the clock of its own store:
// they may differ by minutes.
func (b *properties) writtenSince(a *properties) bool {
	if a.now.IsZero() || b.now.IsZero() || a.modified.IsZero() || b.modified.IsZero() {
		return false
	}
	return b.now.Sub(b.modified) <= a.now.Sub(a.modified)
}

// sameSums compares the checksums that both stores keep. Checksums made of those
// of parts ("…-3") prove nothing when they differ.
func sameSums(a, b checksums) (same, known bool) {
	if a.kind != b.kind {
		return false, false
	}
	for _, p := range [][2]*string{{a.sha256, b.sha256}, {a.crc64, b.crc64}, {a.crc32c, b.crc32c}, {a.crc32, b.crc32}, {a.sha1, b.sha1}} {
		if p[0] != nil && p[1] != nil {
			same = *p[0] == *p[1]
			return same, same || a.kind != types.ChecksumTypeComposite && !strings.Contains(*p[0], "-")
		}
	}
	return false, false
}

// readBoth compares contents, under the limit of bytes.
func (w *Worker) readBoth(ctx context.Context, from, to *store, bucket, key string, a, b *properties) (bool, error) {
	if a.size == 0 {
		return true, nil
	}
	var sums [2]string
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range []*store{from, to} {
		etag := []string{a.etag, b.etag}[i]
		g.Go(func() error {
			var err error
			sums[i], err = w.sum(gctx, s, bucket, key, etag, a.size)
			return err
		})
	}
	err := g.Wait()
	return sums[0] == sums[1], err
}

func (w *Worker) sum(ctx context.Context, s *store, bucket, key, etag string, size int64) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stallAfter, func() { cancel(errStalled) })
	defer watch.Stop()
	name := s.bucket(bucket)
	in := &awss3.GetObjectInput{Bucket: &name, Key: &key}
	if etag != "" {
		in.IfMatch = &etag
	}
	get, err := s.api.GetObject(ctx, in)
	if c := s3.Classify(err); c == s3.Precondition || c == s3.NotFound {
		return "", s.wrap("read", errAppeared)
	}
	if err != nil {
		return "", s.wrap("read", err)
	}
	defer func() { _ = get.Body.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, &body{ctx: ctx, r: get.Body, lim: w.lim, watch: watch, stall: stallAfter})
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(context.Cause(ctx), errStalled) {
		err = errStalled
	}
	return string(h.Sum(nil)), s.wrap("read", err)
}

// sameMetadata names what differs of the metadata that every store keeps.
func (w *Worker) sameMetadata(ctx context.Context, from, to *store, bucket, key string, a, b *properties) ([]string, error) {
	var out []string
	for name, p := range map[string][2]*string{
		"Cache-Control": {a.cacheControl, b.cacheControl}, "Content-Disposition": {a.contentDisposition, b.contentDisposition},
		"Content-Encoding": {a.contentEncoding, b.contentEncoding}, "Content-Language": {a.contentLanguage, b.contentLanguage},
		"Content-Type": {a.contentType, b.contentType}, "Expires": {&a.expires, &b.expires},
	} {
		if aws.ToString(p[0]) != aws.ToString(p[1]) {
			out = append(out, name)
		}
	}
	if !maps.Equal(a.metadata, b.metadata) {
		out = append(out, "user metadata")
	}
	if from.caps.ObjectTagging == s3.Yes && to.caps.ObjectTagging == s3.Yes {
		var tags [2]properties
		for i, s := range []*store{from, to} {
			err := readTags(ctx, s, s.bucket(bucket), key, &tags[i])
			if err != nil && !noTags(err) {
				return nil, err
			}
		}
		if aws.ToString(tags[0].tagging) != aws.ToString(tags[1].tagging) {
			out = append(out, "tags")
		}
	}
	slices.Sort(out)
	return out, nil
}

// bypassed reports whether nothing but a write past the proxies explains a
// difference in what the ledger thinks in sync: no unclean event covers the time
// at which main's object was written, and it is not from before the migration.
func bypassed(t ledger.AuditTask, f finding) bool {
	if !t.Explained.IsZero() && !f.main.After(t.Explained.Add(auditSkew)) {
		return false
	}
	return f.kind != kindDifferent || f.main.After(t.Foreign) || f.follower.After(t.Foreign)
}
