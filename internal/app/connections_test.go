package app

import (
	"bufio"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// askOn sends a request on a connection and reads the answer.
func askOn(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return err
}

// serveLimited starts a server for clients that holds at most limit connections.
func serveLimited(t *testing.T, limit int, h http.HandlerFunc) (c *connections, dial func() net.Conn) {
	t.Helper()
	c = newConnections(limit)
	srv := httptest.NewUnstartedServer(h)
	srv.Config = clientServer("", srv.Config.Handler, nil)
	srv.Config.ConnState = c.changed
	srv.Start()
	t.Cleanup(srv.Close)
	address := srv.Listener.Addr().String()
	return c, func() net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// held is how many connections there are, once no more than wanted are left.
func (c *connections) held(t *testing.T, wanted int) int {
	t.Helper()
	open := func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.open }
	for deadline := time.Now().Add(10 * time.Second); open() > wanted; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", open())
		}
	}
	return open()
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// Thousands of clients that say nothing more keep nobody from being served, and
// cost a bounded number of connections and bytes.
func TestIdleConnectionsAreBounded(t *testing.T) {
	const limit, clients = 1000, 4000
	if files := openFiles(); files < limit+clients+100 {
		t.Skipf("this process may open %d files only", files)
	}
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	c, dial := serveLimited(t, limit, ok)
	steady := dial() // a client with a request now and then
	before := memory()
	for i := range clients {
		conn := dial()
		if i%3 == 0 {
			continue // says nothing at all
		}
		if err := askOn(conn); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		if i%100 == 0 {
			if err := askOn(steady); err != nil {
				t.Fatalf("after %d others: %v", i, err)
			}
		}
	}
	if n := c.held(t, limit); n < limit/2 {
		t.Errorf("only %d of %d are left", n, limit)
	}
	// Both ends are in this process.
	each := (memory() - before) / limit
	t.Logf("%d bytes a connection", each)
	if each > 32<<10 {
		t.Errorf("an idle connection takes %d bytes", each)
	}
	if err := askOn(dial()); err != nil {
		t.Error("a new client:", err)
	}
}

// When all have a request under way, one more is closed at once, not left waiting.
func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	const limit = 8
	release := make(chan struct{})
	var busy atomic.Int32
	c, dial := serveLimited(t, limit, func(w http.ResponseWriter, r *http.Request) {
		busy.Add(1)
		<-release
		ok(w, r)
	})
	answers := make(chan error, limit)
	for range limit {
		conn := dial()
		go func() { answers <- askOn(conn) }()
	}
	for deadline := time.Now().Add(10 * time.Second); busy.Load() < limit; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests are under way", busy.Load())
		}
	}
	extra := dial()
	_ = extra.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := extra.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("one too many: %v", err)
	}
	close(release)
	for range limit {
		if err := <-answers; err != nil {
			t.Error("a request under way:", err)
		}
	}
	if err := askOn(dial()); err != nil {
		t.Error("after the others were answered:", err)
	}
	c.held(t, limit)
}

func TestConnectionsLeaveFilesForTheStores(t *testing.T) {
	for files, want := range map[uint64]int{1024: 512, 20000: 10000, 1 << 20: maxConnections, math.MaxUint64: maxConnections} {
		if got := connectionLimit(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
