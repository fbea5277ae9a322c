package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
)

// wire is one request as it goes out. A body of up to small bytes is a part of it.
type wire struct {
	head []byte
	size int64 // of the object
	rest int64 // of the body that follows
}

const (
	small = 64 << 10
	// piece is how much is sent, or read, and counted at once.
	piece = 256 << 10
)

// conn is a kept connection of the load generator. It costs little more than
// the system calls, and the same for every contender.
type conn struct {
	net.Conn
	in    *bufio.Reader
	moved *atomic.Int64 // bytes of objects, both ways
}

func dial(addr string, moved *atomic.Int64) (*conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 64<<10), moved: moved}, nil
}

// do sends a request and reads the whole answer, which must be a success.
func (c *conn) do(w *wire) error {
	if _, err := c.Write(w.head); err != nil {
		return err
	}
	for off := int64(0); off < w.rest; {
		p := at(off, min(w.rest-off, piece))
		if _, err := c.Write(p); err != nil {
			return err
		}
		off += int64(len(p))
		c.moved.Add(int64(len(p)))
	}
	length, err := c.header()
	if err != nil {
		return err
	}
	get := w.head[0] == 'G'
	if get && length != w.size {
		return fmt.Errorf("%d bytes came of %d", length, w.size)
	}
	for length > 0 {
		n, err := c.in.Discard(int(min(length, piece)))
		if err != nil {
			return err
		}
		length -= int64(n)
		if get {
			c.moved.Add(int64(n))
		}
	}
	if !get && w.rest == 0 {
		c.moved.Add(w.size)
	}
	return nil
}

// header reads an answer's header and returns the length of its body.
func (c *conn) header() (int64, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		more, _ := c.in.Peek(c.in.Buffered())
		return 0, fmt.Errorf("answer %q: %.600s", line, more)
	}
	length := int64(-1)
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without Content-Length")
	}
	return length, nil
}
