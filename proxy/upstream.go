package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"sync/atomic"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// upstream sends requests to one store.
type upstream struct {
	transport http.RoundTripper
	rewriter  *s3.Rewriter
	signer    *s3.Signer
	trailers  func() bool

	invitationWait time.Duration
	uninvitedUntil atomic.Int64 // Unix nanoseconds
}

func newUpstream(s Store) (*upstream, error) {
	if err := s.Endpoint.Validate(); err != nil {
		return nil, err
	}
	if s.Trailers == nil {
		s.Trailers = func() bool { return false }
	}
	u := &upstream{transport: s.Transport, signer: s3.NewSigner(s.Endpoint), trailers: s.Trailers, invitationWait: invitationWait}
	var err error
	if u.rewriter, err = s3.NewRewriter(s.Endpoint); err != nil {
		return nil, err
	}
	if u.transport == nil {
		if u.transport, err = s.Endpoint.NewTransport(); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// dropped are the client's headers, in canonical form, that must not reach the store: those of the
// connection, and those that make net/http send a write twice.
var dropped = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Idempotency-Key", "X-Idempotency-Key",
}

var (
	errStalled = errors.New("no progress on an upstream request")
	// errNotSent says that no byte of a request can have reached the store.
	errNotSent = errors.New("not sent")
)

// call is one request to a store.
type call struct {
	in     s3.Request // as the client named things
	body   *payload   // nil: none
	query  *string    // replaces the client's query
	method string     // replaces the client's method
	write  bool       // outlives the client's connection, so that its outcome becomes known
	plain  bool       // not signed
	own    bool       // signed with the store's own key: it is the proxy that asks
	hash   string     // x-amz-content-sha256; empty: as the body is protected
	header http.Header
}

// send sends a call to a store and returns its response, whatever the status.
// The caller closes the response's body. On error the write may have taken
// place, unless the error is errNotSent.
func (q *request) send(base context.Context, store ledger.Store, c call) (*http.Response, error) {
	u := q.p.upstream[store]
	if c.write {
		base = context.WithoutCancel(base)
	}
	ctx, cancel := context.WithCancelCause(base)
	watch := newWatchdog(q.p.cfg.IdleTimeout, func() {
		// The client may be what hangs: a read of its body keeps the transport from
		// returning, a write to it keeps us.
		client := http.NewResponseController(q.w)
		if c.body != nil && !c.body.finished.Load() {
			_ = client.SetReadDeadline(time.Now())
		}
		if q.copying.Load() {
			_ = client.SetWriteDeadline(time.Now())
		}
		cancel(errStalled)
	})

	var invited *invitation
	traced := ctx
	if u.expects(q.r, c.body) {
		invited = &invitation{}
		traced = invited.watch(ctx)
	}
	// Header values are replaced, never changed, so they need no copies.
	out := q.r.WithContext(traced)
	out.Header = maps.Clone(q.r.Header)
	if out.Header == nil {
		out.Header = http.Header{}
	}
	target := *q.r.URL
	out.URL = &target
	out.RequestURI, out.Body, out.GetBody, out.ContentLength = "", http.NoBody, nil, 0
	out.TransferEncoding, out.Trailer, out.Close = nil, nil, false
	if c.method != "" {
		out.Method = c.method
	}
	if c.query != nil {
		out.URL.RawQuery = *c.query
	}
	for name, values := range c.header {
		if values == nil {
			out.Header.Del(name)
		} else {
			out.Header[name] = values
		}
	}
	for _, name := range dropped {
		delete(out.Header, name)
	}
	if c.own {
		delete(out.Header, "X-Amz-Expected-Bucket-Owner") // it may be another one here
	}
	for _, name := range connectionHeaders(q.r.Header) {
		out.Header.Del(name)
	}
	if invited == nil {
		out.Header.Del("Expect")
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "") // keeps net/http from naming itself
	}
	in := c.in
	in.Bucket = q.p.nameAt(store, in.Bucket)
	in.CopySource.Bucket = q.p.nameAt(store, in.CopySource.Bucket)
	u.rewriter.Rewrite(in, out)
	hash, err := q.attach(u, out, c, watch)
	if err != nil {
		watch.stop()
		cancel(nil)
		return nil, errors.Join(errNotSent, err)
	}
	if invited != nil && out.Header.Get("Expect") != "" {
		invited.guard(out, u.invitationWait)
	}
	switch {
	case c.plain:
	case c.own:
		u.signer.Sign(out, hash, time.Now())
	case q.anonymous && !q.framed():
		// The store judges what the client says of its body, or does not say.
		if v := q.r.Header["X-Amz-Content-Sha256"]; v != nil {
			out.Header["X-Amz-Content-Sha256"] = v
		}
	case q.anonymous:
		out.Header["X-Amz-Content-Sha256"] = []string{hash}
	case q.signers[store] != nil:
		q.signers[store].Sign(out, hash, time.Now())
	default:
		u.signer.Sign(out, hash, time.Now())
	}

	q.store.Store(int32(store) + 1)
	resp, err := u.roundTrip(out)
	if err != nil {
		watch.stop()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		if errors.Is(err, errNotInvited) {
			u.uninvitedUntil.Store(time.Now().Add(uninvitedFor).UnixNano())
			return q.send(base, store, c)
		}
		if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
			err = errors.Join(errNotSent, err)
		}
		return nil, err
	}
	if invited != nil {
		invited.answered.Store(true)
	}
	watch.set(q.p.cfg.IdleTimeout)
	resp.Body = &responseBody{rc: resp.Body, watch: watch, idle: q.p.cfg.IdleTimeout, cancel: cancel}
	return resp, nil
}

