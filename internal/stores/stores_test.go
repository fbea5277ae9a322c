package stores

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

func newStores(t *testing.T, o Options) *Stores {
	t.Helper()
	for i, u := range []string{"http://127.0.0.1:1", "http://127.0.0.1:2"} {
		o.Endpoints[i] = s3.Endpoint{URL: u, AccessKeyID: "a", SecretAccessKey: "b"}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestLookWritesToTheTargetOnceAndNeverToTheSource(t *testing.T) {
	var now atomic.Int64
	s := newStores(t, Options{Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	var probed, checked [2]atomic.Int32
	index := func(c *s3.Client) int {
		if c == s.clients[ledger.Source] {
			return 0
		}
		return 1
	}
	s.probe = func(_ context.Context, c *s3.Client, _ string) (s3.Capabilities, error) {
		probed[index(c)].Add(1)
		return s3.Capabilities{ObjectTagging: s3.Yes}, nil
	}
	s.check = func(_ context.Context, c *s3.Client, _ string) (s3.Capabilities, error) {
		checked[index(c)].Add(1)
		return s3.Capabilities{ListBuckets: s3.Yes}, nil
	}
	now.Store(1)
	look := s.Look(t.Context())
	if !look[0].Reachable || !look[1].Reachable || look[ledger.Target].Capabilities["objectTagging"] != "Yes" {
		t.Fatalf("%+v", look)
	}
	s.Look(t.Context())
	if probed[1].Load() != 1 || checked[0].Load() != 1 {
		t.Error("a fresh look was taken again")
	}
	now.Add(60)
	s.Look(t.Context())
	eventually(t, "an old look is not taken again", func() bool { return checked[0].Load() == 2 && checked[1].Load() == 1 })
	if probed[0].Load() != 0 || probed[1].Load() != 1 {
		t.Errorf("probed source %d, target %d times", probed[0].Load(), probed[1].Load())
	}
}

func TestLookSparesTheProbeWhenCapabilitiesAreKnown(t *testing.T) {
	s := newStores(t, Options{Known: [2]map[string]string{nil, {"bucketACL": "No"}}})
	s.probe = func(context.Context, *s3.Client, string) (s3.Capabilities, error) {
		t.Error("probed")
		return s3.Capabilities{}, nil
	}
	s.check = func(context.Context, *s3.Client, string) (s3.Capabilities, error) { return s3.Capabilities{}, nil }
	if look := s.Look(t.Context()); look[1].Capabilities["bucketACL"] != "No" || !look[1].Reachable {
		t.Errorf("%+v", look)
	}
}

func TestProbeFallsBackToABucketOfTheMigration(t *testing.T) {
	s := newStores(t, Options{Bucket: [2]string{"mine", "theirs"}})
	s.check = func(context.Context, *s3.Client, string) (s3.Capabilities, error) { return s3.Capabilities{}, nil }
	s.probe = func(_ context.Context, _ *s3.Client, bucket string) (s3.Capabilities, error) {
		if bucket == "" {
			return s3.Capabilities{Reachable: s3.Yes}, errors.New("may not create buckets")
		}
		return s3.Capabilities{Reachable: s3.Yes, CreateBucket: s3.NotKnown}, nil
	}
	if look := s.Look(t.Context()); !look[1].Reachable {
		t.Errorf("%+v", look[1])
	}
}

func TestErrorPageIsNotASourceWithoutBuckets(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<html><body>Please log in</body></html>"))
	}))
	defer gateway.Close()
	e := s3.Endpoint{URL: gateway.URL, AccessKeyID: "a", SecretAccessKey: "b"}
	s, err := New(Options{Endpoints: [2]s3.Endpoint{e, e}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if names, err := s.ListBuckets(t.Context()); !errors.Is(err, s3.ErrNoListing) {
		t.Errorf("%q, %v", names, err)
	}
	for _, look := range s.Look(t.Context()) {
		if look.Reachable || !strings.Contains(look.Problem, "not a listing") {
			t.Errorf("%+v", look)
		}
	}
}

func TestAnAuthorityOfOnesOwnIsTold(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	e := s3.Endpoint{URL: server.URL, AccessKeyID: "a", SecretAccessKey: "b"}
	s, err := New(Options{Endpoints: [2]s3.Endpoint{e, e}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, look := range s.Look(t.Context()) {
		if look.Reachable || !strings.Contains(look.Problem, "signed by an authority that Crossfade does not trust") {
			t.Errorf("%+v", look)
		}
	}
}

func TestProblemSaysWhatToDoAndDoesNotFlap(t *testing.T) {
	s := newStores(t, Options{})
	fail := error(&smithy.OperationError{ServiceID: "S3", OperationName: "ListBuckets",
		Err: &smithy.GenericAPIError{Code: "InvalidAccessKeyId", Message: "no such key"}})
	s.check = func(context.Context, *s3.Client, string) (s3.Capabilities, error) { return s3.Capabilities{}, fail }
	s.probe = func(context.Context, *s3.Client, string) (s3.Capabilities, error) {
		return s3.Capabilities{}, &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 45678}, Err: errors.New("connection refused")}
	}
	look := s.Look(t.Context())
	for i, want := range []string{"InvalidAccessKeyId: no such key. Check spec.source.endpoint", "connection refused. Check spec.target.endpoint"} {
		if look[i].Reachable || !strings.Contains(look[i].Problem, want) || strings.Contains(look[i].Problem, "45678") {
			t.Errorf("%+v, want %q", look[i], want)
		}
	}
}

func TestBucketsMadeSinceATimeAreThoseByTheTargetsOwnClock(t *testing.T) {
	now := time.Now()
	const off = 5 * time.Hour // the target's clock
	made := func(name string, ago time.Duration) string {
		return "<Bucket><Name>" + name + "</Name><CreationDate>" + now.Add(off-ago).UTC().Format(time.RFC3339) + "</CreationDate></Bucket>"
	}
	for name, tc := range map[string]struct {
		status int
		body   string
		want   []string
		failed bool
	}{
		"some": {200, "<ListAllMyBucketsResult><Buckets>" + made("before", 3*time.Hour) + made("since", time.Hour) +
			"<Bucket><Name>nobody-knows-when</Name></Bucket></Buckets></ListAllMyBucketsResult>", []string{"since"}, false},
		"it does not say":      {403, "<Error><Code>AccessDenied</Code></Error>", nil, false},
		"it is away":           {400, "<Error><Code>RequestTimeout</Code></Error>", nil, true},
		"somebody else's page": {200, "<html><body>Please log in</body></html>", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))
			defer target.Close()
			e := s3.Endpoint{URL: target.URL, AccessKeyID: "a", SecretAccessKey: "b"}
			s, err := New(Options{Endpoints: [2]s3.Endpoint{e, e}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			names, err := s.BucketsMade(t.Context(), now.Add(-2*time.Hour))
			if !slices.Equal(names, tc.want) || (err != nil) != tc.failed {
				t.Errorf("%q, %v", names, err)
			}
		})
	}
}
