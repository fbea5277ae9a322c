package s3

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(0x9a6c9329ac4bc9b5)
)

// checksums are the algorithms of x-amz-checksum-*.
var checksums = map[string]func() hash.Hash{
	"x-amz-checksum-crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"x-amz-checksum-crc32c":    func() hash.Hash { return crc32.New(castagnoli) },
	"x-amz-checksum-crc64nvme": func() hash.Hash { return crc64.New(nvme) },
	"x-amz-checksum-md5":       md5.New,
	"x-amz-checksum-sha1":      sha1.New,
	"x-amz-checksum-sha256":    sha256.New,
	"x-amz-checksum-sha512":    sha512.New,
}

// storesChecksums are those that only the store can verify, with their size in bytes.
var storesChecksums = map[string]int{
	"x-amz-checksum-xxhash3":   8,
	"x-amz-checksum-xxhash64":  8,
	"x-amz-checksum-xxhash128": 16,
}

// checksumSize returns the size of a checksum in bytes, 0 if it is not known.
func checksumSize(name string) int {
	if newHash := checksums[name]; newHash != nil {
		return newHash().Size()
	}
	return storesChecksums[name]
}

// Verifiable reports whether [DecodeBody] verifies all of these trailers itself.
func Verifiable(names []string) bool {
	for _, name := range names {
		if checksums[name] == nil {
			return false
		}
	}
	return true
}

// trailerSum is one header announced for the trailer. Its hash is nil when the
// header is no checksum that is known here.
type trailerSum struct {
	name string
	hash hash.Hash
}

func (s *trailerSum) write(p []byte) {
	if s.hash != nil {
		s.hash.Write(p)
	}
}

// maxTrailers bounds the headers that may be announced: each costs a hash.
const maxTrailers = 8

