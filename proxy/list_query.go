package proxy

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// listKind is what differs between the listing operations.
type listKind struct {
	after   string   // parameter: list keys after this one
	marker  string   // parameter: and, of that key itself, what comes after this version or upload
	max     string   // parameter: page size
	items   []string // elements of the answer
	id      string   // element of an item: version or upload id
	maxName string   // element of the answer: page size
}

var listKinds = map[s3.Operation]*listKind{
	s3.ListObjects:          {after: "marker", max: "max-keys", items: []string{"Contents"}, maxName: "MaxKeys"},
	s3.ListObjectsV2:        {after: "start-after", max: "max-keys", items: []string{"Contents"}, maxName: "MaxKeys"},
	s3.ListObjectVersions:   {after: "key-marker", marker: "version-id-marker", max: "max-keys", items: []string{"Version", "DeleteMarker"}, id: "VersionId", maxName: "MaxKeys"},
	s3.ListMultipartUploads: {after: "key-marker", marker: "upload-id-marker", max: "max-uploads", items: []string{"Upload"}, id: "UploadId", maxName: "MaxUploads"},
}

// pageLimit is the largest page that S3 gives.
const pageLimit = 1000

// lastRune sorts after everything that a key goes on with: listing after a
// common prefix and lastRune skips all that is below the prefix.
const lastRune = "\U0010FFFF"

// listQuery is a client's listing request.
type listQuery struct {
	op         s3.Operation
	kind       *listKind
	values     url.Values
	prefix     string
	delimiter  string
	after      string // where the page begins
	startAfter string // as sent, ListObjectsV2 only
	token      string // ContinuationToken as sent; empty: none
	opaque     bool   // the token is a store's own
	marker     string // version or upload id marker, unwrapped
	markerFrom ledger.Store
	wrapped    bool // markerFrom is known
	max        int
	refused    bool // the page size is one that stores refuse
	// own are the stores that are asked with their own keys: the other one judges
	// whether the client may list, and this one's policy may be a moment behind.
	own [2]bool
}

func parseListQuery(op s3.Operation, raw string) (listQuery, error) {
	// A semicolon separates nothing in S3.
	v, err := url.ParseQuery(strings.ReplaceAll(raw, ";", "%3B"))
	if err != nil {
		return listQuery{}, s3.ErrInvalidURI
	}
	kind := listKinds[op]
	l := listQuery{op: op, kind: kind, values: v, prefix: v.Get("prefix"), delimiter: v.Get("delimiter"),
		after: v.Get(kind.after), max: pageLimit}
	if s := v.Get(kind.max); s != "" {
		// What is not a number is for the store to refuse.
		if n, err := strconv.Atoi(s); err == nil && n >= 0 {
			l.max = min(n, pageLimit)
		} else {
			l.refused = true
		}
	}
	if op == s3.ListObjectsV2 {
		l.startAfter = l.after
		l.token = v.Get("continuation-token")
		if after, ok := decodeToken(l.token); ok {
			l.after = after
		} else {
			l.opaque = l.token != ""
		}
	}
	if kind.marker != "" {
		l.marker = v.Get(kind.marker)
		if id, store, ok := unwrapMarker(l.marker); ok {
			l.marker, l.markerFrom, l.wrapped = id, store, true
		}
	}
	return l, nil
}

// window is one page to be fetched from a store.
type window struct {
	prefix, delimiter, after, marker string
	max                              int
}

// query is the query that asks a store for a window.
func (l listQuery) query(w window) string {
	v := url.Values{}
	for name, values := range l.values {
		v[name] = values
	}
	set := func(name, value string) {
		if value == "" {
			v.Del(name)
		} else {
			v.Set(name, value)
		}
	}
	v.Del("continuation-token")
	set("prefix", w.prefix)
	set("delimiter", w.delimiter)
	set(l.kind.after, w.after)
	if l.kind.marker != "" {
		set(l.kind.marker, w.marker)
	}
	v.Set(l.kind.max, strconv.Itoa(w.max))
	return encodeQuery(v)
}

// encodeQuery encodes a query so that it is signed and read alike everywhere: a
// space is never "+".
func encodeQuery(v url.Values) string { return strings.ReplaceAll(v.Encode(), "+", "%20") }

// Tokens name a position in the keys, so that either store can go on from them.

const tokenPrefix = "cf1:"

func encodeToken(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenPrefix + after))
}

func decodeToken(token string) (after string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(string(b), tokenPrefix)
}

// Markers of versions and uploads mean something to one store only; they say which.

func wrapMarker(store ledger.Store, id string) string {
	head := "cf1s"
	if store == ledger.Target {
		head = "cf1t"
	}
	return head + base64.RawURLEncoding.EncodeToString([]byte(id))
}

func unwrapMarker(s string) (id string, store ledger.Store, ok bool) {
	rest, isSource := strings.CutPrefix(s, "cf1s")
	if !isSource {
		if rest, ok = strings.CutPrefix(s, "cf1t"); !ok {
			return "", 0, false
		}
		store = ledger.Target
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		return "", 0, false
	}
	return string(b), store, true
}

// rollUp returns the common prefix that a key falls under, if any.
func rollUp(key, prefix, delimiter string) (string, bool) {
	if delimiter == "" || !strings.HasPrefix(key, prefix) {
		return "", false
	}
	i := strings.Index(key[len(prefix):], delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(prefix)+i+len(delimiter)], true
}
