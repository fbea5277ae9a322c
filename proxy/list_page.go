package proxy

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// maxPage bounds a store's page of a listing, in bytes.
const maxPage = 64 << 20

// item is one entry of a listing.
type item struct {
	key    string // or the common prefix
	prefix bool
	id     string // version or upload id
	store  ledger.Store
	raw    []byte // the element, as its store wrote it; nil: a common prefix of ours
	// encoded says that the key in raw is URL-encoded. A store that does not know
	// encoding-type ignores it.
	encoded bool
}

// position is where a listing goes on after the item.
func (i item) position() string {
	if i.prefix {
		return i.key + lastRune
	}
	return i.key
}

// initiated returns when a multipart upload began, by its store's clock; zero if it does not say.
func (i item) initiated() time.Time {
	v, _ := text(i.raw, i.fields(), "Initiated")
	t, _ := time.Parse(time.RFC3339, v)
	return t
}

// fields are the elements in the item's own; none, if it can't be read.
func (i item) fields() []element {
	top, err := elements(i.raw)
	if err != nil || len(top) != 1 {
		return nil
	}
	fields, err := below(i.raw, top[0])
	if err != nil {
		return nil
	}
	return fields
}

func compareItems(a, b item) int { return strings.Compare(a.key, b.key) }

// page is a part of a store's listing, sorted by key.
type page struct {
	items     []item
	truncated bool
	doc       document
	resp      *http.Response // its body is read and closed
}

// storeError is a store's refusal of a listing.
type storeError struct {
	store ledger.Store
	resp  *http.Response
	body  []byte
}

func (e *storeError) Error() string { return "the store refused a listing: " + e.resp.Status }

func (e *storeError) code() string {
	d, err := parseDocument(bytes.TrimSpace(e.body))
	if err != nil {
		return ""
	}
	return d.text("Code")
}

// noBucket reports whether err says that a store does not have the bucket.
func noBucket(err error) bool {
	var refused *storeError
	return errors.As(err, &refused) && refused.code() == s3.ErrNoSuchBucket.Code
}

// fetch gets one page of a listing from a store.
func (q *request) fetch(ctx context.Context, l listQuery, store ledger.Store, w window) (page, error) {
	query, in := l.query(w), q.in
	in.Operation, in.Class = l.op, s3.ClassListing // the request may be about to delete the bucket
	resp, err := q.send(ctx, store, call{in: in, method: http.MethodGet, query: &query, own: l.own[store]})
	if err != nil {
		return page{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := readBounded(resp.Body, maxPage)
	if err != nil {
		return page{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return page{}, &storeError{store, resp, raw}
	}
	p, err := parsePage(l, store, raw)
	p.resp = resp
	// Some stores take a marker as the first key to list, not the last one not to.
	p.items = slices.DeleteFunc(p.items, func(it item) bool {
		return it.position() <= w.after && (w.marker == "" || it.key != w.after)
	})
	if err == nil && p.truncated && len(p.items) == 0 {
		err = errNoProgress
	}
	return p, err
}

var errNoProgress = errors.New("a page of the store's listing holds nothing new")

func parsePage(l listQuery, store ledger.Store, raw []byte) (page, error) {
	d, err := parseDocument(bytes.TrimSpace(raw))
	if err != nil {
		return page{}, err
	}
	encoded := urlEncoded(d)
	p := page{doc: d, truncated: d.text("IsTruncated") == "true"}
	for _, e := range d.children {
		it := item{store: store, raw: d.raw[e.start:e.end], encoded: encoded, prefix: e.name == "CommonPrefixes"}
		if !it.prefix && !slices.Contains(l.kind.items, e.name) {
			continue
		}
		fields, err := below(d.raw, e)
		if err != nil {
			return page{}, err
		}
		name := "Key"
		if it.prefix {
			name = "Prefix"
		}
		key, ok := text(d.raw, fields, name)
		if !ok {
			return page{}, errXML
		}
		it.key = decodeKey(key, encoded)
		if l.kind.id != "" {
			it.id, _ = text(d.raw, fields, l.kind.id)
		}
		p.items = append(p.items, it)
	}
	slices.SortStableFunc(p.items, compareItems)
	return p, nil
}

func urlEncoded(d document) bool { return d.text("EncodingType") == "url" }

// element is the item as it must stand among keys that are URL-encoded or not.
func (i item) element(encoded bool) []byte {
	name := "Key"
	if i.prefix {
		name = "Prefix"
	}
	if i.raw == nil {
		return []byte("<CommonPrefixes><Prefix>" + encodeKey(i.key, encoded) + "</Prefix></CommonPrefixes>")
	}
	if i.encoded == encoded {
		return i.raw
	}
	for _, f := range i.fields() {
		if f.name == name {
			return splice(i.raw, []edit{{f.from, f.to, encodeKey(i.key, encoded)}})
		}
	}
	return i.raw
}

// fetchWhole is fetch, but a key's last versions are not left for the next page.
func (q *request) fetchWhole(ctx context.Context, l listQuery, store ledger.Store, w window) (page, error) {
	if l.op == s3.ListObjectVersions {
		w.max = pageLimit // room for all versions of a key, as a rule
	}
	p, err := q.fetch(ctx, l, store, w)
	if err != nil || l.op != s3.ListObjectVersions || !p.truncated || len(p.items) == 0 {
		return p, err
	}
	last := p.items[len(p.items)-1]
	if last.prefix {
		return p, nil
	}
	rest, err := q.fetchGroup(ctx, l, store, last.key, last.id)
	p.items = append(p.items, rest...)
	return p, err
}

// fetchGroup returns the versions or uploads of one key after an id; id "": all.
func (q *request) fetchGroup(ctx context.Context, l listQuery, store ledger.Store, key, id string) ([]item, error) {
	var out []item
	w := window{prefix: key, max: pageLimit}
	for {
		if id != "" {
			w.after, w.marker = key, id
		}
		p, err := q.fetch(ctx, l, store, w)
		if err != nil {
			return out, err
		}
		// Again, a store may begin with the marker itself.
		if i := slices.IndexFunc(p.items, func(it item) bool { return it.key == key && it.id == id }); i >= 0 {
			p.items = p.items[i+1:]
		}
		same := len(p.items) > 0
		for _, it := range p.items {
			if same = it.key == key; !same {
				break
			}
			out = append(out, it)
			id = it.id
		}
		if !p.truncated || !same {
			return out, nil
		}
	}
}
