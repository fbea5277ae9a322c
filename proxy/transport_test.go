package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

func formSignature(secret, date, region, policy string) string {
	key := []byte("AWS4" + secret)
	for _, part := range []string{date, region, "s3", "aws4_request", policy} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return hex.EncodeToString(key)
}

// trailing is a PUT with a checksum behind the body, as SDKs send it over TLS.
func (r *rig) trailing(key, body, sum string) *http.Request {
	r.Helper()
	header := http.Header{"X-Amz-Sdk-Checksum-Algorithm": {"CRC32C"}}
	framed, length, err := s3.EncodeTrailer(header, io.NopCloser(strings.NewReader(body)), int64(len(body)), []string{"x-amz-checksum-crc32c"},
		func() http.Header { return http.Header{"X-Amz-Checksum-Crc32c": {sum}} })
	r.must(err)
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPut, r.url+"/"+r.bucket+"/"+key, framed)
	r.must(err)
	req.Header, req.ContentLength = header, length
	s3.NewSigner(r.client.Endpoint).Sign(req, s3.StreamingUnsignedTrailer, time.Now())
	return req
}

func crc32c(body string) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli))))
}

// Checksums that clients send behind the body are kept by the store, whichever
// way the store takes them.
func TestTrailingChecksumsReachTheStore(t *testing.T) {
	for name, tt := range map[string]struct {
		takes bool
		size  int
		want  bool
	}{
		"trailer":                {true, 100, true},
		"trailer, long body":     {true, 3 << 20, true},
		"header":                 {false, 100, true},
		"header, empty":          {false, 0, true},
		"neither: a long body":   {false, 3 << 20, false},
		"trailer, empty":         {true, 0, true},
		"header, longest of all": {false, maxHeld, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{config: func(c *Config) {
				for i := range c.Stores {
					c.Stores[i].Trailers = func() bool { return tt.takes }
				}
			}})
			body := strings.Repeat("x", tt.size)
			check := func(store ledger.Store) {
				t.Helper()
				if resp := r.do(r.trailing("k", body, crc32c(body))); resp.StatusCode != 200 {
					t.Fatalf("%d %s", resp.StatusCode, resp.text)
				}
				head, err := r.direct[store].S3.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &r.bucket, Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled})
				r.must(err)
				if got := aws.ToString(head.ChecksumCRC32C) == crc32c(body); got != tt.want || aws.ToInt64(head.ContentLength) != int64(tt.size) {
					t.Errorf("checksum kept by the %s: %v; %d bytes", store, got, aws.ToInt64(head.ContentLength))
				}
			}
			check(ledger.Source)
			r.settled()
			r.sync()
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
			check(ledger.Target)
		})
	}
}

func TestWrongTrailingChecksumIsRefused(t *testing.T) {
	for _, takes := range []bool{true, false} {
		r := newRig(t, rigOptions{config: func(c *Config) { c.Stores[0].Trailers = func() bool { return takes } }})
		req := r.trailing("k", "hello", "AAAAAA==")
		if resp := r.do(req); resp.StatusCode != 400 || !strings.Contains(resp.text, "BadDigest") {
			t.Errorf("%d %s", resp.StatusCode, resp.text)
		}
		if got := r.get(r.client, "k"); got != "NoSuchKey" {
			t.Errorf("written: %q", got)
		}
	}
}

