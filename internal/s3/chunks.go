package s3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"sync"
)

const (
	// maxChunkLine bounds a chunk's header: 16 digits, the signature's name and value.
	maxChunkLine = 256
	// maxTrailer bounds all lines after the last chunk, in bytes.
	maxTrailer = 16 << 10
)

var chunkReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}

// chunkReader takes an aws-chunked body apart and verifies it.
type chunkReader struct {
	src  io.ReadCloser
	br   *bufio.Reader
	mode PayloadMode
	id   *Identity

	left      int64 // of the declared length, still to come
	chunkLeft int64 // of the current chunk
	inChunk   bool

	hash      hash.Hash // of the current chunk, signed modes only
	previous  [hexHashSize]byte
	signature [hexHashSize]byte // as sent with the current chunk
	scratch   []byte

	sums     []*trailerSum
	trailers http.Header
	err      error
}

func newChunkReader(r *http.Request, mode PayloadMode, id *Identity, length int64) (*chunkReader, error) {
	c := &chunkReader{src: r.Body, mode: mode, id: id, left: length}
	if mode.signedChunks() {
		c.hash = sha256.New()
		c.previous = id.seed
	}
	if mode.HasTrailer() {
		sums, err := declaredTrailers(r.Header)
		if err != nil {
			return nil, err
		}
		c.sums = sums
	}
	c.br = chunkReaders.Get().(*bufio.Reader)
	c.br.Reset(r.Body)
	return c, nil
}

// Close closes the request's body. It may be called during a Read.
func (c *chunkReader) Close() error { return c.src.Close() }

func (c *chunkReader) release() {
	if c.br != nil {
		c.br.Reset(nil)
		chunkReaders.Put(c.br)
		c.br = nil
	}
}

func (c *chunkReader) trailer() http.Header { return c.trailers }

// Read delivers plain bytes. The one that completes the body is delivered only
// after everything behind it has been read and verified.
func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.read(p)
	if err != nil {
		c.err = err
	}
	return n, err
}

func (c *chunkReader) read(p []byte) (int, error) {
	if c.left == 0 {
		c.release()
		return 0, io.EOF
	}
	if c.chunkLeft == 0 {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
		if c.chunkLeft == 0 {
			return 0, ErrIncompleteBody
		}
	}
	n, err := c.br.Read(p[:min(int64(len(p)), c.chunkLeft, c.left)])
	data := p[:n]
	if c.hash != nil {
		c.hash.Write(data)
	}
	for _, s := range c.sums {
		s.write(data)
	}
	c.chunkLeft -= int64(n)
	c.left -= int64(n)
	if n > 0 && c.left == 0 {
		if err := c.finish(); err != nil {
			return n - 1, err
		}
		return n, nil
	}
	return n, incomplete(err)
}

// incomplete turns the end of the connection's body into an S3 error.
func incomplete(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBadChunk
	}
	return err
}

// errBadChunk is for content that is not well-formed aws-chunked.
var errBadChunk = ErrIncompleteBody.With("The request body terminated unexpectedly")

// nextChunk ends the current chunk and reads the header of the next one, which
// may be the empty last one.
func (c *chunkReader) nextChunk() error {
	if err := c.endChunk(); err != nil {
		return err
	}
	line, err := c.line(maxChunkLine)
	if err != nil {
		return err
	}
	digits, extension, signed := bytes.Cut(line, []byte(";"))
	if len(digits) == 0 || len(digits) > 16 {
		return errBadChunk
	}
	size, err := strconv.ParseInt(string(digits), 16, 64)
	if err != nil || size < 0 || digits[0] == '+' || digits[0] == '-' {
		return errBadChunk
	}
	if c.mode.signedChunks() {
		name, value, _ := bytes.Cut(extension, []byte("="))
		if !signed || string(name) != "chunk-signature" || len(value) != hexHashSize {
			return errBadChunk
		}
		copy(c.signature[:], value)
		c.hash.Reset()
	}
	c.chunkLeft, c.inChunk = size, true
	return nil
}

// endChunk reads the line end behind a chunk's data and verifies its signature.
func (c *chunkReader) endChunk() error {
	if !c.inChunk {
		return nil
	}
	c.inChunk = false
	line, err := c.line(maxChunkLine)
	if err != nil {
		return err
	}
	if len(line) != 0 {
		return errBadChunk
	}
	return c.verifyChunk()
}

func (c *chunkReader) verifyChunk() error {
	if !c.mode.signedChunks() {
		return nil
	}
	var sum [sha256.Size]byte
	want := c.link("AWS4-HMAC-SHA256-PAYLOAD", EmptyPayload, c.hash.Sum(sum[:0]))
	if !equalHex(want, c.signature[:]) {
		return ErrSignatureDoesNotMatch
	}
	c.previous = want
	return nil
}

// link computes the next signature of the chain.
func (c *chunkReader) link(kind, headers string, sum []byte) [hexHashSize]byte {
	b := append(c.scratch[:0], kind...)
	b = append(append(b, '\n'), c.id.timestamp...)
	b = append(append(b, '\n'), c.id.scope...)
	b = append(append(b, '\n'), c.previous[:]...)
	if headers != "" {
		b = append(append(b, '\n'), headers...)
	}
	b = hex.AppendEncode(append(b, '\n'), sum)
	c.scratch = b
	return c.id.key.signature(b)
}

// finish reads and verifies everything behind the last byte of content.
func (c *chunkReader) finish() error {
	if c.chunkLeft > 0 {
		return c.excess()
	}
	if err := c.nextChunk(); err != nil {
		return err
	}
	if c.chunkLeft > 0 {
		return ErrIncompleteBody
	}
	c.inChunk = false
	if err := c.verifyChunk(); err != nil {
		return err
	}
	return c.readTrailer()
}

// excess tells a chunk that holds more than the declared length from one that
// ends before its own.
func (c *chunkReader) excess() error {
	next, err := c.br.Peek(2)
	switch {
	case len(next) == 2 && string(next) != "\r\n":
		return ErrIncompleteBody
	case err != nil:
		return incomplete(err)
	}
	return errBadChunk
}

// line returns the next line without its end; it is valid until the next read.
func (c *chunkReader) line(limit int) ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > limit {
		return nil, errBadChunk
	}
	if err != nil {
		return nil, incomplete(err)
	}
	line, found := bytes.CutSuffix(line, []byte("\r\n"))
	if !found {
		return nil, errBadChunk
	}
	return line, nil
}
