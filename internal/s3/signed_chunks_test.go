package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// signedUpload is a correctly signed upload in chunks; body overrides what is
// sent, "" sends what was signed. It returns the body as signed.
func signedUpload(t testing.TB, body string, chunks ...string) (*http.Request, string) {
	t.Helper()
	r := httptest.NewRequest("PUT", "/b/k", nil)
	r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(strings.Join(chunks, ""))))
	NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}).Sign(r, StreamingPayload, exampleTime)
	id, err := exampleVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	c := &chunkReader{id: id, previous: id.seed}
	var signed strings.Builder
	for _, data := range append(chunks, "") {
		sum := sha256.Sum256([]byte(data))
		c.previous = c.link("AWS4-HMAC-SHA256-PAYLOAD", EmptyPayload, sum[:])
		fmt.Fprintf(&signed, "%x;chunk-signature=%s\r\n%s\r\n", len(data), c.previous[:], data)
	}
	if body == "" {
		body = signed.String()
	}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r, signed.String()
}

// Not one byte may change: each single-byte change and each cut is refused.
func TestDecodeRefusesEachChangedByte(t *testing.T) {
	_, signed := signedUpload(t, "", "hello ", "world")
	r, _ := signedUpload(t, "", "hello ", "world")
	if got, err := decodeAll(r); err != nil || string(got) != "hello world" {
		t.Fatalf("got %q, %v", got, err)
	}
	for i := range len(signed) {
		changed := []byte(signed)
		changed[i] ^= 1
		// The line end may be spelt in another way, nothing else.
		if signed[i] == '\r' || signed[i] == '\n' {
			continue
		}
		for what, body := range map[string]string{"changed": string(changed), "cut": signed[:i]} {
			if i == 0 && what == "cut" {
				continue
			}
			r, _ := signedUpload(t, body, "hello ", "world")
			if got, err := decodeAll(r); err == nil || len(got) >= len("hello world") {
				t.Errorf("byte %d %s: delivered %q, %v", i, what, got, err)
			}
		}
	}
}

func TestDecodeEmptySignedUpload(t *testing.T) {
	r, signed := signedUpload(t, "")
	if got, err := decodeAll(r); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
	r, _ = signedUpload(t, strings.Replace(signed, "chunk-signature=", "chunk-signature=0", 1))
	if _, err := decodeAll(r); err == nil {
		t.Error("a bad signature of nothing was taken")
	}
}

// Chunks of one upload must not pass in another one.
func TestDecodeRefusesChunksOfAnotherUpload(t *testing.T) {
	_, other := signedUpload(t, "", "hello world")
	r := httptest.NewRequest("PUT", "/b/other", strings.NewReader(other))
	r.Header.Set("X-Amz-Decoded-Content-Length", "11")
	NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}).Sign(r, StreamingPayload, exampleTime.Add(time.Second))
	if got, err := decodeAll(r); err == nil {
		t.Errorf("taken: %q", got)
	}
}

// Whatever arrives as chunks: no crash, and never the whole body unless it is
// the signed one.
func FuzzDecodeChunks(f *testing.F) {
	_, signed := signedUpload(f, "", "hello ", "world")
	f.Add(signed)
	f.Add(signed[:90])
	f.Add(strings.ReplaceAll(signed, "\r\n", "\n"))
	f.Add("ffffffffffffffff;chunk-signature=" + hex.EncodeToString(make([]byte, 32)) + "\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		if body == "" {
			return
		}
		r, _ := signedUpload(t, body, "hello ", "world")
		got, err := decodeAll(r)
		if err == nil && string(got) != "hello world" {
			t.Errorf("%q taken from %q", got, body)
		}
		if err != nil && len(got) >= len("hello world") {
			t.Errorf("delivered in full despite %v", err)
		}
	})
}
