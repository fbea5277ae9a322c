package s3

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The examples of Amazon's documentation of Signature Version 2.
func TestVerifyV2PublishedExamples(t *testing.T) {
	const id, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	verifier := func(at string, v2 bool) *Verifier {
		now, err := time.Parse(time.RFC1123Z, at)
		if err != nil {
			t.Fatal(err)
		}
		return &Verifier{SignatureV2: v2, Domains: []string{"s3.us-west-1.amazonaws.com", "s3.amazonaws.com"}, Now: func() time.Time { return now },
			Lookup: func(got string) []Credentials {
				if got != id {
					return nil
				}
				return []Credentials{{SecretAccessKey: secret}}
			}}
	}
	tests := map[string]struct{ line, host, headers, signature string }{
		"get":         {"GET /photos/puppy.jpg", "awsexamplebucket1.us-west-1.s3.amazonaws.com", "Date: Tue, 27 Mar 2007 19:36:42 +0000", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="},
		"put":         {"PUT /photos/puppy.jpg", "awsexamplebucket1.s3.us-west-1.amazonaws.com", "Content-Type: image/jpeg\nDate: Tue, 27 Mar 2007 21:15:45 +0000", "iqRzw+ileNPu1fhspnRs8nOjjIA="},
		"list":        {"GET /?prefix=photos&max-keys=50&marker=puppy", "awsexamplebucket1.s3.us-west-1.amazonaws.com", "Date: Tue, 27 Mar 2007 19:42:41 +0000", "m0WP8eCtspQl5Ahe6L1SozdX9YA="},
		"subresource": {"GET /?acl", "awsexamplebucket1.s3.us-west-1.amazonaws.com", "Date: Tue, 27 Mar 2007 19:44:46 +0000", "82ZHiFIjc+WbcwFKGUVEQspPn+0="},
		"delete":      {"DELETE /awsexamplebucket1/photos/puppy.jpg", "s3.us-west-1.amazonaws.com", "Date: Tue, 27 Mar 2007 21:20:26 +0000", "XbyTlbQdu9Xw5o8P4iMwPktxQd8="},
		"list all":    {"GET /", "s3.us-west-1.amazonaws.com", "Date: Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s="},
		"unicode":     {"GET /dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re", "s3.us-west-1.amazonaws.com", "Date: Wed, 28 Mar 2007 01:49:49 +0000", "DNEZGsoieTZ92F3bUfSPQcbGmlM="},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.line, " ")
			r := httptest.NewRequest(method, path, nil)
			r.Host = tt.host
			date := ""
			for line := range strings.SplitSeq(tt.headers, "\n") {
				k, v, _ := strings.Cut(line, ": ")
				r.Header.Set(k, v)
				date = v
			}
			r.Header.Set("Authorization", "AWS "+id+":"+tt.signature)
			if name == "get" {
				r.Host = "awsexamplebucket1.s3.us-west-1.amazonaws.com"
			}
			got, err := verifier(date, true).Verify(r)
			if err != nil || got.AccessKeyID != id {
				t.Errorf("%v", err)
			}
			if _, err := verifier(date, false).Verify(r); !errors.Is(err, ErrInvalidRequest) {
				t.Errorf("with the switch off: %v", err)
			}
			r.Method = "PATCH"
			if _, err := verifier(date, true).Verify(r); !errors.Is(err, ErrSignatureDoesNotMatch) {
				t.Errorf("another method: %v", err)
			}
			r.Method = method
			if _, err := verifier("Tue, 27 Mar 2012 19:36:42 +0000", true).Verify(r); !errors.Is(err, ErrRequestTimeTooSkewed) {
				t.Errorf("years later: %v", err)
			}
		})
	}
}

func TestVerifyV2Presigned(t *testing.T) {
	v := exampleVerifier()
	v.SignatureV2 = true
	sign := func(expires string) url.Values {
		message := "GET\n\n\n" + expires + "\n/b/k?response-content-type=text/x"
		return url.Values{"AWSAccessKeyId": {exampleKey}, "Expires": {expires}, "Signature": {string(signatureV2(exampleSecret, message))}, "response-content-type": {"text/x"}}
	}
	const later = "9999999999"
	for name, tt := range map[string]struct {
		expires string
		change  func(url.Values)
		want    error
	}{
		"good":            {expires: later},
		"expired":         {expires: "1", want: ErrAccessDenied},
		"no number":       {expires: "soon", want: ErrAccessDenied},
		"without expiry":  {later, func(q url.Values) { q.Del("Expires") }, ErrAccessDenied},
		"two expiries":    {later, func(q url.Values) { q.Add("Expires", later) }, ErrAccessDenied},
		"changed":         {later, func(q url.Values) { q.Set("response-content-type", "text/y") }, ErrSignatureDoesNotMatch},
		"expiry changed":  {later, func(q url.Values) { q.Set("Expires", later+"9") }, ErrSignatureDoesNotMatch},
		"token":           {later, func(q url.Values) { q.Set("x-amz-security-token", "t") }, ErrInvalidToken},
		"unknown key":     {later, func(q url.Values) { q.Set("AWSAccessKeyId", "nobody") }, ErrInvalidAccessKeyID},
		"another version": {later, func(q url.Values) { q.Set("X-Amz-Signature", "x") }, ErrAuthorizationQueryParametersError},
	} {
		t.Run(name, func(t *testing.T) {
			q := sign(tt.expires)
			if tt.change != nil {
				tt.change(q)
			}
			_, err := v.Verify(httptest.NewRequest("GET", "/b/k?"+q.Encode(), nil))
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// What Version 2 leaves unsigned must not gain a meaning on the way.
func TestRewriteOfV2PresignsAddsNoHeader(t *testing.T) {
	w, err := NewRewriter(Endpoint{URL: "http://store"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("PUT", "/b/k?AWSAccessKeyId=a&Signature=s&Expires=1&x-amz-security-token=t&x-amz-acl=public-read&x-amz-copy-source=b/secret&versionId=v", nil)
	in, err := ParseRequest(r, nil)
	if err != nil || in.Operation != PutObject {
		t.Fatalf("%s %v", in.Operation, err)
	}
	w.Rewrite(in, r)
	if r.URL.RawQuery != "x-amz-acl=public-read&x-amz-copy-source=b%2Fsecret&versionId=v" || len(r.Header) > 0 {
		t.Errorf("%s %v", r.URL.RawQuery, r.Header)
	}
}

func TestVerifyRefusesHeadersGivenTwice(t *testing.T) {
	for _, name := range onceOnly {
		r := validGet(t)
		r.Header[name] = []string{r.Header.Get(name), "other"}
		if _, err := exampleVerifier().Verify(r); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := validGet(t)
	r.Header["Authorization"] = append(r.Header["Authorization"], r.Header.Get("Authorization"))
	if _, err := exampleVerifier().Verify(r); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("Authorization: %v", err)
	}
}
