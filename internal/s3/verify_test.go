package s3

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const signedGet = "host;x-amz-content-sha256;x-amz-date"

// validGet is a request that exampleVerifier accepts.
func validGet(t testing.TB) *http.Request {
	return exampleRequest(t, "GET", "/?max-keys=2&prefix=J", bucketHost, signedGet,
		"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", "X-Amz-Content-Sha256: "+EmptyPayload)
}

func replaceAuth(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		auth := r.Header.Get("Authorization")
		if !strings.Contains(auth, old) {
			panic(auth + " has no " + old)
		}
		r.Header.Set("Authorization", strings.Replace(auth, old, new, 1))
	}
}

func TestVerifyRefusesWhatWasTamperedWith(t *testing.T) {
	tests := map[string]struct {
		change func(r *http.Request)
		want   error
	}{
		"method":               {func(r *http.Request) { r.Method = "DELETE" }, ErrSignatureDoesNotMatch},
		"path":                 {func(r *http.Request) { r.URL.Path = "/a" }, ErrSignatureDoesNotMatch},
		"query value":          {func(r *http.Request) { r.URL.RawQuery = "max-keys=3&prefix=J" }, ErrSignatureDoesNotMatch},
		"query added":          {func(r *http.Request) { r.URL.RawQuery += "&acl" }, ErrSignatureDoesNotMatch},
		"query repeated":       {func(r *http.Request) { r.URL.RawQuery += "&prefix=J" }, ErrSignatureDoesNotMatch},
		"query not decodable":  {func(r *http.Request) { r.URL.RawQuery += "&a=%zz" }, ErrInvalidURI},
		"host":                 {func(r *http.Request) { r.Host = "other.s3.amazonaws.com" }, ErrSignatureDoesNotMatch},
		"payload hash":         {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", UnsignedPayload) }, ErrSignatureDoesNotMatch},
		"payload hash unknown": {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "none") }, ErrInvalidArgument},
		"payload hash gone":    {func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, ErrInvalidRequest},
		"signature":            {replaceAuth("Signature=34", "Signature=35"), ErrSignatureDoesNotMatch},
		"signature short":      {replaceAuth("Signature=34b", "Signature="), ErrSignatureDoesNotMatch},
		"signature upper case": {func(r *http.Request) {
			auth := r.Header.Get("Authorization")
			i := strings.Index(auth, "Signature=3") + len("Signature=")
			r.Header.Set("Authorization", auth[:i]+strings.ToUpper(auth[i:]))
		}, ErrSignatureDoesNotMatch},
		"unsigned x-amz header": {func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }, ErrAccessDenied},
		"host not signed":       {replaceAuth("host;", ""), ErrAuthorizationHeaderMalformed},
		"signed header added": {func(r *http.Request) {
			replaceAuth(signedGet, "host;x-amz-acl;x-amz-content-sha256;x-amz-date")(r)
			r.Header.Set("X-Amz-Acl", "public-read")
		}, ErrSignatureDoesNotMatch},
		"access key":        {replaceAuth(exampleKey, "AKIDNOBODY"), ErrInvalidAccessKeyID},
		"region":            {replaceAuth("us-east-1", "eu-west-1"), ErrAuthorizationHeaderMalformed},
		"service":           {replaceAuth("/s3/", "/ec2/"), ErrAuthorizationHeaderMalformed},
		"terminator":        {replaceAuth("aws4_request", "aws5_request"), ErrAuthorizationHeaderMalformed},
		"date of the scope": {replaceAuth("20130524", "20130523"), ErrAuthorizationHeaderMalformed},
		"date no date":      {replaceAuth("20130524", "2013-5-24"), ErrAuthorizationHeaderMalformed},
		"short credential":  {replaceAuth("/us-east-1", ""), ErrAuthorizationHeaderMalformed},
		"component missing": {replaceAuth(",SignedHeaders="+signedGet, ""), ErrAuthorizationHeaderMalformed},
		"component twice":   {replaceAuth(",SignedHeaders", ",Signature=1,SignedHeaders"), ErrAuthorizationHeaderMalformed},
		"component unknown": {replaceAuth(",SignedHeaders", ",Extra=1,SignedHeaders"), ErrAuthorizationHeaderMalformed},
		"no date":           {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, ErrAccessDenied},
		"bad date":          {func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }, ErrAccessDenied},
		"in the future":     {func(r *http.Request) { r.Header.Set("X-Amz-Date", "20130524T001501Z") }, ErrRequestTimeTooSkewed},
		"another time":      {func(r *http.Request) { r.Header.Set("X-Amz-Date", "20130524T000001Z") }, ErrSignatureDoesNotMatch},
		"token not ours": {func(r *http.Request) {
			replaceAuth("x-amz-date,", "x-amz-date;x-amz-security-token,")(r)
			r.Header.Set("X-Amz-Security-Token", "t")
		}, ErrInvalidToken},
		"two mechanisms":    {func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=1" }, ErrInvalidArgument},
		"two headers":       {func(r *http.Request) { r.Header.Add("Authorization", "AWS4-HMAC-SHA256 x") }, ErrInvalidArgument},
		"signature v2":      {func(r *http.Request) { r.Header.Set("Authorization", "AWS key:signature") }, ErrInvalidRequest},
		"another scheme":    {func(r *http.Request) { r.Header.Set("Authorization", "Bearer token") }, ErrInvalidArgument},
		"no authentication": {func(r *http.Request) { r.Header.Del("Authorization") }, ErrAnonymous},
		"presigned, v2": {func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "AWSAccessKeyId=a&Expires=1&Signature=s"
		}, ErrInvalidRequest},
	}
	if _, err := exampleVerifier().Verify(validGet(t)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := validGet(t)
			tt.change(r)
			id, err := exampleVerifier().Verify(r)
			if !errors.Is(err, tt.want) || id != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), exampleSecret) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestVerifyPresigned(t *testing.T) {
	const valid = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	replace := func(old, new string) string {
		if !strings.Contains(valid, old) {
			panic(old)
		}
		return strings.Replace(valid, old, new, 1)
	}
	tests := map[string]struct {
		query  string
		after  time.Duration
		change func(*http.Request)
		want   error
	}{
		"valid":                             {query: valid},
		"valid to the end":                  {query: valid, after: 24 * time.Hour},
		"valid a bit before, clocks differ": {query: valid, after: -14 * time.Minute},
		"expired":                           {query: valid, after: 24*time.Hour + time.Second, want: ErrAccessDenied},
		"not yet valid":                     {query: valid, after: -16 * time.Minute, want: ErrAccessDenied},
		"longer":                            {query: replace("=86400", "=86401"), want: ErrSignatureDoesNotMatch},
		"longer than a week":                {query: replace("=86400", "=604801"), want: ErrAuthorizationQueryParametersError},
		"negative":                          {query: replace("=86400", "=-1"), want: ErrAuthorizationQueryParametersError},
		"expiry no number":                  {query: replace("=86400", "=soon"), want: ErrAuthorizationQueryParametersError},
		"no expiry":                         {query: replace("X-Amz-Expires=86400&", ""), want: ErrAuthorizationQueryParametersError},
		"another algorithm":                 {query: replace("HMAC-SHA256", "HMAC-MD5"), want: ErrAuthorizationQueryParametersError},
		"signature twice":                   {query: valid + "&X-Amz-Signature=a", want: ErrAuthorizationQueryParametersError},
		"credential twice":                  {query: valid + "&X-Amz-Credential=a", want: ErrAuthorizationQueryParametersError},
		"parameter added":                   {query: valid + "&versionId=1", want: ErrSignatureDoesNotMatch},
		"host not signed":                   {query: replace("SignedHeaders=host", "SignedHeaders=range"), want: ErrAuthorizationQueryParametersError},
		"token added":                       {query: valid + "&X-Amz-Security-Token=t", want: ErrInvalidToken},
		"unsigned header":                   {query: valid, change: func(r *http.Request) { r.Header.Set("X-Amz-Tagging", "a=b") }, want: ErrAccessDenied},
		"another path":                      {query: valid, change: func(r *http.Request) { r.URL.Path = "/test2.txt" }, want: ErrSignatureDoesNotMatch},
		"date of scope":                     {query: replace("%2F20130524", "%2F20130525"), want: ErrAuthorizationQueryParametersError},
		"date no date":                      {query: replace("20130524T000000Z", "20130524"), want: ErrAuthorizationQueryParametersError},
		"unknown access key":                {query: replace(exampleKey, "AKIDNOBODY"), want: ErrInvalidAccessKeyID},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/test.txt?"+tt.query, nil)
			r.Host = bucketHost
			if tt.change != nil {
				tt.change(r)
			}
			v := exampleVerifier()
			v.Now = func() time.Time { return exampleTime.Add(tt.after) }
			id, err := v.Verify(r)
			if !errors.Is(err, tt.want) || (id == nil) != (tt.want != nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestVerifySessionToken(t *testing.T) {
	v := exampleVerifier()
	v.Lookup = func(string) []Credentials {
		return []Credentials{{SecretAccessKey: exampleSecret, SessionToken: "session"}}
	}
	sign := func(token string) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret, SessionToken: token}).Sign(r, EmptyPayload, exampleTime)
		return r
	}
	for token, want := range map[string]error{"session": nil, "other": ErrInvalidToken, "": ErrInvalidToken} {
		if _, err := v.Verify(sign(token)); !errors.Is(err, want) {
			t.Errorf("token %q: got %v, want %v", token, err, want)
		}
	}
}