// A client that asks first hears the store's refusal before it sends the body.
func TestExpectIsAskedOfTheStore(t *testing.T) {
	r := newRig(t, rigOptions{})
	strict := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Expect") == "" {
			t.Error("the store is not asked")
		}
		s3.WriteError(w, req, s3.ErrNoSuchBucket)
	}))
	defer strict.Close()
	r.hooks[0].set(func(req *http.Request, send next) (*http.Response, error) {
		req.URL.Host = strings.TrimPrefix(strict.URL, "http://")
		return send(req)
	})
	conn := r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/none", ""), 10<<20, "Expect: 100-continue\r\n", "")
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(got, "HTTP/1.1 404") {
		t.Errorf("%q %v", got, err)
	}
	r.hooks[0].set(nil)
	conn = r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/k", ""), 5, "Expect: 100-continue\r\n", "")
	in := bufio.NewReader(conn)
	if got, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(got, "HTTP/1.1 100") {
		t.Fatalf("%q %v", got, err)
	}
	_, err = io.WriteString(conn, "hello")
	r.must(err)
	_, _ = in.ReadString('\n')
	if got, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("%q %v", got, err)
	}
	if got := r.get(r.direct[0], "k"); got != "hello" {
		t.Errorf("stored %q", got)
	}
}

// A refused client that does not send its body gets its answer all the same.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.IdleTimeout = 300 * time.Millisecond }})
	for name, tt := range map[string]struct {
		method, path, sign, want string
	}{
		"wrong key":      {http.MethodPut, "/k", "nobody", "HTTP/1.1 403"},
		"delete objects": {http.MethodPost, "?delete", "", "HTTP/1.1 400"},
	} {
		t.Run(name, func(t *testing.T) {
			req := r.signed(tt.method, "/"+r.bucket+tt.path, "")
			if tt.sign != "" {
				req.Header.Set("Authorization", strings.Replace(req.Header.Get("Authorization"), "Credential=", "Credential="+tt.sign, 1))
			}
			conn := r.dial(req, 100, "", "beg")
			if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// A client that reads its answer only once it has sent its body is not cut off before.
func TestRefusalReachesAClientThatIsSending(t *testing.T) {
	const step, steps = 1 << 20, 24
	for name, tt := range map[string]struct{ extra, key, want string }{
		"by the store":       {"", "", "HTTP/1.1 404"},
		"by the proxy":       {"", "nobody", "HTTP/1.1 403"},
		"not waited for 100": {"Expect: 100-continue\r\n", "", "HTTP/1.1 404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			r.hooks[0].set(func(req *http.Request, _ next) (*http.Response, error) {
				return answer(req, 404, errorBody("NoSuchBucket")), nil
			})
			req := r.signed(http.MethodPut, "/"+r.bucket+"/k", "")
			req.Header.Set("Authorization", strings.Replace(req.Header.Get("Authorization"), "Credential=", "Credential="+tt.key, 1))
			conn := r.dial(req, step*steps, tt.extra, "")
			for i := range steps {
				if _, err := io.CopyN(conn, zeroes{}, step); err != nil {
					t.Fatalf("after %d MiB: %v", i, err)
				}
				time.Sleep(50 * time.Millisecond) // longer in all than net/http keeps such a connection
			}
			if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// What could be understood in two ways is refused, or understood in one.
func TestSmugglingShapes(t *testing.T) {
	r := newRig(t, rigOptions{})
	host := strings.TrimPrefix(r.url, "http://")
	for name, raw := range map[string]string{
		"two lengths":            "PUT /b/k HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"length and chunks":      "PUT /b/k HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
		"unknown encoding":       "PUT /b/k HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"two hosts":              "GET /b/k HTTP/1.1\r\nHost: " + host + "\r\nHost: other\r\n\r\n",
		"no host":                "GET /b/k HTTP/1.1\r\n\r\n",
		"space before the colon": "GET /b/k HTTP/1.1\r\nHost: " + host + "\r\nContent-Length : 5\r\n\r\n",
		"bare line feed in name": "GET /b/k HTTP/1.1\r\nHost: " + host + "\r\nX\nY: 5\r\n\r\n",
		"negative length":        "PUT /b/k HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: -5\r\n\r\n",
		"length with a sign":     "PUT /b/k HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: +5\r\n\r\nhello",
		"control in the path":    "GET /b/\x01k HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"not HTTP":               "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"header without end":     "GET /b/k HTTP/1.1\r\nHost: " + host + "\r\nX-Long: " + strings.Repeat("a", 2<<20) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			before := r.hooks[0].calls.Load()
			conn, err := net.Dial("tcp", host)
			r.must(err)
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			go func() { _, _ = io.WriteString(conn, raw) }()
			got, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 501") {
				t.Errorf("%q %v", got, err)
			}
			if r.hooks[0].calls.Load() != before {
				t.Error("the store was asked")
			}
		})
	}
}

// Keys of any bytes reach the store as the client meant them, by path and by host.
func TestKeysOfAnyBytesReachTheStore(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Domains = []string{"s3.example.com"} }})
	var got string
	r.hooks[0].set(func(req *http.Request, _ next) (*http.Response, error) {
		in, err := s3.ParseRequest(&http.Request{Method: req.Method, URL: req.URL, Host: req.URL.Host, Header: req.Header}, nil)
		if err != nil {
			return nil, err
		}
		got = in.Bucket + " " + in.Key
		return answer(req, 200, ""), nil
	})
	for _, key := range []string{"/", "//", "a//b", "/a", ".", "..", "a/../b", "./a", "../../etc/passwd", "a%2Fb", "%", "%zz", "a+b", " ", " a ", "a\tb", "\x01\x7f",
		"\xff\xfe", "é", "?x=y#z", strings.Repeat("k", 1024), strings.Repeat("\xc3\xa9", 512)} {
		for _, host := range []string{"", "b." + "s3.example.com"} {
			path := "/b/" + s3.EscapeKey(key)
			if host != "" {
				path = "/" + s3.EscapeKey(key)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+path, nil)
			r.must(err)
			if host != "" {
				req.Host = host
			}
			s3.NewSigner(r.client.Endpoint).Sign(req, s3.EmptyPayload, time.Now())
			if resp := r.do(req); resp.StatusCode != 200 {
				t.Errorf("%q at %q: %d %s", key, host, resp.StatusCode, resp.text)
			} else if got != "b "+key {
				t.Errorf("%q at %q arrived as %q", key, host, got)
			}
		}
		r.settled()
	}
}

