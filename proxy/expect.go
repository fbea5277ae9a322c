package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// invitation is a store's 100 Continue to a request that asks for one. Without
// it no byte of the body may be sent. net/http sends the body after a refusal
// too, to keep the connection; but there are stores (Ceph) that take it for the
// next request then, and its answer would go to whoever uses the connection next.
type invitation struct {
	come, answered atomic.Bool
}

// invitationWait is how long a store has to ask for a body, after net/http's own patience.
const invitationWait = 4 * time.Second

// uninvitedFor is how long a store is not asked again that had nothing to say.
const uninvitedFor = 10 * time.Minute

var errNotInvited = errors.New("the store did not ask for the body")

// expects says whether a store is to be asked before a body is sent.
func (u *upstream) expects(r *http.Request, b *payload) bool {
	return r.Header.Get("Expect") != "" && b != nil && b.length != 0 &&
		b.n == 0 && // else the client has sent it already
		(r.Method == http.MethodPut || r.Method == http.MethodPost) &&
		time.Now().UnixNano() > u.uninvitedUntil.Load()
}

func (i *invitation) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { i.come.Store(true) }})
}

// guard holds a request's body back.
func (i *invitation) guard(out *http.Request, wait time.Duration) {
	hold := func(body io.ReadCloser) io.ReadCloser {
		return &heldBody{ReadCloser: body, invitation: i, ctx: out.Context(), wait: wait}
	}
	again := out.GetBody
	out.Body = hold(out.Body)
	out.GetBody = func() (io.ReadCloser, error) {
		body, err := again()
		if err != nil {
			return nil, err
		}
		return hold(body), nil
	}
}

type heldBody struct {
	io.ReadCloser
	invitation *invitation
	ctx        context.Context //nolint:containedctx // ends when the store's answer has been read
	wait       time.Duration
}

func (b *heldBody) Read(p []byte) (int, error) {
	if b.invitation.come.Load() {
		return b.ReadCloser.Read(p)
	}
	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.ctx.Done():
		return 0, errNotInvited
	}
	switch {
	case b.invitation.come.Load():
		return b.ReadCloser.Read(p)
	case b.invitation.answered.Load():
		<-b.ctx.Done() // an error now would cut the answer off
	}
	return 0, errNotInvited
}
