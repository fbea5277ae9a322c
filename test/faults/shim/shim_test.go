package shim

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type rig struct {
	link   *Link
	client *http.Client
	served atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		r.served.Add(1)
		_, _ = w.Write(append(b, bytes.Repeat([]byte("x"), 64<<10)...))
	}))
	var err error
	r.link, err = Listen("t", func() []string { return []string{"127.0.0.1:1", server.Listener.Addr().String()} })
	if err != nil {
		t.Fatal(err)
	}
	r.client = &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	t.Cleanup(func() { r.client.CloseIdleConnections(); r.link.Close(); server.Close() })
	return r
}

func (r *rig) post(size int) (int, int, error) {
	resp, err := r.client.Post("http://"+r.link.Addr(), "text/plain", strings.NewReader(strings.Repeat("a", size)))
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, len(b), err
}

func TestFaultsAndTheirEnd(t *testing.T) {
	for name, c := range map[string]struct {
		fault  Fault
		status int   // 0: an error
		served int64 // requests that reach the server
	}{
		"none":      {Fault{}, 200, 1},
		"delay":     {Fault{Kind: Delay, Delay: time.Millisecond}, 200, 1},
		"throttle":  {Fault{Kind: Throttle, Rate: 1 << 20}, 200, 1},
		"refuse":    {Fault{Kind: Refuse}, 0, 0},
		"half up":   {Fault{Kind: HalfUp, Bytes: 500}, 0, 0},
		"half down": {Fault{Kind: HalfDown, Bytes: 500}, 0, 1},
		"answer":    {Fault{Kind: Answer, Status: 503, Code: "SlowDown"}, 503, 0},
		"late":      {Fault{Kind: Late, Status: 500, Code: "InternalError"}, 500, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			clear := r.link.Set(c.fault)
			status, _, err := r.post(10_000)
			if (err != nil) != (c.status == 0) || err == nil && status != c.status {
				t.Errorf("status %d, error %v; want %d", status, err, c.status)
			}
			if n := r.served.Load(); n != c.served {
				t.Errorf("%d requests reached the server, want %d", n, c.served)
			}
			clear()
			if status, n, err := r.post(10); err != nil || status != 200 || n != 10+64<<10 {
				t.Errorf("afterwards: %d, %d bytes, %v", status, n, err)
			}
		})
	}
}

func TestWhatIsHeldGoesOnAfterwards(t *testing.T) {
	for name, c := range map[string]struct {
		fault  Fault
		served int64 // while held
	}{
		"hold": {Fault{Kind: Hold}, 0},
		"mute": {Fault{Kind: Mute}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			clear := r.link.Set(c.fault)
			done := make(chan error, 1)
			go func() {
				_, _, err := r.post(10)
				done <- err
			}()
			for deadline := time.Now().Add(5 * time.Second); r.served.Load() < c.served; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the request did not get through")
				}
			}
			select {
			case err := <-done:
				t.Fatalf("answered while held: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			clear()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCutResetsWhatIsOpen(t *testing.T) {
	r := newRig(t)
	if _, _, err := r.post(10); err != nil {
		t.Fatal(err)
	}
	if n := r.link.Cut(0); n != 1 {
		t.Errorf("cut %d connections, want the idle one", n)
	}
	if _, _, err := r.post(10); err != nil && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "EOF") {
		t.Error(err)
	}
	if _, _, err := r.post(10); err != nil {
		t.Error(err)
	}
}
