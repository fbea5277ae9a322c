package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// locate returns the store that holds the newest version of an object, and
// whether the other one does not. After a loss of the ledger's data, while a
// switch is under way, what it holds may be too old, and "no record" means
// nothing: then the read waits until every process has told the ledger again
// what it did of late, and what nobody tells of, the stores themselves decide.
func (q *request) locate(ctx context.Context, o ledger.Object) (store ledger.Store, known bool, err error) {
	for began := time.Now(); ; {
		loc, err := q.p.locate(ctx, o)
		switch {
		case err == nil && loc.Loss == ledger.Healthy && loc.Store == loc.Route.Main && o.Key != "" && o.Bucket == q.in.Bucket:
			stands, err := q.bucketStands(ctx, loc.Route)
			if !stands && err == nil {
				if err = q.awaitBucket(ctx, began); err == nil {
					continue
				}
			}
			return loc.Store, loc.Known, err
		case err != nil || loc.Loss == ledger.Healthy:
			return loc.Store, loc.Known, err
		case loc.Loss != ledger.Lost && time.Since(began) < q.p.cfg.LedgerWait:
			q.p.metrics.wait("replay")
			if err := pause(ctx, jitter(20*time.Millisecond, 100*time.Millisecond)); err != nil {
				return 0, false, err
			}
			continue
		case loc.Route.State != ledger.Switched:
			return loc.Route.Main, false, nil
		case loc.Loss != ledger.Lost:
			return 0, false, errReplaying
		case o.Key == "":
			return q.decideBucket(ctx, o, loc)
		}
		return q.decide(ctx, o, loc)
	}
}

// errReplaying: somebody may still tell of a newer version, so any answer may be stale.
var errReplaying = s3.ErrSlowDown.With("Redis lost data, and it is still being found out what. Please try again.")

// decide compares an object on both stores. If they differ, the newer one is
// written into the ledger, so that every process says the same from then on.
func (q *request) decide(ctx context.Context, o ledger.Object, loc ledger.Location) (ledger.Store, bool, error) {
	asked := time.Now()
	var seen [2]ledger.Seen
	g, gctx := errgroup.WithContext(ctx)
	for i := range seen {
		g.Go(func() (err error) {
			seen[i], err = ledger.Look(asked, func() (ledger.Seen, error) { return q.look(gctx, ledger.Store(i), o) })
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, false, q.incomparable(ctx, err)
	}
	newest, differ := loc.Newest(loc.Since, seen)
	if !differ {
		return loc.Route.Main, false, nil
	}
	newest, err := q.adopt(ctx, o, newest)
	return newest, true, err
}

// adopt has the ledger know which store is newest, and returns what it knows then.
func (q *request) adopt(ctx context.Context, o ledger.Object, newest ledger.Store) (ledger.Store, error) {
	q.p.log.Info("the ledger lost what it knew of an object; its stores differ", "bucket", o.Bucket, "key", o.Key, "newest", newest.String())
	err := q.p.ask(ctx, "adopt", func(ctx context.Context) (err error) {
		newest, err = q.p.ledger.Adopt(ctx, o, newest)
		return err
	})
	return newest, err
}

// incomparable refuses a request because a store could not be asked.
func (q *request) incomparable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	q.p.log.Info("the stores can't be compared, so the request is refused", "bucket", q.in.Bucket, "key", q.in.Key, "error", err.Error())
	return s3.ErrSlowDown.With("The newest version is not known just now. Please try again.")
}

// selective are the headers that have a HEAD tell of something else than the
// whole object.
var selective = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Range", "Content-Length",
	"Content-Type", "Content-Md5", "Content-Encoding", "X-Amz-Copy-Source", "Transfer-Encoding", "Expect"}

// look asks a store for what it holds of an object.
func (q *request) look(ctx context.Context, store ledger.Store, o ledger.Object) (ledger.Seen, error) {
	c := call{method: http.MethodHead, own: true, query: new(string), header: http.Header{}, in: s3.Request{Bucket: o.Bucket, Key: o.Key, Addressing: q.in.Addressing,
		Operation: s3.HeadObject, Class: s3.ClassObjectRead}}
	for _, name := range selective {
		c.header[name] = nil
	}
	resp, err := q.send(ctx, store, c)
	if err != nil {
		return ledger.Seen{}, err
	}
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return q.missing(ctx, store, c)
	case resp.StatusCode != http.StatusOK:
		return ledger.Seen{}, fmt.Errorf("%s answers %s", store, resp.Status)
	}
	return seenIn(store, resp)
}

