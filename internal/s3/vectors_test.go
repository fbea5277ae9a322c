package s3

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The examples of AWS's Signature Version 4 documentation for S3.
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func exampleVerifier() *Verifier {
	return &Verifier{
		Regions: []string{"us-east-1"},
		Now:     func() time.Time { return exampleTime },
		Lookup: func(id string) []Credentials {
			if id != exampleKey {
				return nil
			}
			return []Credentials{{AccessKeyID: id, SecretAccessKey: exampleSecret}}
		},
	}
}

// exampleRequest builds a request as a server sees it. headers are "Name: value" lines.
func exampleRequest(t testing.TB, method, target, host, signedHeaders, signature string, headers ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	r.Header.Set("X-Amz-Date", "20130524T000000Z")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	if signature != "" {
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/20130524/us-east-1/s3/aws4_request,SignedHeaders="+signedHeaders+",Signature="+signature)
	}
	return r
}

const bucketHost = "examplebucket.s3.amazonaws.com"

func TestVerifyPublishedExamples(t *testing.T) {
	empty := "X-Amz-Content-Sha256: " + EmptyPayload
	tests := map[string]*http.Request{
		"get object": exampleRequest(t, "GET", "/test.txt", bucketHost,
			"host;range;x-amz-content-sha256;x-amz-date",
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
			"Range: bytes=0-9", empty),
		"put object": exampleRequest(t, "PUT", "/test%24file.text", bucketHost,
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			"Date: Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class: REDUCED_REDUNDANCY",
			"X-Amz-Content-Sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
		"put object, path not encoded by the client": exampleRequest(t, "PUT", "/test$file.text", bucketHost,
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			"Date: Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class: REDUCED_REDUNDANCY",
			"X-Amz-Content-Sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
		"get bucket lifecycle": exampleRequest(t, "GET", "/?lifecycle", bucketHost,
			"host;x-amz-content-sha256;x-amz-date",
			"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", empty),
		"list objects": exampleRequest(t, "GET", "/?max-keys=2&prefix=J", bucketHost,
			"host;x-amz-content-sha256;x-amz-date",
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", empty),
		"presigned": func() *http.Request {
			r := httptest.NewRequest("GET", "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", nil)
			r.Host = bucketHost
			return r
		}(),
	}
	for name, r := range tests {
		t.Run(name, func(t *testing.T) {
			id, err := exampleVerifier().Verify(r)
			if err != nil {
				t.Fatal(err)
			}
			if id.AccessKeyID != exampleKey || id.Region != "us-east-1" || id.Presigned != (name == "presigned") {
				t.Errorf("got %+v", id)
			}
		})
	}
}

func TestSignPublishedExamples(t *testing.T) {
	signer := NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret})
	tests := map[string]struct{ url, want string }{
		"get bucket lifecycle": {"https://examplebucket.s3.amazonaws.com/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		"list objects":         {"https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
		"in any order":         {"https://examplebucket.s3.amazonaws.com/?prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest("GET", tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Amz-Security-Token", "an old one")
			signer.Sign(r, EmptyPayload, exampleTime)
			want := "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=" + tt.want
			if got := r.Header.Get("Authorization"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

const (
	exampleChunked = "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + "DATA1" +
		"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + "DATA2" +
		"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
	exampleTrailer = "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + "DATA1" +
		"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + "DATA2" +
		"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\n\r\n" +
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)

func exampleBody(s string) string {
	return strings.NewReplacer("DATA1", strings.Repeat("a", 65536), "DATA2", strings.Repeat("a", 1024)).Replace(s)
}

// exampleUpload is the documentation's chunked upload with another body.
func exampleUpload(t testing.TB, body string) *http.Request {
	r := exampleRequest(t, "PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com",
		"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
		"Content-Encoding: aws-chunked", "Content-Length: 66824", "X-Amz-Decoded-Content-Length: 66560",
		"X-Amz-Content-Sha256: "+StreamingPayload, "X-Amz-Storage-Class: REDUCED_REDUNDANCY")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), 66824
	return r
}

func exampleTrailerUpload(t testing.TB, body string) *http.Request {
	r := exampleRequest(t, "PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com",
		"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
		"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
		"Content-Encoding: aws-chunked", "X-Amz-Decoded-Content-Length: 66560", "X-Amz-Trailer: x-amz-checksum-crc32c",
		"X-Amz-Content-Sha256: "+StreamingPayloadTrailer, "X-Amz-Storage-Class: REDUCED_REDUNDANCY")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r
}

func TestDecodePublishedChunkedUploads(t *testing.T) {
	tests := map[string]struct {
		request  *http.Request
		wantMode PayloadMode
		wantCRC  string
	}{
		"signed chunks": {exampleUpload(t, exampleBody(exampleChunked)), PayloadChunked, ""},
		"with trailer":  {exampleTrailerUpload(t, exampleBody(exampleTrailer)), PayloadChunkedTrailer, "sOO8/Q=="},
		"trailer lines ended as SDKs do": {exampleTrailerUpload(t, strings.Replace(exampleBody(exampleTrailer), "\n\r\nx-amz", "\r\nx-amz", 1)),
			PayloadChunkedTrailer, "sOO8/Q=="},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			id, err := exampleVerifier().Verify(tt.request)
			if err != nil {
				t.Fatal(err)
			}
			if id.Payload != tt.wantMode {
				t.Errorf("mode %v, want %v", id.Payload, tt.wantMode)
			}
			body, length, trailer, err := DecodeBody(tt.request, id)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			if length != 66560 || !bytes.Equal(got, bytes.Repeat([]byte("a"), 66560)) {
				t.Errorf("got %d bytes of %d", len(got), length)
			}
			if crc := trailer().Get("X-Amz-Checksum-Crc32c"); crc != tt.wantCRC {
				t.Errorf("trailing checksum %q, want %q", crc, tt.wantCRC)
			}
		})
	}
}
