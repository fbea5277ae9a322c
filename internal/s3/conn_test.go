package s3

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An answer counts although its sender closes before it has read the body.
func TestEarlyAnswerIsRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var silent atomic.Bool
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil && !silent.Load() {
				_, _ = io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone")
			}
			_ = conn.Close() // with much unread: a reset
		}
	}()
	transport := NewTransport()
	defer transport.CloseIdleConnections()
	send := func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+l.Addr().String()+"/b/k", strings.NewReader(strings.Repeat("x", 32<<20)))
		if err != nil {
			t.Fatal(err)
		}
		return transport.RoundTrip(req)
	}
	for i := range 50 {
		resp, err := send()
		if err != nil {
			t.Fatalf("try %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != 404 || string(body) != "none" {
			t.Errorf("try %d: %d %q %v", i, resp.StatusCode, body, err)
		}
		_ = resp.Body.Close()
	}
	silent.Store(true)
	began := time.Now()
	if resp, err := send(); err == nil {
		_ = resp.Body.Close()
		t.Error("an answer that was never sent")
	}
	if took := time.Since(began); took > answerGrace {
		t.Errorf("a connection that was cut is noticed after %v", took)
	}
}

// A new connection that ended before a request was sent on it says so, however
// its end is noticed first.
func TestNewConnectionThatEndsUnwrittenSaysSo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for name, linger := range map[string]int{"reset": 0, "closed": -1} {
		for _, first := range []string{"read", "write", "transport"} {
			t.Run(name+", "+first, func(t *testing.T) {
				conn, err := patientDial(&net.Dialer{})(t.Context(), "tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				other, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				_ = other.(*net.TCPConn).SetLinger(linger)
				_ = other.Close()
				switch first {
				case "read":
					if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, ErrUnwritten) {
						t.Errorf("read: %v", err)
					}
					fallthrough
				case "write":
					if first == "write" && linger < 0 {
						return // the system takes it
					}
					if n, err := conn.Write([]byte("GET")); n != 0 || !errors.Is(err, ErrUnwritten) {
						t.Errorf("write: %d %v", n, err)
					}
				case "transport":
					transport := NewTransport()
					transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
					_, _ = conn.Read(make([]byte, 1))
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://store/b/k", strings.NewReader("x"))
					if err != nil {
						t.Fatal(err)
					}
					resp, err := transport.RoundTrip(req)
					if err == nil {
						_ = resp.Body.Close()
					}
					if !errors.Is(err, ErrUnwritten) {
						t.Errorf("request: %v", err)
					}
				}
			})
		}
	}
}
