package s3

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// No header may crash the parser or be taken without the right signature.
func FuzzVerifyHeader(f *testing.F) {
	valid := validGet(f).Header.Get("Authorization")
	f.Add(valid, "20130524T000000Z", "max-keys=2&prefix=J")
	f.Add(strings.Replace(valid, ",", ", ", 2), "20130524T000000Z", "prefix=J&max-keys=2")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request,SignedHeaders=host,Signature=", "x", "a=%zz")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=////&X-Amz-Date=1&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=1")
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := validGet(t)
		r.Header.Set("Authorization", auth)
		r.Header.Set("X-Amz-Date", date)
		if auth == "" {
			r.Header.Del("Authorization")
		}
		r.URL.RawQuery = query
		id, err := exampleVerifier().Verify(r)
		var known *Error
		if err != nil && !errors.Is(err, ErrAnonymous) && !errors.As(err, &known) {
			t.Errorf("not an S3 error: %v", err)
		}
		if err == nil && (id == nil || !strings.Contains(auth, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")) {
			t.Errorf("taken: %q %q %q", auth, date, query)
		}
	})
}

func FuzzDecodeUnsignedTrailer(f *testing.F) {
	f.Add("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", 11)
	f.Add("6\r\nhello \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", 11)
	f.Add("0\r\n\r\n", 0)
	f.Fuzz(func(t *testing.T, framed string, length int) {
		body, n, _, err := DecodeBody(unsignedUpload(framed, length, "x-amz-checksum-crc32"), nil)
		if err != nil {
			return
		}
		got, err := io.ReadAll(body)
		if err == nil && int64(len(got)) != n {
			t.Errorf("%d bytes were announced, %d delivered", n, len(got))
		}
		if err != nil && n > 0 && int64(len(got)) >= n {
			t.Errorf("delivered in full despite %v", err)
		}
	})
}

// A path that is taken is sent on so that it means the same.
func FuzzPath(f *testing.F) {
	for sent := range nastyKeys {
		f.Add("/photos/"+sent, "acl")
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		u.RawQuery = query
		r := &http.Request{Method: "GET", URL: u, Host: "store", Header: http.Header{}}
		in, err := ParseRequest(r, nil)
		if err != nil {
			var known *Error
			if !errors.As(err, &known) {
				t.Errorf("not an S3 error: %v", err)
			}
			return
		}
		w, err := NewRewriter(Endpoint{URL: "http://store"})
		if err != nil {
			t.Fatal(err)
		}
		out := r.Clone(t.Context())
		w.Rewrite(in, out)
		u, err = url.ParseRequestURI(out.URL.RequestURI())
		if err != nil {
			t.Fatalf("%q became %q: %v", path, out.URL.RequestURI(), err)
		}
		again, err := ParseRequest(&http.Request{Method: "GET", URL: u, Host: "store", Header: http.Header{}}, nil)
		if err != nil || again.Bucket != in.Bucket || again.Key != in.Key {
			t.Errorf("%q became %q: bucket %q, key %q, %v", path, out.URL.RequestURI(), again.Bucket, again.Key, err)
		}
	})
}

// A form is understood or refused, and never taken without the right signature.
func FuzzForm(f *testing.F) {
	const head = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na/${filename}\r\n"
	f.Add(head+"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b\"\r\n\r\nhello\r\n--x--\r\n", "x")
	f.Add(head+"--x\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\ne30=\r\n--x\r\nContent-Disposition: form-data; name=\"signature\"\r\n\r\nAAAA\r\n--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\r\n--x--", "x")
	f.Add("--x\r\nContent-Disposition: form-data; name=\"tagging\"\r\n\r\n<Tagging/>\r\n--x--", "x")
	f.Fuzz(func(t *testing.T, body, boundary string) {
		r := &http.Request{Method: "POST", URL: &url.URL{Path: "/b"}, Body: io.NopCloser(strings.NewReader(body)),
			Header: http.Header{"Content-Type": {"multipart/form-data; boundary=" + boundary}}}
		form, err := ReadForm(r)
		var known *Error
		if err != nil {
			if !errors.As(err, &known) {
				t.Errorf("not an S3 error: %v", err)
			}
			return
		}
		v := exampleVerifier()
		v.SignatureV2 = true
		if _, _, err := v.VerifyForm(form, "b"); err == nil {
			t.Errorf("taken: %q", body)
		} else if !errors.Is(err, ErrAnonymous) && !errors.As(err, &known) {
			t.Errorf("not an S3 error: %v", err)
		}
		if _, err := form.Header(); err != nil && !errors.As(err, &known) {
			t.Errorf("not an S3 error: %v", err)
		}
		_, _ = io.Copy(io.Discard, form.File)
	})
}

// No query or header of Signature Version 2 crashes, or is taken without the secret.
func FuzzVerifyV2(f *testing.F) {
	f.Add("AWS "+exampleKey+":c2lnbmF0dXJl", "Fri, 24 May 2013 00:00:00 GMT", "acl&versionId=a")
	f.Add("", "", "AWSAccessKeyId="+exampleKey+"&Signature=x&Expires=9999999999")
	f.Add("AWS :", "20130524T000000Z", "uploads=&uploadId=;")
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/b/k", RawQuery: query}, Host: "h", Header: http.Header{"Date": {date}}}
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		v := exampleVerifier()
		v.SignatureV2 = true
		_, err := v.Verify(r)
		var known *Error
		if err == nil {
			t.Errorf("taken: %q %q %q", auth, date, query)
		} else if !errors.Is(err, ErrAnonymous) && !errors.As(err, &known) {
			t.Errorf("not an S3 error: %v", err)
		}
	})
}
