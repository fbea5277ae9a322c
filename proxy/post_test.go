package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// presignForm has the SDK sign a form; conditions are those of the policy.
func (r *rig) presignForm(key string, conditions ...any) map[string]string {
	r.Helper()
	signed, err := awss3.NewPresignClient(r.client.S3).PresignPostObject(r.Context(),
		&awss3.PutObjectInput{Bucket: &r.bucket, Key: &key}, func(o *awss3.PresignPostOptions) {
			o.Expires, o.Conditions = time.Minute, conditions
		})
	r.must(err)
	return signed.Values
}

// postForm sends a form with content as its file.
func (r *rig) postForm(fields map[string]string, content []byte, length int64) *rawResponse {
	r.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range fields {
		r.must(w.WriteField(name, value))
	}
	if content != nil {
		f, err := w.CreateFormFile("file", "my photo.jpg")
		r.must(err)
		_, err = f.Write(content)
		r.must(err)
		r.must(w.WriteField("after", "ignored"))
	}
	r.must(w.Close())
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, r.url+"/"+r.bucket, io.LimitReader(&body, length))
	r.must(err)
	req.ContentLength = min(length, int64(body.Len()))
	req.Header.Set("Content-Type", w.FormDataContentType())
	return r.do(req)
}

const whole = 1 << 40

func TestFormUpload(t *testing.T) {
	r := newRig(t, rigOptions{})
	large := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	upload := func(phase string) {
		t.Helper()
		for name, content := range map[string][]byte{"empty": {}, "small": []byte("hello"), "large": large} {
			key := phase + "/" + name
			fields := r.presignForm(key, []any{"eq", "$Content-Type", "image/jpeg"}, []any{"starts-with", "$x-amz-meta-who", "me"}, map[string]string{"success_action_status": "201"})
			fields["Content-Type"], fields["x-amz-meta-who"], fields["success_action_status"] = "image/jpeg", "me!", "201"
			resp := r.postForm(fields, content, whole)
			if resp.StatusCode != 201 || !strings.Contains(resp.text, "<Key>"+key+"</Key>") || !strings.Contains(resp.text, "<Location>"+r.url+"/"+r.bucket+"/"+key+"</Location>") {
				t.Fatalf("%s: %d %s", key, resp.StatusCode, resp.text)
			}
			if got := r.get(r.client, key); got != string(content) {
				t.Errorf("%s: %d bytes of %d arrived", key, len(got), len(content))
			}
			head, err := r.client.S3.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &r.bucket, Key: &key})
			r.must(err)
			if diff := cmp.Diff(map[string]string{"who": "me!"}, head.Metadata); diff != "" || aws.ToString(head.ContentType) != "image/jpeg" {
				t.Errorf("%s: type %s, %s", key, aws.ToString(head.ContentType), diff)
			}
			r.settled()
			if r.newest(key) == "" {
				t.Errorf("%s is not recorded", key)
			}
		}
	}
	upload("Copying")
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	upload("SwitchStarted")
	if got := r.newest("SwitchStarted/small"); got != "Target" {
		t.Errorf("newest on %s", got)
	}
}

func TestFormAnswers(t *testing.T) {
	r := newRig(t, rigOptions{})
	for name, tt := range map[string]struct {
		field, value, location string
		status                 int
	}{
		"default":  {"", "", r.url + "/" + r.bucket + "/my%20photo.jpg", 204},
		"200":      {"success_action_status", "200", r.url + "/" + r.bucket + "/my%20photo.jpg", 200},
		"redirect": {"success_action_redirect", "http://127.0.0.1:1/done?a=b", "http://127.0.0.1:1/done?a=b&bucket=" + r.bucket + "&key=my+photo.jpg&etag=%22", 303},
		"no URL":   {"success_action_redirect", "nowhere", "", 204},
	} {
		t.Run(name, func(t *testing.T) {
			fields := r.presignForm("my photo.jpg", []any{"starts-with", "$" + tt.field, ""})
			if tt.field == "" {
				fields = r.presignForm("my photo.jpg")
			} else {
				fields[tt.field] = tt.value
			}
			fields["key"] = "${filename}"
			resp := r.postForm(fields, []byte("x"), whole)
			if resp.StatusCode != tt.status || !strings.HasPrefix(resp.Header.Get("Location"), tt.location) || resp.Header.Get("Etag") == "" {
				t.Errorf("%d %v %s", resp.StatusCode, resp.Header, resp.text)
			}
		})
	}
}

