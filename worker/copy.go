package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	// smallBody is read into memory before its PUT, which can then be repeated.
	smallBody = 256 << 10
	// lockedBody is read into memory before its PUT while final writes need a
	// lock, so that nothing is transferred under it.
	lockedBody = 8 << 20
	// bufferTotal bounds all bodies in memory that are not small.
	bufferTotal = 64 << 20
	// stallAfter is how long a transfer may stand still.
	stallAfter = time.Minute
	// maxSinglePut is the largest object that one PUT can write.
	maxSinglePut = int64(5) << 30
)

// outcome says what became of a claim.
type outcome int

const (
	copied outcome = iota
	deleted
	// dropped: somebody else owns the object now, or will.
	dropped
	failed
)

func (o outcome) String() string {
	return [...]string{"copied", "deleted", "dropped", "failed"}[o]
}

type result struct {
	outcome outcome
	bytes   int64
}

var (
	// errAgain: nothing was written; the same copy should be tried at once.
	errAgain = errors.New("try again")
	// errStalled ends a transfer that stands still.
	errStalled = errors.New("no data moved for a minute")
	// errNoLength: without it a cut answer could not be told from a whole one.
	errNoLength = errors.New("the answer has no Content-Length")
	// errSourceGone: the bucket is missing, which says nothing about the object.
	errSourceGone = errors.New("the bucket does not exist, so its objects can't be copied")
)

// copying is one object on its way.
type copying struct {
	*Worker
	c        ledger.Claim
	from, to *store
	src, dst string // bucket names
	key      string
	on       class
	watch    *time.Timer
	tries    int // guesses at part boundaries
	others   *ledger.OtherUploads
	plain    atomic.Bool // without checksums: the parts' own are not known
	fenced   bool        // the follower's store checked that nobody wrote in between
}

// copyClaim brings the follower to the claimed version and settles the claim.
// On an error the claim is still held, but for *mayLand: then it is taken care of.
func (w *Worker) copyClaim(ctx context.Context, c ledger.Claim, on class) (result, error) {
	began := time.Now()
	w.metrics.inFlight.WithLabelValues(on.String()).Inc()
	defer w.metrics.inFlight.WithLabelValues(on.String()).Dec()
	if c.Object.Key == "" {
		err := w.followBucket(ctx, c)
		if errors.Is(err, ledger.ErrClaimLost) {
			w.giveBack(ctx, c)
			return result{outcome: dropped}, nil
		}
		var late *mayLand
		if errors.As(err, &late) {
			w.hold(c, late, on)
			return result{outcome: dropped}, late
		}
		if err != nil {
			return result{outcome: failed}, err
		}
		return w.settle(ctx, c, result{}, false, on, began)
	}
	k := &copying{Worker: w, c: c, from: w.stores[c.From], to: w.stores[c.To], key: c.Object.Key, on: on}
	k.src, k.dst = k.from.bucket(c.Object.Bucket), k.to.bucket(c.Object.Bucket)
	cctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k.watch = time.AfterFunc(stallAfter, func() { cancel(errStalled) })
	defer k.watch.Stop()
	r, err := k.transfer(cctx)
	if err != nil && errors.Is(context.Cause(cctx), errStalled) {
		err = errStalled
	}
	if errors.Is(err, ledger.ErrClaimLost) || errors.Is(err, ledger.ErrFenced) {
		w.giveBack(ctx, c)
		r = result{outcome: dropped}
		w.metrics.done(on, began, r)
		return r, nil
	}
	var late *mayLand
	if errors.As(err, &late) {
		w.hold(k.c, late, on)
		r = result{outcome: dropped}
		w.metrics.done(on, began, r)
		return r, late
	}
	if err != nil {
		return result{outcome: failed}, err
	}
	w.lastCopied.Store(time.Now().UnixNano())
	return w.settle(ctx, k.c, r, k.fenced, on, began)
}

func (w *Worker) settle(ctx context.Context, c ledger.Claim, r result, fenced bool, on class, began time.Time) (result, error) {
	var err error
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err = w.settler.settle(ctx, c)
		// Written but not settled: a copy must be made known, so only the loss of
		// the session (which makes the object dirty again) ends this.
		if !errors.Is(err, ledger.ErrUnavailable) || !w.alive() || sleep(ctx, wait) != nil {
			break
		}
	}
	switch {
	case errors.Is(err, ledger.ErrOverrun):
		if fenced || w.unclean(ctx, c.To) {
			w.giveBack(ctx, c)
		} else {
			w.member.Abandon(c.Session)
		}
		r = result{outcome: dropped}
	case err != nil:
		if errors.Is(err, ledger.ErrUnavailable) {
			w.member.Abandon(c.Session)
		}
		r = result{outcome: dropped}
	}
	w.metrics.done(on, began, r)
	return r, nil
}

