package proxy

import (
	"context"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// bucketLocation looks up a bucket, for a listing of it. After a loss it waits
// until what processes remember is known again.
func (q *request) bucketLocation(ctx context.Context) (loc ledger.Location, err error) {
	for began := time.Now(); ; {
		err = q.p.ask(ctx, "lookup", func(ctx context.Context) error {
			loc, err = q.p.ledger.Lookup(ctx, ledger.Object{Bucket: q.in.Bucket})
			return err
		})
		if err != nil || loc.Loss == ledger.Healthy || loc.Loss == ledger.Lost {
			return loc, err
		}
		if time.Since(began) > q.p.cfg.LedgerWait {
			if loc.Route.State == ledger.Switched {
				return loc, errReplaying
			}
			return loc, nil
		}
		q.p.metrics.wait("replay")
		if err := pause(ctx, jitter(20*time.Millisecond, 100*time.Millisecond)); err != nil {
			return loc, err
		}
	}
}

// compareRange compares the stores' listings of a key range and has the ledger
// know what differs, as a read of each key would. It returns the last key that
// was compared; "": the range is exhausted. Judge is the store that says whether
// the client may list.
func (q *request) compareRange(ctx context.Context, judge ledger.Store, prefix, after string) (horizon string, err error) {
	query := map[string][]string{"list-type": {"2"}, "encoding-type": {"url"}}
	l, err := parseListQuery(s3.ListObjectsV2, encodeQuery(query))
	if err != nil {
		return "", err
	}
	l.own[judge.Other()] = true
	var found [2]map[string]string
	for i := range found {
		found[i] = map[string]string{}
		p, err := q.fetch(ctx, l, ledger.Store(i), window{prefix: prefix, after: after, max: pageLimit})
		if err == nil && p.doc.text("IsTruncated") == "" {
			err = s3.ErrNoListing // an error page would look like a store without keys
		}
		if err != nil && !noBucket(err) {
			return "", q.incomparable(ctx, err)
		}
		for _, it := range p.items {
			found[i][it.key] = contentOf(it)
		}
		if n := len(p.items); p.truncated && n > 0 && (horizon == "" || p.items[n-1].key < horizon) {
			horizon = p.items[n-1].key
		}
	}
	differ := map[string]bool{}
	for i, m := range found {
		for k, content := range m {
			if other, ok := found[1-i][k]; !ok || other != content {
				differ[k] = true
			}
		}
	}
	for k := range differ {
		if horizon != "" && k > horizon {
			continue
		}
		if _, _, err := q.locate(ctx, ledger.Object{Bucket: q.in.Bucket, Key: k}); err != nil {
			return "", err
		}
	}
	return horizon, nil
}

// contentOf is what a listing says of an object's content.
func contentOf(it item) string {
	fields := it.fields()
	if fields == nil {
		return ""
	}
	etag, _ := text(it.raw, fields, "ETag")
	size, _ := text(it.raw, fields, "Size")
	return etag + "/" + size
}
