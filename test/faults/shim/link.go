// Package shim is a TCP relay that can do to connections what networks and
// failing servers do: delay, throttle, hold and cut them, send halves, and
// answer HTTP requests with errors.
package shim

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout bounds a connection to the server behind a link.
const dialTimeout = 2 * time.Second

// Link listens and relays each connection to a server.
type Link struct {
	Name string

	pick     func() []string
	listener net.Listener
	phase    atomic.Pointer[phase]
	ids      atomic.Uint64

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
	wg     sync.WaitGroup
}

// Listen opens a link on a free port of the loopback address. pick returns the
// addresses of servers, the best first; a connection goes to the first that
// takes it.
func Listen(name string, pick func() []string) (*Link, error) {
	l := &Link{Name: name, pick: pick, conns: map[*conn]struct{}{}}
	var err error
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	l.phase.Store(&phase{over: make(chan struct{})})
	l.wg.Go(l.accept)
	return l, nil
}

// Addr is where the link listens.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Set puts a fault on the link, in place of the one before, and returns how to
// take it away. That does nothing when another one has taken its place.
func (l *Link) Set(f Fault) (clear func()) {
	p := &phase{Fault: f, id: l.ids.Add(1), over: make(chan struct{})}
	close(l.phase.Swap(p).over)
	if f.ends() {
		l.cut(p.hits)
	}
	return func() {
		if l.phase.CompareAndSwap(p, &phase{id: l.ids.Add(1), over: make(chan struct{})}) {
			close(p.over)
		}
	}
}

// Cut resets a share of the connections and returns how many.
func (l *Link) Cut(share float64) int {
	p := &phase{Fault: Fault{Kind: Refuse, Share: share}, id: l.ids.Add(1)}
	return l.cut(p.hits)
}

func (l *Link) cut(hits func(uint64) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for c := range l.conns {
		if hits(c.id) {
			c.abort()
			n++
		}
	}
	return n
}

// Close ends the link and its connections.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.listener.Close()
	close(l.phase.Swap(&phase{over: make(chan struct{})}).over)
	l.cut(func(uint64) bool { return true })
	l.wg.Wait()
}

func (l *Link) accept() {
	for {
		down, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of files
			continue
		}
		c := &conn{link: l, id: l.ids.Add(1), down: down.(*net.TCPConn), done: make(chan struct{})}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			c.abort()
			return
		}
		l.conns[c] = struct{}{}
		l.mu.Unlock()
		l.wg.Go(func() {
			c.serve()
			l.mu.Lock()
			delete(l.conns, c)
			l.mu.Unlock()
		})
	}
}

func (l *Link) dial() (*net.TCPConn, error) {
	err := errors.New("nobody to connect to")
	for _, addr := range l.pick() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, dialTimeout); err == nil {
			return c.(*net.TCPConn), nil
		}
	}
	return nil, err
}
