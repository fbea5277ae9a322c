package simulation

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// object is what a store holds under a key.
type object struct {
	data     string
	etag     string
	header   http.Header // content headers and user metadata
	parts    []string
	modified time.Time
	version  string // its id, in a versioned bucket
	marker   bool   // it says that the key was deleted
}

type upload struct {
	key    string
	header http.Header
	parts  map[int]string
	began  time.Time
	copied bool // by a worker
}

type bucket struct {
	store     *store
	objects   map[string]*object // what is current
	uploads   map[string]*upload
	versioned bool
	suspended bool                 // what is written has no id of its own
	versions  map[string][]*object // the oldest first, in a versioned bucket
}

// store is the model of an S3 store. It is used under the world's lock.
type store struct {
	name        string
	conditional bool
	buckets     map[string]*bucket
	ids         int
	versions    int    // ids of versions given
	vain        int    // delete markers of nothing
	keeps       string // a bucket that keeps versions when it is made
}

func newStore(name string) *store {
	return &store{name: name, conditional: true, buckets: map[string]*bucket{}}
}

func (s *store) newBucket() *bucket {
	return &bucket{store: s, objects: map[string]*object{}, uploads: map[string]*upload{}, versions: map[string][]*object{}}
}

func md5tag(data string) string {
	sum := md5.Sum([]byte(data))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// joinedTag is the ETag of an object made of parts.
func joinedTag(parts []string) string {
	h := md5.New()
	for _, p := range parts {
		sum := md5.Sum([]byte(p))
		h.Write(sum[:])
	}
	return fmt.Sprintf(`"%s-%d"`, hex.EncodeToString(h.Sum(nil)), len(parts))
}

// precondition checks If-Match and If-None-Match against what is there; "" is fine.
func (s *store) precondition(h http.Header, have *object) string {
	if !s.conditional {
		return ""
	}
	match, none := h.Get("If-Match"), h.Get("If-None-Match")
	switch {
	case match != "" && have == nil:
		return "NoSuchKey"
	case match != "" && match != "*" && strings.Trim(match, `"`) != strings.Trim(have.etag, `"`):
		return "PreconditionFailed"
	case none == "*" && have != nil:
		return "PreconditionFailed"
	}
	return ""
}

func contentHeader(h http.Header) http.Header {
	out := http.Header{"Content-Type": {"binary/octet-stream"}}
	for k, v := range h {
		if strings.HasPrefix(k, "X-Amz-Meta-") || k == "Content-Type" || k == "Cache-Control" {
			out[k] = v
		}
	}
	return out
}

func (b *bucket) put(key, data string, h http.Header) *object {
	o := &object{data: data, etag: md5tag(data), header: contentHeader(h), modified: time.Now()}
	b.add(key, o)
	return o
}

// uploadID names the last upload.
func (s *store) uploadID() string { return fmt.Sprintf("%s-upload-%04d", s.name, s.ids) }

func (s *store) create(b *bucket, key string, h http.Header) string {
	s.ids++
	id := s.uploadID()
	b.uploads[id] = &upload{key: key, header: contentHeader(h), parts: map[int]string{}, began: time.Now()}
	return id
}

func (b *bucket) complete(id string, numbers []int) (*object, string) {
	u := b.uploads[id]
	var parts []string
	for _, n := range numbers {
		p, ok := u.parts[n]
		if !ok {
			return nil, "InvalidPart"
		}
		parts = append(parts, p)
	}
	o := &object{data: strings.Join(parts, ""), etag: joinedTag(parts), header: u.header, parts: parts, modified: time.Now()}
	b.add(u.key, o)
	delete(b.uploads, id)
	return o, ""
}

func (b *bucket) keys() []string { return slices.Sorted(maps.Keys(b.objects)) }

// contents is what a bucket holds, as text.
func (s *store) contents(name string) map[string]string {
	out := map[string]string{}
	if b := s.buckets[name]; b != nil {
		for k, o := range b.objects {
			out[k] = o.data
		}
	}
	return out
}
