package s3_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// forwarder is the shortest proxy that this package is made for.
func forwarder(t *testing.T, store s3.Endpoint, trailers bool) (url string, client *http.Client) {
	t.Helper()
	verifier := &s3.Verifier{Lookup: func(id string) []s3.Credentials {
		if id != clientKey {
			return nil
		}
		return []s3.Credentials{{AccessKeyID: id, SecretAccessKey: clientSecret}}
	}}
	rewriter, err := s3.NewRewriter(store)
	if err != nil {
		t.Fatal(err)
	}
	signer := s3.NewSigner(store)
	transport, err := store.NewTransport()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	forward := func(w http.ResponseWriter, r *http.Request) error {
		in, err := s3.ParseRequest(r, nil)
		if err != nil {
			return err
		}
		id, err := verifier.Verify(r)
		if err != nil {
			return err
		}
		body, length, trailer, err := s3.DecodeBody(r, id)
		if err != nil {
			return err
		}
		names := s3.ChecksumTrailers(r.Header)
		out := r.Clone(r.Context())
		rewriter.Rewrite(in, out)
		out.Body, out.ContentLength, out.TransferEncoding = body, length, nil
		payload := s3.UnsignedPayload
		if id.Payload == s3.PayloadSigned {
			payload = id.ContentSHA256
		}
		if trailers && len(names) > 0 {
			if out.Body, out.ContentLength, err = s3.EncodeTrailer(out.Header, body, length, names, trailer); err != nil {
				return err
			}
			payload = s3.StreamingUnsignedTrailer
		}
		if out.ContentLength == 0 {
			out.Body = http.NoBody
		}
		signer.Sign(out, payload, time.Now())
		resp, err := transport.RoundTrip(out)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, err = io.Copy(w, resp.Body)
		return err
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := forward(w, r); err != nil {
			s3.WriteError(w, r, err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, server.Client()
}

func stores() map[string]func(testing.TB) s3.Endpoint {
	return map[string]func(testing.TB) s3.Endpoint{
		"versitygw": func(t testing.TB) s3.Endpoint { return s3test.Versitygw(t, s3test.Options{}) },
		"RGW":       s3test.RGW,
	}
}

// storeKeys are keys that every store takes, some that trip signatures.
var storeKeys = []string{
	"plain", "dir/file", "a+b", "a b", "100%", "a%2Fb", "ä/日本", "q?x#y", "!$&'()*,:;=@[]", "~-._", "a=b&c",
}

func TestForwardToRealStores(t *testing.T) {
	for name, start := range stores() {
		t.Run(name, func(t *testing.T) {
			store := start(t)
			direct := s3test.Client(t, store)
			bucket := s3test.Bucket(t, direct)
			url, client := forwarder(t, store, name == "versitygw")
			c := sdk(url, client)
			for _, key := range storeKeys {
				// The SDK sends this with a trailing checksum.
				_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
					Bucket: &bucket, Key: &key, Body: strings.NewReader("hello " + key),
					Metadata: map[string]string{"a": "b"}, ContentType: aws.String("text/plain"),
				})
				if err != nil {
					t.Errorf("put %q: %v", key, err)
					continue
				}
				got, err := direct.S3.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
				if err != nil {
					t.Errorf("get %q from the store: %v", key, err)
					continue
				}
				content, _ := io.ReadAll(got.Body)
				_ = got.Body.Close()
				if string(content) != "hello "+key || got.Metadata["a"] != "b" || aws.ToString(got.ContentEncoding) != "" {
					t.Errorf("%q: the store has %q, %v, encoding %q", key, content, got.Metadata, aws.ToString(got.ContentEncoding))
				}
				if name == "versitygw" && got.ChecksumCRC32 == nil {
					t.Errorf("%q: the checksum in the trailer did not reach the store", key)
				}
				copied := key + "-copy"
				source := s3.CopySource{Bucket: bucket, Key: key}.Header()
				if _, err := c.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &bucket, Key: &copied, CopySource: &source}); err != nil {
					t.Errorf("copy %q: %v", key, err)
				}
				head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: &copied})
				if err != nil || aws.ToInt64(head.ContentLength) != int64(len(content)) {
					t.Errorf("head copy of %q: %v", key, err)
				}
				list, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, Prefix: &copied})
				if err != nil || len(list.Contents) != 1 || *list.Contents[0].Key != copied {
					t.Errorf("list %q: %v", copied, err)
				}
				if _, err := c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
					t.Errorf("delete %q: %v", key, err)
				}
			}
			_, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("plain")})
			var missing *types.NoSuchKey
			if !errors.As(err, &missing) || s3.Classify(err) != s3.NotFound {
				t.Errorf("get what was deleted: %v", err)
			}
		})
	}
}

