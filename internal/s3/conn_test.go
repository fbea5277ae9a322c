package s3

import (
	"bufio"
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