func TestPresignsOfEveryMethodExpire(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "v")
	p := awss3.NewPresignClient(r.client.S3)
	ctx, key := t.Context(), aws.String("k")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
		sign := func(expires time.Duration) string {
			o := awss3.WithPresignExpires(expires)
			switch method {
			case http.MethodGet:
				out, err := p.PresignGetObject(ctx, &awss3.GetObjectInput{Bucket: &r.bucket, Key: key}, o)
				r.must(err)
				return out.URL
			case http.MethodHead:
				out, err := p.PresignHeadObject(ctx, &awss3.HeadObjectInput{Bucket: &r.bucket, Key: key}, o)
				r.must(err)
				return out.URL
			case http.MethodPut:
				out, err := p.PresignPutObject(ctx, &awss3.PutObjectInput{Bucket: &r.bucket, Key: key}, o)
				r.must(err)
				return out.URL
			}
			out, err := p.PresignDeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: key}, o)
			r.must(err)
			return out.URL
		}
		send := func(method, url string) *rawResponse {
			req, err := http.NewRequestWithContext(ctx, method, url, nil)
			r.must(err)
			return r.do(req)
		}
		good, short := sign(time.Minute), sign(time.Second)
		if resp := send(http.MethodPatch, good); resp.StatusCode != 403 || !strings.Contains(resp.text, "SignatureDoesNotMatch") {
			t.Errorf("%s used for another method: %d %s", method, resp.StatusCode, resp.text)
		}
		if resp := send(method, strings.Replace(good, "/k?", "/other?", 1)); resp.StatusCode != 403 {
			t.Errorf("%s used for another object: %d", method, resp.StatusCode)
		}
		if resp := send(method, good+"&X-Amz-Expires=9999"); resp.StatusCode != 400 {
			t.Errorf("%s with a second X-Amz-Expires: %d", method, resp.StatusCode)
		}
		if resp := send(method, good); resp.StatusCode >= 300 {
			t.Errorf("%s: %d %s", method, resp.StatusCode, resp.text)
		}
		r.eventually(method+" expires", func() bool {
			resp := send(method, short)
			return resp.StatusCode == 403 && (method == http.MethodHead || strings.Contains(resp.text, "Request has expired"))
		})
		r.put(r.client, "k", "v")
	}
}

