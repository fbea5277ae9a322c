package proxy

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// What belongs to a request or an answer, and not to a connection, passes as it is.
func TestHeadersQueriesAndAnswersPassAsTheyAre(t *testing.T) {
	type seen struct {
		Query  string
		Header http.Header
	}
	tests := map[string]struct {
		method, query string
		header        http.Header
		status        int
		answer        http.Header
		body          string
	}{
		"SSE-C": {method: "PUT", header: http.Header{"X-Amz-Server-Side-Encryption-Customer-Algorithm": {"AES256"},
			"X-Amz-Server-Side-Encryption-Customer-Key": {"a2V5"}, "X-Amz-Server-Side-Encryption-Customer-Key-Md5": {"bWQ1"}}, status: 200},
		"multi-value headers": {method: "PUT", header: http.Header{"X-Amz-Meta-A": {"1", "2"}, "Cache-Control": {"no-cache", "max-age=1"}}, status: 200,
			answer: http.Header{"X-Amz-Expiration": {"a", "b"}, "Vary": {"Origin", "Accept"}}},
		"ranges and conditions": {method: "GET", header: http.Header{"Range": {"bytes=0-1,3-4"}, "If-Match": {`"a"`}, "If-Modified-Since": {"Fri, 24 May 2013 00:00:00 GMT"}},
			status: 206, answer: http.Header{"Content-Range": {"bytes 0-1/5"}, "Content-Encoding": {"gzip"}}, body: "ab"},
		"overrides and part number": {method: "GET", query: "partNumber=2&response-content-disposition=attachment%3B%20filename%3D%22a%20b%22&response-content-type=text%2Fx", status: 200,
			answer: http.Header{"X-Amz-Mp-Parts-Count": {"3"}}, body: "part"},
		"website redirect":   {method: "GET", status: 301, answer: http.Header{"Location": {"http://elsewhere/x"}}},
		"website error":      {method: "GET", status: 404, answer: http.Header{"Content-Type": {"text/html"}, "X-Amz-Error-Code": {"NoSuchKey"}}, body: "<h1>gone</h1>"},
		"not modified":       {method: "GET", status: 304, answer: http.Header{"Etag": {`"a"`}, "Cache-Control": {"max-age=1"}}},
		"delete marker":      {method: "HEAD", status: 404, answer: http.Header{"X-Amz-Delete-Marker": {"true"}, "X-Amz-Version-Id": {"v"}}},
		"no type, no length": {method: "GET", status: 200, body: "x"},
		"region redirect":    {method: "HEAD", status: 301, answer: http.Header{"X-Amz-Bucket-Region": {"eu-west-1"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			var got seen
			store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				got = seen{req.URL.RawQuery, req.Header}
				for k, v := range tt.answer {
					w.Header()[k] = v
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer store.Close()
			reroute := func(req *http.Request, send next) (*http.Response, error) {
				req.URL.Host = strings.TrimPrefix(store.URL, "http://")
				return send(req)
			}
			for _, h := range r.hooks {
				h.set(reroute)
			}
			for _, phase := range []string{"Copying", "SwitchStarted"} {
				path := "/" + r.bucket + "/k"
				if tt.query != "" {
					path += "?" + tt.query
				}
				resp := r.raw(tt.method, path, "", tt.header)
				if resp.StatusCode != tt.status || tt.method != http.MethodHead && resp.text != tt.body {
					t.Errorf("%s: %d %q", phase, resp.StatusCode, resp.text)
				}
				for k, want := range tt.answer {
					if diff := cmp.Diff(want, resp.Header[k]); diff != "" {
						t.Errorf("%s: answer's %s: %s", phase, k, diff)
					}
				}
				for k, want := range tt.header {
					if diff := cmp.Diff(want, got.Header[k]); diff != "" {
						t.Errorf("%s: request's %s: %s", phase, k, diff)
					}
				}
				if got.Query != tt.query {
					t.Errorf("%s: query %q", phase, got.Query)
				}
				r.settled()
				r.route(ledger.Source, ledger.Preparing)
				r.route(ledger.Target, ledger.Switched)
			}
		})
	}
}

// Bodies of the largest size there is pass in constant memory.
func TestBodiesPassInConstantMemory(t *testing.T) {
	r := newRig(t, rigOptions{})
	const size, moved, limit = 5 << 40, 256 << 20, 32 << 20
	var most atomic.Int64
	measure := func() {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most.Store(max(most.Load(), int64(m.HeapAlloc)))
	}
	measure()
	before := most.Load()
	r.hooks[0].set(func(req *http.Request, _ next) (*http.Response, error) {
		if req.Method == http.MethodGet {
			out := answer(req, 200, "")
			out.Header.Set("Content-Length", strconv.Itoa(size))
			out.ContentLength, out.Body = size, io.NopCloser(zeroes{})
			return out, nil
		}
		if req.ContentLength != size {
			t.Errorf("%d bytes are announced", req.ContentLength)
		}
		_, err := io.CopyN(io.Discard, req.Body, moved)
		measure()
		return answer(req, 200, ""), err
	})
	conn := r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/k", ""), size, "", "")
	go func() { _, _ = io.CopyN(conn, zeroes{}, size) }()
	if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("%q %v", got, err)
	}
	resp, err := r.client.HTTP.Transport.RoundTrip(r.signed(http.MethodGet, "/"+r.bucket+"/k", ""))
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.CopyN(io.Discard, resp.Body, moved); err != nil || resp.ContentLength != size {
		t.Errorf("%d bytes are announced; %v", resp.ContentLength, err)
	}
	measure()
	if got := most.Load() - before; got > limit {
		t.Errorf("%d MiB of memory for it", got>>20)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A semicolon is a part of a value, as a store sees it.
func TestSemicolonsOfAQueryAreKept(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "a;b", "v")
	r.put(r.client, "a", "v")
	for _, phase := range []string{"Copying", "SwitchStarted"} {
		for _, query := range []string{"?prefix=a;", "?list-type=2&prefix=a;", "?versions&prefix=a;"} {
			if resp := r.raw(http.MethodGet, "/"+r.bucket+query, "", nil); resp.StatusCode != 200 || strings.Count(resp.text, "<Key>") != 1 || !strings.Contains(resp.text, "<Key>a;b</Key>") {
				t.Errorf("%s, %s: %d %s", phase, query, resp.StatusCode, resp.text)
			}
		}
		r.settled()
		r.route(ledger.Source, ledger.Preparing)
		r.route(ledger.Target, ledger.Switched)
	}
}

func TestVirtualHostStyle(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Domains = []string{"s3.example.com"} }})
	send := func(method, host, path, body string) *rawResponse {
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
		r.must(err)
		req.Host = host
		s3.NewSigner(r.client.Endpoint).Sign(req, s3.UnsignedPayload, time.Now())
		return r.do(req)
	}
	host := r.bucket + ".s3.example.com:8080"
	check := func(phase string) {
		t.Helper()
		if resp := send(http.MethodPut, host, "/"+phase, "v"); resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s", phase, resp.StatusCode, resp.text)
		}
		if resp := send(http.MethodGet, "s3.example.com", "/"+r.bucket+"/"+phase, ""); resp.text != "v" {
			t.Errorf("%s: by path: %d %s", phase, resp.StatusCode, resp.text)
		}
		if resp := send(http.MethodGet, host, "/?list-type=2&prefix="+phase, ""); !strings.Contains(resp.text, "<Key>"+phase+"</Key>") {
			t.Errorf("%s: listed: %d %s", phase, resp.StatusCode, resp.text)
		}
		r.settled()
	}
	check("Copying")
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	check("SwitchStarted")
	r.sync()
	r.route(ledger.Target, ledger.Steady)
	check("SwitchDone")
	if got := r.newest("SwitchDone"); got != "Target" {
		t.Errorf("newest on %q", got)
	}
}
