package s3

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ErrAnonymous says that a request carries no credentials at all.
var ErrAnonymous = errors.New("anonymous request")

const (
	// maxSkew is how far a client's clock may be off.
	maxSkew = 15 * time.Minute
	// maxExpiry is how long a presigned request may be valid.
	maxExpiry = 7 * 24 * time.Hour
)

// Verifier checks the signatures of clients' requests. Fill its fields
// before first use; its methods may be called concurrently.
type Verifier struct {
	// Lookup returns the keys that are valid under an access key ID: none, one,
	// or two while a secret is rotated and its ID stays.
	Lookup func(accessKeyID string) []Credentials
	// Regions that clients may sign for; errors name the first. Empty: any.
	Regions []string
	// TakesRegion, if set, is asked about other regions, once a signature for one
	// is known to be good.
	TakesRegion func(region string) bool
	// SignatureV2 lets clients sign with Signature Version 2.
	SignatureV2 bool
	// Domains are as in [ParseRequest]; Signature Version 2 signs the bucket.
	Domains []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	keys keyCache
}

// Identity is who signed a request, and what it takes to check its body.
type Identity struct {
	AccessKeyID string
	// Region is the one that the client signed for.
	Region string
	// SignedAt is the time in the signature.
	SignedAt time.Time
	// Presigned says that the signature was in the query.
	Presigned bool
	// Payload is how the body is protected.
	Payload PayloadMode
	// ContentSHA256 is the signed hash in lower-case hex when Payload is PayloadSigned.
	ContentSHA256 string

	key       *signingKey
	timestamp string
	scope     string
	// seed is the request's own signature, the first link of the chunks' chain.
	seed [hexHashSize]byte
}

// Verify checks r's signature. It returns [ErrAnonymous] for a request without
// credentials, else an [*Error] that can be sent as it is. r.URL, r.Host and
// r.Header must be as received.
func (v *Verifier) Verify(r *http.Request) (*Identity, error) {
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	a, err := parseAuth(r, query)
	if err != nil {
		return nil, err
	}
	if a.v2 {
		if !v.SignatureV2 {
			return nil, errOldSignature
		}
		return v.verifyV2(r, query)
	}
	return v.inRegion(a, func() (*Identity, error) { return v.verifyV4(r, query, a) })
}

// inRegion verifies a signature that may be for another region than those known.
func (v *Verifier) inRegion(a *auth, verify func() (*Identity, error)) (*Identity, error) {
	wrong := v.checkRegion(a)
	if wrong != nil && v.TakesRegion == nil {
		return nil, wrong
	}
	id, err := verify()
	if wrong != nil && (err != nil || !v.TakesRegion(a.region)) {
		return nil, wrong
	}
	return id, err
}

func (v *Verifier) verifyV4(r *http.Request, query []param, a *auth) (*Identity, error) {
	keys := v.Lookup(a.accessKeyID)
	if len(keys) == 0 {
		return nil, ErrInvalidAccessKeyID.With("", Detail{"AWSAccessKeyId", a.accessKeyID})
	}
	if err := v.checkTime(a); err != nil {
		return nil, err
	}
	if err := a.checkSignedHeaders(r); err != nil {
		return nil, err
	}
	mode, err := parsePayloadMode(a.payload)
	if err != nil {
		return nil, err
	}
	id := &Identity{
		AccessKeyID: a.accessKeyID,
		Region:      a.region,
		SignedAt:    a.time,
		Presigned:   a.presigned,
		Payload:     mode,
		timestamp:   a.timestamp,
		scope:       a.scope,
	}
	if mode == PayloadSigned {
		id.ContentSHA256 = strings.ToLower(a.payload)
	}
	c := canonical{
		method: r.Method, path: r.URL.EscapedPath(), query: query,
		headers: a.signedHeaders, payload: a.payload,
	}
	if a.presigned {
		c.skip = "X-Amz-Signature"
	}
	refusal := error(ErrInvalidToken)
	for _, key := range keys {
		if subtle.ConstantTimeCompare([]byte(key.SessionToken), []byte(a.token)) != 1 {
			continue
		}
		if v.matches(id, a, &c, r, key.SecretAccessKey) {
			return id, nil
		}
		request := c.appendTo(nil, r)
		signed := appendStringToSign(nil, a.timestamp, a.scope, request)
		refusal = ErrSignatureDoesNotMatch.With("",
			Detail{"AWSAccessKeyId", a.accessKeyID},
			Detail{"StringToSign", string(signed)},
			Detail{"SignatureProvided", a.signature},
			Detail{"StringToSignBytes", spacedHex(signed)},
			Detail{"CanonicalRequest", string(request)},
			Detail{"CanonicalRequestBytes", spacedHex(request)})
	}
	return nil, refusal
}