// giveBack ends a claim that is not carried out. The ledger may hold it still:
// a client who was first does not end it.
func (w *Worker) giveBack(ctx context.Context, c ledger.Claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := w.led.Unclaim(ctx, c); err != nil {
		w.member.Abandon(c.Session)
	}
}

// unclean notes that a copy may have overwritten a client's write, however long Redis
// is away. It returns false when the process ends before: then the claim must stay, for
// whoever buries its session notes it.
func (w *Worker) unclean(ctx context.Context, to ledger.Store) bool {
	reason := "a copy overran its lock on the " + to.String() + " store, which has no conditional writes"
	for {
		mctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		err := w.led.MarkUnclean(mctx, reason)
		cancel()
		if err == nil {
			w.log.Info("unclean event", "reason", reason)
			return true
		}
		if sleep(w.ending, time.Second) != nil {
			w.log.Error(err, "an unclean event could not be recorded", "reason", reason)
			return false
		}
	}
}

func (k *copying) transfer(ctx context.Context) (result, error) {
	for {
		r, err := k.once(ctx)
		if !errors.Is(err, errAgain) {
			return r, err
		}
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
	}
}

func (k *copying) once(ctx context.Context) (result, error) {
	in := &awss3.GetObjectInput{Bucket: &k.src, Key: &k.key}
	if k.from.caps.ChecksumsStored != s3.No {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	k.watch.Reset(stallAfter)
	get, err := k.from.api.GetObject(ctx, in)
	switch {
	// Only the store's own word that the key is missing is a delete: a HEAD, a
	// proxy's 404 or a missing bucket is not.
	case isCode(err, "NoSuchKey"):
		return k.remove(ctx)
	case isCode(err, "NoSuchBucket"):
		return k.bucketGone(ctx)
	case needsClientsKey(err):
		return result{}, k.from.wrap("read without the key of a client's own that it is encrypted with (SSE-C)", err)
	case err != nil:
		return result{}, k.from.wrap("read", err)
	}
	defer func() { _ = get.Body.Close() }()
	if get.ContentLength == nil {
		return result{}, k.from.wrap("read", errNoLength)
	}
	p := propertiesOf(get)
	k.c.ETag = p.etag
	if err := k.complete(ctx, k.c, get, &p); err != nil {
		return result{}, err
	}
	k.fit(k.to, k.dst, &p)
	content := &body{ctx: ctx, r: get.Body, lim: k.lim, watch: k.watch, stall: stallAfter}
	switch n := partCount(p.etag); {
	case n > 0 || p.size > maxSinglePut:
		_ = get.Body.Close()
		err = k.multipart(ctx, p, n)
	case p.size <= smallBody || p.size <= lockedBody && !k.gate.isOpen(k.c.From):
		err = k.putBuffered(ctx, p, content)
	default:
		err = k.putStreamed(ctx, p, content)
	}
	if err != nil && k.refusedProperty(k.to, k.dst, p, err) {
		return result{}, errAgain
	}
	return result{outcome: copied, bytes: p.size}, err
}

// needsClientsKey says that an object is encrypted with a key that only clients
// have. Stores have no code of their own for that, but one way to put it.
func needsClientsKey(err error) bool {
	var api smithy.APIError
	_, status := s3.ErrorCode(err)
	return status == http.StatusBadRequest && errors.As(err, &api) && strings.Contains(api.ErrorMessage(), "Server Side Encryption")
}

func (k *copying) putBuffered(ctx context.Context, p properties, r io.Reader) error {
	if p.size > smallBody {
		if err := k.buffers.Acquire(ctx, p.size); err != nil {
			return err
		}
		defer k.buffers.Release(p.size)
	}
	buf := make([]byte, p.size)
	if _, err := io.ReadFull(r, buf); err != nil {
		return k.from.wrap("read", err)
	}
	if err := atEnd(r); err != nil {
		return k.from.wrap("read", err)
	}
	f, err := k.beginFinal(ctx, k.cfg.LockTTL, k.to.caps.PutIfMatch, k.to.caps.PutIfNoneMatch)
	if err != nil {
		return err
	}
	defer f.end()
	in := p.put(k.dst, k.key)
	in.Body = bytes.NewReader(buf)
	in.IfMatch, in.IfNoneMatch = k.conditions(f, k.to.caps.PutIfMatch, k.to.caps.PutIfNoneMatch)
	out, err := k.to.api.PutObject(f.ctx, in, p.options, once)
	if err != nil {
		return k.writeFailed(ctx, f, p.etag, err)
	}
	k.compareETag(p.etag, out.ETag)
	return nil
}

// putStreamed sends the content as it comes. The store can't complete the
// write before the last byte, so lock and gate are asked for only then.
func (k *copying) putStreamed(ctx context.Context, p properties, r io.Reader) error {
	in := p.put(k.dst, k.key)
	var seen *final // what the follower held before the transfer
	if !k.gate.isOpen(k.c.From) {
		etag, err := k.headFollower(ctx)
		if err != nil {
			return err
		}
		seen = &final{locked: true, etag: etag}
		in.IfMatch, in.IfNoneMatch = k.conditions(seen, k.to.caps.PutIfMatch, k.to.caps.PutIfNoneMatch)
		// Stores may look at the condition before the body: it is no fence here.
		k.fenced = false
	}
	pctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var f *final
	var refused error
	in.Body = &lastRead{r: r, size: p.size, commit: func() error {
		f, refused = k.beginFinal(ctx, k.cfg.LockTTL, s3.No, s3.No)
		switch {
		case refused != nil:
		case f.locked && (seen == nil || seen.etag != f.etag):
			// The route changed on the way, or somebody wrote the follower.
			f.end()
			f, refused = nil, errAgain
		default:
			context.AfterFunc(f.ctx, cancel)
		}
		return refused
	}}
	out, err := k.to.api.PutObject(pctx, in, p.options, once)
	if f != nil {
		defer f.end()
	}
	switch {
	case refused != nil:
		return refused
	case err != nil && f == nil:
		return k.to.wrap("write", err)
	case err != nil:
		return k.writeFailed(ctx, f, p.etag, err)
	}
	k.compareETag(p.etag, out.ETag)
	return nil
}

// compareETag notes whether the follower gave the object another ETag.
func (k *copying) compareETag(want string, got *string) {
	if !sameETag(want, aws.ToString(got)) {
		k.metrics.lost.WithLabelValues(propETag).Inc()
		k.c.ETag = aws.ToString(got)
	}
}

// remove makes the follower forget an object that the newest store lacks.
func (k *copying) remove(ctx context.Context) (result, error) {
	k.c.ETag = ""
	f, err := k.beginFinal(ctx, k.cfg.LockTTL, k.to.caps.DeleteIfMatch, s3.Yes)
	if err != nil {
		return result{}, err
	}
	defer f.end()
	if !f.locked {
		// A delete of nothing would leave a delete marker in a versioned bucket.
		if f.etag, err = k.headFollower(f.ctx); err != nil {
			return result{}, err
		}
	}
	if f.etag == "" {
		k.fenced = true
		return result{outcome: deleted}, k.to.lacks(f.ctx, k.dst, k.key)
	}
	in := &awss3.DeleteObjectInput{Bucket: &k.dst, Key: &k.key}
	in.IfMatch, _ = k.conditions(f, k.to.caps.DeleteIfMatch, s3.No)
	if _, err := k.to.api.DeleteObject(f.ctx, in, once); err != nil && !isCode(err, "NoSuchKey", "NoSuchBucket") {
		return result{}, k.writeFailed(ctx, f, "", err)
	}
	return result{outcome: deleted}, nil
}

// lacks returns an error unless the store itself says that it has no such object: the 404
// of a HEAD may be a gateway's.
func (s *store) lacks(ctx context.Context, bucket, key string) error {
	get, err := s.api.GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	switch {
	case isCode(err, "NoSuchKey", "NoSuchBucket"):
		return nil
	case err != nil:
		return s.wrap("look at object", err)
	}
	_ = get.Body.Close()
	return s.wrap("look at object", errAppeared)
}

// bucketGone handles an object whose bucket is missing on the newest store.
// That is a delete when a client deleted the bucket too, which the ledger
// knows; otherwise the store is not the one it should be, and nothing follows.
func (k *copying) bucketGone(ctx context.Context) (result, error) {
	loc, err := k.led.Lookup(ctx, ledger.Object{Bucket: k.c.Object.Bucket})
	if err != nil {
		return result{}, err
	}
	if loc.Known && loc.Store == k.c.From {
		return k.remove(ctx)
	}
	has, err := k.to.hasBucket(ctx, k.c.Object.Bucket)
	if err != nil {
		return result{}, err
	}
	if has {
		return result{}, k.from.wrap("read", errSourceGone)
	}
	k.fenced = true
	return result{outcome: deleted}, nil
}
