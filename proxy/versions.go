package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// versionMissing says that a store does not have a version id, or can't read it.
func versionMissing(status int) bool {
	return status == http.StatusNotFound || status == http.StatusBadRequest
}

// nullVersion is the id of what was written while a bucket kept no versions: each store
// has one of its own under it, a copy of the other's or an older one. So what is asked of
// it is asked of the store that has the newest version, as if no version were named.
const nullVersion = "null"

// namesVersion says that a version id is one store's alone.
func namesVersion(id string) bool { return id != "" && id != nullVersion }

// versionStore returns the store that a version id lives on, and the route by which it
// was looked for; nil: main. Only once traffic has moved is the other store asked: before
// that nothing but main may be written.
func (q *request) versionStore(ctx context.Context, key, version string) (*ledger.Store, ledger.Route, error) {
	r, err := q.p.obeyed(ctx)
	if err != nil || r.State != ledger.Switched {
		return nil, r, err
	}
	head := call{method: http.MethodHead, own: true, in: s3.Request{Bucket: q.in.Bucket, Key: key, Addressing: q.in.Addressing,
		Operation: s3.HeadObject, Class: s3.ClassObjectRead, VersionID: version}}
	query := encodeQuery(map[string][]string{"versionId": {version}})
	head.query = &query
	for _, s := range []ledger.Store{r.Main, r.Main.Other()} {
		resp, err := q.send(ctx, s, head)
		if err != nil {
			return nil, r, err
		}
		_ = resp.Body.Close()
		gateway := false
		if resp.StatusCode == http.StatusNotFound {
			// A HEAD's answer has no body, and gateways answer 404 too.
			if gateway, err = q.versionUnknown(ctx, s, head); err != nil {
				return nil, r, err
			}
		}
		switch {
		case resp.StatusCode >= 500 || gateway:
			return nil, r, s3.ErrServiceUnavailable.With("It is not known which object store has this version. Please try again.")
		// 405 is how a delete marker answers.
		case !versionMissing(resp.StatusCode):
			return &s, r, nil
		}
	}
	return nil, r, nil
}

// versionUnknown says that a store, asked again for a version that a HEAD did not find, does
// not say itself that it has no such version.
func (q *request) versionUnknown(ctx context.Context, store ledger.Store, c call) (bool, error) {
	c.method, c.in.Operation = http.MethodGet, s3.GetObject
	resp, err := q.send(ctx, store, c)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	return !saysMissing(resp), nil
}

// saysMissing reports whether an answer is a store's own word that it does not have what it
// was asked for.
func saysMissing(resp *http.Response) bool {
	if resp.StatusCode != http.StatusNotFound {
		return false
	}
	raw, err := readBounded(resp.Body, maxUploadResult)
	return err == nil && strings.HasPrefix((&storeError{resp: resp, body: raw}).code(), "NoSuch")
}

// beginVersion is begin of a change of one version, where that version lives.
func (q *request) beginVersion(ctx context.Context, opt ledger.BeginOptions) (*change, error) {
	for began := time.Now(); ; {
		store, r, err := q.versionStore(ctx, q.in.Key, q.in.VersionID)
		if err != nil {
			return nil, err
		}
		opt.Store = store
		c, err := q.begin(ctx, []string{q.in.Key}, opt)
		if errors.Is(err, ledger.ErrMoved) {
			// The switch has ended since: main alone is asked now, as before it.
			opt.Store = nil
			return q.begin(ctx, []string{q.in.Key}, opt)
		}
		if err != nil || store != nil || !movedSince(r, c.route) {
			return c, err
		}
		c.abort()
		if time.Since(began) > q.p.cfg.MaxInFlight {
			return nil, s3.ErrSlowDown
		}
		if err := pause(ctx, jitter(10*time.Millisecond, 50*time.Millisecond)); err != nil {
			return nil, err
		}
	}
}

// movedSince says that traffic has moved since a version was looked for: main is another
// store now.
func movedSince(looked, now ledger.Route) bool {
	return now.State == ledger.Switched && (looked.State != ledger.Switched || looked.Main != now.Main)
}

// versionsAt sorts what DeleteObjects is to delete: items for main, and versions that
// live on the other store.
func (q *request) versionsAt(ctx context.Context, items []deleteItem) (main, others []deleteItem, other *ledger.Store, r ledger.Route, err error) {
	if r, err = q.p.obeyed(ctx); err != nil || r.State != ledger.Switched {
		return items, nil, nil, r, err
	}
	var mu sync.Mutex
	where := make([]*ledger.Store, len(items))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(listParallel)
	for i, it := range items {
		if !namesVersion(it.version) {
			continue
		}
		g.Go(func() error {
			s, by, err := q.versionStore(gctx, it.key, it.version)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && by.Main == r.Main {
				where[i] = s
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, nil, r, err
	}
	for i, it := range items {
		if where[i] == nil || *where[i] == r.Main {
			main = append(main, it)
		} else {
			others, other = append(others, it), where[i]
		}
	}
	return main, others, other, r, nil
}
