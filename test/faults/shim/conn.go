package shim

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// conn is one connection through a link.
type conn struct {
	link *Link
	id   uint64
	down *net.TCPConn // from the client

	mu    sync.Mutex
	up    *net.TCPConn // to the server; nil before it is made
	ended bool
	once  sync.Once
	done  chan struct{} // closed by abort
}

// errCut says that a fault ended the connection.
var errCut = errors.New("cut")

// abort resets both sides.
func (c *conn) abort() {
	c.once.Do(func() {
		close(c.done)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
		for _, t := range []*net.TCPConn{c.down, c.up} {
			if t != nil {
				_ = t.SetLinger(0)
				_ = t.Close()
			}
		}
	})
}

// attach makes the server's side known to abort.
func (c *conn) attach(up *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = up.Close()
		return false
	}
	c.up = up
	return true
}

func (c *conn) serve() {
	for {
		p := c.link.phase.Load()
		if p.hits(c.id) {
			switch p.Kind {
			case Refuse:
				c.abort()
				return
			case Hold:
				if !c.wait(p, 0) {
					return
				}
				continue
			case Answer:
				c.answer(p)
				return
			case Late:
				c.answerLate(p)
				return
			}
		}
		break
	}
	up, err := c.link.dial()
	if err != nil || !c.attach(up) {
		c.abort()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.relay(up, c.down, true) })
	wg.Go(func() { c.relay(c.down, up, false) })
	wg.Wait()
	_ = c.down.Close()
	_ = up.Close()
}

// wait returns when the fault is over, or after d when that is not 0; false
// when the connection ended first.
func (c *conn) wait(p *phase, d time.Duration) bool {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-p.over:
	case <-timer:
	case <-c.done:
		return false
	}
	return true
}

// relay copies one direction until its end.
func (c *conn) relay(to, from *net.TCPConn, upwards bool) {
	buf := make([]byte, 16<<10)
	var passed int64 // since the fault half came on
	var half *phase
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if p := c.link.phase.Load(); half != p {
				half, passed = p, 0
			}
			if werr := c.forward(to, buf[:n], upwards, &passed); werr != nil {
				c.abort()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			c.abort()
			return
		}
	}
}

// forward sends a chunk as the link's fault lets it.
func (c *conn) forward(to io.Writer, b []byte, upwards bool, passed *int64) error {
	p := c.link.phase.Load()
	for p.hits(c.id) && (p.Kind == Hold || p.Kind == Mute && !upwards) {
		if !c.wait(p, 0) {
			return errCut
		}
		p = c.link.phase.Load()
	}
	if !p.hits(c.id) {
		_, err := to.Write(b)
		return err
	}
	switch p.Kind {
	case Delay:
		if !c.wait(p, p.Delay) {
			return errCut
		}
	case Throttle:
		for len(b) > 0 {
			n := min(len(b), max(p.Rate/20, 1))
			if _, err := to.Write(b[:n]); err != nil {
				return err
			}
			if b = b[n:]; !c.wait(p, time.Duration(n)*time.Second/time.Duration(p.Rate)) {
				return errCut
			}
		}
		return nil
	case HalfUp, HalfDown:
		if upwards != (p.Kind == HalfUp) {
			break
		}
		if room := p.Bytes - *passed; int64(len(b)) >= room {
			_, _ = to.Write(b[:max(room, 0)])
			return errCut
		}
		*passed += int64(len(b))
	}
	_, err := to.Write(b)
	return err
}
