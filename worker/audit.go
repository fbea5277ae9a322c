package worker

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// The ways to audit, as they stand in the ledger.
const (
	auditETag     = "ETag"
	auditChecksum = "Checksum"
)

const (
	// auditors is how many ranges one process compares at a time.
	auditors = 2
	// auditStep is how many keys are compared before the cursor moves, and
	// auditReadStep where contents may be read.
	auditStep, auditReadStep = 1000, 250
	// sampleOne in so many objects whose listings agree has its metadata compared.
	sampleOne = 100
	// auditSkew is how far the stores' clocks and Redis' may be apart.
	auditSkew = time.Minute
)

var (
	// errPaused: a switch has begun, or the migration is paused, or the session was given up; the audit goes on later.
	errPaused = errors.New("the route, or the session, changed")
	// errNoFollowerBucket: an event will create it.
	errNoFollowerBucket = errors.New("the follower lacks the bucket; it is being created")
	// errFollowerGone: nobody deleted it through the proxies.
	errFollowerGone = errors.New("the bucket has been deleted since the audit began")
	// errBucketDiffers: an event will make both have it, or none.
	errBucketDiffers = errors.New("one store alone has the bucket; it is being copied or deleted")
)

func (w *Worker) auditLoop(take, work context.Context) {
	w.takeTask(take, func(session string, r ledger.Route) error {
		rng, err := w.led.ClaimAuditRange(take, session)
		if err != nil {
			return err
		}
		err = w.auditRange(take, session, r, &rng)
		if err == nil || errors.Is(err, ledger.ErrTaskLost) {
			return nil
		}
		return errors.Join(err, w.led.ReleaseAuditRange(context.WithoutCancel(work), session, rng, problemOf(take, err)))
	})
}

// problemOf is what people should know of an error that an audit goes on after.
func problemOf(ctx context.Context, err error) string {
	if ctx.Err() != nil || errors.Is(err, errPaused) || errors.Is(err, ledger.ErrUnavailable) {
		return ""
	}
	return causeOf(err)
}

// auditRun is one range on its way.
type auditRun struct {
	*Worker
	session  string
	rng      *ledger.AuditRange
	from, to *store

	cursor   string
	compared int64
	suspects []ledger.Suspect
	closer   []string // whose listings agree, to be looked at all the same
}

// auditRange walks both listings of a range in step. What agrees is done with;
// what does not is set aside, for a listing alone proves nothing while clients
// write. An error fails the range, which goes on from its cursor: a listing
// that fails is never taken for an end.
func (w *Worker) auditRange(ctx context.Context, session string, r ledger.Route, rng *ledger.AuditRange) error {
	a := &auditRun{Worker: w, session: session, rng: rng, from: w.stores[r.Main], to: w.stores[r.Main.Other()], cursor: rng.Start()}
	main := &reader{s: a.from, bucket: rng.Bucket, cursor: rng.Start()}
	follower := &reader{s: a.to, bucket: rng.Bucket, cursor: rng.Start()}
	if done, err := a.buckets(ctx, follower); done || err != nil {
		return err
	}
	step := auditStep
	if rng.Mode == auditChecksum {
		step = auditReadStep
	}
	var lastSplit time.Time
	for {
		more, err := a.next(ctx, main, follower)
		if err != nil {
			return err
		}
		if more && int(a.compared) < step && len(a.suspects) < batchSize {
			continue
		}
		if err := a.advance(ctx, !more); err != nil || !more {
			return err
		}
		if now, ok := w.member.Route(); !ok || !goesOn(now, rng.AuditTask) || now.Main != r.Main || w.member.ID() != session {
			return errPaused // nobody would miss what a session that was given up was told here: the ledger's cursor counts
		}
		if time.Since(lastSplit) >= splitEvery {
			lastSplit = time.Now()
			if err := a.split(ctx); err != nil {
				return err
			}
		}
	}
}

// goesOn reports whether a route lets an audit go on.
func goesOn(r ledger.Route, t ledger.AuditTask) bool {
	return r.Run && (r.State == ledger.Steady || t.Switch && r.State == ledger.Switched)
}

// buckets looks whether there is anything to list. A bucket that main lacks is
// an error unless a client deleted it: then the follower lacks it too, or will.
func (a *auditRun) buckets(ctx context.Context, follower *reader) (done bool, err error) {
	onMain, err := a.from.hasBucket(ctx, a.rng.Bucket)
	if err != nil {
		return false, err
	}
	onFollower, err := a.to.hasBucket(ctx, a.rng.Bucket)
	if err != nil || onMain && onFollower {
		return false, err
	}
	loc, err := a.led.Lookup(ctx, ledger.Object{Bucket: a.rng.Bucket})
	if err != nil {
		return false, err
	}
	switch {
	case onMain != onFollower && loc.Loss != ledger.Healthy && loc.Route.State == ledger.Switched:
		return false, a.decideBucket(ctx, loc, onMain)
	case !onMain && onFollower && !loc.Known:
		return false, a.from.wrap("list", errSourceGone)
	case !onMain && onFollower && loc.Store != a.from.id:
		return false, errBucketDiffers // main will have it
	case !onMain:
		return true, a.led.AdvanceAudit(ctx, a.session, a.rng, a.rng.Start(), 0, nil, true)
	case loc.Known:
		return false, errNoFollowerBucket
	case a.rng.Start() != "":
		// What was compared before is gone with it.
		if err := a.led.EndAudit(ctx, a.rng.Audit, a.to.wrap("list", errFollowerGone).Error()); err != nil {
			return false, err
		}
		return false, ledger.ErrTaskLost
	}
	err = a.led.AdvanceAudit(ctx, a.session, a.rng, "", 0, []ledger.Suspect{{Since: time.Now()}}, false)
	if a.rng.Repair {
		return false, errors.Join(err, errNoFollowerBucket)
	}
	follower.ended = true
	return false, err
}

