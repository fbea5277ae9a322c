package proxy

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// write serves a request that changes one object, or a bucket.
func (q *request) write(opt ledger.BeginOptions) error {
	var c *change
	var err error
	if namesVersion(q.in.VersionID) {
		c, err = q.beginVersion(q.r.Context(), opt)
	} else {
		c, err = q.begin(q.r.Context(), []string{q.in.Key}, opt)
	}
	if err != nil {
		return err
	}
	return q.forwardChange(c, call{in: q.in, body: q.body, write: true})
}

// forwardChange forwards a write that has begun, settles it and answers.
func (q *request) forwardChange(c *change, cl call) error {
	resp, err := q.sendChange(c, cl)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	defer c.finally()
	if err := c.conclude(q.r.Context(), resp.StatusCode); err != nil {
		return err
	}
	return q.respond(c.store, resp)
}

// sendChange forwards a write that has begun. On error it is settled.
func (q *request) sendChange(c *change, cl call) (*http.Response, error) {
	if c.stale() {
		// This process was asleep; a worker may have settled the intent.
		c.abort()
		return nil, s3.ErrSlowDown
	}
	sent := false
	defer func() {
		if !sent {
			c.finally()
		}
	}()
	resp, err := q.send(q.r.Context(), c.store, cl)
	if err != nil {
		c.lost(err)
		return nil, q.sendError(cl, err)
	}
	sent = true
	return resp, nil
}

// copyObject serves CopyObject and RenameObject: what they do depends on the
// source and on the destination, so the store must hold the newest of both.
func (q *request) copyObject() error {
	ctx := q.r.Context()
	keys := []string{q.in.Key}
	if q.in.Operation == s3.RenameObject {
		keys = append(keys, q.in.CopySource.Key)
	}
	var w waiting
	for {
		c, err := q.begin(ctx, keys, ledger.BeginOptions{InSync: true, Removes: len(keys) > 1})
		if err != nil {
			return err
		}
		ready := len(keys) > 1
		if !ready {
			if ready, err = q.sourceReady(ctx, c.store, c.route); err != nil {
				c.abort()
				return err
			}
		}
		if ready {
			resp, err := q.sendChange(c, call{in: q.in, body: q.body, write: true})
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			return q.concludeByBody(c, resp)
		}
		c.abort()
		if err := q.awaitSource(ctx, c.store, &w); err != nil {
			return err
		}
	}
}

// sourceReady reports whether a store holds the newest version of the copy source.
func (q *request) sourceReady(ctx context.Context, store ledger.Store, r ledger.Route) (bool, error) {
	src := q.in.CopySource
	if src.Bucket != "" && !q.p.migrates(src.Bucket) && store != ledger.Source {
		// What has that name there is nothing of ours.
		return false, errNotMigrated
	}
	if r.State == ledger.Steady || src.Bucket == "" || !q.p.migrates(src.Bucket) {
		return true, nil
	}
	newest, known, err := q.locate(ctx, ledger.Object{Bucket: src.Bucket, Key: src.Key})
	return newest == store || !known, err
}

// Copies between a bucket that is migrated and one that is not are made by the source, so
// they need the source to hold the newest version of both.
var (
	errNotMigrated = s3.ErrInvalidRequest.With("The copy source is in a bucket that is not migrated, and the destination has moved to another object store.")
	errLeftBehind  = s3.ErrInvalidRequest.With("The copy source has moved to another object store, and the destination is in a bucket that is not migrated.")
)

// sourceOnSource waits until the source holds the newest version of the copy source, for
// a bucket that is not migrated. Once the target is main this takes what it has been
// written since to be copied back.
func (q *request) sourceOnSource(ctx context.Context) error {
	o := ledger.Object{Bucket: q.in.CopySource.Bucket, Key: q.in.CopySource.Key}
	for w := (waiting{}); ; {
		r, err := q.p.obeyed(ctx)
		switch {
		case err != nil:
			return err
		case r.State != ledger.Steady:
			return q.uploadSource(ctx, ledger.Source)
		case r.Main == ledger.Source:
			return nil
		case !r.Sync:
			return errLeftBehind
		}
		var loc ledger.Location
		var lost []ledger.Loss
		err = q.p.ask(ctx, "lookup", func(ctx context.Context) (err error) {
			if loc, err = q.p.ledger.Lookup(ctx, o); err == nil {
				lost, err = q.p.ledger.Losses(ctx)
			}
			return err
		})
		if err != nil {
			return err
		}
		// "No record" means nothing while it is not known what was lost.
		if !loc.Known && len(lost) == 0 && loc.Route.Epoch == r.Epoch {
			return nil
		}
		if w.longer(q.p.cfg.MaxInFlight+burial, nil) {
			return s3.ErrSlowDown
		}
		q.p.metrics.wait("sync")
		if err := pause(ctx, jitter(10*time.Millisecond, 50*time.Millisecond)); err != nil {
			return err
		}
	}
}