func TestFormsThatTheirPolicyForbids(t *testing.T) {
	r := newRig(t, rigOptions{})
	before := r.hooks[0].calls.Load()
	resign := func(f map[string]string, policy any) {
		raw, err := json.Marshal(policy)
		r.must(err)
		f["policy"] = base64.StdEncoding.EncodeToString(raw)
	}
	for name, tt := range map[string]struct {
		conditions []any
		change     func(f map[string]string)
		content    []byte
		cut        int64
		status     int
		code       string
	}{
		"another key":  {change: func(f map[string]string) { f["key"] = "other" }, status: 403, code: "AccessDenied"},
		"a field more": {change: func(f map[string]string) { f["acl"] = "public-read" }, status: 403, code: "AccessDenied"},
		"wrong field":  {conditions: []any{map[string]string{"acl": "private"}}, change: func(f map[string]string) { f["acl"] = "public-read" }, status: 403, code: "AccessDenied"},
		"other prefix": {conditions: []any{[]any{"starts-with", "$x-amz-meta-a", "b"}}, change: func(f map[string]string) { f["x-amz-meta-a"] = "a" }, status: 403, code: "AccessDenied"},
		"no header":    {conditions: []any{[]any{"starts-with", "$x-amz-meta-\u00e9", ""}}, change: func(f map[string]string) { f["x-amz-meta-\u00e9"] = "a" }, status: 400, code: "InvalidArgument"},
		"too large":    {conditions: []any{[]any{"content-length-range", 1, 4}}, status: 400, code: "EntityTooLarge"},
		"too small":    {conditions: []any{[]any{"content-length-range", 6, 10}}, status: 400, code: "EntityTooSmall"},
		"another policy": {change: func(f map[string]string) {
			resign(f, map[string]any{"expiration": "2100-01-01T00:00:00Z", "conditions": []any{}})
		}, status: 403, code: "SignatureDoesNotMatch"},
		"another signature": {change: func(f map[string]string) { f["X-Amz-Signature"] = strings.Repeat("0", 64) }, status: 403, code: "SignatureDoesNotMatch"},
		"unknown key ID":    {change: func(f map[string]string) { f["X-Amz-Credential"] = "nobody" + f["X-Amz-Credential"] }, status: 403, code: "InvalidAccessKeyId"},
		"no signature": {change: func(f map[string]string) {
			for _, name := range []string{"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Algorithm", "policy"} {
				delete(f, name)
			}
		}, status: 403, code: "AccessDenied"},
		"no policy":        {change: func(f map[string]string) { delete(f, "policy") }, status: 400, code: "InvalidArgument"},
		"half a signature": {change: func(f map[string]string) { delete(f, "X-Amz-Date") }, status: 400, code: "InvalidArgument"},
		"another region": {change: func(f map[string]string) {
			f["X-Amz-Credential"] = strings.Replace(f["X-Amz-Credential"], "/s3/", "/ec2/", 1)
		}, status: 400, code: "InvalidArgument"},
		"no key":          {change: func(f map[string]string) { delete(f, "key") }, status: 400, code: "InvalidArgument"},
		"fields too long": {change: func(f map[string]string) { f["x-ignore-a"] = strings.Repeat("a", 21<<10) }, status: 400, code: "MaxPostPreDataLengthExceededError"},
		"cut off":         {cut: 1200, status: 400, code: "IncompleteBody"},
	} {
		t.Run(name, func(t *testing.T) {
			fields := r.presignForm("k", tt.conditions...)
			if tt.change != nil {
				tt.change(fields)
			}
			if tt.cut == 0 {
				tt.cut = whole
			}
			resp := r.postForm(fields, []byte("hello"), tt.cut)
			if resp.StatusCode != tt.status || !strings.Contains(resp.text, "<Code>"+tt.code+"</Code>") {
				t.Errorf("%d %s", resp.StatusCode, resp.text)
			}
		})
	}
	if resp := r.postForm(r.presignForm("k"), nil, whole); resp.StatusCode != 400 || !strings.Contains(resp.text, "InvalidArgument") {
		t.Errorf("without a file: %d %s", resp.StatusCode, resp.text)
	}
	if r.hooks[0].calls.Load() != before {
		t.Error("the store was asked")
	}
	if r.open() {
		t.Error("something was recorded")
	}
}

// signedForm is a form whose policy is written by hand.
func (r *rig) signedForm(expires time.Time) map[string]string {
	f := r.presignForm("k")
	policy := fmt.Sprintf(`{"expiration":%q,"conditions":[{"bucket":%q},{"key":"k"},["starts-with","$X-Amz-Algorithm",""],["starts-with","$X-Amz-Credential",""],["starts-with","$X-Amz-Date",""]]}`,
		expires.UTC().Format(time.RFC3339), r.bucket)
	f["policy"] = base64.StdEncoding.EncodeToString([]byte(policy))
	parts := strings.Split(f["X-Amz-Credential"], "/")
	f["X-Amz-Signature"] = formSignature(r.client.Endpoint.SecretAccessKey, parts[1], parts[2], f["policy"])
	return f
}

func TestExpiredFormIsRefused(t *testing.T) {
	r := newRig(t, rigOptions{})
	if resp := r.postForm(r.signedForm(time.Now().Add(time.Minute)), []byte("x"), whole); resp.StatusCode != 204 {
		t.Errorf("%d %s", resp.StatusCode, resp.text)
	}
	resp := r.postForm(r.signedForm(time.Now().Add(-time.Minute)), []byte("x"), whole)
	if resp.StatusCode != 403 || !strings.Contains(resp.text, "Policy expired") {
		t.Errorf("%d %s", resp.StatusCode, resp.text)
	}
}
