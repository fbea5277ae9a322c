package proxy

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

func TestLocationOfAnUploadIsTheClients(t *testing.T) {
	r := newRig(t, rigOptions{names: true})
	for _, main := range []ledger.Store{ledger.Source, ledger.Target} {
		if main == ledger.Target {
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
		}
		key := "up"
		id := r.createUpload(key)
		part := r.part(key, id, 1, "body")
		out, err := r.client.S3.CompleteMultipartUpload(t.Context(), &awss3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: &id,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{part}}})
		r.must(err)
		if want := r.url + "/" + r.bucket + "/" + key; aws.ToString(out.Location) != want {
			t.Errorf("%s: location %q, want %q", main, aws.ToString(out.Location), want)
		}
	}
}

func TestLocationByAddressing(t *testing.T) {
	tests := map[string]struct {
		url        string
		addressing s3.Addressing
		stored     string
		want       string
	}{
		"path":              {"http://proxy/b/a%20b?uploadId=u", s3.Path, "https://store:9000/b/a+b", "http://proxy/b/a+b"},
		"store's host name": {"http://proxy/b/a%20b?uploadId=u", s3.Path, "https://b.store/a+b", "http://proxy/b/a%20b"},
		"client's":          {"http://b.proxy/k?uploadId=u", s3.VirtualHost, "https://store/b/k", "http://b.proxy/k"},
		"no address":        {"http://proxy/b/k?uploadId=u", s3.Path, "b/k", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodPost, tt.url, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			q := &request{r: r, in: s3.Request{Bucket: "b", Addressing: tt.addressing}}
			if got, _ := q.location(tt.stored); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What a store refuses in its own words, or not at all, is not refused before it.
func TestStoreAnswersWhatIsNotRecorded(t *testing.T) {
	r := newRig(t, rigOptions{})
	tests := map[string]struct {
		method, target, body string
		header               http.Header
	}{
		"no objects to delete": {http.MethodPost, "/" + r.bucket + "?delete", "<Delete></Delete>", nil},
		"part not a number":    {http.MethodPut, "/" + r.bucket + "/k?uploadId=u&partNumber=one", "x", nil},
		"copy without a key":   {http.MethodPut, "/" + r.bucket + "-none/k?uploadId=u&partNumber=1", "", http.Header{"X-Amz-Copy-Source": {"nothing"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := r.hooks[ledger.Source].calls.Load()
			resp := r.raw(tt.method, tt.target, tt.body, tt.header)
			if r.hooks[ledger.Source].calls.Load() == before {
				t.Errorf("the store was not asked: %d %s", resp.StatusCode, resp.text)
			}
			if strings.Contains(resp.text, "SlowDown") {
				t.Error(resp.text)
			}
		})
	}
	r.settled()
	if r.open() {
		t.Error("something was recorded")
	}
}

// A repeated completion must not go to the old store, which may say that all is
// well and hold something older.
func TestRepeatedCompletionStaysOnMain(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.put(r.direct[ledger.Source], "k", "older, on the old store")
	key, id := "k", r.createUpload("k")
	part := r.part(key, id, 1, "new")
	r.complete(key, id, part)
	r.settled()
	r.hooks[ledger.Source].set(func(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		if req.Method == http.MethodPost && strings.Contains(req.URL.RawQuery, "uploadId") {
			return answer(req, 200, "<CompleteMultipartUploadResult/>"), nil
		}
		return next(req)
	})
	_, _ = r.client.S3.CompleteMultipartUpload(t.Context(), &awss3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{part}}})
	r.settled()
	if got := r.get(r.client, key); got != "new" {
		t.Errorf("reads %q", got)
	}
}

// During a switch a bucket may be on the new main only, and an unknown upload nowhere.
func TestUnknownUploadDuringASwitch(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	bucket := r.bucket + "-new"
	r.must(r.direct[ledger.Target].CreateBucket(t.Context(), bucket, false))
	t.Cleanup(func() { _ = s3test.RemoveBucket(context.Background(), r.direct[ledger.Target], bucket) })
	for _, req := range [][2]string{{http.MethodGet, "?uploadId=none"}, {http.MethodDelete, "?uploadId=none"}, {http.MethodPut, "?uploadId=none&partNumber=1"}} {
		if resp := r.raw(req[0], "/"+bucket+"/k"+req[1], "", nil); resp.StatusCode != 404 || !strings.Contains(resp.text, "NoSuchUpload") {
			t.Errorf("%s: %d %s", req, resp.StatusCode, resp.text)
		}
	}
}

// Who may not look for an upload is told so by main.
func TestUnknownUploadOfAnybodyDuringASwitch(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Anonymous = true }})
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.hooks[ledger.Source].set(func(req *http.Request, next next) (*http.Response, error) {
		if req.Header.Get("Authorization") == "" {
			return answer(req, 403, "<Error><Code>AccessDenied</Code><Message>the old store</Message></Error>"), nil
		}
		return next(req)
	})
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPost} {
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+"/"+r.bucket+"/k?uploadId=none", strings.NewReader(""))
		r.must(err)
		if resp := r.do(req); resp.StatusCode != 403 || strings.Contains(resp.text, "the old store") {
			t.Errorf("%s: %d %s", method, resp.StatusCode, resp.text)
		}
	}
}

func TestListingRefusalsDuringASwitch(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	for _, query := range []string{"?max-keys=-1", "?list-type=2&max-keys=x", "?versions&max-keys=-1", "?uploads&max-uploads=-1", "?uploads&key-marker=k&upload-id-marker=none"} {
		if resp := r.raw(http.MethodGet, "/"+r.bucket+query, "", nil); resp.StatusCode != 400 || !strings.Contains(resp.text, "InvalidArgument") {
			t.Errorf("%s: %d %s", query, resp.StatusCode, resp.text)
		}
	}
	for _, key := range []string{"a", "b"} {
		r.put(r.client, key, "x")
	}
	if resp := r.raw(http.MethodGet, "/"+r.bucket+"?max-keys=1", "", nil); !strings.Contains(resp.text, "<NextMarker>a</NextMarker>") {
		t.Errorf("no next marker: %s", resp.text)
	}
}