// matches checks the signature with one secret, and notes in id what the body's
// chunks are checked with.
func (v *Verifier) matches(id *Identity, a *auth, c *canonical, r *http.Request, secret string) bool {
	id.key = v.keys.get(a.accessKeyID, secret, a.date, a.region)
	id.seed = c.sign(r, id.key, a.timestamp, a.scope)
	if equalSignature(id.seed, a.signature) {
		return true
	}
	// The same object, the same signer: only the spelling of the path differs.
	sent := c.path
	defer func() { c.path = sent }()
	normal, differs := normalPath(sent)
	if !differs {
		return false
	}
	c.path = normal
	id.seed = c.sign(r, id.key, a.timestamp, a.scope)
	return equalSignature(id.seed, a.signature)
}

// spacedHex is how S3 shows bytes in an error.
func spacedHex(b []byte) string { return fmt.Sprintf("% x", b) }

func equalSignature(want [hexHashSize]byte, got string) bool {
	return subtle.ConstantTimeCompare(want[:], []byte(got)) == 1
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

func (v *Verifier) checkRegion(a *auth) error {
	if len(v.Regions) == 0 || slices.Contains(v.Regions, a.region) {
		return nil
	}
	err := a.badCredential(a.credential, fmt.Sprintf("the region %q is wrong; expecting %q", a.region, v.Regions[0]))
	if a.form {
		return err
	}
	return err.With("", Detail{"Region", v.Regions[0]})
}

func (v *Verifier) checkTime(a *auth) error {
	now := v.now()
	if !a.presigned {
		if d := now.Sub(a.time); d > maxSkew || d < -maxSkew {
			return ErrRequestTimeTooSkewed.With("",
				Detail{"RequestTime", a.timestamp},
				Detail{"ServerTime", now.UTC().Format(time.RFC3339)},
				Detail{"MaxAllowedSkewMilliseconds", fmt.Sprint(maxSkew.Milliseconds())})
		}
		return nil
	}
	if a.time.Sub(now) > maxSkew {
		return ErrAccessDenied.With("Request is not yet valid")
	}
	if expiry := a.time.Add(a.expires); now.After(expiry) {
		return ErrAccessDenied.With("Request has expired.",
			Detail{"X-Amz-Expires", fmt.Sprint(int64(a.expires / time.Second))},
			Detail{"Expires", expiry.UTC().Format(time.RFC3339)},
			Detail{"ServerTime", now.UTC().Format(time.RFC3339)})
	}
	return nil
}

// checkSignedHeaders refuses requests whose host or x-amz-* headers could have
// been changed on the way.
func (a *auth) checkSignedHeaders(r *http.Request) error {
	if !slices.Contains(a.signedHeaders, "host") {
		return a.malformed("the Host header must be signed.")
	}
	var missing []string
	for name := range r.Header {
		if len(name) < 6 || name[:6] != "X-Amz-" {
			continue
		}
		if !slices.ContainsFunc(a.signedHeaders, func(s string) bool { return strings.EqualFold(s, name) }) {
			missing = append(missing, strings.ToLower(name))
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return ErrAccessDenied.With("There were headers present in the request which were not signed",
			Detail{"HeadersNotSigned", strings.Join(missing, ", ")})
	}
	return nil
}
