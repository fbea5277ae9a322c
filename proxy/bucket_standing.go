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
// holds, for the bucket may wait for that, and find out again where to go: untilBucketStands.
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
	case st.Loss == ledger.Lost:
		return q.bucketDecided(ctx)
	case st.Loss == ledger.Healthy && st.Newest == r.Main:
		q.p.standing.Store(q.in.Bucket, r.Epoch)
		return true, nil
	}
	// It may be no more than a setting that differs. A copy of what was before that could make
	// both differ once they have been asked, but nothing of the kind is on its way. After a loss
	// nobody has told of it yet.
	found, err := q.foundBuckets(ctx, q.in.Bucket)
	return found[0] == found[1], err
}

// bucketState is how the bucket of a write stands that has begun.
type bucketState int

const (
	bucketStanding bucketState = iota
	bucketMoving               // see bucketStands
	// bucketDeleted: a client has deleted it on main, and the store on which the write began,
	// for the version or the upload that it names lives there, does not know yet.
	bucketDeleted
)

// bucketOf says how the bucket of a write stands that has begun. From then on nobody deletes
// it: DeleteBucket waits for what is under way on the other store, and one that began before is
// waited for.
func (q *request) bucketOf(ctx context.Context, c *change) (bucketState, error) {
	stands, err := q.bucketStands(ctx, c.route)
	if err != nil || !stands {
		return bucketMoving, err
	}
	if c.store == c.route.Main {
		return bucketStanding, nil
	}
	deleting := false
	err = q.p.ask(ctx, "open writes", func(ctx context.Context) (err error) {
		deleting, err = q.p.ledger.Open(ctx, ledger.Object{Bucket: q.in.Bucket}, c.route.Main)
		return err
	})
	if err != nil || deleting {
		return bucketMoving, err
	}
	has, err := q.hasBucket(ctx, c.route.Main, q.in.Bucket)
	switch {
	case err != nil:
		return bucketMoving, q.incomparable(ctx, err)
	case has:
		return bucketStanding, nil
	}
	return bucketDeleted, nil
}

// bucketDecided is bucketStands where the ledger has lost what it knew of the bucket.
func (q *request) bucketDecided(ctx context.Context) (bool, error) {
	o := ledger.Object{Bucket: q.in.Bucket}
	loc, err := q.p.locate(ctx, o)
	if err != nil || loc.Loss != ledger.Lost || loc.Route.State != ledger.Switched {
		return false, err
	}
	_, differ, err := q.decideBucket(ctx, o, loc)
	return !differ, err
}

// decideBucket is decide of whether a bucket exists.
func (q *request) decideBucket(ctx context.Context, o ledger.Object, loc ledger.Location) (ledger.Store, bool, error) {
	found, err := q.foundBuckets(ctx, o.Bucket)
	if err != nil {
		return 0, false, err
	}
	newest, differ := loc.NewestBucket(found)
	if !differ {
		return loc.Route.Main, false, nil
	}
	newest, err = q.adopt(ctx, o, newest)
	return newest, true, err
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

// untilBucketStands waits, holding nothing, until what was begun by route r may begin again.
// To begin again and again instead would keep off the very copies that it waits for.
func (q *request) untilBucketStands(ctx context.Context, r ledger.Route, began time.Time) error {
	for {
		if err := q.awaitBucket(ctx, began); err != nil {
			return err
		}
		now, err := q.p.obeyed(ctx)
		if err != nil || now.Epoch > r.Epoch {
			return err
		}
		if stands, err := q.bucketStands(ctx, r); stands || err != nil {
			return err
		}
	}
}

// foundBuckets says which store has a bucket.
func (q *request) foundBuckets(ctx context.Context, name string) (found [2]bool, err error) {
	g, gctx := errgroup.WithContext(ctx)
	for i := range found {
		g.Go(func() (err error) {
			found[i], err = q.hasBucket(gctx, ledger.Store(i), name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return found, q.incomparable(ctx, err)
	}
	return found, nil
}

// hasBucket asks a store for a bucket. A HEAD's 404 may be a gateway's: only the store's
// own word says that there is none.
func (q *request) hasBucket(ctx context.Context, store ledger.Store, name string) (bool, error) {
	c := call{method: http.MethodHead, own: true, query: new(string), header: http.Header{},
		in: s3.Request{Bucket: name, Addressing: q.in.Addressing, Operation: s3.HeadBucket, Class: s3.ClassBucketRead}}
	for _, h := range selective {
		c.header[h] = nil
	}
	resp, err := q.send(ctx, store, c)
	if err != nil {
		return false, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		query := "location="
		c.method, c.query, c.in.Operation = http.MethodGet, &query, s3.GetBucketLocation
		if resp, err = q.send(ctx, store, c); err != nil {
			return false, err
		}
		defer func() { _ = resp.Body.Close() }()
		if lacksBucket(resp) {
			return false, nil
		}
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusNotFound {
		return false, fmt.Errorf("%s answers %s", store, resp.Status)
	}
	return true, nil
}
