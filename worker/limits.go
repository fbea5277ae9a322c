package worker

import (
	"context"
	"errors"
	"io"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"
)

// Limits bound what this process does to the stores. 0 means no limit.
type Limits struct {
	// BytesPerSecond bounds the content that is copied.
	BytesPerSecond int64
	// RequestsPerSecond bounds the requests sent to both stores together.
	RequestsPerSecond float64
}

// limiter is shared by all that one process does.
type limiter struct {
	bytes    *rate.Limiter
	requests *rate.Limiter
}

// readChunk is the most that is read between two looks at the byte limit.
const readChunk = 64 << 10

func newLimiter(l Limits) limiter {
	var out limiter
	if l.BytesPerSecond > 0 {
		out.bytes = rate.NewLimiter(rate.Limit(l.BytesPerSecond), max(readChunk, int(min(l.BytesPerSecond/4, 64<<20))))
	}
	if l.RequestsPerSecond > 0 {
		out.requests = rate.NewLimiter(rate.Limit(l.RequestsPerSecond), max(1, int(l.RequestsPerSecond/10)))
	}
	return out
}

func (l limiter) waitBytes(ctx context.Context, n int) error {
	if l.bytes == nil || n == 0 {
		return nil
	}
	return l.bytes.WaitN(ctx, n)
}

// client returns api with the request limit in front of each attempt.
func (l limiter) client(api *awss3.Client) *awss3.Client {
	if l.requests == nil {
		return api
	}
	wait := middleware.FinalizeMiddlewareFunc("CrossfadeRequestLimit", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if err := l.requests.Wait(ctx); err != nil {
			return middleware.FinalizeOutput{}, middleware.Metadata{}, err
		}
		return next.HandleFinalize(ctx, in)
	})
	return awss3.New(api.Options(), func(o *awss3.Options) {
		o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
			return s.Finalize.Insert(wait, "Signing", middleware.Before)
		})
	})
}

// body reads content under the byte limit. A read that takes longer than stall
// cancels the transfer: a store that neither sends nor takes data must not
// hold a slot for ever.
type body struct {
	ctx   context.Context //nolint:containedctx // io.Reader has no place for it
	r     io.Reader
	lim   limiter
	watch *time.Timer
	stall time.Duration
}

func (b *body) Read(p []byte) (int, error) {
	if b.lim.bytes != nil && len(p) > readChunk {
		p = p[:readChunk]
	}
	b.watch.Reset(b.stall)
	n, err := b.r.Read(p)
	if werr := b.lim.waitBytes(b.ctx, n); werr != nil {
		return 0, werr
	}
	b.watch.Reset(b.stall)
	return n, err
}

// lastRead calls commit before it gives away the last of size bytes: until
// then the store cannot complete the write, so the final write begins there.
type lastRead struct {
	r      io.Reader
	size   int64
	commit func() error
}

func (l *lastRead) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.size -= int64(n)
	if l.commit != nil && l.size <= 0 && n > 0 {
		commit := l.commit
		l.commit = nil
		if eerr := atEnd(l.r); eerr != nil {
			return 0, eerr
		}
		if cerr := commit(); cerr != nil {
			return 0, cerr
		}
	}
	return n, err
}

// atEnd reads to the end of a content that must be there now: only then is its
// checksum verified.
func atEnd(r io.Reader) error {
	var b [1]byte
	n, err := r.Read(b[:])
	if n > 0 {
		return errTooLong
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

var errTooLong = errors.New("the content is longer than its Content-Length")
