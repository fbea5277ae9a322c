package s3

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// decodeAll verifies and decodes r and returns what was delivered.
func decodeAll(r *http.Request) ([]byte, error) {
	id, err := exampleVerifier().Verify(r)
	if err != nil {
		return nil, err
	}
	body, _, _, err := DecodeBody(r, id)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(body)
}

func TestDecodeRefusesBadChunks(t *testing.T) {
	chunked, trailer := exampleBody(exampleChunked), exampleBody(exampleTrailer)
	replace := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			panic(old)
		}
		return strings.Replace(s, old, new, 1)
	}
	tests := map[string]struct {
		request *http.Request
		want    error
	}{
		"first chunk's data":           {exampleUpload(t, replace(chunked, "aaaa", "aaba")), ErrSignatureDoesNotMatch},
		"last byte":                    {exampleUpload(t, replace(chunked, "a\r\n0;", "b\r\n0;")), ErrSignatureDoesNotMatch},
		"first signature":              {exampleUpload(t, replace(chunked, "ad80", "ad81")), ErrSignatureDoesNotMatch},
		"second signature":             {exampleUpload(t, replace(chunked, "0055", "0056")), ErrSignatureDoesNotMatch},
		"last signature":               {exampleUpload(t, replace(chunked, "b6c6", "b6c7")), ErrSignatureDoesNotMatch},
		"signature missing":            {exampleUpload(t, replace(chunked, ";chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", "")), ErrIncompleteBody},
		"signature short":              {exampleUpload(t, replace(chunked, "ad80c", "ad80")), ErrIncompleteBody},
		"size not hex":                 {exampleUpload(t, replace(chunked, "10000;", "1000g;")), ErrIncompleteBody},
		"size negative":                {exampleUpload(t, replace(chunked, "10000;", "-1000;")), ErrIncompleteBody},
		"size huge":                    {exampleUpload(t, replace(chunked, "10000;", "7fffffffffffffff;")), ErrIncompleteBody},
		"size beyond 64 bits":          {exampleUpload(t, replace(chunked, "10000;", "ffffffffffffffffff;")), ErrIncompleteBody},
		"size too small":               {exampleUpload(t, replace(chunked, "10000;", "ffff;")), ErrIncompleteBody},
		"endless line":                 {exampleUpload(t, strings.Repeat("0", 1<<20)), ErrIncompleteBody},
		"cut in the first chunk":       {exampleUpload(t, chunked[:1000]), ErrIncompleteBody},
		"cut before the last chunk":    {exampleUpload(t, chunked[:strings.Index(chunked, "\r\n0;")]), ErrIncompleteBody},
		"cut inside the last chunk":    {exampleUpload(t, chunked[:len(chunked)-20]), ErrIncompleteBody},
		"last chunk too early":         {exampleUpload(t, chunked[strings.Index(chunked, "0;chunk-signature=b6"):]), ErrIncompleteBody},
		"chunk left out":               {exampleUpload(t, chunked[strings.Index(chunked, "400;"):]), ErrSignatureDoesNotMatch},
		"chunk twice":                  {exampleUpload(t, chunked[:strings.Index(chunked, "400;")]+chunked), ErrIncompleteBody},
		"data after the end":           {exampleUpload(t, chunked+"x"), ErrIncompleteBody},
		"trailer not announced":        {exampleUpload(t, chunked+"x-amz-checksum-crc32c:sOO8/Q==\r\n"), ErrIncompleteBody},
		"no body":                      {exampleUpload(t, ""), ErrIncompleteBody},
		"trailer's checksum":           {exampleTrailerUpload(t, replace(trailer, "sOO8", "sOO9")), ErrSignatureDoesNotMatch},
		"trailer's signature":          {exampleTrailerUpload(t, replace(trailer, "d81f", "d81e")), ErrSignatureDoesNotMatch},
		"trailer's signature missing":  {exampleTrailerUpload(t, trailer[:strings.Index(trailer, "x-amz-trailer-sig")]), ErrSignatureDoesNotMatch},
		"trailer's checksum missing":   {exampleTrailerUpload(t, replace(trailer, "x-amz-checksum-crc32c:sOO8/Q==\n\r\n", "")), ErrMalformedTrailer},
		"trailer's checksum renamed":   {exampleTrailerUpload(t, replace(trailer, "crc32c:", "crc32:")), ErrMalformedTrailer},
		"trailer's checksum twice":     {exampleTrailerUpload(t, replace(trailer, "x-amz-checksum-crc32c:sOO8/Q==\n", "x-amz-checksum-crc32c:sOO8/Q==\nx-amz-checksum-crc32c:sOO8/Q==\n")), ErrIncompleteBody},
		"header after the signature":   {exampleTrailerUpload(t, trailer+"x-amz-checksum-crc32c:sOO8/Q==\r\n"), ErrIncompleteBody},
		"no trailer at all":            {exampleTrailerUpload(t, trailer[:strings.Index(trailer, "x-amz-checksum")]), ErrIncompleteBody},
		"trailer's line without colon": {exampleTrailerUpload(t, replace(trailer, "crc32c:", "crc32c ")), ErrMalformedTrailer},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := decodeAll(tt.request)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if len(got) >= 66560 {
				t.Errorf("the body was delivered in full, %d bytes", len(got))
			}
		})
	}
}

