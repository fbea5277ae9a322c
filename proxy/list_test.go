package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// listV2 pages through a listing; between is called after each page.
func (r *rig) listV2(c *s3.Client, in awss3.ListObjectsV2Input, between func()) []string {
	r.Helper()
	in.Bucket = &r.bucket
	var out []string
	for {
		page, err := c.S3.ListObjectsV2(r.Context(), &in)
		r.must(err)
		var names []string
		for _, o := range page.Contents {
			names = append(names, fmt.Sprintf("%s %d %s", unquote(*o.Key, page.EncodingType), *o.Size, *o.ETag))
		}
		for _, p := range page.CommonPrefixes {
			names = append(names, unquote(*p.Prefix, page.EncodingType))
		}
		if n := int32(len(names)); page.KeyCount == nil || *page.KeyCount != n {
			r.Errorf("KeyCount %v for %d items", page.KeyCount, n)
		}
		slices.Sort(names)
		out = append(out, names...)
		if !*page.IsTruncated {
			if page.NextContinuationToken != nil {
				r.Error("a token on the last page")
			}
			return out
		}
		in.ContinuationToken = page.NextContinuationToken
		if between != nil {
			between()
		}
	}
}

func unquote(s string, e types.EncodingType) string { return decodeKey(s, e == types.EncodingTypeUrl) }

func (r *rig) listV1(c *s3.Client, in awss3.ListObjectsInput) []string {
	r.Helper()
	in.Bucket = &r.bucket
	var out []string
	for {
		page, err := c.S3.ListObjects(r.Context(), &in)
		r.must(err)
		var names []string
		last := ""
		for _, o := range page.Contents {
			last = unquote(*o.Key, page.EncodingType)
			names = append(names, fmt.Sprintf("%s %d %s", last, *o.Size, *o.ETag))
		}
		for _, p := range page.CommonPrefixes {
			names = append(names, unquote(*p.Prefix, page.EncodingType))
		}
		slices.Sort(names)
		out = append(out, names...)
		if !*page.IsTruncated {
			return out
		}
		in.Marker = &last
		if page.NextMarker != nil {
			in.Marker = aws.String(unquote(*page.NextMarker, page.EncodingType))
		}
	}
}

// mixed makes a bucket in which some keys are newest on the source, some on the
// target, and returns a model store, direct, that holds what clients must see.
func mixed(r *rig, seed uint64, n int) {
	r.Helper()
	rnd := rand.New(rand.NewPCG(seed, 2))
	name := func() string {
		dir := []string{"", "a/", "b/", "a/x/", "ü/", "sp ace/", "p+s/", "a-b/"}[rnd.IntN(8)]
		return dir + fmt.Sprintf("k%02d&é+", rnd.IntN(40))
	}
	change := func(i int) {
		if rnd.IntN(4) == 0 {
			r.del(r.client, name())
		} else {
			r.put(r.client, name(), strings.Repeat("x", 1+i%97))
		}
	}
	for i := range n {
		change(i)
	}
	r.settled()
	r.sync()
	for i := range n {
		change(i + 1)
	}
	r.settled()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	for i := range n / 2 {
		change(i + 2)
	}
	r.settled()
}

// truth is what reads say of all keys, through the proxy.
func (r *rig) truth() map[string]bool {
	r.Helper()
	out := map[string]bool{}
	for _, c := range r.direct {
		for _, line := range r.listV2(c, awss3.ListObjectsV2Input{}, nil) {
			key := strings.Split(line, " ")[0]
			if strings.HasPrefix(line, "sp ace/") {
				key = strings.Join(strings.Split(line, " ")[:2], " ")
			}
			head, err := r.client.S3.HeadObject(r.Context(), &awss3.HeadObjectInput{Bucket: &r.bucket, Key: &key})
			if err != nil {
				continue
			}
			out[fmt.Sprintf("%s %d %s", key, *head.ContentLength, *head.ETag)] = true
		}
	}
	return out
}

