package app

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// maxConnections bounds the clients' connections of one process.
const maxConnections = 16384

// connectionLimit is maxConnections, or fewer where the process may not open the
// files: each connection may need another one to a store.
func connectionLimit(files uint64) int { return int(min(maxConnections, files/2)) }

// connections closes the one that has waited for longest when there are too many:
// nobody is refused, and a client that comes back connects again.
type connections struct {
	limit int

	mu      sync.Mutex
	open    int
	waiting *list.List // of net.Conn, between requests; the oldest first
	at      map[net.Conn]*list.Element
	closing map[net.Conn]bool // by us, and not counted any more
}

func newConnections(limit int) *connections {
	return &connections{limit: limit, waiting: list.New(), at: map[net.Conn]*list.Element{}, closing: map[net.Conn]bool{}}
}

// changed is an http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if extra := c.note(conn, state); extra != nil {
		_ = extra.Close()
	}
}

// note counts, and returns a connection to be closed.
func (c *connections) note(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing[conn] && state != http.StateClosed {
		return nil
	}
	if e := c.at[conn]; e != nil {
		c.waiting.Remove(e)
		delete(c.at, conn)
	}
	switch state {
	case http.StateNew:
		c.open++
		c.at[conn] = c.waiting.PushBack(conn)
	case http.StateIdle:
		c.at[conn] = c.waiting.PushBack(conn)
	case http.StateHijacked, http.StateClosed:
		if !c.closing[conn] {
			c.open--
		}
		delete(c.closing, conn)
	case http.StateActive:
	}
	if c.open <= c.limit || c.waiting.Len() == 0 {
		return nil
	}
	oldest := c.waiting.Front()
	extra, _ := c.waiting.Remove(oldest).(net.Conn)
	delete(c.at, extra)
	c.open--
	c.closing[extra] = true
	return extra
}