func unsignedUpload(body string, length int, trailer string) *http.Request {
	r := httptest.NewRequest("PUT", "/b/k", strings.NewReader(body))
	r.Header.Set("X-Amz-Content-Sha256", StreamingUnsignedTrailer)
	r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(length))
	if trailer != "" {
		r.Header.Set("X-Amz-Trailer", trailer)
	}
	return r
}

func TestDecodeUnsignedTrailer(t *testing.T) {
	// Checksums of "hello world", from other tools.
	sums := map[string]string{
		"x-amz-checksum-crc32":     "DUoRhQ==",
		"x-amz-checksum-crc32c":    "yZRlqg==",
		"x-amz-checksum-crc64nvme": "jSnVw/bqjr4=",
		"x-amz-checksum-sha1":      "Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
		"x-amz-checksum-sha256":    "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
	}
	type test struct {
		request *http.Request
		want    error
	}
	tests := map[string]test{
		"no trailer":             {unsignedUpload("b\r\nhello world\r\n0\r\n\r\n", 11, ""), nil},
		"two chunks":             {unsignedUpload("6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n", 11, ""), nil},
		"no blank line":          {unsignedUpload("b\r\nhello world\r\n0\r\n", 11, ""), ErrIncompleteBody},
		"line feeds only":        {unsignedUpload("b\nhello world\r\n0\r\n\r\n", 11, ""), ErrIncompleteBody},
		"the store's checksum":   {unsignedUpload("b\r\nhello world\r\n0\r\nx-amz-checksum-xxhash64:AAAAAAAAAAA=\r\n\r\n", 11, "x-amz-checksum-xxhash64"), nil},
		"the store's, too short": {unsignedUpload("b\r\nhello world\r\n0\r\nx-amz-checksum-xxhash128:AAAAAAAAAAA=\r\n\r\n", 11, "x-amz-checksum-xxhash128"), ErrInvalidRequest},
		"no number": {func() *http.Request {
			r := unsignedUpload("0\r\n\r\n", 0, "")
			r.Header.Set("X-Amz-Decoded-Content-Length", "0x")
			return r
		}(), ErrMissingContentLength},
		"shorter than declared":    {unsignedUpload("5\r\nhello\r\n0\r\n\r\n", 11, ""), ErrIncompleteBody},
		"longer than declared":     {unsignedUpload("b\r\nhello world\r\n0\r\n\r\n", 10, ""), ErrIncompleteBody},
		"another chunk at the end": {unsignedUpload("b\r\nhello world\r\n1\r\n!\r\n0\r\n\r\n", 11, ""), ErrIncompleteBody},
		"no last chunk":            {unsignedUpload("b\r\nhello world\r\n", 11, ""), ErrIncompleteBody},
		"announced, not sent":      {unsignedUpload("b\r\nhello world\r\n0\r\n\r\n", 11, "x-amz-checksum-crc32"), ErrMalformedTrailer},
		"sent, not announced":      {unsignedUpload("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", 11, ""), ErrMalformedTrailer},
		"not base64":               {unsignedUpload("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:####\r\n\r\n", 11, "x-amz-checksum-crc32"), ErrInvalidRequest},
		"of another length":        {unsignedUpload("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoR\r\n\r\n", 11, "x-amz-checksum-crc32"), ErrInvalidRequest},
		"endless trailer":          {unsignedUpload("b\r\nhello world\r\n0\r\n"+strings.Repeat("\r\n", maxTrailer), 11, ""), ErrMalformedTrailer},
		"too many trailers":        {unsignedUpload("b\r\nhello world\r\n0\r\n\r\n", 11, strings.Repeat("x-amz-checksum-crc32,", 9)), ErrMalformedTrailer},
		"empty":                    {unsignedUpload("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 0, "x-amz-checksum-crc32"), nil},
		"empty, wrong checksum":    {unsignedUpload("0\r\nx-amz-checksum-crc32:AAAAAQ==\r\n\r\n", 0, "x-amz-checksum-crc32"), ErrBadDigest},
		"empty, but content":       {unsignedUpload("1\r\n!\r\n0\r\n\r\n", 0, ""), ErrIncompleteBody},
		"no decoded length": {func() *http.Request {
			r := unsignedUpload("", 0, "")
			r.Header.Del("X-Amz-Decoded-Content-Length")
			return r
		}(), ErrMissingContentLength},
		"signed mode, no signer": {func() *http.Request {
			r := unsignedUpload("", 0, "")
			r.Header.Set("X-Amz-Content-Sha256", StreamingPayload)
			return r
		}(), ErrInvalidRequest},
	}
	for name, sum := range sums {
		tests[name] = test{unsignedUpload("b\r\nhello world\r\n0\r\n"+name+":"+sum+"\r\n\r\n", 11, name), nil}
		tests[name+", content changed"] = test{unsignedUpload("b\r\nhello w0rld\r\n0\r\n"+name+":"+sum+"\r\n\r\n", 11, name), ErrBadDigest}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body, length, trailer, err := DecodeBody(tt.request, nil)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(iotest.OneByteReader(body))
			}
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				if len(got) > 10 {
					t.Errorf("the body was delivered in full: %q", got)
				}
				return
			}
			if string(got) != "hello world"[:length] {
				t.Errorf("got %q", got)
			}
			if name := tt.request.Header.Get("X-Amz-Trailer"); name != "" && trailer().Get(name) == "" {
				t.Error("the trailer is lost")
			}
		})
	}
}