// roundTrip sends a request on another connection if a new one ended before
// anything was sent; of a kept one net/http does that itself.
func (u *upstream) roundTrip(out *http.Request) (*http.Response, error) {
	resp, err := u.transport.RoundTrip(out)
	if !errors.Is(err, s3.ErrUnwritten) {
		return resp, err
	}
	if out.GetBody != nil {
		body, again := out.GetBody()
		if again != nil {
			return nil, errors.Join(errNotSent, err)
		}
		out.Body = body
	}
	if resp, err = u.transport.RoundTrip(out); errors.Is(err, s3.ErrUnwritten) {
		err = errors.Join(errNotSent, err)
	}
	return resp, err
}

// attach gives out its body and returns its x-amz-content-sha256.
func (q *request) attach(u *upstream, out *http.Request, c call, watch *watchdog) (string, error) {
	for _, name := range []string{"X-Amz-Trailer", "X-Amz-Decoded-Content-Length"} {
		out.Header.Del(name)
	}
	b := c.body
	if b == nil {
		return s3.EmptyPayload, nil
	}
	b.onRead = func(last bool) {
		if last {
			watch.set(q.p.cfg.ResponseTimeout)
		} else {
			watch.set(q.p.cfg.IdleTimeout)
		}
	}
	hash := c.hash
	body, length := io.ReadCloser(b), b.length
	if hash == "" {
		hash = s3.UnsignedPayload
		if q.identity != nil && q.identity.Payload == s3.PayloadSigned {
			hash = q.identity.ContentSHA256
		}
		var err error
		if names := s3.ChecksumTrailers(q.r.Header); len(names) > 0 {
			if body, length, hash, err = passTrailers(u, out, b, names); err != nil {
				return "", err
			}
		}
	}
	if length == 0 {
		watch.set(q.p.cfg.ResponseTimeout)
		return hash, nil
	}
	r := newReplay(body)
	// net/http asks for the body again only when it knows that nothing of the
	// request was written: a kept connection that the store had closed.
	out.Body, out.GetBody, out.ContentLength = r, r.again, length
	return hash, nil
}

// passTrailers lets the checksums that the client sends after its body reach the
// store: after the body if the store takes that, in the header if the body is
// small enough to wait for them.
func passTrailers(u *upstream, out *http.Request, b *payload, names []string) (body io.ReadCloser, length int64, hash string, err error) {
	switch {
	case b.trailer == nil || b.length < 0:
	case u.trailers():
		body, length, err = s3.EncodeTrailer(out.Header, b, b.length, names, b.trailer)
		return body, length, s3.StreamingUnsignedTrailer, err
	case b.length <= maxHeld:
		raw, err := readBounded(b, maxHeld)
		if err != nil {
			return nil, 0, "", err
		}
		sums := b.trailer()
		for _, name := range names {
			name = textproto.CanonicalMIMEHeaderKey(name)
			out.Header[name] = []string{sums.Get(name)}
		}
		out.Header.Del("Expect")
		return io.NopCloser(bytes.NewReader(raw)), b.length, s3.UnsignedPayload, nil
	}
	if !s3.Verifiable(names) {
		return nil, 0, "", s3.ErrNotImplemented
	}
	// The store would wait for the checksum that this announces.
	out.Header.Del("X-Amz-Sdk-Checksum-Algorithm")
	return b, b.length, s3.UnsignedPayload, nil
}
