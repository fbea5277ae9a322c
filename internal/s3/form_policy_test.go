package s3

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPolicyOfAForm(t *testing.T) {
	const until = `{"expiration": "2013-05-25T00:00:00Z", "conditions": `
	tests := map[string]struct {
		policy string
		want   error
		says   string
	}{
		"good":                 {until + `[{"bucket": "b"}, ["starts-with", "$key", "user/"], ["eq", "$content-type", "text/plain"]]}`, nil, ""},
		"bucket not named":     {until + `[["starts-with", "$key", "user/"], {"content-type": "text/plain"}]}`, ErrAccessDenied, "Extra input fields: bucket"},
		"another bucket":       {until + `[{"bucket": "other"}, ["starts-with", "$key", ""], {"content-type": "text/plain"}]}`, ErrAccessDenied, `["eq", "$bucket", "other"]`},
		"field not named":      {until + `[{"bucket": "b"}, ["starts-with", "$key", "user/"]]}`, ErrAccessDenied, "Extra input fields: Content-Type"},
		"another key":          {until + `[{"bucket": "b"}, ["starts-with", "$key", "other/"], {"content-type": "text/plain"}]}`, ErrAccessDenied, `["starts-with", "$key", "other/"]`},
		"expired":              {strings.Replace(until, "-25T", "-23T", 1) + `[]}`, ErrAccessDenied, "Policy expired."},
		"empty":                {"", ErrInvalidPolicyDocument, "End-of-Input"},
		"no JSON":              {"{", ErrInvalidPolicyDocument, "Invalid JSON."},
		"no expiration":        {`{"conditions": []}`, ErrInvalidPolicyDocument, "missing expiration."},
		"no conditions":        {`{"expiration": "2013-05-25T00:00:00Z"}`, ErrInvalidPolicyDocument, "missing conditions."},
		"more":                 {until + `[], "extra": 1}`, ErrInvalidPolicyDocument, `Unexpected: "extra"`},
		"no date":              {`{"expiration": "soon", "conditions": []}`, ErrInvalidPolicyDocument, "'soon'"},
		"conditions no list":   {until + `true}`, ErrInvalidPolicyDocument, "must be a List."},
		"condition neither":    {until + `[true]}`, ErrInvalidPolicyDocument, "must be a List or Object."},
		"condition empty":      {until + `[[]]}`, ErrInvalidPolicyDocument, "missing operation identifier."},
		"operation unknown":    {until + `[["like", "$key", ""]]}`, ErrInvalidPolicyDocument, "unknown operation 'like'."},
		"too many arguments":   {until + `[["eq", "$key", "", ""]]}`, ErrInvalidPolicyDocument, "wrong number of arguments."},
		"argument no text":     {until + `[["eq", "$key", 1]]}`, ErrInvalidPolicyDocument, "Invalid JSON."},
		"range no number":      {until + `[["content-length-range", "a", 1]]}`, ErrInvalidPolicyDocument, "Invalid JSON."},
		"field without dollar": {until + `[["eq", "key", "user/x"]]}`, ErrAccessDenied, `["eq", "key", "user/x"]`},
		"two properties":       {until + `[{"bucket": "b", "key": "x"}]}`, ErrInvalidPolicyDocument, "exactly one property"},
		"property no text":     {until + `[{"bucket": 1}]}`, ErrInvalidPolicyDocument, "must be a string."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := &Form{Fields: map[string]string{"key": "user/x", "content-type": "text/plain"}, names: map[string]string{"key": "key", "content-type": "Content-Type"}}
			err := checkPolicy(f, "b", base64.StdEncoding.EncodeToString([]byte(tt.policy)), exampleTime, &FormLimits{Max: maxFormFile})
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v: %s", err, tt.want, tt.says)
			}
		})
	}
}

// Each type of a list must begin as the policy says.
func TestPolicyOfAListOfTypes(t *testing.T) {
	policy := base64.StdEncoding.EncodeToString([]byte(`{"expiration": "2013-05-25T00:00:00Z", "conditions": [{"bucket": "b"}, {"key": "k"}, ["starts-with", "$Content-Type", "text/"], ["content-length-range", "2", 5]]}`))
	for types, ok := range map[string]bool{"text/plain": true, "text/plain, text/html": true, "text/plain, image/png": false, "": false} {
		f := &Form{Fields: map[string]string{"key": "k", "content-type": types}}
		limits := FormLimits{Max: maxFormFile}
		err := checkPolicy(f, "b", policy, exampleTime.Add(time.Hour), &limits)
		if (err == nil) != ok || ok && limits != (FormLimits{2, 5}) {
			t.Errorf("%q: %v, %v", types, err, limits)
		}
	}
}

func TestFormHeader(t *testing.T) {
	f := &Form{Fields: map[string]string{"content-type": "", "cache-control": "no-store", "x-amz-meta-a": "", "key": "k", "x-amz-date": "d"}}
	got, err := f.Header()
	want := http.Header{"Cache-Control": {"no-store"}, "X-Amz-Meta-A": {""}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