// A rotated secret must take effect although derived keys are cached.
func TestVerifyFollowsRotatedSecret(t *testing.T) {
	secret := "old"
	v := exampleVerifier()
	v.Lookup = func(string) []Credentials { return []Credentials{{SecretAccessKey: secret}} }
	request := func(secret string) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: secret}).Sign(r, EmptyPayload, exampleTime)
		return r
	}
	for range 2 {
		if _, err := v.Verify(request("old")); err != nil {
			t.Fatal(err)
		}
	}
	secret = "new"
	if _, err := v.Verify(request("old")); !errors.Is(err, ErrSignatureDoesNotMatch) {
		t.Errorf("old secret: got %v", err)
	}
	if _, err := v.Verify(request("new")); err != nil {
		t.Errorf("new secret: got %v", err)
	}
}

func TestVerifyAllowsFifteenMinutesOfSkew(t *testing.T) {
	for skew, want := range map[time.Duration]error{
		15 * time.Minute:                nil,
		-15 * time.Minute:               nil,
		15*time.Minute + time.Second:    ErrRequestTimeTooSkewed,
		-(15*time.Minute + time.Second): ErrRequestTimeTooSkewed,
	} {
		v := exampleVerifier()
		v.Now = func() time.Time { return exampleTime.Add(skew) }
		if _, err := v.Verify(validGet(t)); !errors.Is(err, want) {
			t.Errorf("skew %v: got %v, want %v", skew, err, want)
		}
	}
}