// awaitSource has the copy source synced to a store before others, and waits a moment,
// for as long in all as Begin would for an object that is not in sync: a copy of what
// was there before may have to end first, or the burial of a worker that died with it.
// Meanwhile it keeps the connection alive as S3 does, which answers 200 to CopyObject and
// UploadPartCopy at once, and says in the body what has come of it.
func (q *request) awaitSource(ctx context.Context, store ledger.Store, w *waiting) error {
	src := q.in.CopySource
	// Begin puts an object that is not in sync at the head of the queue.
	intents, err := q.p.tryBegin(ctx, src.Bucket, []string{src.Key}, ledger.BeginOptions{Store: &store, InSync: true})
	if err == nil {
		q.p.settler.settle(abort, intents)
	}
	if w.longer(q.p.cfg.MaxInFlight+burial, err) {
		return s3.ErrSlowDown
	}
	q.p.metrics.wait("sync")
	if w.blank(q.p.cfg.BlanksAfter) {
		if err := q.w.keepAlive(); err != nil {
			return err
		}
	}
	return pause(ctx, jitter(10*time.Millisecond, 50*time.Millisecond))
}

// maxResult bounds an answer that says in its body how a write went.
const maxResult = 4 << 20

// concludeByBody settles a write whose 200 may turn out to be an error in the
// body, and answers. What the store sends to keep the connection alive flows on.
func (q *request) concludeByBody(c *change, resp *http.Response) error {
	defer c.finally()
	if resp.StatusCode != http.StatusOK {
		if err := c.conclude(q.r.Context(), resp.StatusCode); err != nil {
			return err
		}
		return q.respond(c.store, resp)
	}
	held, err := q.relayBlanks(resp)
	if err != nil {
		c.doubt()
		return err
	}
	switch resultVerdict(held) {
	case undone:
		c.abort()
	case doubtful:
		c.doubt()
	default:
		if err := c.commit(q.r.Context()); err != nil {
			if !q.w.wrote() {
				return err
			}
			// The status is out: say it as S3 does, in the body.
			var known *s3.Error
			if !asError(err, &known) {
				known = s3.ErrServiceUnavailable
			}
			if held, err = xml.Marshal(known); err != nil {
				return err
			}
		}
	}
	held = q.relocate(q.p.rename(c.store, held))
	if !q.w.wrote() {
		return q.respondBytes(resp, held)
	}
	_, err = q.w.Write(held)
	return err
}

// relayBlanks reads a result. As long as only blanks and the XML declaration
// have come, they are passed on at once; the rest is returned.
func (q *request) relayBlanks(resp *http.Response) ([]byte, error) {
	var held []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := resp.Body.Read(buf)
		held = append(held, buf[:n]...)
		switch {
		case errors.Is(err, io.EOF):
			return held, nil
		case err != nil:
			return nil, err
		case len(held) > maxResult:
			return nil, errTooLarge
		}
		if len(held) == 0 || blanks(held) < len(held) {
			continue
		}
		if !q.w.wrote() {
			q.header(resp)
			q.w.WriteHeader(resp.StatusCode)
		}
		if _, err := q.w.Write(held); err != nil {
			// The client left; the outcome still matters.
			q.p.log.V(1).Info("client left while a write was completed", "error", err.Error())
		}
		_ = http.NewResponseController(q.w).Flush()
		held = nil
	}
}

// blanks is the length of the white space and XML declaration that b begins with.
func blanks(b []byte) int {
	rest := bytes.TrimLeft(b, " \t\r\n")
	if bytes.HasPrefix(rest, []byte("<?")) {
		if end := bytes.Index(rest, []byte("?>")); end >= 0 {
			rest = bytes.TrimLeft(rest[end+2:], " \t\r\n")
		}
	}
	return len(b) - len(rest)
}

// resultVerdict reads the outcome of a write from the body of its 200.
func resultVerdict(body []byte) outcome {
	d, err := parseDocument(body)
	switch {
	case err != nil:
		return doubtful
	case d.root.name != "Error":
		return done
	}
	return codeVerdict(d.text("Code"))
}

// codeVerdict reads the outcome of a write from an S3 error code.
func codeVerdict(code string) outcome {
	switch code {
	case "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "":
		return doubtful
	}
	return undone
}
