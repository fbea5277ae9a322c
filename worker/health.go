package worker

import "net/http"

// Healthz answers 200 as long as the process serves at all: a worker waits for
// Redis and stores to come back, a restart would not help.
func (w *Worker) Healthz() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("ok\n")) })
}

// Readyz answers 200 while the worker's session is registered and obeys a route.
func (w *Worker) Readyz() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		ready := w.ready
		w.mu.Unlock()
		_, known := w.member.Route()
		if !ready || !known || !w.alive() {
			http.Error(rw, "no session with a route in the ledger", http.StatusServiceUnavailable)
			return
		}
		_, _ = rw.Write([]byte("ok\n"))
	})
}