func TestForwardMultipartAndConfiguration(t *testing.T) {
	for name, start := range stores() {
		t.Run(name, func(t *testing.T) {
			store := start(t)
			direct := s3test.Client(t, store)
			bucket := s3test.Bucket(t, direct)
			url, client := forwarder(t, store, false)
			c := sdk(url, client)
			key := aws.String("dir/large file")
			created, err := c.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: key})
			if err != nil {
				t.Fatal(err)
			}
			content := make([]byte, 6<<20)
			_, _ = rand.Read(content)
			var parts []types.CompletedPart
			for i, data := range [][]byte{content[:5<<20], content[5<<20:]} {
				number := aws.Int32(int32(i + 1))
				part, err := c.UploadPart(t.Context(), &awss3.UploadPartInput{
					Bucket: &bucket, Key: key, UploadId: created.UploadId, PartNumber: number, Body: bytes.NewReader(data),
				})
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, types.CompletedPart{PartNumber: number, ETag: part.ETag})
			}
			if _, err := c.CompleteMultipartUpload(t.Context(), &awss3.CompleteMultipartUploadInput{
				Bucket: &bucket, Key: key, UploadId: created.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
			}); err != nil {
				t.Fatal(err)
			}
			got, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: key})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = got.Body.Close() }()
			if back, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(back, content) {
				t.Errorf("content differs, %d bytes, %v", len(back), err)
			}
			tags := &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b c")}}}
			if _, err := c.PutBucketTagging(t.Context(), &awss3.PutBucketTaggingInput{Bucket: &bucket, Tagging: tags}); err != nil {
				t.Errorf("put bucket tagging: %v", err)
			}
			if out, err := direct.S3.GetBucketTagging(t.Context(), &awss3.GetBucketTaggingInput{Bucket: &bucket}); err != nil || *out.TagSet[0].Value != "b c" {
				t.Errorf("bucket tagging: %v", err)
			}
			deleted, err := c.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{
				Bucket: &bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: key}}},
			})
			if err != nil || len(deleted.Deleted) != 1 {
				t.Errorf("delete objects: %v", err)
			}
		})
	}
}

// A body that turns out bad after all its content must not become an object.
func TestForwardNeverStoresBadBody(t *testing.T) {
	store := s3test.Versitygw(t, s3test.Options{})
	direct := s3test.Client(t, store)
	bucket := s3test.Bucket(t, direct)
	url, client := forwarder(t, store, false)
	req, err := http.NewRequest("PUT", url+"/"+bucket+"/bad", strings.NewReader("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Decoded-Content-Length", "11")
	req.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
	s3.NewSigner(s3.Endpoint{AccessKeyID: clientKey, SecretAccessKey: clientSecret}).Sign(req, s3.StreamingUnsignedTrailer, time.Now())
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got := s3.ParseError(resp); !errors.Is(got, s3.ErrBadDigest) || got.Status != 400 {
		t.Errorf("got %v", got)
	}
	_, err = direct.S3.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: aws.String("bad")})
	if s3.Classify(err) != s3.NotFound {
		t.Errorf("the bad object: %v", err)
	}
}
