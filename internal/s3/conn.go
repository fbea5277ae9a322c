package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// answerGrace is how long an answer that is under way may take to be read when
// nothing more can be written.
const answerGrace = time.Second

// ErrUnwritten says that a new connection broke before a byte was written: its
// store knows nothing of the request, which may go out on another one. net/http
// says, and does, as much for kept connections only.
var ErrUnwritten = errors.New("the connection ended before anything was sent")

// patientConn lets the answer of a store win that refuses a request before it has
// read the body, and closes: net/http drops the answer as soon as a write fails.
//
// It ends with a reset, also when its process is killed. Some servers take a body
// that ends in good order, before its Content-Length, for a whole one (fasthttp's
// stream, so versitygw's PutObject with an unsigned payload): what is left of a
// request that was given up would overwrite an object.
type patientConn struct {
	net.Conn
	raw   net.Conn // below TLS, whose Close would end in good order
	state atomic.Int32
	ended sync.Once
	end   chan struct{} // closed when nothing more can be read
}

// The states of a connection: nothing was sent yet, something may have been, and
// it ended before anything was.
const (
	fresh = iota
	used
	unwritten
)

func (c *patientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && (c.state.CompareAndSwap(fresh, unwritten) || c.state.Load() == unwritten) {
		err = errors.Join(ErrUnwritten, err)
	}
	if err != nil {
		c.ended.Do(func() { close(c.end) })
	}
	return n, err
}

func (c *patientConn) Write(p []byte) (int, error) {
	first := c.state.CompareAndSwap(fresh, used)
	if !first && c.state.Load() == unwritten {
		return 0, ErrUnwritten
	}
	n, err := c.Conn.Write(p)
	if err != nil && n == 0 && first {
		return 0, errors.Join(ErrUnwritten, err)
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		timer := time.NewTimer(answerGrace)
		defer timer.Stop()
		select {
		case <-c.end:
		case <-timer.C:
		}
	}
	return n, err
}

var pieces = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// ReadFrom sends bodies in pieces larger than net/http's 32 KiB.
func (c *patientConn) ReadFrom(r io.Reader) (int64, error) {
	buf := pieces.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer pieces.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, r, *buf)
}

func (c *patientConn) Close() error {
	c.ended.Do(func() { close(c.end) })
	return c.raw.Close()
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func patientDial(dialer *net.Dialer) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			if err := tcp.SetLinger(0); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		return &patientConn{Conn: conn, raw: conn, end: make(chan struct{})}, nil
	}
}

// patientTLS is patientDial with TLS on top. config returns what to shake hands with, or nil.
func patientTLS(dialer *net.Dialer, within time.Duration, config func() *tls.Config) dialFunc {
	dial := patientDial(dialer)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		raw := conn.(*patientConn).raw //nolint:forcetypeassert // made above
		c := config().Clone()
		if c == nil {
			c = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		c.ServerName = host
		secure := tls.Client(raw, c)
		if err = raw.SetDeadline(time.Now().Add(within)); err == nil {
			err = secure.HandshakeContext(ctx)
		}
		if err == nil {
			err = raw.SetDeadline(time.Time{})
		}
		if err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		return &patientConn{Conn: secure, raw: raw, end: make(chan struct{})}, nil
	}
}
