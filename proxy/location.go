package proxy

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// relocate makes the Location in a result, where a store gives its own address,
// one that the client can reach: that of the object as the client named it.
func (q *request) relocate(raw []byte) []byte {
	d, err := parseDocument(bytes.TrimSpace(raw))
	if err != nil {
		return raw
	}
	for _, e := range d.children {
		if e.name != "Location" {
			continue
		}
		if at, ok := q.location(unescape(d.raw[e.from:e.to])); ok {
			return splice(d.raw, []edit{{e.from, e.to, escape(at)}})
		}
	}
	return raw
}

// location is a store's absolute address of the request's object, with the
// client's host. The path stays as the store writes it where both name the
// bucket in the path.
func (q *request) location(stored string) (string, bool) {
	u, err := url.Parse(stored)
	if err != nil || u.Host == "" || q.r.Host == "" {
		return "", false
	}
	scheme, path := "http", q.r.URL.EscapedPath()
	if q.r.TLS != nil {
		scheme = "https"
	}
	prefix := u.Scheme + "://" + u.Host
	if rest := stored[len(prefix):]; q.in.Addressing == s3.Path && strings.HasPrefix(rest, "/"+q.in.Bucket+"/") {
		path = rest
	}
	return scheme + "://" + q.r.Host + path, true
}
