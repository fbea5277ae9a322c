package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// rawStore takes requests apart by hand. It calls serve for each head of a
// request, and closes the connection when serve says so.
func rawStore(t *testing.T, serve func(head string, in *bufio.Reader, out io.Writer) (closes bool)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				for {
					var head strings.Builder
					for !strings.HasSuffix(head.String(), "\r\n\r\n") {
						line, err := in.ReadString('\n')
						if head.WriteString(line); err != nil {
							if head.Len() > 0 {
								serve(head.String(), in, conn)
							}
							return
						}
					}
					if serve(head.String(), in, conn) {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// A store that refuses a body before it has asked for it may take what comes next
// on that connection for a request.
func TestRefusedBodyIsNotSent(t *testing.T) {
	r := newRig(t, rigOptions{})
	var mu sync.Mutex
	var heads []string
	addr := rawStore(t, func(head string, _ *bufio.Reader, out io.Writer) bool {
		mu.Lock()
		heads = append(heads, strings.SplitN(head, "\r\n", 2)[0])
		mu.Unlock()
		body := errorBody("NoSuchBucket")
		_, _ = fmt.Fprintf(out, "HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return false
	})
	r.hooks[0].set(func(req *http.Request, send next) (*http.Response, error) {
		req.URL.Host = addr
		return send(req)
	})
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: store\r\n\r\n"
	for range 5 {
		conn := r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/k", ""), len(smuggled), "Expect: 100-continue\r\n", smuggled)
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 404") || !strings.Contains(string(got), "NoSuchBucket") {
			t.Fatalf("%q %v", got, err)
		}
		if resp := r.raw(http.MethodGet, "/"+r.bucket+"/other", "", nil); resp.StatusCode != 404 {
			t.Errorf("%d %s", resp.StatusCode, resp.text)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heads) != 10 {
		t.Errorf("%d requests", len(heads))
	}
	for _, h := range heads {
		if strings.Contains(h, "smuggled") {
			t.Errorf("the store was sent %q", h)
		}
	}
}

// The same on Ceph, which keeps such a connection open.
func TestRefusalsOfCephDoNotReachOthers(t *testing.T) {
	ceph := s3test.RGW(t)
	r := newRig(t, rigOptions{config: func(c *Config) {
		c.Stores[0] = Store{Endpoint: ceph, Transport: c.Stores[0].Transport}
	}})
	r.direct[0] = s3test.Client(t, ceph)
	r.bucket = s3test.Bucket(t, r.direct[0])
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				if i%2 == 0 {
					const smuggled = "HEAD / HTTP/1.1\r\nHost: store\r\n\r\n"
					conn := r.dial(r.signed(http.MethodPut, "/no-such-bucket-here/k", ""), len(smuggled), "Expect: 100-continue\r\n", smuggled)
					got, _ := io.ReadAll(conn)
					if !strings.HasPrefix(string(got), "HTTP/1.1 404") {
						t.Errorf("%q", got)
					}
					continue
				}
				key := fmt.Sprintf("k-%d-%d", i, n)
				if resp := r.raw(http.MethodPut, "/"+r.bucket+"/"+key, key, nil); resp.StatusCode != 200 || resp.Header.Get("Etag") == "" {
					t.Errorf("%s: %d %s", key, resp.StatusCode, resp.text)
				}
			}
		})
	}
	wg.Wait()
}

// A store that never asks for a body gets it all the same, from its beginning.
func TestStoreThatDoesNotKnowExpect(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.proxy.upstream[0].invitationWait = 50 * time.Millisecond
	var mu sync.Mutex
	var asked []bool
	addr := rawStore(t, func(head string, in *bufio.Reader, out io.Writer) bool {
		body := make([]byte, 5)
		_, err := io.ReadFull(in, body)
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, strings.Contains(head, "Expect"))
		if err != nil {
			return true
		}
		if string(body) != "hello" {
			t.Errorf("received %q", body)
		}
		_, _ = io.WriteString(out, "HTTP/1.1 200 OK\r\nEtag: \"e\"\r\nContent-Length: 0\r\n\r\n")
		return false
	})
	r.hooks[0].set(func(req *http.Request, send next) (*http.Response, error) {
		req.URL.Host = addr
		return send(req)
	})
	for range 2 {
		conn := r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/k", ""), 5, "Expect: 100-continue\r\nConnection: close\r\n", "hello")
		got, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(got), "HTTP/1.1 200 OK") {
			t.Errorf("%q %v", got, err)
		}
	}
	r.settled()
	if got := r.newest("k"); got != "Source" {
		t.Errorf("newest on %q", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []bool{true, false, false}; fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked: %v, want %v", asked, want)
	}
}
