package traffic

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
)

const bucket = "traffic"

// store is a real S3 server for all tests of the package.
var store = sync.OnceValues(func() (lab.Endpoint, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var e lab.Endpoint
	var err error
	server, e, err = lab.StartVersityGW(ctx, dir, "127.0.0.1", "testkey", "testsecret")
	if err != nil {
		return e, err
	}
	return e, lab.EnsureBucket(ctx, e.Client(), bucket)
})

var (
	dir    string
	server *lab.Process
)

func TestMain(m *testing.M) {
	var err error
	if dir, err = os.MkdirTemp("", "traffic"); err != nil {
		panic(err)
	}
	code := m.Run()
	if server != nil {
		server.Stop(time.Second)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func testStore(t *testing.T) lab.Endpoint {
	t.Helper()
	if _, err := lab.FindBinary("versitygw"); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	e, err := store()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testConfig(t *testing.T, e lab.Endpoint) Config {
	return Config{
		Endpoint: e, Buckets: []string{bucket}, Prefix: "t/" + strings.ReplaceAll(t.Name(), "/", "-") + fmt.Sprintf("-%d/", time.Now().UnixNano()),
		Clients: 4, KeysPerClient: 12, Rate: 250, MaxSize: 8 << 10,
		Settle: 200 * time.Millisecond, HoldUploads: 500 * time.Millisecond,
	}
}

// meddler is a proxy that does wrong to some answers. It returns false to let
// a request pass.
type meddler func(w http.ResponseWriter, r *http.Request, pass func() *http.Response) bool

func behind(t *testing.T, e lab.Endpoint, meddle meddler) lab.Endpoint {
	t.Helper()
	to, err := url.Parse(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := lab.Transport()
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(to)
		pr.Out.Host = pr.In.Host // the host is signed
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pass := func() *http.Response {
			rec := httptest.NewRecorder()
			proxy.ServeHTTP(rec, r)
			return rec.Result()
		}
		if !meddle(w, r, pass) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() { s.Close(); transport.CloseIdleConnections() })
	e.URL = s.URL
	return e
}

func answerWith(w http.ResponseWriter, resp *http.Response, body []byte) {
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body)
}

// serveOldBodies answers one GET in four of an object with its first content.
func serveOldBodies() meddler {
	var mu sync.Mutex
	type old struct {
		resp *http.Response
		body []byte
	}
	first := map[string]old{}
	return func(w http.ResponseWriter, r *http.Request, pass func() *http.Response) bool {
		if r.Method != http.MethodGet || r.URL.RawQuery != "x-id=GetObject" || r.Header.Get("Range") != "" {
			return false
		}
		resp := pass()
		body, _ := io.ReadAll(resp.Body)
		mu.Lock()
		o, ok := first[r.URL.Path]
		if !ok && resp.StatusCode == http.StatusOK {
			first[r.URL.Path] = old{resp, body}
		}
		mu.Unlock()
		if ok && rand.IntN(4) == 0 {
			resp, body = o.resp, o.body
		}
		answerWith(w, resp, body)
		return true
	}
}

// swallowWrites answers 200 to some PUTs without storing anything.
func swallowWrites(w http.ResponseWriter, r *http.Request, _ func() *http.Response) bool {
	if r.Method != http.MethodPut || r.URL.RawQuery != "x-id=PutObject" || strings.HasSuffix(r.URL.Path, "anchor") || rand.IntN(4) > 0 {
		return false
	}
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
	return true
}

// swallowDeletes answers 204 to some DELETEs and keeps the object.
func swallowDeletes(w http.ResponseWriter, r *http.Request, _ func() *http.Response) bool {
	if r.Method != http.MethodDelete || r.URL.RawQuery != "x-id=DeleteObject" || rand.IntN(2) > 0 {
		return false
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

var oneObject = regexp.MustCompile(`(?s)<Contents>.*?</Contents>`)

// editListings changes the XML of listings.
func editListings(edit func([]byte) []byte) meddler {
	return func(w http.ResponseWriter, r *http.Request, pass func() *http.Response) bool {
		if r.Method != http.MethodGet || !r.URL.Query().Has("prefix") || r.URL.Query().Has("uploads") {
			return false
		}
		resp := pass()
		body, _ := io.ReadAll(resp.Body)
		answerWith(w, resp, edit(body))
		return true
	}
}

func hideKeys(body []byte) []byte {
	if all := oneObject.FindAll(body, -1); len(all) > 0 {
		body = bytes.Replace(body, all[rand.IntN(len(all))], nil, 1)
	}
	return body
}

func wrongSizes(body []byte) []byte {
	return bytes.Replace(body, []byte("<Size>"), []byte("<Size>9"), 1)
}

// breakSome answers 500 at times.
func breakSome(w http.ResponseWriter, r *http.Request, _ func() *http.Response) bool {
	if strings.HasSuffix(r.URL.Path, "anchor") || rand.IntN(20) > 0 {
		return false
	}
	_, _ = io.Copy(io.Discard, r.Body)
	http.Error(w, "<Error><Code>InternalError</Code></Error>", http.StatusInternalServerError)
	return true
}

// hangUp cuts connections at times, after the store has done the work.
func hangUp(_ http.ResponseWriter, r *http.Request, pass func() *http.Response) bool {
	if strings.HasSuffix(r.URL.Path, "anchor") || rand.IntN(20) > 0 {
		return false
	}
	pass()
	panic(http.ErrAbortHandler)
}

// loseMetadata drops user metadata from answers.
func loseMetadata(w http.ResponseWriter, r *http.Request, pass func() *http.Response) bool {
	if r.Method != http.MethodHead {
		return false
	}
	resp := pass()
	resp.Header.Del("X-Amz-Meta-Write")
	n := resp.Header.Get("Content-Length")
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", n)
	w.WriteHeader(resp.StatusCode)
	return true
}

func TestCheckerNamesWhatGoesWrong(t *testing.T) {
	tests := map[string]struct {
		meddle meddler
		want   Kind
		atEnd  bool // shows in the final check only
		never  []Kind
	}{
		"old body":         {meddle: serveOldBodies(), want: KindStale, never: []Kind{KindListing, KindLost}},
		"swallowed write":  {meddle: swallowWrites, want: KindLost, atEnd: true},
		"swallowed delete": {meddle: swallowDeletes, want: KindLost, atEnd: true},
		"hidden key":       {meddle: editListings(hideKeys), want: KindListing, never: []Kind{KindStale, KindLost, KindError}},
		"wrong size":       {meddle: editListings(wrongSizes), want: KindListing, never: []Kind{KindStale, KindLost, KindError}},
		"500":              {meddle: breakSome, want: KindError, never: []Kind{KindStale, KindLost, KindListing, KindCorrupt}},
		"connection cut":   {meddle: hangUp, want: KindError, never: []Kind{KindStale, KindLost, KindListing, KindCorrupt}},
		"lost metadata":    {meddle: loseMetadata, want: KindCorrupt, never: []Kind{KindLost, KindListing}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var meddled atomic.Int64
			counted := func(w http.ResponseWriter, r *http.Request, pass func() *http.Response) bool {
				done := tc.meddle(w, r, pass)
				if done {
					meddled.Add(1)
				}
				return done
			}
			run, err := Start(t.Context(), testConfig(t, behind(t, testStore(t), counted)))
			if err != nil {
				t.Fatal(err)
			}
			enough := time.Now().Add(2 * time.Second)
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				// However slow the machine is: enough for some of it to be the last of its key.
				if seen := tc.atEnd && meddled.Load() >= 60 || countOf(run.Snapshot(), tc.want) > 0; seen && time.Now().After(enough) {
					break
				}
			}
			rep := run.Stop()
			if countOf(rep, tc.want) == 0 {
				t.Errorf("no %s reported", tc.want)
			}
			if rep.Violations() == 0 {
				t.Error("Violations() = 0")
			}
			for _, k := range tc.never {
				if n := countOf(rep, k); n > 0 {
					t.Errorf("%d × %s reported", n, k)
				}
			}
			if t.Failed() {
				for _, v := range rep.First {
					t.Log(v)
				}
			}
		})
	}
}

func countOf(r Report, k Kind) int64 {
	return map[Kind]int64{KindError: r.Errors, KindStale: r.StaleReads, KindLost: r.LostWrites, KindListing: r.WrongListings, KindCorrupt: r.WrongContent}[k]
}

func TestCleanRunReportsNothing(t *testing.T) {
	e := testStore(t)
	sc := seed.Config{Seed: 7, BucketPrefix: "clean", Buckets: 1, Objects: 120, Multipart: 1, OddKeys: true, PosixKeys: true, Features: seed.Features{Tags: true}, Conc: 4}
	if _, err := seed.Run(t.Context(), e, sc); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t, e)
	cfg.Buckets = append(cfg.Buckets, sc.BucketNames()...)
	cfg.Seeded = sc.Plan()
	run, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	run.SetPeriod("during")
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		done := map[Op]bool{}
		for _, o := range run.Snapshot().Ops {
			done[o.Op] = true
		}
		if len(done) >= 18 {
			break
		}
	}
	run.Stop()
	rep := run.VerifyAt("store", e, nil)
	if rep.Violations() != 0 {
		t.Errorf("%d violations", rep.Violations())
		for _, v := range rep.First {
			t.Log(v)
		}
	}
	for _, op := range []Op{PutObject, CopyObject, DeleteObjects, CompleteMultipartUpload, ListParts, ListMultipartUploads, GetObjectRange, ListObjects} {
		found := false
		for _, o := range rep.Ops {
			found = found || (o.Op == op && o.Count > 0)
		}
		if !found {
			t.Errorf("no %s was made", op)
		}
	}
	var text bytes.Buffer
	if err := rep.Write(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "errors 0, stale reads 0, lost writes 0, wrong listings 0") || len(rep.Periods) != 2 {
		t.Errorf("report:\n%s", text.String())
	}
	t.Logf("\n%s", text.String())
}