// expected lists the truth as S3 would.
func expected(truth map[string]bool, prefix, delimiter string) []string {
	seen := map[string]bool{}
	for line := range truth {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		if p, ok := rollUp(line, prefix, delimiter); ok {
			line = p
		}
		seen[line] = true
	}
	out := make([]string, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestListingAgreesWithReadsDuringTheSwitch(t *testing.T) {
	for seed := range uint64(2) {
		r := newRig(t, rigOptions{})
		mixed(r, seed, 120)
		if r.dirty() < 20 {
			t.Fatalf("only %d dirty keys", r.dirty())
		}
		truth := r.truth()
		for _, prefix := range []string{"", "a/", "a", "sp ", "p+", "k1", "none"} {
			for _, delimiter := range []string{"", "/", "k"} {
				for _, max := range []int32{1, 7, 1000} {
					for _, encoding := range []types.EncodingType{"", types.EncodingTypeUrl} {
						if encoding != "" && max != 7 {
							continue
						}
						want := expected(truth, prefix, delimiter)
						what := fmt.Sprintf("seed %d prefix %q delimiter %q max %d encoding %q", seed, prefix, delimiter, max, encoding)
						v2 := r.listV2(r.client, awss3.ListObjectsV2Input{Prefix: &prefix, Delimiter: optional(delimiter), MaxKeys: &max, EncodingType: encoding}, nil)
						slices.Sort(v2)
						if diff := cmp.Diff(want, v2, cmpEmpty); diff != "" {
							t.Fatalf("V2 %s: %s", what, diff)
						}
						if max == 1 {
							continue
						}
						v1 := r.listV1(r.client, awss3.ListObjectsInput{Prefix: &prefix, Delimiter: optional(delimiter), MaxKeys: &max, EncodingType: encoding})
						slices.Sort(v1)
						if diff := cmp.Diff(want, v1, cmpEmpty); diff != "" {
							t.Fatalf("V1 %s: %s", what, diff)
						}
					}
				}
			}
		}
	}
}

var cmpEmpty = cmp.Transformer("empty", func(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
})

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func TestPagingGoesOnAcrossTheSwitch(t *testing.T) {
	for name, delimiter := range map[string]string{"keys": "", "prefixes": "/"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			for i := range 12 {
				r.put(r.client, fmt.Sprintf("d%02d/k", i), "v")
			}
			r.settled()
			for i := range 6 {
				r.sync()
				r.put(r.client, fmt.Sprintf("d%02d/k", 2*i), "new")
			}
			r.settled()
			want := r.listV2(r.client, awss3.ListObjectsV2Input{Delimiter: optional(delimiter)}, nil)
			steps := []func(){
				func() { r.route(ledger.Source, ledger.Preparing) },
				func() { r.route(ledger.Target, ledger.Switched) },
				func() { r.sync(); r.route(ledger.Target, ledger.Steady) },
				func() { r.route(ledger.Target, ledger.Switched) },
			}
			max := int32(2)
			got := r.listV2(r.client, awss3.ListObjectsV2Input{MaxKeys: &max, Delimiter: optional(delimiter)}, func() {
				if len(steps) > 0 {
					steps[0]()
					steps = steps[1:]
				}
			})
			if len(steps) > 0 {
				t.Fatal("not all steps were taken")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSteadyListingIsTheStoresOwn(t *testing.T) {
	r := newRig(t, rigOptions{})
	for i := range 5 {
		r.put(r.client, fmt.Sprintf("k%d", i), "v")
	}
	own := func(query string) (string, string) {
		t.Helper()
		through := r.raw(http.MethodGet, "/"+r.bucket+"?"+query, "", nil)
		proxyURL := r.url
		r.url = r.direct[0].Endpoint.URL
		direct := r.raw(http.MethodGet, "/"+r.bucket+"?"+query, "", nil)
		r.url = proxyURL
		return through.text, direct.text
	}
	for _, query := range []string{"", "max-keys=2", "marker=k2", "list-type=2", "list-type=2&start-after=k1", "list-type=2&max-keys=0",
		"list-type=2&fetch-owner=true", "encoding-type=url&delimiter=/", "versions", "uploads", "list-type=2&max-keys=nonsense"} {
		got, want := own(query)
		if query == "versions" || !strings.Contains(want, "RequestId") {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q: %s", query, diff)
			}
		}
	}
	got, _ := own("list-type=2&max-keys=2")
	d, err := parseDocument([]byte(strings.TrimSpace(got)))
	r.must(err)
	next := d.text("NextContinuationToken")
	if after, ok := decodeToken(next); !ok || after != "k1" {
		t.Fatalf("token %q", next)
	}
	got, _ = own("list-type=2&max-keys=2&start-after=k0&continuation-token=" + next)
	d, err = parseDocument([]byte(strings.TrimSpace(got)))
	r.must(err)
	if d.text("ContinuationToken") != next || d.text("StartAfter") != "k0" {
		t.Errorf("echo: %s", got)
	}
}

func TestListVersionsDuringTheSwitch(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, c := range r.direct {
		_, err := c.S3.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{Bucket: &r.bucket,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		r.must(err)
	}
	for _, k := range []string{"a", "b", "c", "d/1", "d/2"} {
		r.put(r.client, k, "one")
		r.put(r.client, k, "two")
	}
	r.settled()
	r.sync()
	r.put(r.client, "b", "three")
	r.put(r.client, "b", "four")
	r.del(r.client, "d/1")
	r.settled()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	for _, max := range []int32{1, 2, 3, 1000} {
		got := r.versions(r.client, max, "")
		want := slices.Concat(r.versionsOf(1, "a"), r.versionsOf(0, "b"), r.versionsOf(1, "c"), r.versionsOf(0, "d/1"), r.versionsOf(1, "d/2"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d: %s", max, diff)
		}
		got = r.versions(r.client, max, "/")
		want = slices.Concat(r.versionsOf(1, "a"), r.versionsOf(0, "b"), r.versionsOf(1, "c"), []string{"d/"})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d by delimiter: %s", max, diff)
		}
	}
}

func (r *rig) versionsOf(store int, key string) []string {
	r.Helper()
	var out []string
	for _, v := range r.versions(r.direct[store], 1000, "") {
		if strings.HasPrefix(v, key+" ") {
			out = append(out, v)
		}
	}
	return out
}

// versions lists "key versionid" in the order of one page's keys.
func (r *rig) versions(c *s3.Client, max int32, delimiter string) []string {
	r.Helper()
	in := awss3.ListObjectVersionsInput{Bucket: &r.bucket, MaxKeys: &max, Delimiter: optional(delimiter)}
	var out []string
	for range 100 {
		page, err := c.S3.ListObjectVersions(r.Context(), &in)
		r.must(err)
		var list []string
		for _, m := range page.DeleteMarkers {
			list = append(list, *m.Key+" "+*m.VersionId)
		}
		for _, v := range page.Versions {
			list = append(list, *v.Key+" "+*v.VersionId)
		}
		for _, p := range page.CommonPrefixes {
			list = append(list, *p.Prefix)
		}
		slices.SortStableFunc(list, func(a, b string) int {
			return strings.Compare(strings.Split(a, " ")[0], strings.Split(b, " ")[0])
		})
		out = append(out, list...)
		if !*page.IsTruncated {
			return out
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
	r.Fatal("paging does not end")
	return nil
}

// A bucket that was made or deleted last before the switch is listed as it is read.
func TestListBucketsDuringTheSwitch(t *testing.T) {
	r := newRig(t, rigOptions{names: true})
	keeps, made, gone := r.bucket, r.bucket+"-made", r.bucket+"-gone"
	for _, bucket := range []string{made, gone} {
		t.Cleanup(func() {
			for _, c := range r.direct {
				_ = s3test.RemoveBucket(context.Background(), c, bucket)
			}
		})
	}
	r.must(r.direct[0].CreateBucket(t.Context(), gone, false))
	r.must(r.direct[1].CreateBucket(t.Context(), gone, false))
	if resp := r.raw(http.MethodPut, "/"+made, "", nil); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, resp.text)
	}
	if resp := r.raw(http.MethodDelete, "/"+gone, "", nil); resp.StatusCode != 204 {
		t.Fatalf("%d %s", resp.StatusCode, resp.text)
	}
	r.settled()
	check := func(phase string) {
		t.Helper()
		resp := r.raw(http.MethodGet, "/", "", nil)
		for bucket, want := range map[string]int{keeps: 1, made: 1, gone: 0, keeps + "-eu": 0} {
			if got := strings.Count(resp.text, "<Name>"+bucket+"</Name>"); got != want {
				t.Errorf("%s: %s is listed %d times", phase, bucket, got)
			}
		}
		if !strings.HasSuffix(resp.text, "</ListAllMyBucketsResult>") || strings.Count(resp.text, "<Buckets>") != 1 {
			t.Errorf("%s: %s", phase, resp.text)
		}
	}
	check("Copying")
	r.route(ledger.Source, ledger.Preparing)
	check("Preparing")
	r.route(ledger.Target, ledger.Switched)
	check("SwitchStarted")
}

// Buckets outside of the migration are the source's for ever; the target's own are nobody's business.
func TestListBucketsOfAPartialMigration(t *testing.T) {
	mine := ""
	r := newRig(t, rigOptions{config: func(c *Config) { c.Buckets = func(b string) bool { return b == mine } }})
	mine = r.bucket
	outside, foreign := r.bucket+"-outside", r.bucket+"-foreign"
	r.must(r.direct[0].CreateBucket(t.Context(), outside, false))
	r.must(r.direct[1].CreateBucket(t.Context(), foreign, false))
	t.Cleanup(func() {
		_ = s3test.RemoveBucket(context.Background(), r.direct[0], outside)
		_ = s3test.RemoveBucket(context.Background(), r.direct[1], foreign)
	})
	check := func(phase string) {
		t.Helper()
		resp := r.raw(http.MethodGet, "/", "", nil)
		for bucket, want := range map[string]int{mine: 1, outside: 1, foreign: 0} {
			if got := strings.Count(resp.text, "<Name>"+bucket+"</Name>"); got != want {
				t.Errorf("%s: %s is listed %d times", phase, bucket, got)
			}
		}
	}
	check("Copying")
	r.route(ledger.Source, ledger.Preparing)
	check("Preparing")
	r.route(ledger.Target, ledger.Switched)
	check("SwitchStarted")
	r.route(ledger.Target, ledger.Steady)
	check("SwitchDone")
}

// A page that was on its way while the switch moved on must not show what the old
// main holds: others have read what is newer by the time that the client sees it.
func TestListingThatTheSwitchOvertookIsMadeAgain(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "v")
	r.settled()
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	var once atomic.Bool
	r.hooks[ledger.Source].set(func(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		if req.Method == http.MethodGet && req.URL.Query().Has("list-type") && !once.Swap(true) {
			r.route(ledger.Target, ledger.Switched)
			r.put(r.client, "k", "newer")
			r.settled()
		}
		return next(req)
	})
	out, err := r.client.S3.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &r.bucket})
	r.must(err)
	if !once.Load() || len(out.Contents) != 1 || *out.Contents[0].Size != int64(len("newer")) {
		t.Errorf("%t, %+v", once.Load(), out.Contents)
	}
}

// A listing that was sent before the switch may be answered late in it, with what has landed
// on the old store since and nobody sees yet: then it would go back.
func TestListingThatOverlapsTheSwitchShowsWhatReadsSee(t *testing.T) {
	for name, query := range map[string]string{"V1": "", "V2": "?list-type=2", "versions": "?versions"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.put(r.client, "k", "1")
			r.settled()
			r.sync()
			id := r.createUpload("k")
			part := r.part("k", id, 1, "three")
			list, landed, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
			var held atomic.Int32
			r.hooks[ledger.Source].set(func(req *http.Request, next next) (*http.Response, error) {
				switch {
				case req.Method == http.MethodGet && strings.HasSuffix(strings.TrimSuffix(req.URL.Path, "/"), r.bucket) && !req.URL.Query().Has("uploads") && held.Add(1) == 1:
					list <- struct{}{}
					<-landed
				case req.Method == http.MethodPost && req.URL.Query().Get("uploadId") == id:
					resp, err := next(req)
					close(landed)
					<-end
					return resp, err
				}
				return next(req)
			})
			shown := make(chan string, 1)
			go func() { shown <- r.raw(http.MethodGet, "/"+r.bucket+query, "", nil).text }()
			<-list
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
			r.put(r.client, "k", "22")
			done := make(chan error, 1)
			go func() {
				_, err := r.client.S3.CompleteMultipartUpload(context.Background(), &awss3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("k"), UploadId: &id,
					MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{part}}})
				done <- err
			}()
			page := <-shown
			if got := r.get(r.client, "k"); got != "22" {
				t.Errorf("reads %q", got)
			}
			close(end)
			r.must(<-done)
			if !strings.Contains(page, "<Size>2</Size>") {
				t.Errorf("the listing shows what the read after it does not: %s", page)
			}
		})
	}
}
