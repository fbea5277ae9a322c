package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// read serves a read of an object, or of a bucket's configuration, from the
// store that holds its newest version.
func (q *request) read() error {
	ctx := q.r.Context()
	r, err := q.p.obeyed(ctx)
	if err != nil {
		return err
	}
	store, _, err := q.locate(ctx, q.object())
	if err != nil {
		return err
	}
	c := call{in: q.in, body: q.body}
	if q.body != nil {
		return q.forwardTo(store, c)
	}
	if !namesVersion(q.in.VersionID) {
		return q.readNewest(r, store, c)
	}
	if r.State == ledger.Steady {
		return q.forwardTo(store, c)
	}
	// A version may be known to the other store only. If that can't be asked, nobody
	// knows that there is no such version.
	resp, err := q.send(ctx, store, c)
	if err != nil {
		return q.sendError(c, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if !versionMissing(resp.StatusCode) {
		return q.respond(store, resp)
	}
	gone, err := q.bucketGone(ctx, store, resp)
	switch {
	case err != nil:
		return err
	case gone:
		return q.respond(store, resp)
	}
	other, err := q.send(ctx, store.Other(), c)
	if err != nil {
		return q.sendError(c, err)
	}
	defer func() { _ = other.Body.Close() }()
	if versionMissing(other.StatusCode) {
		return q.respond(store, resp)
	}
	return q.respond(store.Other(), other)
}

// bucketGone says whether a store that does not find a version lacks its bucket, which was deleted
// there: the other store may not know yet.
func (q *request) bucketGone(ctx context.Context, store ledger.Store, resp *http.Response) (bool, error) {
	switch {
	case lacksBucket(resp):
	case resp.StatusCode != http.StatusNotFound || q.r.Method != http.MethodHead:
		return false, nil
	default: // such an answer has no body that could say so
		if has, err := q.hasBucket(ctx, store, q.in.Bucket); err != nil {
			return false, q.incomparable(ctx, err)
		} else if has {
			return false, nil
		}
	}
	// After a loss that may have to be found out: it may have been made on the other store.
	newest, _, err := q.locate(ctx, ledger.Object{Bucket: q.in.Bucket})
	return newest == store, err
}

// readNewest serves a read from the store that held the newest version when it
// was located, by route r or a later one. If the newest version has moved to and fro meanwhile, that store
// may have answered with a write that nobody else sees yet: so during a switch
// the object must still be there once the answer has come.
func (q *request) readNewest(r ledger.Route, store ledger.Store, c call) error {
	ctx := q.r.Context()
	for {
		resp, err := q.send(ctx, store, c)
		if err != nil {
			return q.sendError(c, err)
		}
		newest := store
		now, ok := q.p.current()
		moving := !ok || now != r || now.State != ledger.Steady
		if moving {
			if newest, _, err = q.locate(ctx, q.object()); err != nil {
				_ = resp.Body.Close()
				return err
			}
		}
		if newest == store {
			defer func() { _ = resp.Body.Close() }()
			if moving && lacksBucket(resp) {
				// It was deleted there, and its bucket, which may be back on the other store.
				has, _, err := q.locate(ctx, ledger.Object{Bucket: q.in.Bucket})
				if err != nil {
					return err
				}
				if has != store {
					return s3.ErrNoSuchKey
				}
			}
			return q.respond(store, resp)
		}
		_ = resp.Body.Close()
		store = newest
	}
}

// lacksBucket reports whether a store's answer is that it has no such bucket. The
// answer can be passed on all the same.
func lacksBucket(resp *http.Response) bool {
	if resp.StatusCode != http.StatusNotFound {
		return false
	}
	raw, err := readBounded(resp.Body, maxUploadResult)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(raw), resp.Body), resp.Body}
	return err == nil && noBucket(&storeError{resp: resp, body: raw})
}
