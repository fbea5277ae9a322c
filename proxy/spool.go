package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// maxHeld bounds the bodies that are kept in memory, in bytes; longer ones go to a file.
const maxHeld = 1 << 20

// spool takes in a body whose length is not known. Close its rc when it is done with.
func (p *Proxy) spool(src io.Reader, limit int64) (*payload, error) {
	src = io.LimitReader(src, limit+1)
	head := make([]byte, 0, 32<<10)
	buf := bytes.NewBuffer(head)
	n, err := io.CopyN(buf, src, maxHeld)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n > limit {
		return nil, s3.ErrEntityTooLarge
	}
	if n < maxHeld {
		return bytesPayload(buf.Bytes()), nil
	}
	f, err := os.CreateTemp(p.cfg.StateDir, "upload-")
	if err != nil {
		return nil, err
	}
	// Nobody else needs the name, and the space is free whatever becomes of us.
	_ = os.Remove(f.Name())
	n, err = io.Copy(f, io.MultiReader(buf, src))
	if err == nil && n > limit {
		err = s3.ErrEntityTooLarge
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &payload{rc: f, length: n}, nil
}

// progressReader reads a client's body outside of send, and gives up when the
// client does not move for too long.
type progressReader struct {
	io.ReadCloser
	client *http.ResponseController
	idle   time.Duration
}

func (q *request) progress(body io.ReadCloser) *progressReader {
	return &progressReader{body, http.NewResponseController(q.w), q.p.cfg.IdleTimeout}
}

func (r *progressReader) Read(p []byte) (int, error) {
	_ = r.client.SetReadDeadline(time.Now().Add(r.idle))
	n, err := r.ReadCloser.Read(p)
	if err != nil {
		// A deadline that passed later would look as if the client had left.
		r.done()
	}
	return n, err
}

// done ends the watch.
func (r *progressReader) done() { _ = r.client.SetReadDeadline(time.Time{}) }

// clientError is the error to answer when a client's body could not be read.
func (q *request) clientError(err error) error {
	var known *s3.Error
	switch {
	case asError(err, &known):
		return known
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s3.ErrRequestTimeout
	}
	return err
}

// leftoverGrace is how long a client may take to send the rest of a body that
// nobody wants.
const leftoverGrace = 2 * time.Second

// leftover bounds the time in which net/http looks for the end of an unread body.
func (q *request) leftover() {
	if q.unread() {
		_ = http.NewResponseController(q.w).SetReadDeadline(time.Now().Add(leftoverGrace))
	}
}

func (q *request) unread() bool {
	return q.r.ContentLength != 0 && (q.body == nil || !q.body.finished.Load() || q.body.failure() != nil)
}

// Bounds of what is read of a body that nobody wants, in bytes.
const (
	maxLeftover         = 5 << 30
	maxStrangerLeftover = 64 << 20
)

// drain reads what a client sends after its answer, as stores do: a connection
// that is closed before may cost the client the answer.
func (q *request) drain() {
	if !q.answered || !q.unread() || q.received.ProtoMajor != 1 {
		return
	}
	client := http.NewResponseController(q.w)
	if client.Flush() != nil {
		return
	}
	limit := int64(maxStrangerLeftover)
	if q.identity != nil {
		limit = maxLeftover
	}
	buf := buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer buffers.Put(buf)
	for limit > 0 {
		_ = client.SetReadDeadline(time.Now().Add(leftoverGrace))
		n, err := q.received.Body.Read(*buf)
		if err != nil {
			return
		}
		limit -= int64(n)
	}
}
