package s3

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authV2 is what a request says about its Signature Version 2.
type authV2 struct {
	accessKeyID, signature string
	presigned              bool
	date                   string // third line of what is signed
	token                  string
}

// signedParamsV2 are the query parameters that Version 2 signs.
var signedParamsV2 = set("accelerate", "acl", "cors", "defaultObjectAcl", "delete", "encryption", "lifecycle", "location", "logging",
	"notification", "partNumber", "policy", "replication", "requestPayment", "restore", "tagging", "torrent", "uploadId", "uploads",
	"versionId", "versioning", "versions", "website", "response-cache-control", "response-content-disposition",
	"response-content-encoding", "response-content-language", "response-content-type", "response-expires")

// verifyV2 is [Verifier.Verify] for Signature Version 2.
func (v *Verifier) verifyV2(r *http.Request, query []param) (*Identity, error) {
	a, signedAt, err := v.parseV2(r, query)
	if err != nil {
		return nil, err
	}
	mode, err := parsePayloadMode(r.Header.Get("X-Amz-Content-Sha256"))
	if err != nil {
		return nil, err
	}
	if mode.signedChunks() {
		return nil, ErrInvalidRequest.With("Signed chunks need AWS4-HMAC-SHA256.")
	}
	if mode == PayloadSigned {
		mode = PayloadUnsigned
	}
	keys := v.Lookup(a.accessKeyID)
	if len(keys) == 0 {
		return nil, ErrInvalidAccessKeyID.With("", Detail{"AWSAccessKeyId", a.accessKeyID})
	}
	bucket, _ := hostBucket(requestHost(r), v.Domains)
	message := a.stringToSign(r, query, bucket)
	refusal := error(ErrInvalidToken)
	for _, key := range keys {
		if !hmac.Equal([]byte(key.SessionToken), []byte(a.token)) {
			continue
		}
		if hmac.Equal(signatureV2(key.SecretAccessKey, message), []byte(a.signature)) {
			return &Identity{AccessKeyID: a.accessKeyID, SignedAt: signedAt, Presigned: a.presigned, Payload: mode}, nil
		}
		refusal = ErrSignatureDoesNotMatch.With("", Detail{"AWSAccessKeyId", a.accessKeyID},
			Detail{"StringToSign", message}, Detail{"SignatureProvided", a.signature})
	}
	return nil, refusal
}

func signatureV2(secret, message string) []byte {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(message))
	return base64.StdEncoding.AppendEncode(nil, h.Sum(nil))
}

func (v *Verifier) parseV2(r *http.Request, query []param) (*authV2, time.Time, error) {
	a := &authV2{token: r.Header.Get("X-Amz-Security-Token")}
	header := r.Header.Get("Authorization")
	if header == "" {
		signedAt, err := a.parseQuery(query, v.now())
		return a, signedAt, err
	}
	var found bool
	_, credential, _ := strings.Cut(strings.TrimSpace(header), " ")
	a.accessKeyID, a.signature, found = strings.Cut(strings.TrimSpace(credential), ":")
	if !found || a.accessKeyID == "" || a.signature == "" {
		return nil, time.Time{}, ErrInvalidArgument.With("AWS authorization header is invalid.  Expected AwsAccessKeyId:signature")
	}
	var at auth
	if r.Header.Get("X-Amz-Date") == "" {
		a.date = r.Header.Get("Date")
	}
	if err := at.parseAnyTime(r); err != nil {
		return nil, time.Time{}, err
	}
	return a, at.time, v.checkTime(&at)
}

var errV2Query = ErrAccessDenied.With("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")

func (a *authV2) parseQuery(query []param, now time.Time) (time.Time, error) {
	a.presigned = true
	for name, to := range map[string]*string{"AWSAccessKeyId": &a.accessKeyID, "Signature": &a.signature, "Expires": &a.date} {
		value, n := queryValue(query, name)
		if n != 1 || value == "" {
			return time.Time{}, errV2Query
		}
		*to = value
	}
	if token, n := queryValue(query, "x-amz-security-token"); n > 0 {
		a.token = token
	}
	seconds, err := strconv.ParseInt(a.date, 10, 64)
	if err != nil {
		return time.Time{}, ErrAccessDenied.With("Invalid date (should be seconds since epoch): " + a.date)
	}
	expires := time.Unix(seconds, 0)
	if now.After(expires) {
		return time.Time{}, ErrAccessDenied.With("Request has expired.",
			Detail{"Expires", expires.UTC().Format(time.RFC3339)}, Detail{"ServerTime", now.UTC().Format(time.RFC3339)})
	}
	return now, nil
}

// parseAnyTime is parseHeaderTime for clients that write x-amz-date like Date.
func (a *auth) parseAnyTime(r *http.Request) error {
	err := a.parseHeaderTime(r)
	if value := r.Header.Get("X-Amz-Date"); err != nil && value != "" {
		dated := &http.Request{Header: http.Header{"Date": {value}}}
		err = a.parseHeaderTime(dated)
	}
	return err
}

// stringToSign is what Version 2 signs. bucket is the one named in the host.
func (a *authV2) stringToSign(r *http.Request, query []param, bucket string) string {
	var b strings.Builder
	for _, line := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), a.date} {
		b.WriteString(line + "\n")
	}
	var names []string
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) })
	for _, name := range names {
		b.WriteString(strings.ToLower(name) + ":")
		for i, value := range r.Header[name] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.TrimSpace(value))
		}
		b.WriteByte('\n')
	}
	if bucket != "" {
		b.WriteString("/" + bucket)
	}
	b.WriteString(r.URL.EscapedPath())
	signed := slices.DeleteFunc(slices.Clone(query), func(p param) bool { return !signedParamsV2[p.name] })
	slices.SortStableFunc(signed, func(x, y param) int { return strings.Compare(x.name, y.name) })
	for i, p := range signed {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(p.name)
		if !p.bare && p.value != "" {
			b.WriteString("=" + p.value)
		}
	}
	return b.String()
}