func TestIncompleteBodySaysWhatIsMissing(t *testing.T) {
	tests := map[string]struct {
		body string
		want *Error
	}{
		"more than declared":       {"c\r\nhello world!\r\n0\r\n\r\n", ErrIncompleteBody},
		"another chunk":            {"b\r\nhello world\r\n1\r\n!\r\n0\r\n\r\n", ErrIncompleteBody},
		"less than declared":       {"5\r\nhello\r\n0\r\n\r\n", ErrIncompleteBody},
		"chunk ends early":         {"c\r\nhello world\r\n0\r\n\r\n", errBadChunk},
		"body ends in its chunk":   {"c\r\nhello world", errBadChunk},
		"body ends behind a chunk": {"b\r\nhello world", errBadChunk},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body, _, _, err := DecodeBody(unsignedUpload(tt.body, 11, ""), nil)
			if err == nil {
				_, err = io.ReadAll(body)
			}
			var got *Error
			if !errors.As(err, &got) || got.Code != tt.want.Code || got.Message != tt.want.Message {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestEncodeTrailerIsWhatDecodeBodyTakes(t *testing.T) {
	for name, content := range map[string]string{"content": "hello world", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{"Content-Encoding": {"gzip"}}
			sum := checksums["x-amz-checksum-sha256"]()
			sum.Write([]byte(content))
			names := []string{"x-amz-checksum-sha256"}
			want := base64.StdEncoding.EncodeToString(sum.Sum(nil))
			body, length, err := EncodeTrailer(h, io.NopCloser(strings.NewReader(content)), int64(len(content)), names,
				func() http.Header { return http.Header{"X-Amz-Checksum-Sha256": {want}} })
			if err != nil {
				t.Fatal(err)
			}
			framed, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(framed)) != length {
				t.Errorf("%d bytes were announced, %d sent", length, len(framed))
			}
			if got := h.Get("Content-Encoding"); got != "gzip" {
				t.Errorf("Content-Encoding %q", got)
			}
			r := httptest.NewRequest("PUT", "/b/k", bytes.NewReader(framed))
			h.Set("X-Amz-Content-Sha256", StreamingUnsignedTrailer)
			r.Header = h
			plain, _, trailer, err := DecodeBody(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(plain); err != nil || string(got) != content {
				t.Errorf("got %q, %v", got, err)
			}
			if got := trailer().Get("X-Amz-Checksum-Sha256"); got != want {
				t.Errorf("checksum %q, want %q", got, want)
			}
		})
	}
}

func TestVerifyPayload(t *testing.T) {
	const sum = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
	tests := map[string]struct {
		body   string
		length int64
		want   error
	}{
		"right":             {"hello world", 11, nil},
		"length not known":  {"hello world", -1, nil},
		"wrong":             {"hello w0rld", 11, ErrXAmzContentSHA256Mismatch},
		"wrong, no length":  {"hello w0rld", -1, ErrXAmzContentSHA256Mismatch},
		"too short":         {"hello worl", 11, ErrIncompleteBody},
		"empty, but hashed": {"", 0, ErrXAmzContentSHA256Mismatch},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := io.ReadAll(VerifyPayload(io.NopCloser(strings.NewReader(tt.body)), tt.length, strings.ToUpper(sum)))
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && string(got) != tt.body || err != nil && tt.length == int64(len(got)) && tt.length > 0 {
				t.Errorf("delivered %q", got)
			}
		})
	}
}

func TestDecodeMemoryIsConstant(t *testing.T) {
	const size = 64 << 20
	r := unsignedUpload("", size, "")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("4000000\r\n"), io.LimitReader(zeros{}, size), strings.NewReader("\r\n0\r\n\r\n")))
	body, _, _, err := DecodeBody(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	allocs := testing.AllocsPerRun(500, func() {
		if _, err := body.Read(buf); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations a read", allocs)
	}
	if n, err := io.Copy(io.Discard, body); err != nil || n == 0 {
		t.Errorf("rest: %d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func BenchmarkDecodeSignedChunks(b *testing.B) {
	content := exampleBody(exampleChunked)
	r := exampleUpload(b, "")
	id, err := exampleVerifier().Verify(r)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(66560)
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(strings.NewReader(content))
		body, _, _, err := DecodeBody(r, id)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			b.Fatal(err)
		}
	}
}
