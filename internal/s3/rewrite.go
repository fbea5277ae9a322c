package s3

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// Rewriter turns clients' requests into requests to one endpoint. It may be
// used concurrently.
type Rewriter struct {
	scheme, host string
	base         string // path before the bucket, decoded
	escapedBase  string
	virtual      bool
}

// NewRewriter returns a rewriter to e.
func NewRewriter(e Endpoint) (*Rewriter, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	u, err := e.parse()
	if err != nil {
		return nil, err
	}
	return &Rewriter{
		scheme: u.Scheme, host: u.Host, base: u.Path, escapedBase: u.EscapedPath(),
		virtual: e.Addressing == VirtualHost,
	}, nil
}

// Rewrite points out (a clone of the client's request) at the endpoint: URL,
// Host, bucket in path or host, the key encoded so that it arrives byte for
// byte, x-amz-copy-source. What belongs to the client's own signature is
// removed (Authorization, X-Amz-Date, security token, presigned query
// parameters, aws-chunked framing headers), and x-amz-* headers that a presigned
// request carries in its query go back to the header. Sign out next. The body
// is not touched.
func (w *Rewriter) Rewrite(in Request, out *http.Request) {
	path, escaped := w.base+"/", w.escapedBase+"/"
	host := w.host
	if in.Bucket != "" {
		if w.virtual {
			host = in.Bucket + "." + host
		} else {
			path += in.Bucket
			escaped += escape(in.Bucket, false)
			if in.Key != "" {
				path += "/"
				escaped += "/"
			}
		}
		path += in.Key
		escaped += EscapeKey(in.Key)
	}
	out.URL = &url.URL{
		Scheme: w.scheme, Host: host, Path: path, RawPath: escaped,
		RawQuery: w.query(out),
	}
	out.Host = host
	out.RequestURI = ""
	cleanHeaders(out.Header)
	if source := in.CopySource.Header(); source != "" {
		out.Header["X-Amz-Copy-Source"] = []string{source}
	}
}

// query returns the query without the client's signature, encoded the way that
// all signature checks agree on.
func (w *Rewriter) query(out *http.Request) string {
	raw := out.URL.RawQuery
	if raw == "" {
		return ""
	}
	params, err := parseQuery(raw)
	if err != nil {
		return raw
	}
	_, presigned := queryValue(params, "X-Amz-Signature")
	_, presignedV2 := queryValue(params, "AWSAccessKeyId")
	kept := params[:0]
	for _, p := range params {
		if presigned > 0 && len(p.name) > 6 && strings.EqualFold(p.name[:6], "x-amz-") {
			if name := textproto.CanonicalMIMEHeaderKey(p.name); !presignParams[name] && len(out.Header[name]) == 0 {
				out.Header[name] = []string{p.value}
			}
			continue
		}
		// Version 2 does not sign x-amz-* parameters, so they must not become headers.
		if presignedV2 > 0 && (presignParamsV2[p.name] || strings.EqualFold(p.name, "x-amz-security-token")) {
			continue
		}
		kept = append(kept, p)
	}
	return encodeQuery(kept)
}

// presignParams are the presigning parameters, as header keys.
var presignParams = set("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
	"X-Amz-Signedheaders", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Content-Sha256")

// presignParamsV2 are those of Signature Version 2.
var presignParamsV2 = set("AWSAccessKeyId", "Signature", "Expires")

// cleanHeaders removes the client's signature, and the framing of a body that
// DecodeBody has taken apart.
func cleanHeaders(h http.Header) {
	mode, _ := parsePayloadMode(h.Get("X-Amz-Content-Sha256"))
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "Date"} {
		delete(h, name)
	}
	if mode.Framed() {
		delete(h, "X-Amz-Decoded-Content-Length")
		delete(h, "X-Amz-Trailer")
		delete(h, "Trailer")
	}
	removeAWSChunked(h)
}

// removeAWSChunked takes the framing out of Content-Encoding, as S3 does.
func removeAWSChunked(h http.Header) {
	values := h["Content-Encoding"]
	if len(values) == 0 || !strings.Contains(strings.Join(values, ","), "aws-chunked") {
		return
	}
	var kept []string
	for _, coding := range strings.Split(strings.Join(values, ","), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "aws-chunked") {
			kept = append(kept, coding)
		}
	}
	if len(kept) == 0 {
		delete(h, "Content-Encoding")
		return
	}
	h["Content-Encoding"] = []string{strings.Join(kept, ",")}
}
