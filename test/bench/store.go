package main

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// lightStore answers GET and PUT of objects and checks no signature, so that
// what is in front of it costs more than it does. It keeps an object's length
// only, and refuses a body that is not the pattern: whatever is in between has
// passed bodies on intact.
type lightStore struct {
	mu      sync.RWMutex
	objects map[string]int64
	buffers sync.Pool
}

// serveStore runs the light store until it is killed.
func serveStore(addr string) error {
	s := &lightStore{objects: map[string]int64{}}
	s.buffers.New = func() any { b := make([]byte, 256<<10); return &b }
	srv := &http.Server{Addr: addr, Handler: s, ReadHeaderTimeout: 10 * time.Second}
	return srv.ListenAndServe()
}

func (s *lightStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		s.get(w, r)
	case http.MethodPut:
		s.put(w, r)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

func (s *lightStore) get(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	length, found := s.objects[r.URL.Path]
	s.mu.RUnlock()
	if !found {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.header(w, length)
	w.Header()["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	for off := int64(0); off < length; {
		n, err := w.Write(at(off, min(length-off, 256<<10)))
		if err != nil {
			return
		}
		off += int64(n)
	}
}

func (s *lightStore) put(w http.ResponseWriter, r *http.Request) {
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	var off int64
	for {
		n, err := r.Body.Read(*buf)
		if !follows((*buf)[:n], off) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		off += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	s.objects[r.URL.Path] = off
	s.mu.Unlock()
	s.header(w, off)
	w.Header()["Content-Length"] = []string{"0"}
}

// header has what real stores send.
func (s *lightStore) header(w http.ResponseWriter, length int64) {
	h := w.Header()
	h["Etag"] = []string{`"` + strconv.FormatInt(length, 16) + `00000000000000000000000000000000"`}
	h["Last-Modified"] = []string{"Mon, 02 Jan 2006 15:04:05 GMT"}
	h["Content-Type"] = []string{"binary/octet-stream"}
	h["X-Amz-Request-Id"] = []string{"4442587FB7D0A2F9"}
}
