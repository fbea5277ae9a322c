package proxy

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// maxUploadResult bounds the answer to CreateMultipartUpload.
const maxUploadResult = 64 << 10

// thoughtDead is after what time a request's session may have been declared dead
// meanwhile: a proxy that was paused.
const thoughtDead = 5 * time.Second

// createUpload creates a multipart upload on main. During a switch, and if it does not live
// where the route says that unknown ones do, it is remembered before the client hears of it.
func (q *request) createUpload() error {
	ctx := q.r.Context()
	c, err := q.begin(ctx, []string{q.in.Key}, ledger.BeginOptions{})
	if err != nil {
		return err
	}
	defer c.finally()
	if c.stale() {
		// This process was asleep; nobody waits for this request any more.
		c.abort()
		return s3.ErrSlowDown
	}
	began := time.Now()
	resp, err := q.send(ctx, c.store, call{in: q.in, body: q.body, write: true})
	// No object has changed, however it went. But while the write is open, no worker
	// takes the upload for a leftover of its kind.
	defer c.abort()
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	// While traffic moves, what nobody has placed is older than the switch.
	say := c.store != c.route.Uploads || c.route.State == ledger.Switched
	if resp.StatusCode != http.StatusOK || !say && time.Since(began) < thoughtDead {
		return q.respond(c.store, resp)
	}
	raw, err := readBounded(resp.Body, maxUploadResult)
	if err != nil {
		return err
	}
	d, err := parseDocument(bytes.TrimSpace(raw))
	if err != nil {
		return err
	}
	id := d.text("UploadId")
	// The client may leave, but the upload exists now.
	detached := context.WithoutCancel(ctx)
	err = q.p.ask(detached, "put upload", func(ctx context.Context) error {
		if len(c.intents) == 0 {
			return nil // nobody waits for a switch while nothing can be recorded
		}
		return q.p.ledger.PlaceUpload(ctx, c.intents[0].Session, q.object(), id, c.store, say)
	})
	if err != nil {
		q.dropUpload(c.store, id)
		return err
	}
	return q.respondBytes(resp, q.p.rename(c.store, raw))
}

// dropUpload aborts an upload that no client knows of.
func (q *request) dropUpload(store ledger.Store, id string) {
	in := q.in
	in.Operation, in.UploadID = s3.AbortMultipartUpload, id
	query := encodeQuery(map[string][]string{"uploadId": {id}})
	resp, err := q.send(q.r.Context(), store, call{in: in, method: http.MethodDelete, query: &query, write: true, own: true})
	if err != nil {
		q.p.log.Info("an upload that nobody knows could not be aborted", "bucket", in.Bucket, "store", store.String(), "error", err.Error())
		return
	}
	_ = resp.Body.Close()
}

// uploadRequest serves UploadPart, UploadPartCopy, ListParts and
// AbortMultipartUpload on the store that the upload lives on. They change no object.
func (q *request) uploadRequest() error {
	ctx := q.r.Context()
	store, _, err := q.uploadAt(ctx)
	if err != nil {
		return err
	}
	if q.in.Operation == s3.UploadPartCopy {
		if err := q.uploadSource(ctx, store); err != nil {
			return err
		}
	}
	c := call{in: q.in, body: q.body, write: q.in.Operation == s3.AbortMultipartUpload}
	resp, err := q.send(ctx, store, c)
	if err != nil {
		return q.sendError(c, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if q.in.Operation == s3.AbortMultipartUpload && (resp.StatusCode < 300 || resp.StatusCode == http.StatusNotFound) {
		q.forgetUpload(store)
	}
	if q.in.Operation == s3.UploadPartCopy && resp.StatusCode == http.StatusOK {
		return q.relayResult(store, resp)
	}
	return q.respond(store, resp)
}

// uploadAt returns the store that the request's upload lives on. While traffic
// moves, an upload that the ledger does not know (any more) may be on neither:
// then there is false, and the answer is main's to give.
func (q *request) uploadAt(ctx context.Context) (store ledger.Store, there bool, err error) {
	if store, err = q.uploadStore(ctx); err != nil {
		return store, false, err
	}
	r, err := q.p.obeyed(ctx)
	if err != nil || r.State == ledger.Steady || store != r.Uploads {
		return store, true, err
	}
	in := q.in
	in.Operation, in.CopySource = s3.ListParts, s3.CopySource{}
	query := encodeQuery(map[string][]string{"uploadId": {in.UploadID}, "max-parts": {"1"}})
	header := http.Header{"X-Amz-Copy-Source": nil, "X-Amz-Copy-Source-Range": nil, "Content-Md5": nil, "Content-Type": nil,
		"If-Match": nil, "If-None-Match": nil}
	// Whether there is one is the question, not whether the client may know.
	resp, err := q.send(ctx, store, call{in: in, method: http.MethodGet, query: &query, header: header, own: true})
	if err != nil {
		return store, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode != http.StatusNotFound:
		return store, true, nil
	case !saysMissing(resp): // a gateway's word, while the store is away
		return store, false, errUploadUnknown
	}
	store, err = q.bucketStore()
	return store, false, err
}

// relayResult passes on an answer whose blanks keep the connection alive.
func (q *request) relayResult(store ledger.Store, resp *http.Response) error {
	held, err := q.relayBlanks(resp)
	if err != nil {
		return err
	}
	held = q.p.rename(store, held)
	if !q.w.wrote() {
		return q.respondBytes(resp, held)
	}
	_, err = q.w.Write(held)
	return err
}

// uploadSource waits until the source of UploadPartCopy is on the upload's store.
func (q *request) uploadSource(ctx context.Context, store ledger.Store) error {
	var w waiting
	for {
		r, err := q.p.obeyed(ctx)
		if err != nil {
			return err
		}
		ready, err := q.sourceReady(ctx, store, r)
		if err != nil || ready {
			return err
		}
		if err := q.awaitSource(ctx, store, &w); err != nil {
			return err
		}
	}
}

// completeUpload makes an object of an upload, where the upload lives: the
// object is newest there from then on. Some stores say of an upload that is
// complete, or that they never had, that all is well: they must hold the newest
// version then, else an older one would become it.
func (q *request) completeUpload() error {
	ctx := q.r.Context()
	store, there, err := q.uploadAt(ctx)
	if err != nil {
		return err
	}
	c, err := q.begin(ctx, []string{q.in.Key}, ledger.BeginOptions{Store: &store, InSync: q.in.Conditional || !there})
	if err != nil {
		return err
	}
	resp, err := q.sendChange(c, call{in: q.in, body: q.body, write: true})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	err = q.concludeByBody(c, resp)
	if err == nil && resp.StatusCode == http.StatusOK {
		q.forgetUpload(store)
	}
	return err
}

// forgetUpload removes what the ledger knows of an upload. Failing is harmless:
// the id is not used again, and all are cleared at the end of a switch.
func (q *request) forgetUpload(store ledger.Store) {
	r, ok := q.p.current()
	if !ok || r.Uploads == store && r.State != ledger.Switched || q.p.down.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.r.Context()), callTimeout)
	defer cancel()
	if err := q.p.ledger.DeleteUpload(ctx, q.object(), q.in.UploadID); err != nil {
		q.p.log.V(1).Info("upload not forgotten", "error", err.Error())
	}
}
