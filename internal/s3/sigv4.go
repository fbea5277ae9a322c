package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	service     = "s3"
	terminator  = "aws4_request"
	timeFormat  = "20060102T150405Z"
	dateFormat  = "20060102"
	hexHashSize = 2 * sha256.Size
)

// buffers are reused for canonical requests: they live for one signature.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// signingKey is a derived key with hashers for it.
type signingKey struct {
	macs sync.Pool
}

func newSigningKey(secret, date, region string) *signingKey {
	key := hmacSHA256([]byte("AWS4"+secret), date)
	key = hmacSHA256(key, region)
	key = hmacSHA256(key, service)
	key = hmacSHA256(key, terminator)
	return &signingKey{
		macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }},
	}
}

func hmacSHA256(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// signature returns the signature of msg in hex.
func (k *signingKey) signature(msg []byte) (out [hexHashSize]byte) {
	h := k.macs.Get().(hash.Hash)
	h.Reset()
	h.Write(msg)
	var sum [sha256.Size]byte
	hex.Encode(out[:], h.Sum(sum[:0]))
	k.macs.Put(h)
	return out
}

// keyCache holds derived keys by access key, secret, date and region.
type keyCache struct {
	mu   sync.RWMutex
	keys map[keyID]*signingKey
}

type keyID struct{ accessKeyID, secret, date, region string }

// maxCachedKeys bounds the cache: dates and regions come from clients.
const maxCachedKeys = 1024

func (c *keyCache) get(accessKeyID, secret, date, region string) *signingKey {
	id := keyID{accessKeyID, secret, date, region}
	c.mu.RLock()
	key := c.keys[id]
	c.mu.RUnlock()
	if key != nil {
		return key
	}
	key = newSigningKey(secret, date, region)
	c.mu.Lock()
	if c.keys == nil || len(c.keys) >= maxCachedKeys {
		c.keys = make(map[keyID]*signingKey)
	}
	// The strings may point into a request's header: keep copies only.
	c.keys[keyID{strings.Clone(accessKeyID), secret, strings.Clone(date), strings.Clone(region)}] = key
	c.mu.Unlock()
	return key
}

// canonical is what a signature is computed over.
type canonical struct {
	method string
	path   string // escaped
	query  []param
	// skip is a query parameter left out (X-Amz-Signature).
	skip    string
	headers []string // names, lower case, sorted
	payload string
}

// appendTo appends the canonical request of r.
func (c *canonical) appendTo(b []byte, r *http.Request) []byte {
	b = append(append(b, c.method...), '\n')
	path := c.path
	if path == "" {
		path = "/"
	}
	b = append(append(b, path...), '\n')
	b = append(appendCanonicalQuery(b, c.query, c.skip), '\n')
	for _, name := range c.headers {
		b = append(append(b, name...), ':')
		b = append(appendHeaderValue(b, r, name), '\n')
	}
	b = append(b, '\n')
	for i, name := range c.headers {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, c.payload...)
}

func appendCanonicalQuery(b []byte, params []param, skip string) []byte {
	switch {
	case len(params) == 0:
		return b
	case len(params) == 1:
		if params[0].name == skip {
			return b
		}
		b = append(appendEscaped(b, params[0].name, false), '=')
		return appendEscaped(b, params[0].value, false)
	}
	sorted := make([]param, 0, len(params))
	for _, p := range params {
		if p.name != skip {
			sorted = append(sorted, param{name: escape(p.name, false), value: escape(p.value, false)})
		}
	}
	slices.SortFunc(sorted, func(x, y param) int {
		if d := strings.Compare(x.name, y.name); d != 0 {
			return d
		}
		return strings.Compare(x.value, y.value)
	})
	for i, p := range sorted {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(b, p.name...), '=')
		b = append(b, p.value...)
	}
	return b
}

// appendHeaderValue appends the canonical value of a header; net/http keeps
// some of them outside of the Header map.
func appendHeaderValue(b []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return append(b, requestHost(r)...)
	case "transfer-encoding":
		return append(b, strings.Join(r.TransferEncoding, ",")...)
	}
	values := r.Header[textproto.CanonicalMIMEHeaderKey(name)]
	if len(values) == 0 && name == "content-length" && r.ContentLength >= 0 {
		return strconv.AppendInt(b, r.ContentLength, 10)
	}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, v)
	}
	return b
}

// appendTrimmed trims v and collapses runs of spaces in it.
func appendTrimmed(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") {
		return append(b, v...)
	}
	for i := 0; i < len(v); i++ {
		if v[i] != ' ' || v[i-1] != ' ' {
			b = append(b, v[i])
		}
	}
	return b
}

func requestHost(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	return r.URL.Host
}

// appendStringToSign appends what is signed for a request.
func appendStringToSign(b []byte, timestamp, scope string, request []byte) []byte {
	sum := sha256.Sum256(request)
	b = append(b, algorithm...)
	b = append(append(b, '\n'), timestamp...)
	b = append(append(b, '\n'), scope...)
	b = append(b, '\n')
	return hex.AppendEncode(b, sum[:])
}

func appendScope(b []byte, date, region string) []byte {
	b = append(append(b, date...), '/')
	b = append(append(b, region...), '/')
	return append(b, service+"/"+terminator...)
}

// sign returns the signature of the canonical request and the buffer's content.
func (c *canonical) sign(r *http.Request, key *signingKey, timestamp, scope string) [hexHashSize]byte {
	buf := buffers.Get().(*[]byte)
	b := c.appendTo((*buf)[:0], r)
	n := len(b)
	b = appendStringToSign(b, timestamp, scope, b[:n])
	out := key.signature(b[n:])
	*buf = b[:0]
	buffers.Put(buf)
	return out
}

// normalPath is the path decoded and encoded again the way AWS writes it: some
// clients sign that form whatever they send.
func normalPath(escaped string) (string, bool) {
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return "", false
	}
	normal := escape(plain, true)
	return normal, normal != escaped
}

func formatTime(t time.Time) (timestamp, date string) {
	timestamp = t.UTC().Format(timeFormat)
	return timestamp, timestamp[:len(dateFormat)]
}
