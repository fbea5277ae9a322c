package proxy

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// bucketStands says, during a switch, whether the request's bucket exists on both
// stores or on none. A client that created or deleted it just before the switch was
// answered by the old main, and what concerns its objects goes to the new one:
// without this a new bucket would be missing there, or a deleted one take writes.
// Both stores get to know what the old main did soon, and once they do, only the new
// main creates and deletes buckets: so a proxy asks once a switch for each bucket.
//
// If it does not, or the route is not r any more, the request must let go of what it
// holds, for the bucket may wait for that, and find out again where to go: awaitBucket.
func (q *request) bucketStands(ctx context.Context, r ledger.Route) (bool, error) {
	if r.State != ledger.Switched {
		return true, nil
	}
	if epoch, ok := q.p.standing.Load(q.in.Bucket); ok && epoch == r.Epoch {
		return true, nil
	}
	var st ledger.Standing
	err := q.p.ask(ctx, "standing", func(ctx context.Context) (err error) {
		st, err = q.p.ledger.Standing(ctx, ledger.Object{Bucket: q.in.Bucket})
		return err
	})
	switch {
	case err != nil || st.Route.Epoch != r.Epoch || st.Moving:
		return false, err
	case st.Loss != ledger.Healthy:
		return true, nil
	case st.Newest == r.Main:
		q.p.standing.Store(q.in.Bucket, r.Epoch)
		return true, nil
	}
	// It may be no more than a setting that differs. A copy of what was before that could
	// make both differ once they have been asked, but nothing of the kind is on its way.
	return q.bothHaveBucket(ctx)
}

// awaitBucket waits a moment for what bucketStands asks for, which began to be
// waited for then.
func (q *request) awaitBucket(ctx context.Context, began time.Time) error {
	if time.Since(began) > q.p.cfg.MaxInFlight+burial {
		return s3.ErrSlowDown.With("The bucket was created or deleted just before the switch, and is not yet so on both stores. Please try again.")
	}
	q.p.metrics.wait("bucket")
	return pause(ctx, jitter(10*time.Millisecond, 50*time.Millisecond))
}

// bothHaveBucket reports whether the bucket exists on both stores, or on none.
func (q *request) bothHaveBucket(ctx context.Context) (bool, error) {
	c := call{method: http.MethodHead, own: true, query: new(string), header: http.Header{},
		in: s3.Request{Bucket: q.in.Bucket, Addressing: q.in.Addressing, Operation: s3.HeadBucket, Class: s3.ClassBucketRead}}
	for _, name := range selective {
		c.header[name] = nil
	}
	var found [2]bool
	g, gctx := errgroup.WithContext(ctx)
	for i := range found {
		g.Go(func() error {
			resp, err := q.send(gctx, ledger.Store(i), c)
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			if resp.StatusCode >= 500 {
				return fmt.Errorf("%s answers %s", ledger.Store(i), resp.Status)
			}
			found[i] = resp.StatusCode != http.StatusNotFound
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return false, q.incomparable(ctx, err)
	}
	return found[0] == found[1], nil
}