func TestCORSPreflightIsTheStoresOwn(t *testing.T) {
	r := newRig(t, rigOptions{})
	cors := &types.CORSConfiguration{CORSRules: []types.CORSRule{{AllowedMethods: []string{"GET", "PUT"}, AllowedOrigins: []string{"http://app"}}}}
	for _, c := range r.direct {
		_, err := c.S3.PutBucketCors(t.Context(), &awss3.PutBucketCorsInput{Bucket: &r.bucket, CORSConfiguration: cors})
		r.must(err)
	}
	ask := func(base, origin string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, base+"/"+r.bucket+"/k", nil)
		r.must(err)
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "PUT")
		resp := r.do(req)
		return fmt.Sprint(resp.StatusCode, resp.Header["Access-Control-Allow-Origin"], resp.Header["Access-Control-Allow-Methods"], resp.Header["Vary"])
	}
	for _, phase := range []string{"Copying", "SwitchStarted"} {
		for _, origin := range []string{"http://app", "http://evil"} {
			if got, want := ask(r.url, origin), ask(r.direct[0].Endpoint.URL, origin); got != want {
				t.Errorf("%s, %s: %s, the store says %s", phase, origin, got, want)
			}
		}
		r.route(ledger.Source, ledger.Preparing)
		r.route(ledger.Target, ledger.Switched)
	}
}

// The ledger is a route ahead of a proxy for a moment: a bucket made then is on
// the new main, and so is all that is asked about it.
func TestBucketMadeBeforeTheProxyObeysTheSwitch(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	behind := r.proxy.route.Load()
	r.route(ledger.Target, ledger.Switched)
	r.proxy.route.Store(behind)
	bucket := r.bucket + "-new"
	r.must(r.client.CreateBucket(t.Context(), bucket, false))
	t.Cleanup(func() { _ = s3test.RemoveBucket(context.Background(), r.direct[ledger.Target], bucket) })
	_, err := r.client.S3.PutBucketCors(t.Context(), &awss3.PutBucketCorsInput{Bucket: &bucket, CORSConfiguration: &types.CORSConfiguration{
		CORSRules: []types.CORSRule{{AllowedMethods: []string{"PUT"}, AllowedOrigins: []string{"http://app"}}}}})
	r.must(err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, r.url+"/"+bucket+"/k", nil)
	r.must(err)
	req.Header.Set("Origin", "http://app")
	req.Header.Set("Access-Control-Request-Method", "PUT")
	if resp := r.do(req); resp.StatusCode != 200 {
		t.Errorf("preflight: %d %s", resp.StatusCode, resp.text)
	}
	if resp := r.raw(http.MethodPost, "/"+bucket+"?delete", "<Delete></Delete>", nil); strings.Contains(resp.text, "NoSuchBucket") {
		t.Errorf("delete of nothing: %d %s", resp.StatusCode, resp.text)
	}
	if resp := r.raw(http.MethodGet, "/"+bucket+"/k?uploadId=none", "", nil); !strings.Contains(resp.text, "NoSuchUpload") {
		t.Errorf("unknown upload: %d %s", resp.StatusCode, resp.text)
	}
	if now := r.proxy.route.Load(); now != behind {
		t.Fatalf("the proxy obeys %+v already", now)
	}
}

