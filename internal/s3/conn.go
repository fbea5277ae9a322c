package s3

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// answerGrace is how long an answer that is under way may take to be read when
// nothing more can be written.
const answerGrace = time.Second

// patientConn lets the answer of a store win that refuses a request before it has
// read the body, and closes: net/http drops the answer as soon as a write fails.
type patientConn struct {
	net.Conn
	ended sync.Once
	end   chan struct{} // closed when nothing more can be read
}

func (c *patientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.ended.Do(func() { close(c.end) })
	}
	return n, err
}

func (c *patientConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
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

func (c *patientConn) Close() error {
	c.ended.Do(func() { close(c.end) })
	return c.Conn.Close()
}

func patientDial(dialer *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &patientConn{Conn: conn, end: make(chan struct{})}, nil
	}
}
