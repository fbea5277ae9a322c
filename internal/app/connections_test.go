package app

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestIdleConnectionsAreBounded(t *testing.T) {
	const limit, clients = 20, 200
	c := newConnections(limit)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	srv.Config = clientServer("", srv.Config.Handler, nil)
	srv.Config.ConnState = c.changed
	srv.Start()
	defer srv.Close()
	address := srv.Listener.Addr().String()
	ask := func(conn net.Conn) error {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		return err
	}
	for i := range clients {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if i%3 == 0 {
			continue // says nothing at all
		}
		if err := ask(conn); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	open := func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.open }
	for deadline := time.Now().Add(10 * time.Second); open() > limit; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", open())
		}
	}
	if open() == 0 {
		t.Error("all were closed")
	}
}
