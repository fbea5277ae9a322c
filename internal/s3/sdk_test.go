package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	clientKey    = "AKIDCLIENT"
	clientSecret = "client-secret/+"
)

// received is what a client's request was found to be.
type received struct {
	request s3.Request
	id      *s3.Identity
	body    []byte
	trailer http.Header
	err     error
}

// verifyingServer answers 200 to each request that passes, and keeps the last.
func verifyingServer(t *testing.T, secure bool) (url string, client *http.Client, last *received) {
	t.Helper()
	last = new(received)
	verifier := &s3.Verifier{
		Regions: []string{"us-east-1"},
		Lookup: func(id string) []s3.Credentials {
			if id != clientKey {
				return nil
			}
			return []s3.Credentials{{AccessKeyID: id, SecretAccessKey: clientSecret}}
		},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = receive(verifier, r)
		if last.err != nil {
			s3.WriteError(w, r, last.err)
			return
		}
		w.Header().Set("Etag", `"00000000000000000000000000000001"`)
	})
	server := httptest.NewUnstartedServer(handler)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.URL, server.Client(), last
}

func receive(verifier *s3.Verifier, r *http.Request) received {
	var got received
	if got.request, got.err = s3.ParseRequest(r, nil); got.err != nil {
		return got
	}
	if got.id, got.err = verifier.Verify(r); got.err != nil {
		return got
	}
	body, length, trailer, err := s3.DecodeBody(r, got.id)
	if err != nil {
		got.err = err
		return got
	}
	if got.id.Payload == s3.PayloadSigned {
		body = s3.VerifyPayload(body, length, got.id.ContentSHA256)
	}
	got.body, got.err = io.ReadAll(body)
	got.trailer = trailer()
	return got
}

// sdk is a client as an application has it: the SDK's own defaults.
func sdk(url string, client *http.Client, edit ...func(*awss3.Options)) *awss3.Client {
	return awss3.New(awss3.Options{
		BaseEndpoint: &url, Region: "us-east-1", UsePathStyle: true, HTTPClient: client, RetryMaxAttempts: 1,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: clientKey, SecretAccessKey: clientSecret}, nil
		}),
	}, edit...)
}

func TestVerifierTakesWhatTheSDKSigns(t *testing.T) {
	url, client, last := verifyingServer(t, false)
	c := sdk(url, client)
	for _, key := range s3.NastyKeys() {
		_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
			Bucket: aws.String("photos"), Key: &key, Body: strings.NewReader("hello " + key),
			Metadata: map[string]string{"a": "  two  spaces ", "empty": ""}, Tagging: aws.String("a=b&c=d"),
		})
		if err != nil {
			t.Errorf("put %q: %v", key, err)
			continue
		}
		if last.request.Key != key || last.request.Operation != s3.PutObject || string(last.body) != "hello "+key {
			t.Errorf("put %q: got %+v, body %q", key, last.request, last.body)
		}
		_, err = c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: aws.String("photos"), Prefix: &key, StartAfter: &key})
		var status interface{ HTTPStatusCode() int }
		if last.err != nil || errors.As(err, &status) && status.HTTPStatusCode() != 200 {
			t.Errorf("list %q: %v", key, last.err)
		}
	}
}

func TestVerifierTakesAllPayloadsOfTheSDK(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 20_000)
	tests := map[string]struct {
		secure bool
		body   io.Reader
		edit   func(*awss3.PutObjectInput)
		option func(*awss3.Options)
		want   s3.PayloadMode
		crc    string
	}{
		"hash of the payload":    {false, strings.NewReader(content), nil, func(*awss3.Options) {}, s3.PayloadSigned, ""},
		"trailer with CRC32":     {true, io.MultiReader(strings.NewReader(content)), nil, func(*awss3.Options) {}, s3.PayloadUnsignedTrailer, "X-Amz-Checksum-Crc32"},
		"trailer with CRC32C":    {true, strings.NewReader(content), func(in *awss3.PutObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c }, func(*awss3.Options) {}, s3.PayloadUnsignedTrailer, "X-Amz-Checksum-Crc32c"},
		"trailer with CRC64NVME": {true, strings.NewReader(content), func(in *awss3.PutObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc64nvme }, func(*awss3.Options) {}, s3.PayloadUnsignedTrailer, "X-Amz-Checksum-Crc64nvme"},
		"trailer with SHA1":      {true, strings.NewReader(content), func(in *awss3.PutObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha1 }, func(*awss3.Options) {}, s3.PayloadUnsignedTrailer, "X-Amz-Checksum-Sha1"},
		"trailer with SHA256":    {true, strings.NewReader(content), func(in *awss3.PutObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 }, func(*awss3.Options) {}, s3.PayloadUnsignedTrailer, "X-Amz-Checksum-Sha256"},
		"unsigned": {true, strings.NewReader(content), nil, func(o *awss3.Options) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}, s3.PayloadUnsigned, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			url, client, last := verifyingServer(t, tt.secure)
			in := &awss3.PutObjectInput{Bucket: aws.String("photos"), Key: aws.String("k"), Body: tt.body}
			if _, seekable := tt.body.(*strings.Reader); !seekable {
				in.ContentLength = aws.Int64(int64(len(content)))
			}
			if tt.edit != nil {
				tt.edit(in)
			}
			if _, err := sdk(url, client, tt.option).PutObject(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if last.id.Payload != tt.want || string(last.body) != content {
				t.Errorf("mode %v (want %v), %d bytes", last.id.Payload, tt.want, len(last.body))
			}
			if tt.crc != "" && last.trailer.Get(tt.crc) == "" {
				t.Errorf("trailer %v has no %s", last.trailer, tt.crc)
			}
		})
	}
}

