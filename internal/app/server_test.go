package app

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
)

// writePair puts a new certificate and its key into the directory of a Secret.
func writePair(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{config.TLSCertKey: {Type: "CERTIFICATE", Bytes: der}, config.TLSKeyKey: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Clients are served by HTTP/2 and HTTP/1.1, and with the certificate that the
// Secret holds now.
func TestClientsAreServedOverTLS(t *testing.T) {
	dir := t.TempDir()
	writePair(t, filepath.Join(dir, "tls"), "first")
	m := &v1alpha1.Migration{}
	m.Spec.Proxy.TLS = &v1alpha1.ProxyTLS{SecretName: "tls"}
	secure, err := config.ServerTLS(m, config.DirSecrets(dir))
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	_ = free.Close()
	srv := clientServer(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }), secure)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, srv, time.Second) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	ask := func(protocols ...string) (protocol, name string) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(true)
		transport.Protocols.SetHTTP2(len(protocols) > 1)
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err.Error(), ""
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return string(b), resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	eventually := func(protocol, name string, protocols ...string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			p, n := ask(protocols...)
			if p == protocol && n == name {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s, %s", p, n)
			}
		}
	}
	eventually("HTTP/2.0", "first", "h2", "http/1.1")
	eventually("HTTP/1.1", "first", "http/1.1")
	writePair(t, filepath.Join(dir, "tls"), "second")
	eventually("HTTP/2.0", "second", "h2", "http/1.1")
}

// A header of more than S3 takes is refused before all of it has come.
func TestHugeHeadersAreRefused(t *testing.T) {
	srv := clientServer("", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("served") }), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	defer func() { _ = srv.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n")
		for range 1 << 10 {
			if _, err := io.WriteString(conn, "X-Amz-Meta-A: "+strings.Repeat("a", 1<<10)+"\r\n"); err != nil {
				return
			}
		}
	}()
	if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("%q %v", got, err)
	}
}
