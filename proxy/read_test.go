package proxy

import (
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

func TestReadFollowsTheNewestStore(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "synced", "both")
	r.settled()
	r.sync()
	r.put(r.client, "source", "new")
	r.put(r.direct[ledger.Target], "source", "stale")
	r.put(r.direct[ledger.Target], "deleted", "stale")
	r.del(r.client, "deleted")
	r.settled()
	check := func(state string, want map[string]string) {
		t.Helper()
		for k, v := range want {
			if got := r.get(r.client, k); got != v {
				t.Errorf("%s: %s reads %q, want %q", state, k, got, v)
			}
		}
	}
	want := map[string]string{"synced": "both", "source": "new", "deleted": "NoSuchKey", "never": "NoSuchKey"}
	check("steady", want)
	r.route(ledger.Source, ledger.Preparing)
	check("preparing", want)
	// Another proxy is one step ahead.
	if _, err := r.ledger.Begin(t.Context(), "ahead", ledger.Object{Bucket: r.bucket, Key: "source"}, ledger.BeginOptions{}); err != nil {
		t.Fatal(err)
	}
	r.route(ledger.Target, ledger.Switched)
	check("switched", want)
	r.put(r.client, "synced", "newer")
	r.put(r.client, "deleted", "back")
	want["synced"], want["deleted"] = "newer", "back"
	check("switched and written", want)
	if got := r.get(r.direct[ledger.Source], "synced"); got != "both" {
		t.Errorf("source holds %q", got)
	}
	r.settled()
	r.sync()
	check("synced", want)
}

func TestSteadyReadsNeedNoLedger(t *testing.T) {
	redis := newRedis(t)
	r := newRig(t, rigOptions{redis: redis.Addr})
	r.put(r.client, "k", "v")
	r.settled()
	r.must(redis.Kill())
	if got := r.get(r.client, "k"); got != "v" {
		t.Errorf("read %q", got)
	}
}

func TestErrorsAndHeadersPassThrough(t *testing.T) {
	r := newRig(t, rigOptions{})
	_, err := r.client.S3.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Body: nil,
		ContentType: aws.String("text/x"), CacheControl: aws.String("no-cache"), Metadata: map[string]string{"a": "b"}})
	r.must(err)
	etag := ""
	head := r.raw(http.MethodHead, "/"+r.bucket+"/k", "", nil)
	etag = head.Header.Get("Etag")
	tests := map[string]struct {
		method, path string
		header       http.Header
	}{
		"missing":      {method: "GET", path: "/none"},
		"head missing": {method: "HEAD", path: "/none"},
		"head":         {method: "HEAD", path: "/k"},
		"get":          {method: "GET", path: "/k"},
		"not modified": {method: "GET", path: "/k", header: http.Header{"If-None-Match": {etag}}},
		"precondition": {method: "GET", path: "/k", header: http.Header{"If-Match": {`"other"`}}},
		"bad range":    {method: "GET", path: "/k", header: http.Header{"Range": {"bytes=100-200"}}},
		"no tags":      {method: "GET", path: "/k?tagging"},
		"no policy":    {method: "GET", path: "?policy"},
		"location":     {method: "GET", path: "?location"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			through := r.raw(tt.method, "/"+r.bucket+tt.path, "", tt.header)
			url := r.url
			r.url = r.direct[0].Endpoint.URL
			direct := r.raw(tt.method, "/"+r.bucket+tt.path, "", tt.header)
			r.url = url
			if through.StatusCode != direct.StatusCode {
				t.Errorf("status %d, the store says %d", through.StatusCode, direct.StatusCode)
			}
			if len(through.text) != len(direct.text) {
				t.Errorf("body %q, the store says %q", through.text, direct.text)
			}
			for name := range direct.Header {
				if name != "Date" && direct.StatusCode != 304 && through.Header.Get(name) != direct.Header.Get(name) && through.Header.Get(name) == "" {
					t.Errorf("%s: %q, the store says %q", name, through.Header.Get(name), direct.Header.Get(name))
				}
			}
		})
	}
}

