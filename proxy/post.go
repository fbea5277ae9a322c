package proxy

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// postObject serves an upload by HTML form. Its policy is signed with the
// client's key, which the stores don't know: so the policy is checked here, and
// the file goes on as a PUT with the client's rights at the store.
func (q *request) postObject() error {
	body := q.progress(q.r.Body)
	q.r.Body = body
	form, err := s3.ReadForm(q.r)
	if err != nil {
		return q.clientError(err)
	}
	var limits s3.FormLimits
	q.identity, limits, err = q.p.verifier.VerifyForm(form, q.in.Bucket)
	switch {
	case err == nil:
		err = q.actAs(q.identity.AccessKeyID)
	case errors.Is(err, s3.ErrAnonymous) && q.p.cfg.Anonymous:
		q.anonymous, err = true, nil
	case errors.Is(err, s3.ErrAnonymous):
		err = s3.ErrAccessDenied
	}
	if err != nil {
		return err
	}
	header, err := form.Header()
	if err != nil {
		return err
	}
	file, err := q.p.spool(form.File, limits.Max)
	if errors.Is(err, s3.ErrEntityTooLarge) {
		rest, _ := io.CopyN(io.Discard, form.File, maxProposed)
		return s3.ErrEntityTooLarge.With("", s3.Detail{Name: "ProposedSize", Value: strconv.FormatInt(limits.Max+1+rest, 10)},
			s3.Detail{Name: "MaxSizeAllowed", Value: strconv.FormatInt(limits.Max, 10)})
	}
	if err != nil {
		return q.clientError(err)
	}
	defer func() { _ = file.rc.Close() }()
	if file.length < limits.Min {
		return s3.ErrEntityTooSmall.With("", s3.Detail{Name: "ProposedSize", Value: strconv.FormatInt(file.length, 10)},
			s3.Detail{Name: "MinSizeAllowed", Value: strconv.FormatInt(limits.Min, 10)})
	}
	// What follows the file is of no use, but a client may not look for the answer before it is read.
	_, _ = io.Copy(io.Discard, io.LimitReader(body, maxFormTail))
	body.done()

	for _, name := range []string{"Origin", "Referer", "User-Agent", "X-Forwarded-For"} {
		if v := q.r.Header[name]; v != nil {
			header[name] = v
		}
	}
	put := q.r.Clone(q.r.Context())
	put.Method, put.Header, put.ContentLength = http.MethodPut, header, file.length
	put.URL = &url.URL{Path: "/"} // the rewriter names the object
	q.r, q.body, q.in.Key = put, file, form.Fields["key"]
	return q.storeForm(form)
}

// maxProposed bounds how far a file that is too large is read to tell its size.
const maxProposed = 64 << 20

// maxFormTail bounds what is read after the file.
const maxFormTail = 64 << 10

// storeForm writes the file and answers as the form asks.
func (q *request) storeForm(form *s3.Form) error {
	cl := call{in: q.in, body: q.body, write: true}
	if !q.p.migrates(q.in.Bucket) {
		resp, err := q.send(q.r.Context(), ledger.Source, cl)
		if err != nil {
			return q.sendError(cl, err)
		}
		defer func() { _ = resp.Body.Close() }()
		return q.respondForm(ledger.Source, form, resp)
	}
	c, err := q.begin(q.r.Context(), []string{q.in.Key}, ledger.BeginOptions{})
	if err != nil {
		return err
	}
	resp, err := q.sendChange(c, cl)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	defer c.finally()
	if err := c.conclude(q.r.Context(), resp.StatusCode); err != nil {
		return err
	}
	return q.respondForm(c.store, form, resp)
}

// postResponse is the answer to success_action_status 201.
type postResponse struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ PostResponse"`
	Location string
	Bucket   string
	Key      string
	ETag     string
}

func (q *request) respondForm(store ledger.Store, form *s3.Form, resp *http.Response) error {
	if resp.StatusCode >= 300 {
		return q.respond(store, resp)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxResult))
	q.header(resp)
	h := q.w.Header()
	etag := resp.Header.Get("Etag")
	location := q.formLocation()
	target := form.Fields["success_action_redirect"]
	if target == "" {
		target = form.Fields["redirect"]
	}
	if u, err := url.Parse(target); err == nil && u.IsAbs() && u.Host != "" {
		values := "bucket=" + url.QueryEscape(q.in.Bucket) + "&key=" + url.QueryEscape(q.in.Key) + "&etag=" + url.QueryEscape(etag)
		if u.RawQuery != "" {
			values = u.RawQuery + "&" + values
		}
		u.RawQuery = values
		h.Set("Location", u.String())
		h.Set("Content-Length", "0")
		q.w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	h.Set("Location", location)
	switch form.Fields["success_action_status"] {
	case "200":
		h.Set("Content-Length", "0")
		q.w.WriteHeader(http.StatusOK)
	case "201":
		h.Set("Content-Type", "application/xml")
		body, err := xml.Marshal(postResponse{Location: location, Bucket: q.in.Bucket, Key: q.in.Key, ETag: etag})
		if err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusCreated)
		_, err = io.WriteString(q.w, xml.Header+string(body))
		return err
	default:
		q.w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// formLocation is the object's URL at the proxy.
func (q *request) formLocation() string {
	scheme := "http://"
	if q.r.TLS != nil {
		scheme = "https://"
	}
	var path strings.Builder
	path.WriteString(scheme + q.r.Host + "/")
	if q.in.Addressing == s3.Path {
		path.WriteString(q.in.Bucket + "/")
	}
	path.WriteString(s3.EscapeKey(q.in.Key))
	return path.String()
}
