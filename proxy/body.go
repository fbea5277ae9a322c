package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// payload is the plain body of a client's request on its way to a store.
type payload struct {
	rc      io.ReadCloser
	length  int64 // -1: not known
	trailer func() http.Header
	onRead  func(last bool)

	n        int64
	mu       sync.Mutex
	err      error
	finished atomic.Bool
}

func (b *payload) Read(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	b.n += int64(n)
	if err != nil {
		b.finished.Store(true)
		if !errors.Is(err, io.EOF) {
			b.mu.Lock()
			b.err = err
			b.mu.Unlock()
		}
	}
	if b.onRead != nil && (n > 0 || err != nil) {
		b.onRead(err != nil || b.n == b.length)
	}
	return n, err
}

// Close leaves the client's body open: the server closes it.
func (b *payload) Close() error { return nil }

// failure is the error that the client's side of the body ended with, if any.
func (b *payload) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// replayLimit is more than net/http reads ahead of what it has written.
const replayLimit = 128 << 10

// replay keeps the beginning of a body, so that a request of which nothing was
// written can go out on another connection, and once more on a third.
type replay struct {
	*beginning
	at int
}

type beginning struct {
	src  io.Reader
	kept []byte
	lost bool
}

func newReplay(src io.Reader) *replay { return &replay{beginning: &beginning{src: src}} }

func (r *replay) Read(p []byte) (int, error) {
	if r.at < len(r.kept) {
		n := copy(p, r.kept[r.at:])
		r.at += n
		return n, nil
	}
	n, err := r.src.Read(p)
	switch {
	case r.lost:
	case len(r.kept)+n > replayLimit:
		r.lost, r.kept, r.at = true, nil, 0
	default:
		r.kept = append(r.kept, p[:n]...)
		r.at = len(r.kept)
	}
	return n, err
}

func (r *replay) Close() error { return nil }

// again starts the body over. The transport has stopped reading it by then.
func (r *replay) again() (io.ReadCloser, error) {
	if r.lost {
		return nil, errors.New("the body can't be sent again")
	}
	return &replay{beginning: r.beginning}, nil
}

// watchdog calls fire once when it is not set again in time, and never after stop.
type watchdog struct {
	mu      sync.Mutex
	timer   *time.Timer
	until   time.Time
	stopped bool
}

func newWatchdog(d time.Duration, fire func()) *watchdog {
	w := &watchdog{until: time.Now().Add(d)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		// Set when the timer had just fired, it runs once more.
		if !w.stopped && !time.Now().Before(w.until) {
			w.stopped = true
			fire()
		}
	})
	return w
}

func (w *watchdog) set(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.extend(d)
	}
}

func (w *watchdog) extend(d time.Duration) {
	w.until = time.Now().Add(d)
	w.timer.Reset(d)
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}

// responseBody is a store's answer; closing it frees the request's context.
type responseBody struct {
	rc     io.ReadCloser
	watch  *watchdog
	idle   time.Duration
	cancel context.CancelCauseFunc
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	b.watch.set(b.idle)
	return n, err
}

func (b *responseBody) Close() error {
	b.watch.stop()
	err := b.rc.Close()
	b.cancel(nil)
	return err
}

// connectionHeaders are the headers that Connection names as its own.
func connectionHeaders(h http.Header) []string {
	var names []string
	for _, v := range h.Values("Connection") {
		for name := range strings.SplitSeq(v, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// readBounded reads at most limit bytes; more is an error.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLarge
	}
	return b, err
}

var errTooLarge = errors.New("body is too large")
