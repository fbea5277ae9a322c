package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// forwardTo sends a call to a store and its answer to the client.
func (q *request) forwardTo(store ledger.Store, c call) error {
	resp, err := q.send(q.r.Context(), store, c)
	if err != nil {
		return q.sendError(c, err)
	}
	defer func() { _ = resp.Body.Close() }()
	return q.respond(store, resp)
}

// sendError is the error to answer when send failed: the client's own fault if
// its body was bad or ended early.
func (q *request) sendError(c call, err error) error {
	if failure := c.body.failure(); failure != nil {
		var known *s3.Error
		if !asError(failure, &known) {
			failure = s3.ErrRequestTimeout
		}
		return failure
	}
	return err
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// maxRenamed bounds the answers in which a bucket is given its source name.
const maxRenamed = 8 << 20

// respond sends a store's answer to the client.
func (q *request) respond(store ledger.Store, resp *http.Response) error {
	if q.renames(store, resp) {
		raw, err := readBounded(resp.Body, maxRenamed)
		if err != nil {
			return err
		}
		return q.respondBytes(resp, q.p.rename(store, raw))
	}
	q.header(resp)
	if length := resp.Header["Content-Length"]; length != nil {
		q.w.Header()["Content-Length"] = length
	}
	q.w.WriteHeader(resp.StatusCode)
	return q.copyBody(resp)
}

// copyBody streams an answer's body.
func (q *request) copyBody(resp *http.Response) error {
	if q.r.Method == http.MethodHead {
		return nil
	}
	q.copying.Store(true)
	defer q.copying.Store(false)
	buf := buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(q.w, resp.Body, *buf)
	return err
}

// respondBytes sends a store's answer with another body.
func (q *request) respondBytes(resp *http.Response, body []byte) error {
	q.header(resp)
	q.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	q.w.WriteHeader(resp.StatusCode)
	_, err := q.w.Write(body)
	return err
}

// hopHeaders of an answer, in canonical form, belong to its connection or are set anew.
var hopHeaders = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te",
	"Trailer", "Transfer-Encoding", "Upgrade", "Content-Length"}

// header copies the answer's header, without what belongs to the connection.
func (q *request) header(resp *http.Response) {
	h := q.w.Header()
	own := connectionHeaders(resp.Header)
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			name = strings.ToLower(name) // as S3 writes it: some clients keep the case
		}
		h[name] = values
	}
	for _, name := range own {
		h.Del(name)
	}
	for _, name := range hopHeaders {
		delete(h, name)
	}
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // keeps net/http from making one up
	}
	if h.Get("X-Amz-Request-Id") == "" {
		h.Set("X-Amz-Request-Id", s3.NewRequestID())
	}
}

// nameAt returns a bucket's name on a store.
func (p *Proxy) nameAt(store ledger.Store, bucket string) string {
	if store == ledger.Target {
		if name, ok := p.names[0][bucket]; ok {
			return name
		}
	}
	return bucket
}

// renames reports whether the answer may name a bucket by its name on the target.
func (q *request) renames(store ledger.Store, resp *http.Response) bool {
	if store != ledger.Target || len(q.p.names[0]) == 0 || q.r.Method == http.MethodHead || resp.ContentLength == 0 {
		return false
	}
	if q.in.Bucket != "" && q.p.nameAt(store, q.in.Bucket) == q.in.Bucket {
		return false
	}
	if loc := resp.Header.Get("Location"); loc != "" {
		resp.Header.Set("Location", q.p.renamePath(loc))
	}
	if resp.StatusCode < 300 && (q.in.Operation == s3.GetObject || q.in.Operation == s3.SelectObjectContent) {
		return false
	}
	return strings.Contains(resp.Header.Get("Content-Type"), "xml") || resp.StatusCode >= 300
}

// rename gives buckets in a target's answer their source names.
func (p *Proxy) rename(store ledger.Store, raw []byte) []byte {
	if store != ledger.Target || len(p.names[1]) == 0 {
		return raw
	}
	d, err := parseDocument(bytes.TrimSpace(raw))
	if err != nil {
		return raw
	}
	var edits []edit
	for _, e := range d.children {
		switch e.name {
		case "Name", "Bucket", "BucketName":
			edits = p.renameText(d.raw, e, edits)
		case "Location", "Resource":
			path := unescape(d.raw[e.from:e.to])
			if renamed := p.renamePath(path); renamed != path {
				edits = append(edits, edit{e.from, e.to, escape(renamed)})
			}
		case "Buckets":
			list, _ := below(d.raw, e)
			for _, b := range list {
				fields, _ := below(d.raw, b)
				for _, f := range fields {
					if f.name == "Name" {
						edits = p.renameText(d.raw, f, edits)
					}
				}
			}
		}
	}
	return splice(d.raw, edits)
}

func (p *Proxy) renameText(raw []byte, e element, edits []edit) []edit {
	if name, ok := p.names[1][unescape(raw[e.from:e.to])]; ok {
		return append(edits, edit{e.from, e.to, escape(name)})
	}
	return edits
}

// renamePath renames the bucket in /bucket/key or https://host/bucket/key.
func (p *Proxy) renamePath(location string) string {
	head, rest := "", location
	if i := strings.Index(location, "://"); i >= 0 {
		j := strings.IndexByte(location[i+3:], '/')
		if j < 0 {
			return location
		}
		head, rest = location[:i+3+j], location[i+3+j:]
	}
	bucket, key, slash := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	name, ok := p.names[1][bucket]
	if !ok {
		return location
	}
	if slash {
		key = "/" + key
	}
	return head + "/" + name + key
}
