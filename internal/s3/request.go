package s3

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// Request is what a client's HTTP request asks of S3. It is a plain value: a
// caller may change Bucket, Key or CopySource before [Rewriter.Rewrite].
type Request struct {
	// Bucket is empty for a request to the service.
	Bucket string
	// Key is the object's name, decoded once, byte for byte. It is empty for
	// requests to a bucket.
	Key string
	// Addressing is how the client named the bucket.
	Addressing Addressing

	Operation Operation
	Class     Class

	// Conditional says that the outcome of a write depends on what is stored
	// under Key: If-Match, If-None-Match, x-amz-if-match-*, appends and renames.
	Conditional bool

	VersionID  string
	UploadID   string
	PartNumber int // as sent; 0 if that is no number
	// CopySource is set for CopyObject and UploadPartCopy.
	CopySource CopySource
}

// CopySource names the object that a copy reads.
type CopySource struct {
	// Bucket is empty when there is no source, or when Opaque is set.
	Bucket string
	// Key is decoded.
	Key       string
	VersionID string
	// Opaque holds a source that names no bucket's object (an access point's ARN), as sent.
	Opaque string
}

// Header returns the value of x-amz-copy-source for s, "" if there is no source.
func (s CopySource) Header() string {
	switch {
	case s.Opaque != "":
		return s.Opaque
	case s.Bucket == "":
		return ""
	}
	v := escape(s.Bucket, false) + "/" + EscapeKey(s.Key)
	if s.VersionID != "" {
		v += "?versionId=" + escape(s.VersionID, false)
	}
	return v
}

// ParseRequest reads bucket, key and operation from r. domains are the host
// names, in lower case and without port, below which a bucket may be named in
// the Host header; without them all requests are path-style. Errors are of type
// [*Error].
func ParseRequest(r *http.Request, domains []string) (Request, error) {
	req := Request{Addressing: Path}
	rest := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	if bucket, ok := hostBucket(requestHost(r), domains); ok {
		req.Addressing = VirtualHost
		req.Bucket = bucket
	} else {
		var name string
		var hasKey bool
		name, rest, hasKey = strings.Cut(rest, "/")
		bucket, err := url.PathUnescape(name)
		if err != nil {
			return req, ErrInvalidURI
		}
		if bucket == "" && hasKey {
			return req, ErrInvalidBucketName.With("", Detail{"BucketName", ""})
		}
		req.Bucket = bucket
	}
	if !plausibleBucket(req.Bucket) {
		return req, ErrInvalidBucketName.With("", Detail{"BucketName", req.Bucket})
	}
	var err error
	if req.Key, err = url.PathUnescape(rest); err != nil {
		return req, ErrInvalidURI
	}
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return req, err
	}
	if err := req.parseParams(query); err != nil {
		return req, err
	}
	header, err := presignedHeader(r, query)
	if err != nil {
		return req, err
	}
	if err := req.parseCopySource(r, header); err != nil {
		return req, err
	}
	req.classify(r, query)
	req.Conditional = req.isConditional(r, header)
	return req, nil
}

// presignedHeader returns the x-amz-* headers that a request presigned with
// Version 4 carries as parameters.
func presignedHeader(r *http.Request, query []param) (http.Header, error) {
	if _, n := queryValue(query, "X-Amz-Signature"); n == 0 {
		return nil, nil
	}
	out := http.Header{}
	for _, p := range query {
		if len(p.name) <= 6 || !strings.EqualFold(p.name[:6], "x-amz-") {
			continue
		}
		name := textproto.CanonicalMIMEHeaderKey(p.name)
		switch {
		case presignParams[name], len(r.Header[name]) > 0:
		case !validHeader(p.name, p.value):
			return nil, ErrInvalidArgument.With("A query parameter is no valid header", Detail{"ArgumentName", p.name})
		case len(out[name]) > 0:
			return nil, ErrInvalidArgument.With("Query parameter "+p.name+" must be given once", Detail{"ArgumentName", p.name})
		default:
			out[name] = []string{p.value}
		}
	}
	return out, nil
}

