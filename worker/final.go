package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// final is the right to do the one request that makes a copy visible: the PUT,
// the DELETE, or the CompleteMultipartUpload.
type final struct {
	// ctx ends before the right does.
	ctx    context.Context //nolint:containedctx // handed out with the right
	cancel context.CancelFunc
	// locked: clients may write the follower too, and wait while we do.
	locked bool
	// etag is what the follower held just before, "" when nothing; only known when locked.
	etag  string
	leave func()
}

func (f *final) end() {
	f.cancel()
	if f.leave != nil {
		f.leave()
		f.leave = nil
	}
}

// beginUnseen gives the right without a look at the follower.
func (w *Worker) beginUnseen(ctx context.Context, c ledger.Claim, ttl time.Duration) (*final, error) {
	return w.begin(ctx, c, ttl, func(context.Context) (string, error) { return "", nil }, s3.No, s3.No)
}

// beginFinal gives the right with a look at what the follower holds, unless it
// waits for nobody. Whether the store honours If-Match and If-None-Match on this
// request is for those who bury this process, should it die now.
func (k *copying) beginFinal(ctx context.Context, ttl time.Duration, ifMatch, ifNoneMatch s3.Support) (*final, error) {
	k.watch.Reset(max(stallAfter, ttl))
	return k.begin(ctx, k.c, ttl, k.headFollower, ifMatch, ifNoneMatch)
}

// begin gives the right. It waits for nobody: while the route is Steady nothing but
// this claim writes the follower; otherwise the object is locked for ttl, of which a
// third is kept for a request that is on its way when ctx ends. The look comes before
// the lock, so that what is written on this condition can't overwrite a client's write
// even if the lock is lost: one that landed before the look is known to the ledger when
// it locks, or to have been lost.
// ledger.ErrClaimLost: a client was first, or the session may be thought dead.
func (w *Worker) begin(ctx context.Context, c ledger.Claim, ttl time.Duration, look func(context.Context) (string, error), ifMatch, ifNoneMatch s3.Support) (*final, error) {
	if !w.alive() || w.member.ID() != c.Session {
		return nil, ledger.ErrClaimLost
	}
	if w.gate.enter(c.From) {
		fctx, cancel := context.WithTimeout(ctx, w.cfg.MaxInFlight*5/6)
		return &final{ctx: fctx, cancel: cancel, leave: w.gate.leave}, nil
	}
	etag, err := look(ctx)
	if err != nil {
		return nil, err
	}
	if c.Fenced = ifNoneMatch == s3.Yes; etag != "" {
		c.Fenced = ifMatch == s3.Yes
	}
	began := time.Now()
	if err := w.led.Lock(ctx, c, ttl); err != nil {
		return nil, err
	}
	fctx, cancel := context.WithDeadline(ctx, began.Add(ttl*2/3))
	return &final{ctx: fctx, cancel: cancel, locked: true, etag: etag}, nil
}

// headFollower returns the ETag of what the follower holds, "" for nothing.
func (k *copying) headFollower(ctx context.Context) (string, error) {
	out, err := k.to.api.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &k.dst, Key: &k.key})
	if s3.Classify(err) == s3.NotFound {
		return "", nil
	}
	if err != nil {
		return "", k.to.wrap("look at object", err)
	}
	return aws.ToString(out.ETag), nil
}

// conditions returns If-Match and If-None-Match for a write under a lock, as
// far as the follower's store honours them.
func (k *copying) conditions(f *final, ifMatch, ifNoneMatch s3.Support) (match, noneMatch *string) {
	switch {
	case !f.locked:
	case f.etag != "" && ifMatch == s3.Yes:
		match = &f.etag
	case f.etag == "" && ifNoneMatch == s3.Yes:
		noneMatch = aws.String("*")
	}
	k.fenced = match != nil || noneMatch != nil
	return match, noneMatch
}

// once keeps the SDK from sending a final write again: the first one could land
// after the second was answered and the right to write was given back.
func once(o *awss3.Options) { o.RetryMaxAttempts = 1 }

// errFollowerChanged: the condition of a write did not hold.
var errFollowerChanged = errors.New("the follower's object changed meanwhile")

// mayLand is a final write whose answer is missing: until the time named it can
// change the follower under whoever copies, or deletes, the object next.
type mayLand struct {
	error
	until time.Time
}

func (e *mayLand) Unwrap() error { return e.error }

// writeFailed turns the error of a final write into what the claim should do.
// Where the answer is missing the request may still land, with nothing to stop
// it once the lock is gone: that is either seen to have happened, or noted.
func (k *copying) writeFailed(ctx context.Context, f *final, etag string, err error) error {
	if s3.Classify(err) == s3.Precondition {
		return k.to.wrap("write", errFollowerChanged)
	}
	if f.ctx.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	wrapped := k.to.wrap("write", err)
	if ended(err) {
		return wrapped
	}
	late := &mayLand{error: wrapped, until: time.Now().Add(k.cfg.MaxInFlight)}
	if !f.locked {
		// Barrier one waits for it.
		time.AfterFunc(k.cfg.MaxInFlight, f.leave)
		f.leave = nil
	}
	if !f.locked || k.fenced {
		return late
	}
	hctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.cfg.LockTTL/6)
	defer cancel()
	got, herr := k.headFollower(hctx)
	if herr == nil && got != f.etag && sameETag(got, etag) {
		return nil
	}
	k.unclean(ctx, k.c.To)
	return late
}

// unanswered has the claim held of a change of a bucket that got no answer, and may
// still land: no condition keeps it off what a client does to the bucket next.
func (w *Worker) unanswered(f *final, err error) error {
	if err == nil || ended(err) || errors.Is(err, errForeignBucket) {
		return err
	}
	if !f.locked {
		// Barrier one waits for it.
		time.AfterFunc(w.cfg.MaxInFlight, f.leave)
		f.leave = nil
	}
	return &mayLand{error: err, until: time.Now().Add(w.cfg.MaxInFlight)}
}

// ended reports whether a failed request surely does nothing any more: it was
// never sent, or its store (not a gateway before it) has answered.
func ended(err error) bool {
	_, status := s3.ErrorCode(err)
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" ||
		status != 0 && status != http.StatusBadGateway && status != http.StatusGatewayTimeout
}

// hold keeps the claim of a write that may still land, so that nobody copies
// the object meanwhile, and then has it copied again. A process that ends
// leaves that to whoever buries its session.
func (w *Worker) hold(c ledger.Claim, err *mayLand, on class) {
	w.log.V(1).Info("copy without an answer", "bucket", c.Object.Bucket, "key", c.Object.Key, "error", err.Error())
	ctx := context.WithoutCancel(w.ending)
	hctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if herr := w.led.Hold(hctx, c); herr != nil {
		w.member.Abandon(c.Session)
		return
	}
	w.held.Go(func() {
		if sleep(w.ending, time.Until(err.until)) != nil {
			w.member.Abandon(c.Session)
			return
		}
		w.failClaim(ctx, c, err, on)
	})
}