// decideBucket has the ledger, which lost data during a switch, know which store is
// right about a bucket that only one has; the range is gone through once both agree.
func (a *auditRun) decideBucket(ctx context.Context, loc ledger.Location, onMain bool) error {
	switch {
	case loc.Route.Main != a.from.id:
		return errPaused
	case loc.Loss != ledger.Lost:
		return errBucketDiffers
	}
	var found [2]bool
	found[loc.Route.Main], found[loc.Route.Main.Other()] = onMain, !onMain
	newest, _ := loc.NewestBucket(found)
	_, err := a.led.Adopt(ctx, ledger.Object{Bucket: a.rng.Bucket}, newest)
	return errors.Join(err, errBucketDiffers)
}

// next compares what the listings say of the next key. False: there is none.
func (a *auditRun) next(ctx context.Context, main, follower *reader) (bool, error) {
	m, onMain, err := main.peek(ctx, a.rng.End)
	if err != nil {
		return false, err
	}
	f, onFollower, err := follower.peek(ctx, a.rng.End)
	if err != nil || !onMain && !onFollower {
		return false, err
	}
	switch {
	case onMain && (!onFollower || m.key < f.key):
		main.pop()
		a.cursor = m.key
		a.suspect(m.key, "")
	case !onMain || f.key < m.key:
		follower.pop()
		a.cursor = f.key
		a.suspect(f.key, unlisted+a.from.id.String())
	default:
		main.pop()
		follower.pop()
		a.cursor = m.key
		switch {
		case m.size != f.size || m.etag == "" || !sameETag(m.etag, f.etag):
			a.suspect(m.key, "")
		case a.rng.Mode == auditChecksum || sampled(a.rng.Audit, m.key):
			a.closer = append(a.closer, m.key)
		}
	}
	a.compared++
	return true, nil
}

func sampled(audit, key string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(audit))
	_, _ = h.Write([]byte(key))
	return h.Sum32()%sampleOne == 0
}

func (a *auditRun) suspect(key, note string) {
	a.suspects = append(a.suspects, ledger.Suspect{Key: key, Since: time.Now(), Note: note})
}

// lookCloser compares objects whose listings agree, and sets aside those that
// differ all the same, or could not be compared.
func (a *auditRun) lookCloser(ctx context.Context) error {
	var g sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, key := range a.closer {
		if err := a.slots.acquire(ctx, forBatches); err != nil {
			g.Wait()
			return err
		}
		g.Go(func() {
			defer a.slots.release(forBatches, 1)
			f, err := a.look(ctx, a.from, a.to, a.rng.Bucket, key, a.rng.Mode)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case ctx.Err() != nil:
				failed = ctx.Err()
			case err != nil || f.kind != "":
				a.suspect(key, "")
			}
		})
	}
	g.Wait()
	return failed
}

// advance makes what was compared known, and waits while too much is set aside.
func (a *auditRun) advance(ctx context.Context, done bool) error {
	if err := a.lookCloser(ctx); err != nil {
		return err
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := a.led.AdvanceAudit(ctx, a.session, a.rng, a.cursor, a.compared, a.suspects, done)
		if err == nil {
			a.metrics.audited.WithLabelValues("compared").Add(float64(a.compared))
			a.compared, a.suspects, a.closer = 0, nil, nil
		}
		if !errors.Is(err, ledger.ErrQueueFull) {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// split gives a part of the range away while other workers have none.
func (a *auditRun) split(ctx context.Context) error {
	want, err := a.led.WantAuditSplit(ctx)
	if err != nil || !want {
		return err
	}
	mid, err := middle(ctx, a.rng.Start(), a.rng.End, func(ctx context.Context, after string) (string, error) {
		return a.from.first(ctx, a.rng.Bucket, after)
	})
	if err != nil || mid == "" {
		return err
	}
	return a.led.SplitAudit(ctx, a.session, a.rng, mid)
}

// reader reads a store's listing key by key.
type reader struct {
	s      *store
	bucket string
	cursor string
	page   []listed
	ended  bool
}

// peek returns the next key up to an end ("": none), and whether there is one.
func (k *reader) peek(ctx context.Context, end string) (listed, bool, error) {
	for len(k.page) == 0 && !k.ended {
		page, more, err := k.s.list(ctx, k.bucket, k.cursor, pageSize)
		if err != nil {
			return listed{}, false, err
		}
		k.page, k.ended = page, !more
		if len(page) > 0 {
			k.cursor = page[len(page)-1].key
		}
	}
	if len(k.page) == 0 || end != "" && k.page[0].key > end {
		return listed{}, false, nil
	}
	return k.page[0], true, nil
}

func (k *reader) pop() { k.page = k.page[1:] }
