package proxy

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// request is one request of a client while it is served.
type request struct {
	p        *Proxy
	w        *responseWriter
	r        *http.Request
	received *http.Request // as r was at first
	in       s3.Request
	identity *s3.Identity // nil: nobody signed
	// signers of the client's own keys at the stores; nil: the store's own keys.
	signers   [2]*s3.Signer
	anonymous bool // sent on without a signature
	body      *payload
	store     atomic.Int32 // where it was sent last, for metrics: a ledger.Store + 1
	copying   atomic.Bool
	answered  bool
}

// Handler serves S3 to clients.
func (p *Proxy) Handler() http.Handler { return http.HandlerFunc(p.serve) }

func (p *Proxy) serve(rw http.ResponseWriter, r *http.Request) {
	p.inFlight.Add(1)
	defer p.inFlight.Done()
	p.metrics.inFlight.Inc()
	defer p.metrics.inFlight.Dec()
	began := time.Now()
	w := &responseWriter{ResponseWriter: rw}
	q := &request{p: p, w: w, r: r, received: r}
	defer q.drain()
	defer func() { p.metrics.request(q.in.Operation, q.lastStore(), w.status, time.Since(began)) }()

	err := q.handle()
	q.leftover()
	if err == nil && w.early && !w.begun { // a store's answer without a body, like 304
		err = &s3.Error{Status: http.StatusOK, Code: strings.ReplaceAll(http.StatusText(w.status), " ", ""), Message: "The object store gave no reason."}
	}
	if err == nil {
		q.answered = true
		return
	}
	var known *s3.Error
	if r.Context().Err() != nil && !w.wrote() && !errors.As(err, &known) {
		w.status = statusClientGone
		// To return would be to answer 200.
		panic(http.ErrAbortHandler)
	}
	if w.wrote() {
		// The answer has begun and can't be completed: the client must see that.
		panic(http.ErrAbortHandler)
	}
	q.fail(err)
	q.answered = true
}

// statusClientGone marks requests in metrics whose client left.
const statusClientGone = 499

// fail answers with an S3 error.
func (q *request) fail(err error) {
	var known *s3.Error
	if !errors.As(err, &known) {
		switch {
		case ledgerLost(err), errors.Is(err, ledger.ErrFenced):
			err = s3.ErrSlowDown.With("The ledger is out of reach. Please try again.")
		default:
			q.p.log.Info("request failed", "operation", q.in.Operation, "store", q.lastStore(), "error", err.Error())
			err = s3.ErrServiceUnavailable.With("The object store could not be reached. Please try again.")
		}
	}
	s3.WriteError(q.w, q.r, err)
}

func (q *request) handle() error {
	var err error
	if q.in, err = s3.ParseRequest(q.r, q.p.cfg.Domains); err != nil {
		return err
	}
	switch q.in.Operation {
	case s3.Preflight:
		return q.preflight()
	case s3.PostObject:
		return q.postObject()
	}
	if err := q.authenticate(); err != nil {
		return err
	}
	if err := q.openBody(); err != nil {
		return err
	}
	if q.in.Bucket != "" && !q.p.migrates(q.in.Bucket) {
		return q.outside()
	}
	return q.dispatch()
}

func (q *request) dispatch() error {
	switch q.in.Operation {
	case s3.ListBuckets:
		return q.listBuckets()
	case s3.DeleteBucket:
		return q.deleteBucket()
	case s3.DeleteObjects:
		return q.deleteObjects()
	case s3.CreateMultipartUpload:
		return q.createUpload()
	case s3.CompleteMultipartUpload:
		return q.completeUpload()
	case s3.CopyObject, s3.RenameObject:
		return q.copyObject()
	}
	switch q.in.Class {
	case s3.ClassListing:
		return q.listing()
	case s3.ClassMultipart:
		return q.uploadRequest()
	case s3.ClassObjectWrite:
		return q.write(ledger.BeginOptions{InSync: q.in.Conditional || q.in.VersionID != "", Removes: q.in.Operation == s3.DeleteObject})
	case s3.ClassObjectMetaWrite, s3.ClassBucketWrite, s3.ClassUnknownWrite:
		if q.in.Bucket == "" {
			return q.service()
		}
		return q.write(ledger.BeginOptions{InSync: true})
	case s3.ClassService:
		return q.service()
	default:
		if q.in.Bucket == "" {
			return q.service()
		}
		return q.read()
	}
}