func TestVerifierTakesPresignedRequestsOfTheSDK(t *testing.T) {
	url, client, last := verifyingServer(t, false)
	presigner := awss3.NewPresignClient(sdk(url, client))
	for _, key := range s3.NastyKeys() {
		signed, err := presigner.PresignPutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String("photos"), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(signed.Method, signed.URL, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || last.request.Key != key || !last.id.Presigned || string(last.body) != "hello" {
			t.Errorf("%q: %d, %v", key, resp.StatusCode, last.err)
		}
	}
}

// The SDK's own signer and ours must agree on every path and query.
func TestSignerAgreesWithTheSDK(t *testing.T) {
	now := time.Now()
	theirs := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	ours := s3.NewSigner(s3.Endpoint{AccessKeyID: clientKey, SecretAccessKey: clientSecret, SessionToken: "a token/+="})
	rewriter, err := s3.NewRewriter(s3.Endpoint{URL: "https://store:9000"})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("body"))
	for _, key := range s3.NastyKeys() {
		build := func() *http.Request {
			r := httptest.NewRequest("PUT", "/", nil)
			r.URL.RawQuery = "tagging&prefix=" + url.QueryEscape(key) + "&a=2&a=1&A=3&b"
			rewriter.Rewrite(s3.Request{Bucket: "b", Key: key}, r)
			r.Header.Set("Content-Type", "text/plain;  charset=utf-8")
			r.Header.Set("X-Amz-Meta-Key", "  a  b   c ")
			r.Header.Add("X-Amz-Meta-Two", "1")
			r.Header.Add("X-Amz-Meta-Two", "2")
			r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
			return r
		}
		want, got := build(), build()
		ours.Sign(got, hex.EncodeToString(sum[:]), now)
		err := theirs.SignHTTP(t.Context(), aws.Credentials{AccessKeyID: clientKey, SecretAccessKey: clientSecret, SessionToken: "a token/+="},
			want, hex.EncodeToString(sum[:]), "s3", "us-east-1", now)
		if err != nil {
			t.Fatal(err)
		}
		if w, g := want.Header.Get("Authorization"), got.Header.Get("Authorization"); w != g {
			t.Errorf("%q:\n got %s\nwant %s", key, g, w)
		}
	}
}

func TestClientKeepsKeys(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "/nonexistent")
	serverURL, _, last := verifyingServer(t, false)
	c, err := s3.NewClient(s3.Endpoint{URL: serverURL, AccessKeyID: clientKey, SecretAccessKey: clientSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	for _, key := range s3.NastyKeys() {
		content := []byte("hello")
		_, err := c.S3.PutObject(t.Context(), &awss3.PutObjectInput{
			Bucket: aws.String("photos"), Key: &key,
			// No seeker: it must stream.
			Body: io.MultiReader(bytes.NewReader(content)), ContentLength: aws.Int64(int64(len(content))),
		})
		if err != nil || last.request.Key != key || last.request.Bucket != "photos" || !bytes.Equal(last.body, content) {
			t.Errorf("%q: got %+v, %v", key, last.request, err)
			continue
		}
		if last.id.Payload != s3.PayloadUnsigned || len(last.trailer) > 0 {
			t.Errorf("%q: payload %v, trailer %v", key, last.id.Payload, last.trailer)
		}
	}
}