func trailerNames(h http.Header) []string {
	var names []string
	for _, v := range h["X-Amz-Trailer"] {
		for _, name := range strings.Split(v, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

func declaredTrailers(h http.Header) ([]*trailerSum, error) {
	names := trailerNames(h)
	if len(names) > maxTrailers {
		return nil, ErrMalformedTrailer
	}
	var sums []*trailerSum
	for _, name := range names {
		s := &trailerSum{name: name}
		if newHash := checksums[name]; newHash != nil {
			s.hash = newHash()
		}
		sums = append(sums, s)
	}
	return sums, nil
}

// ChecksumTrailers returns the names in lower case of the checksums that h
// announces for the trailer (X-Amz-Trailer) and that are known to [DecodeBody].
// Call it before [Rewriter.Rewrite], which removes the announcement.
func ChecksumTrailers(h http.Header) []string {
	var known []string
	for _, name := range trailerNames(h) {
		if checksumSize(name) > 0 {
			known = append(known, name)
		}
	}
	return known
}

// readTrailer reads what is left of the body: blank lines and, in the modes that
// have one, the announced headers and their signature.
func (c *chunkReader) readTrailer() error {
	var signed []byte
	var signature []byte
	total, blank := 0, false
	for {
		line, err := c.br.ReadSlice('\n')
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			if errors.Is(err, bufio.ErrBufferFull) {
				return ErrMalformedTrailer
			}
			return incomplete(err)
		}
		if total += len(line); total > maxTrailer {
			return ErrMalformedTrailer
		}
		blank = len(line) == 2 && line[0] == '\r' || blank && len(line) == 0
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			name, value, found := bytes.Cut(line, []byte(":"))
			name, value = bytes.ToLower(bytes.TrimSpace(name)), bytes.TrimSpace(value)
			isSigned := c.mode == PayloadChunkedTrailer
			switch {
			case !c.mode.HasTrailer(), bytes.IndexByte(line, '\r') >= 0, signature != nil:
				return errBadChunk
			case !found:
				return ErrMalformedTrailer
			case isSigned && string(name) == "x-amz-trailer-signature":
				signature = bytes.Clone(value)
			case isSigned && len(c.sums) > 0 && len(c.trailers) == len(c.sums):
				return errBadChunk // only the signature can follow
			default:
				signed = append(append(append(append(signed, name...), ':'), value...), '\n')
				if err := c.addTrailer(string(name), string(value)); err != nil {
					return err
				}
			}
		}
		if end {
			break
		}
	}
	switch {
	case c.mode.HasTrailer() && !blank, signature != nil && len(signature) != hexHashSize:
		return errBadChunk
	case c.mode == PayloadChunkedTrailer && len(c.sums) > 0 && len(c.trailers) == 0:
		return ErrMalformedTrailer
	}
	if c.mode == PayloadChunkedTrailer {
		sum := sha256.Sum256(signed)
		if !equalHex(c.link("AWS4-HMAC-SHA256-TRAILER", "", sum[:]), signature) {
			return ErrSignatureDoesNotMatch
		}
	}
	return c.checkSums()
}

func (c *chunkReader) addTrailer(name, value string) error {
	key := textproto.CanonicalMIMEHeaderKey(name)
	announced := false
	for _, s := range c.sums {
		announced = announced || s.name == name
	}
	if !announced || len(c.trailers[key]) > 0 {
		return ErrMalformedTrailer
	}
	if c.trailers == nil {
		c.trailers = make(http.Header)
	}
	c.trailers[key] = []string{value}
	return nil
}

// checkSums compares the trailing checksums with those of the content.
func (c *chunkReader) checkSums() error {
	for _, s := range c.sums {
		value := c.trailers.Get(s.name)
		if value == "" {
			return ErrMalformedTrailer
		}
		size := checksumSize(s.name)
		if size == 0 {
			continue
		}
		got, err := base64.StdEncoding.DecodeString(value)
		if err != nil || len(got) != size {
			return ErrInvalidRequest.With("Value for " + s.name + " trailing header is invalid.")
		}
		if s.hash != nil && !bytes.Equal(got, s.hash.Sum(nil)) {
			algorithm := strings.ToUpper(strings.TrimPrefix(s.name, "x-amz-checksum-"))
			return ErrBadDigest.With("The " + algorithm + " you specified did not match the calculated checksum.")
		}
	}
	return nil
}

// EncodeTrailer frames a plain body for [StreamingUnsignedTrailer], so that
// checksums which clients send after the body reach the store. It returns the
// framed body and its Content-Length, and sets the headers that go with it on h
// (after [Rewriter.Rewrite], before [Signer.Sign]). names are from
// [ChecksumTrailers]; trailer is called after body's io.EOF.
func EncodeTrailer(h http.Header, body io.ReadCloser, length int64, names []string, trailer func() http.Header) (io.ReadCloser, int64, error) {
	if length < 0 {
		return nil, 0, ErrMissingContentLength
	}
	head, tail := "", "0\r\n"
	if length > 0 {
		head, tail = strconv.FormatInt(length, 16)+"\r\n", "\r\n0\r\n"
	}
	total := int64(len(head)) + length + int64(len(tail)) + 2
	for _, name := range names {
		size := checksumSize(name)
		if size == 0 {
			return nil, 0, errors.New("trailer " + name + " is not a known checksum")
		}
		total += int64(len(name) + 1 + base64.StdEncoding.EncodedLen(size) + 2)
	}
	last := &lazyReader{make: func() (string, error) {
		sums := trailer()
		var b strings.Builder
		b.WriteString(tail)
		for _, name := range names {
			value := sums.Get(name)
			if value == "" {
				return "", ErrMalformedTrailer
			}
			b.WriteString(name + ":" + value + "\r\n")
		}
		b.WriteString("\r\n")
		return b.String(), nil
	}}

	// No aws-chunked in Content-Encoding: some stores keep it with the object, and
	// x-amz-content-sha256 says the same.
	h["X-Amz-Decoded-Content-Length"] = []string{strconv.FormatInt(length, 10)}
	h["X-Amz-Trailer"] = []string{strings.Join(names, ",")}
	framed := io.MultiReader(strings.NewReader(head), body, last)
	return struct {
		io.Reader
		io.Closer
	}{framed, body}, total, nil
}

// lazyReader reads what make returns, asked for at the first Read.
type lazyReader struct {
	make   func() (string, error)
	reader *strings.Reader
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.reader == nil {
		s, err := l.make()
		if err != nil {
			return 0, err
		}
		l.reader = strings.NewReader(s)
	}
	return l.reader.Read(p)
}
