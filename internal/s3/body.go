package s3

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// DecodeBody returns the plain body of a request that [Verifier.Verify]
// accepted (identity nil: an anonymous one), its length in bytes (-1: not
// known), and a function that returns the decoded trailer headers, valid after
// the body's io.EOF; it returns nil when there were none.
//
// Chunk signatures, the trailer's signature, trailing checksums and the decoded
// length are verified while streaming. The body's last byte is held back until
// all of it has been verified: a request forwarded with that Content-Length can
// never complete with a bad body. Read fails with an [*Error]
// (SignatureDoesNotMatch, BadDigest, IncompleteBody, MalformedTrailerError, …),
// or with the connection's own error. A framed body without content is read and
// verified at once. A body protected by its exact hash is returned as it is:
// the store verifies it, or wrap it with [VerifyPayload].
func DecodeBody(r *http.Request, identity *Identity) (body io.ReadCloser, length int64, trailer func() http.Header, err error) {
	none := func() http.Header { return nil }
	mode := PayloadUnsigned
	if identity != nil {
		mode = identity.Payload
	} else if mode, err = parsePayloadMode(r.Header.Get("X-Amz-Content-Sha256")); err != nil {
		return nil, 0, nil, err
	}
	if identity == nil && mode.signedChunks() {
		return nil, 0, nil, ErrInvalidRequest.With("Anonymous requests don't support this x-amz-content-sha256 value. Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER.")
	}
	if !mode.Framed() {
		if mode == PayloadSigned && identity != nil && r.ContentLength == 0 &&
			(r.Method == http.MethodPut || r.Method == http.MethodPost) && identity.ContentSHA256 != EmptyPayload {
			return nil, 0, nil, ErrXAmzContentSHA256Mismatch
		}
		if r.Body == nil {
			return http.NoBody, 0, none, nil
		}
		return r.Body, r.ContentLength, none, nil
	}

	declared := r.Header.Get("X-Amz-Decoded-Content-Length")
	if declared == "" {
		return nil, 0, nil, ErrMissingContentLength
	}
	length, err = strconv.ParseInt(declared, 10, 64)
	if err != nil || length < 0 {
		return nil, 0, nil, ErrMissingContentLength
	}
	c, err := newChunkReader(r, mode, identity, length)
	if err != nil {
		return nil, 0, nil, err
	}
	if length == 0 {
		if err := c.finish(); err != nil {
			_ = c.Close()
			return nil, 0, nil, err
		}
		c.release()
		return http.NoBody, 0, c.trailer, nil
	}
	return c, length, c.trailer, nil
}

// VerifyPayload returns body with its SHA-256 checked against sum (hex) before
// the last of length bytes is delivered, or, with length -1, before io.EOF.
// Read fails with XAmzContentSHA256Mismatch or IncompleteBody.
func VerifyPayload(body io.ReadCloser, length int64, sum string) io.ReadCloser {
	return &hashReader{ReadCloser: body, hash: sha256.New(), left: length, known: length >= 0, sum: strings.ToLower(sum)}
}

type hashReader struct {
	io.ReadCloser
	hash  hash.Hash
	left  int64
	known bool
	sum   string
	err   error
}

func (h *hashReader) Read(p []byte) (int, error) {
	if h.err != nil {
		return 0, h.err
	}
	if h.known && h.left == 0 {
		h.err = h.check()
		if h.err == nil {
			h.err = io.EOF
		}
		return 0, h.err
	}
	if h.known && int64(len(p)) > h.left {
		p = p[:h.left]
	}
	n, err := h.ReadCloser.Read(p)
	h.hash.Write(p[:n])
	h.left -= int64(n)
	switch {
	case h.known && h.left == 0 && n > 0:
		if h.err = h.check(); h.err != nil {
			return n - 1, h.err
		}
		return n, nil
	case errors.Is(err, io.EOF) && h.known:
		err = ErrIncompleteBody
	case errors.Is(err, io.EOF):
		if mismatch := h.check(); mismatch != nil {
			err = mismatch
		}
	}
	h.err = err
	return n, err
}

func (h *hashReader) check() error {
	var sum [sha256.Size]byte
	if hex.EncodeToString(h.hash.Sum(sum[:0])) != h.sum {
		return ErrXAmzContentSHA256Mismatch
	}
	return nil
}

// equalHex compares in constant time.
func equalHex(want [hexHashSize]byte, got []byte) bool {
	return subtle.ConstantTimeCompare(want[:], got) == 1
}