// seenIn is what a HEAD's answer, or a GET's, says of the object.
func seenIn(store ledger.Store, resp *http.Response) (ledger.Seen, error) {
	modified, err1 := http.ParseTime(resp.Header.Get("Last-Modified"))
	now, err2 := http.ParseTime(resp.Header.Get("Date"))
	if err := errors.Join(err1, err2); err != nil {
		return ledger.Seen{}, fmt.Errorf("%s: %w", store, err)
	}
	// Its age is by the store's own clock.
	return ledger.Seen{Found: true, ETag: resp.Header.Get("ETag"), Size: resp.ContentLength, Age: now.Sub(modified)}, nil
}

// missing looks again at what a HEAD did not find: that answer has no body, and gateways
// answer 404 too while a store is away. Only the store's own word counts; or the object
// has come meanwhile.
func (q *request) missing(ctx context.Context, store ledger.Store, c call) (ledger.Seen, error) {
	c.method, c.in.Operation = http.MethodGet, s3.GetObject
	resp, err := q.send(ctx, store, c)
	if err != nil {
		return ledger.Seen{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
		return seenIn(store, resp)
	case http.StatusNotFound:
		raw, err := readBounded(resp.Body, maxPage)
		if err != nil {
			return ledger.Seen{}, err
		}
		if code := (&storeError{store, resp, raw}).code(); code == s3.ErrNoSuchKey.Code || code == s3.ErrNoSuchBucket.Code {
			return ledger.Seen{}, nil
		}
	}
	return ledger.Seen{}, fmt.Errorf("%s answers 404, then %s, but not that the key is missing", store, resp.Status)
}

// begin is the proxy's begin; what the ledger does not know after a loss, the
// stores are asked for.
func (q *request) begin(ctx context.Context, keys []string, opt ledger.BeginOptions) (*change, error) {
	for began := time.Now(); ; {
		c, err := q.p.begin(ctx, q.in.Bucket, keys, opt)
		if err == nil && q.in.Key != "" {
			at, err := q.bucketOf(ctx, c)
			if at == bucketStanding && err == nil {
				return c, nil
			}
			c.abort()
			if err == nil && at == bucketMoving {
				err = q.untilBucketStands(ctx, c.route, began)
			}
			if err != nil {
				return nil, err
			}
			if at == bucketDeleted {
				opt.Store = nil // main says so
			}
			continue
		}
		if !errors.Is(err, ledger.ErrUnknown) {
			return c, err
		}
		if err := q.compare(ctx, keys); err != nil {
			return nil, err
		}
		opt.Compared = true
	}
}

// compare has the ledger know whether keys are in sync.
func (q *request) compare(ctx context.Context, keys []string) error {
	for _, k := range keys {
		if _, _, err := q.locate(ctx, ledger.Object{Bucket: q.in.Bucket, Key: k}); err != nil {
			return err
		}
	}
	return nil
}

// errUploadUnknown: a store that can't say whether it has the upload may be the one.
var errUploadUnknown = s3.ErrServiceUnavailable.With("It is not known which object store has this upload. Please try again.")

// uploadStore returns the store that the request's multipart upload lives on. If
// the ledger has lost that, it is the one which knows the upload.
func (q *request) uploadStore(ctx context.Context) (ledger.Store, error) {
	store, sure, err := q.p.uploadStore(ctx, q.object(), q.in.UploadID)
	if err != nil || sure {
		return store, err
	}
	in := q.in
	in.Operation, in.Class = s3.ListParts, s3.ClassMultipart
	query := encodeQuery(map[string][]string{"uploadId": {q.in.UploadID}, "max-parts": {"1"}})
	c := call{in: in, method: http.MethodGet, own: true, query: &query, header: http.Header{}}
	for _, name := range selective {
		c.header[name] = nil
	}
	unknown := false
	for _, s := range []ledger.Store{store, store.Other()} {
		resp, err := q.send(ctx, s, c)
		if err != nil {
			return store, err
		}
		unknown = unknown || resp.StatusCode >= 500 || resp.StatusCode == http.StatusNotFound && !saysMissing(resp)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return s, nil
		}
	}
	if unknown { // else a store that is away would make it NoSuchUpload, after which clients give up
		return store, errUploadUnknown
	}
	return store, nil
}