// HTTP/2 over TLS works like HTTP/1.1.
func TestHTTP2(t *testing.T) {
	r := newRig(t, rigOptions{})
	srv := httptest.NewUnstartedServer(r.proxy.Handler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	o := r.client.S3.Options()
	o.BaseEndpoint, o.HTTPClient = &srv.URL, srv.Client()
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
	o.APIOptions = nil
	c := awss3.New(o)
	body := bytes.Repeat([]byte("x"), 3<<20)
	_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Body: bytes.NewReader(body)})
	r.must(err)
	out, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Range: aws.String("bytes=0-9")})
	r.must(err)
	got, err := io.ReadAll(out.Body)
	r.must(err)
	if string(got) != "xxxxxxxxxx" {
		t.Errorf("read %q", got)
	}
	resp, err := srv.Client().Get(srv.URL + "/" + r.bucket + "/k")
	r.must(err)
	_ = resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 403 {
		t.Errorf("HTTP/%d: %d", resp.ProtoMajor, resp.StatusCode)
	}
}

func TestCreatedAndDeletedBucketsAreEvents(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket += "-made"
	t.Cleanup(func() { _, _ = r.direct[0].S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &r.bucket}) })
	if resp := r.raw(http.MethodPut, "/"+r.bucket, "", nil); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, resp.text)
	}
	r.settled()
	if got := r.newest(""); got != "Source" {
		t.Errorf("created: newest on %q", got)
	}
	r.sync()
	if got := r.newest(""); got != "" {
		t.Errorf("after the worker: newest on %q", got)
	}
	if resp := r.raw(http.MethodDelete, "/"+r.bucket, "", nil); resp.StatusCode != 204 {
		t.Fatalf("%d %s", resp.StatusCode, resp.text)
	}
	r.settled()
	if got := r.newest(""); got != "Source" {
		t.Errorf("deleted: newest on %q", got)
	}
}

// What is not known and changes something is a change of what it names.
func TestUnknownWritesAreRecorded(t *testing.T) {
	for path, key := range map[string]string{"/k?newfeature": "k", "?newfeature": ""} {
		for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch} {
			r := newRig(t, rigOptions{})
			r.hooks[0].set(func(req *http.Request, _ next) (*http.Response, error) {
				if req.Method != method || !strings.HasPrefix(req.URL.RawQuery, "newfeature") {
					return answer(req, 400, ""), nil
				}
				return answer(req, 200, ""), nil
			})
			if resp := r.raw(method, "/"+r.bucket+path, "", nil); resp.StatusCode != 200 {
				t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, resp.text)
			}
			r.settled()
			if got := r.newest(key); got != "Source" {
				t.Errorf("%s %s: newest on %q", method, path, got)
			}
			r.hooks[0].set(nil)
			r.end()
		}
	}
}

// A multipart upload can be begun and completed by whoever was given the URLs.
func TestPresignedPost(t *testing.T) {
	r := newRig(t, rigOptions{})
	send := func(method, query, body string) *rawResponse {
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+"/"+r.bucket+"/k?"+query+"&X-Amz-Expires=60", strings.NewReader(body))
		r.must(err)
		e := r.client.Endpoint
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: e.AccessKeyID, SecretAccessKey: e.SecretAccessKey}, req,
			s3.UnsignedPayload, "s3", "us-east-1", time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		r.must(err)
		req.URL, err = url.Parse(signed)
		r.must(err)
		return r.do(req)
	}
	between := func(s, from, to string) string {
		_, s, _ = strings.Cut(s, from)
		s, _, _ = strings.Cut(s, to)
		return s
	}
	id := between(send(http.MethodPost, "uploads=", "").text, "<UploadId>", "<")
	etag := send(http.MethodPut, "partNumber=1&uploadId="+id, "hello").Header.Get("Etag")
	resp := send(http.MethodPost, "uploadId="+id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+etag+"</ETag></Part></CompleteMultipartUpload>")
	if got := r.get(r.client, "k"); resp.StatusCode != 200 || got != "hello" {
		t.Errorf("%d %s; read %q", resp.StatusCode, resp.text, got)
	}
}

func TestDroppedHeadersAreCanonical(t *testing.T) {
	for _, name := range append(slices.Clone(dropped), hopHeaders...) {
		if c := http.CanonicalHeaderKey(name); c != name {
			t.Errorf("%s would be passed on as %s", name, c)
		}
	}
}
