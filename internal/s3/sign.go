package s3

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Signer signs outgoing requests with Signature Version 4. Its methods may be
// called concurrently.
type Signer struct {
	credentials CredentialsFunc
	region      string
	keys        keyCache
}

// NewSigner returns a signer with the endpoint's credentials and region.
func NewSigner(e Endpoint) *Signer {
	return &Signer{credentials: e.CredentialsFunc(), region: e.region()}
}

// Sign signs req as it stands: host, path as it will be sent, query, every
// x-amz-* header, Content-Type and Content-MD5. payloadHash is the hex SHA-256
// of the body, [UnsignedPayload] or another x-amz-content-sha256 value. Older
// signing headers are replaced. Change nothing of these after it.
func (s *Signer) Sign(req *http.Request, payloadHash string, now time.Time) {
	creds := s.credentials()
	timestamp, date := formatTime(now)
	h := req.Header
	delete(h, "Authorization")
	h["X-Amz-Date"] = []string{timestamp}
	h["X-Amz-Content-Sha256"] = []string{payloadHash}
	if creds.SessionToken != "" {
		h["X-Amz-Security-Token"] = []string{creds.SessionToken}
	} else {
		delete(h, "X-Amz-Security-Token")
	}

	names := make([]string, 1, 12)
	names[0] = "host"
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-") || name == "Content-Type" || name == "Content-Md5" {
			names = append(names, strings.ToLower(name))
		}
	}
	slices.Sort(names)

	// A query that can't be parsed can't be signed either: what can be is, and
	// the store refuses the request.
	query, _ := parseQuery(req.URL.RawQuery)
	c := canonical{
		method: req.Method, path: req.URL.EscapedPath(), query: query,
		headers: names, payload: payloadHash,
	}
	if c.method == "" {
		c.method = http.MethodGet
	}
	scope := appendScope(make([]byte, 0, 64), date, s.region)
	key := s.keys.get(creds.AccessKeyID, creds.SecretAccessKey, date, s.region)
	signature := c.sign(req, key, timestamp, string(scope))

	b := make([]byte, 0, 512)
	b = append(b, algorithm+" Credential="...)
	b = append(append(b, creds.AccessKeyID...), '/')
	b = append(b, scope...)
	b = append(b, ", SignedHeaders="...)
	for i, name := range names {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, ", Signature="...)
	b = append(b, signature[:]...)
	h["Authorization"] = []string{string(b)}
}
