package s3

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
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

// A request that is given up ends with a reset, with TLS too: servers may take a body
// that ends in good order for a whole one.
func TestRequestThatIsGivenUpEndsWithAReset(t *testing.T) {
	made := httptest.NewUnstartedServer(nil)
	made.StartTLS()
	config := &tls.Config{Certificates: made.TLS.Certificates, MinVersion: tls.VersionTLS12}
	roots := x509.NewCertPool()
	roots.AddCert(made.Certificate())
	made.Close()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			if scheme == "https" {
				l = tls.NewListener(l, config)
			}
			begun, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					ended <- err
					return
				}
				defer func() { _ = conn.Close() }()
				body := bufio.NewReader(conn)
				for line := "-"; line != "\r\n" && err == nil; {
					line, err = body.ReadString('\n')
				}
				close(begun)
				_, err = io.Copy(io.Discard, body)
				ended <- err
			}()
			transport := NewTransport()
			transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body, writer := io.Pipe()
			req, err := http.NewRequestWithContext(ctx, http.MethodPut, scheme+"://"+l.Addr().String()+"/b/k", body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = 1 << 20
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				if resp, err := transport.RoundTrip(req); err == nil {
					_ = resp.Body.Close()
					t.Error("an answer that was never sent")
				}
			}()
			_, _ = writer.Write(make([]byte, 100<<10))
			<-begun
			cancel()
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the body ended with %v", err)
			}
			_ = writer.Close() // net/http waits for who reads it
			<-gone
		})
	}
}