func TestVerifyAsksAboutOtherRegionsOnceTheSignatureIsGood(t *testing.T) {
	v := exampleVerifier()
	asked := 0
	v.Regions, v.TakesRegion = []string{"us-east-1"}, func(region string) bool { asked++; return region == "default" }
	for name, tt := range map[string]struct {
		region, secret string
		want           error
		asked          int
	}{
		"known":        {"us-east-1", exampleSecret, nil, 0},
		"taken":        {"default", exampleSecret, nil, 1},
		"not taken":    {"moon-1", exampleSecret, ErrAuthorizationHeaderMalformed, 1},
		"wrong secret": {"default", "wrong", ErrAuthorizationHeaderMalformed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			asked = 0
			r := httptest.NewRequest("GET", "/", nil)
			NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: tt.secret, Region: tt.region}).Sign(r, EmptyPayload, exampleTime)
			if _, err := v.Verify(r); !errors.Is(err, tt.want) || asked != tt.asked {
				t.Errorf("got %v, want %v; asked %d times", err, tt.want, asked)
			}
		})
	}
}

func TestVerifyCacheIsBounded(t *testing.T) {
	v := exampleVerifier()
	v.Regions = nil
	for i := range 2 * maxCachedKeys {
		r := httptest.NewRequest("GET", "/", nil)
		NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret, Region: fmt.Sprint("r", i)}).Sign(r, EmptyPayload, exampleTime)
		if _, err := v.Verify(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(v.keys.keys); n > maxCachedKeys {
		t.Errorf("%d keys are cached", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	v, r := exampleVerifier(), validGet(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s, r := NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}), validGet(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(r, UnsignedPayload, exampleTime)
	}
}

func TestVerifyTakesOldAndNewSecretOfOneKey(t *testing.T) {
	v := exampleVerifier()
	v.Lookup = func(string) []Credentials {
		return []Credentials{{SecretAccessKey: "new", SessionToken: "t"}, {SecretAccessKey: "old"}}
	}
	for name, tt := range map[string]struct {
		secret, token string
		want          error
	}{
		"new":             {"new", "t", nil},
		"old":             {"old", "", nil},
		"none":            {"other", "", ErrSignatureDoesNotMatch},
		"new's token":     {"old", "t", ErrSignatureDoesNotMatch},
		"no key's token":  {"old", "x", ErrInvalidToken},
		"without a token": {"new", "", ErrSignatureDoesNotMatch},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			NewSigner(Endpoint{AccessKeyID: exampleKey, SecretAccessKey: tt.secret, SessionToken: tt.token}).Sign(r, EmptyPayload, exampleTime)
			if _, err := v.Verify(r); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}