// validHeader says whether a name and a value can be a header's.
func validHeader(name, value string) bool {
	for i := 0; i < len(name); i++ {
		if !unreserved[name[i]] && strings.IndexByte("!#$%&'*+^`|", name[i]) < 0 {
			return false
		}
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return name != ""
}

// hostBucket returns the bucket in a virtual-host name below the longest domain that fits.
func hostBucket(host string, domains []string) (string, bool) {
	if len(domains) == 0 || host == "" || host[0] == '[' {
		return "", false
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	host = strings.ToLower(host)
	best := ""
	for _, d := range domains {
		if host == d {
			return "", false
		}
		if len(d) > len(best) && len(host) > len(d)+1 && strings.HasSuffix(host, d) && host[len(host)-len(d)-1] == '.' {
			best = d
		}
	}
	if best == "" {
		return "", false
	}
	return host[:len(host)-len(best)-1], true
}

// plausibleBucket leaves the naming rules to the store, which may be older than
// AWS's, and refuses only what no store takes and what would confuse a path.
func plausibleBucket(name string) bool {
	if len(name) > 255 || name == "." || name == ".." {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c == 0x7f || c == '/' || c == '\\' || c == '%' || c == '?' || c == '#' {
			return false
		}
	}
	return true
}

// parseParams reads the parameters that say which object, upload or part is
// meant. Servers disagree on which of two is heard, so two are refused.
func (q *Request) parseParams(query []param) error {
	for _, p := range query {
		switch p.name {
		case "versionId", "uploadId", "partNumber", "list-type":
			if _, n := queryValue(query, p.name); n > 1 {
				return ErrInvalidArgument.With("Query parameter "+p.name+" must be given once", Detail{"ArgumentName", p.name})
			}
		}
		switch p.name {
		case "versionId":
			q.VersionID = p.value
		case "uploadId":
			q.UploadID = p.value
		case "partNumber":
			// What is none is for the store to refuse.
			q.PartNumber, _ = strconv.Atoi(p.value)
		}
	}
	return nil
}

func (q *Request) parseCopySource(r *http.Request, presigned http.Header) error {
	if r.Method != http.MethodPut || q.Key == "" {
		return nil
	}
	values := r.Header["X-Amz-Copy-Source"]
	if len(values) == 0 {
		values = presigned["X-Amz-Copy-Source"]
	}
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		return errBadCopySource
	}
	source, err := ParseCopySource(values[0])
	q.CopySource = source
	return err
}

var (
	errBadCopySource = ErrInvalidArgument.With("Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
		Detail{"ArgumentName", "x-amz-copy-source"})
	errCopySourceEncoding = ErrInvalidArgument.With("Invalid copy source encoding", Detail{"ArgumentName", "x-amz-copy-source"})
)

// ParseCopySource reads the value of x-amz-copy-source. One without a bucket or
// a key is opaque: no store can copy from it, and each refuses it in its own order.
func ParseCopySource(value string) (CopySource, error) {
	path, query, _ := strings.Cut(value, "?")
	if strings.HasPrefix(path, "arn:") {
		return CopySource{Opaque: value}, nil
	}
	path, err := url.PathUnescape(path)
	if err != nil {
		return CopySource{}, errCopySourceEncoding
	}
	if value == "" {
		return CopySource{}, errBadCopySource // a store might take it for a PUT
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if bucket == "" || key == "" || !plausibleBucket(bucket) {
		return CopySource{Opaque: value}, nil
	}
	params, err := parseQuery(query)
	if err != nil {
		return CopySource{}, errBadCopySource
	}
	version, _ := queryValue(params, "versionId")
	return CopySource{Bucket: bucket, Key: key, VersionID: version}, nil
}

func (q *Request) isConditional(r *http.Request, presigned http.Header) bool {
	if !q.Class.IsWrite() {
		return false
	}
	switch q.Operation {
	case AppendObject, RenameObject:
		return true
	}
	for _, h := range []http.Header{r.Header, presigned} {
		for _, name := range []string{
			"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
			"X-Amz-Write-Offset-Bytes",
		} {
			if len(h[name]) > 0 {
				return true
			}
		}
		for name := range h {
			if strings.HasPrefix(name, "X-Amz-If-Match-") {
				return true
			}
		}
	}
	return false
}