func TestVersionOfEitherStoreIsRead(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, c := range r.direct {
		_, err := c.S3.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{Bucket: &r.bucket,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		r.must(err)
	}
	put, err := r.client.S3.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Body: nil})
	r.must(err)
	r.settled()
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	_, err = r.client.S3.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: put.VersionId})
	r.must(err)
	_, err = r.client.S3.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: put.VersionId})
	r.must(err)
	if got := r.versionsOf(0, "k"); len(got) != 0 {
		t.Errorf("the version is still there: %v", got)
	}
}

func TestPresignedGet(t *testing.T) {
	r := newRig(t, rigOptions{})
	key := "dir/k ü+%2F"
	r.put(r.client, key, "v")
	signed, err := awss3.NewPresignClient(r.client.S3).PresignGetObject(t.Context(),
		&awss3.GetObjectInput{Bucket: &r.bucket, Key: &key, ResponseContentType: aws.String("text/y")}, awss3.WithPresignExpires(time.Minute))
	r.must(err)
	get := func(u string) (int, string) {
		resp, err := http.Get(u) //nolint:noctx // a test's own URL
		r.must(err)
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Content-Type")
	}
	if status, kind := get(signed.URL); status != 200 || kind != "text/y" {
		t.Errorf("status %d, type %q", status, kind)
	}
	u, err := url.Parse(signed.URL)
	r.must(err)
	values := u.Query()
	values.Set("response-content-type", "text/z")
	u.RawQuery = values.Encode()
	if status, _ := get(u.String()); status != 403 {
		t.Errorf("a changed query is answered with %d", status)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "v")
	before := r.hooks[0].calls.Load()
	for _, path := range []string{"/" + r.bucket + "/k", "/" + r.bucket, "/"} {
		resp, err := http.Get(r.url + path) //nolint:noctx // a test's own URL
		r.must(err)
		_ = resp.Body.Close()
		if resp.StatusCode != 403 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	resp, err := http.PostForm(r.url+"/"+r.bucket, url.Values{"key": {"k"}}) //nolint:noctx // a test's own URL
	r.must(err)
	_ = resp.Body.Close()
	if resp.StatusCode != 501 && resp.StatusCode != 403 {
		t.Errorf("form: %d", resp.StatusCode)
	}
	if r.hooks[0].calls.Load() != before {
		t.Error("a store was asked")
	}
}

// A read is slow, and traffic moves to the target and back meanwhile: it must
// not show a write that has landed on the source and that nobody else sees yet.
func TestReadThatOverlapsASwitchAndBackSeesWhatOthersSee(t *testing.T) {
	for name, state := range map[string]ledger.RouteState{"steady": ledger.Steady, "preparing": ledger.Preparing} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.put(r.client, "a", "first")
			r.settled()
			r.sync()
			if state == ledger.Preparing {
				r.route(ledger.Source, ledger.Preparing)
			}
			slow, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			r.hooks[ledger.Source].set(func(in *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
				if in.Method == http.MethodGet {
					once.Do(func() { close(slow); <-goOn })
				}
				return next(in)
			})
			got := make(chan string)
			go func() { got <- r.get(r.client, "a") }()
			<-slow
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
			r.put(r.client, "a", "second")
			r.settled()
			r.route(ledger.Source, ledger.Switched)
			in, err := r.ledger.Begin(t.Context(), "other", ledger.Object{Bucket: r.bucket, Key: "a"}, ledger.BeginOptions{})
			r.must(err)
			r.put(r.direct[ledger.Source], "a", "third, not committed")
			close(goOn)
			if s := <-got; s != "second" {
				t.Errorf("reads %q", s)
			}
			r.must(r.ledger.Commit(t.Context(), in))
			if s := r.get(r.client, "a"); s != "third, not committed" {
				t.Errorf("after the commit it reads %q", s)
			}
		})
	}
}