// openBody prepares the request's body. Nothing is read from it yet, so that a
// client which asked with Expect sends nothing until a store takes it.
func (q *request) openBody() error {
	if q.in.Key == "" && q.framed() {
		// S3 takes frames for the content of objects only.
		return s3.ErrInvalidRequest.With("The value of x-amz-content-sha256 header is invalid.")
	}
	if q.r.ContentLength == 0 {
		// net/http sends no 100 for an empty body, and some clients wait for one.
		if q.r.Header.Get("Expect") != "" {
			q.w.ResponseWriter.WriteHeader(http.StatusContinue)
		}
		if !q.framed() {
			if q.r.Method == http.MethodPut || q.r.Method == http.MethodPost {
				q.body = &payload{rc: http.NoBody}
				q.body.finished.Store(true)
			}
			return nil
		}
	}
	rc, length, trailer, err := s3.DecodeBody(q.r, q.identity)
	if err != nil {
		return err
	}
	q.body = &payload{rc: rc, length: length, trailer: trailer}
	return nil
}

// preflight passes a CORS preflight on to where the bucket is newest: browsers don't sign it.
func (q *request) preflight() error {
	if q.in.Bucket != "" && !q.p.migrates(q.in.Bucket) {
		return q.forwardTo(ledger.Source, call{in: q.in, plain: true})
	}
	store, err := q.bucketStore()
	if err != nil {
		return err
	}
	return q.forwardTo(store, call{in: q.in, plain: true})
}

// service forwards what names no bucket to main.
func (q *request) service() error {
	store, err := q.mainStore()
	if err != nil {
		return err
	}
	return q.forwardTo(store, call{in: q.in, body: q.body, write: q.in.Class.IsWrite()})
}

// outside serves a bucket that is not migrated: it is the source's for ever.
func (q *request) outside() error {
	if src := q.in.CopySource.Bucket; src != "" && q.p.migrates(src) {
		if err := q.sourceOnSource(q.r.Context()); err != nil {
			return err
		}
	}
	return q.forwardTo(ledger.Source, call{in: q.in, body: q.body})
}

func (q *request) mainStore() (ledger.Store, error) {
	r, err := q.p.obeyed(q.r.Context())
	return r.Main, err
}

// bucketStore returns the store that holds what is newest of the bucket itself.
// While traffic moves the ledger may be a route ahead of this proxy.
func (q *request) bucketStore() (ledger.Store, error) {
	if q.in.Bucket == "" {
		return q.mainStore()
	}
	store, _, err := q.locate(q.r.Context(), ledger.Object{Bucket: q.in.Bucket})
	return store, err
}

// lastStore names the store that the request was sent to last.
func (q *request) lastStore() string {
	if n := q.store.Load(); n > 0 {
		return ledger.Store(n - 1).String()
	}
	return "none"
}

func (q *request) object() ledger.Object { return ledger.Object{Bucket: q.in.Bucket, Key: q.in.Key} }

func (p *Proxy) migrates(bucket string) bool { return p.cfg.Buckets == nil || p.cfg.Buckets(bucket) }

// responseWriter remembers what was answered.
type responseWriter struct {
	http.ResponseWriter
	status int
	early  bool // the header is out, and blanks: the answer goes into the body, whatever it is
	begun  bool // and some of it did
}

func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	if !w.early {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *responseWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if !w.early || w.begun {
		return w.ResponseWriter.Write(b)
	}
	rest := b[blanks(b):]
	if len(rest) == 0 {
		return len(b), w.keepAlive()
	}
	w.begun = true
	n, err := w.ResponseWriter.Write(rest)
	return len(b) - len(rest) + n, err
}

// keepAlive sends a blank before the answer, and a header before the first one.
func (w *responseWriter) keepAlive() error {
	text := " "
	if !w.early {
		w.early = true
		w.Header().Set("Content-Type", "application/xml")
		w.ResponseWriter.WriteHeader(http.StatusOK)
		text = xml.Header
	}
	if _, err := io.WriteString(w.ResponseWriter, text); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// wrote says that the answer has begun, and can't become another one.
func (w *responseWriter) wrote() bool { return w.begun || w.status != 0 && !w.early }

// Unwrap lets http.ResponseController reach the connection.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
