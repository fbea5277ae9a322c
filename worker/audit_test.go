package worker

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/test/seed"
)

// startAudit begins an audit that thinks the migration began an hour ago.
func (l *lab) startAudit(mode string, repair bool, change func(*ledger.AuditSpec), buckets ...string) {
	l.t.Helper()
	a := ledger.AuditSpec{ID: fmt.Sprint(time.Now().UnixNano()), Mode: mode, Repair: repair, Foreign: time.Now().Add(-time.Hour), Buckets: buckets}
	if change != nil {
		change(&a)
	}
	if err := l.led.StartAudit(l.t.Context(), a); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) audited() ledger.Audit {
	l.t.Helper()
	var a ledger.Audit
	defer func() {
		if l.t.Failed() {
			l.t.Logf("%+v", a)
		}
	}()
	waitLong(l.t, time.Minute, func() bool {
		var err error
		a, _, err = l.led.Audit(l.t.Context())
		return err == nil && a.Result != ledger.AuditRunning
	})
	return a
}

// audit runs one to its end.
func (l *lab) audit(mode string, repair bool, buckets ...string) ledger.Audit {
	l.t.Helper()
	l.startAudit(mode, repair, nil, buckets...)
	a := l.audited()
	if a.Result != ledger.AuditComplete {
		l.t.Fatalf("%+v", a)
	}
	return a
}

// remove deletes an object behind the proxies' back.
func (l *lab) remove(on ledger.Store, bucket, key string) {
	l.t.Helper()
	if _, err := l.stores[on].S3.DeleteObject(l.t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
		l.t.Fatal(err)
	}
}

func TestAuditFindsAndRepairsEveryKindOfDifferenceUnderLiveWrites(t *testing.T) {
	for _, mode := range []string{auditETag, auditChecksum} {
		t.Run(mode, func(t *testing.T) {
			l := newLab(t)
			const b = "photos"
			l.bucket(ledger.Source, b)
			l.seedMany(b, "%04d.jpg", 150)
			l.start(nil)
			l.start(nil)
			l.copyAll(b)
			var tagged string // whose metadata is in the sample; mode Checksum needs none
			for i := 0; tagged == ""; i++ {
				if k := fmt.Sprintf("tagged-%d", i); sampled("mine", k) == (mode == auditETag) {
					tagged = k
				}
			}
			l.put(b, tagged, "the same")
			l.synced()

			l.remove(ledger.Target, b, "0001.jpg")
			l.remove(ledger.Source, b, "0002.jpg")
			l.seed(ledger.Target, b, "never-on-main", []byte("x"))
			l.seed(ledger.Source, b, "past-the-proxy", []byte("x"))
			l.seed(ledger.Source, b, "0003.jpg", []byte("longer than it was before"))
			l.seed(ledger.Target, b, "0004.jpg", []byte("content X")) // as long as "content 4"
			l.seed(ledger.Target, b, tagged, []byte("the same"), func(in *awss3.PutObjectInput) { in.Metadata = map[string]string{"lost": "yes"} })

			var stop atomic.Bool
			var g sync.WaitGroup
			for i := range 4 {
				g.Go(func() {
					for n := 0; !stop.Load(); n++ {
						k := fmt.Sprintf("%04d.jpg", 100+i*10+n%10)
						if n%7 == 6 {
							l.delete(b, k)
						} else {
							l.put(b, k, fmt.Sprintf("written %d", n))
						}
					}
				})
			}
			l.startAudit(mode, true, func(a *ledger.AuditSpec) { a.ID = "mine" }, b)
			a := l.audited()
			stop.Store(true)
			g.Wait()
			want := ledger.AuditCounts{Missing: 2, Extra: 2, Different: 3, Repaired: 7, Bypassed: 7}
			if diff := cmp.Diff(want, a.AuditCounts, cmpopts.IgnoreFields(want, "Compared")); diff != "" || a.Compared < 110 || a.Result != ledger.AuditComplete {
				t.Errorf("%+v\n%s", a, diff)
			}
			var names []string
			for _, d := range a.Differences {
				names = append(names, d.Key+" "+d.Kind)
				if !d.Bypassed {
					t.Errorf("not named as written past the proxies: %+v", d)
				}
			}
			slices.Sort(names)
			wantNames := []string{"0001.jpg Missing", "0002.jpg Extra", "0003.jpg Different", "0004.jpg Different",
				"never-on-main Extra", "past-the-proxy Missing", tagged + " Different"}
			if diff := cmp.Diff(wantNames, names); diff != "" {
				t.Error(diff)
			}
			l.synced()
			if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
				t.Error(diff)
			}
			if out, _ := l.get(ledger.Target, b, tagged); out.Metadata["lost"] != "" {
				t.Error("metadata was not repaired")
			}
			if again := l.audit(mode, true, b); again.Left() != 0 || again.Missing+again.Extra+again.Different != 0 {
				t.Errorf("not clean after repair: %+v", again)
			}
		})
	}
}

func TestAuditThatReportsChangesNothing(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.seedMany("photos", "%d", 20)
	l.start(nil)
	l.copyAll("photos")
	l.remove(ledger.Target, "photos", "1")
	l.remove(ledger.Source, "photos", "2")
	l.seed(ledger.Target, "photos", "3", []byte("other"))
	before := l.keys(ledger.Target, "photos")
	a := l.audit(auditETag, false, "photos")
	if diff := cmp.Diff(ledger.AuditCounts{Compared: 20, Missing: 1, Extra: 1, Different: 1, Bypassed: 3}, a.AuditCounts); diff != "" {
		t.Error(diff)
	}
	l.synced()
	if diff := cmp.Diff(before, l.keys(ledger.Target, "photos")); diff != "" {
		t.Error(diff)
	}
}

func TestWhatTheTargetHeldBeforeTheMigrationIsNotDeleted(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.bucket(ledger.Target, "photos")
	l.seedMany("photos", "%d", 3)
	l.seed(ledger.Target, "photos", "somebody's", []byte("x"))
	l.start(nil)
	l.copyAll("photos")
	l.startAudit(auditETag, true, func(a *ledger.AuditSpec) { a.Foreign = time.Now().Add(time.Minute) }, "photos")
	a := l.audited()
	want := []ledger.Difference{{Bucket: "photos", Key: "somebody's", Kind: kindExtra, Detail: "older than the migration"}}
	if diff := cmp.Diff(want, a.Differences); diff != "" || a.Extra != 1 || a.Left() != 1 {
		t.Errorf("%+v\n%s", a.AuditCounts, diff)
	}
	if out, _ := l.get(ledger.Target, "photos", "somebody's"); out == nil {
		t.Error("deleted")
	}
}

func TestDifferencesAnUncleanEventExplainsAreNotCalledBypassed(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.start(nil)
	l.copyAll("photos")
	l.seed(ledger.Source, "photos", "lost with the ledger", []byte("x"))
	l.startAudit(auditETag, true, func(a *ledger.AuditSpec) { a.Explained = time.Now() }, "photos")
	if a := l.audited(); a.Missing != 1 || a.Bypassed != 0 || a.Repaired != 1 {
		t.Errorf("%+v", a)
	}
}

var contents = regexp.MustCompile(`(?s)<Contents>.*</Contents>`)

func TestMainsListingThatFailsOrEndsEarlyIsNotTakenForEmpty(t *testing.T) {
	isList := func(r *http.Request) bool { return r.URL.Query().Get("list-type") == "2" }
	aged := func(l *lab, r *http.Request) (*http.Response, error) { // written long ago
		resp, err := l.faults[ledger.Source].next.RoundTrip(r)
		if err == nil && resp.Header.Get("Last-Modified") != "" {
			resp.Header.Set("Last-Modified", time.Now().Add(-24*time.Hour).UTC().Format(http.TimeFormat))
		}
		return resp, err
	}
	for name, tc := range map[string]struct {
		list       func(l *lab, r *http.Request) (*http.Response, error)
		wantResult string // "": it goes on
		wantCause  string
	}{
		"error":    {func(_ *lab, r *http.Request) (*http.Response, error) { return answer(r, 403, "AccessDenied"), nil }, "", "AccessDenied"},
		"timeouts": {func(*lab, *http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, "", "EOF"},
		"no bucket": {func(_ *lab, r *http.Request) (*http.Response, error) {
			return answer(r, 404, "NoSuchBucket"), nil
		}, "", "NoSuchBucket"},
		"cut in the middle": {func(l *lab, r *http.Request) (*http.Response, error) {
			resp, err := l.faults[ledger.Source].next.RoundTrip(r)
			if err == nil {
				resp.Body, resp.ContentLength = io.NopCloser(io.LimitReader(resp.Body, 600)), -1
			}
			return resp, err
		}, "", "EOF"},
		"status 200 with an error page": {func(_ *lab, r *http.Request) (*http.Response, error) {
			return respond(r, 200, "<html><body>Please log in</body></html>"), nil
		}, "", "not a listing"},
		"status 200 with an error": {func(_ *lab, r *http.Request) (*http.Response, error) {
			return answer(r, 200, "InternalError"), nil
		}, "", "InternalError"},
		"status 200 with nothing": {func(_ *lab, r *http.Request) (*http.Response, error) {
			return respond(r, 200, ""), nil
		}, "", "not a listing"},
		"the same page again and again": {func(_ *lab, r *http.Request) (*http.Response, error) {
			return respond(r, 200, "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>0</Key></Contents></ListBucketResult>"), nil
		}, "", "listing is not consistent"},
		"says that it ended": {func(l *lab, r *http.Request) (*http.Response, error) {
			resp, err := l.faults[ledger.Source].next.RoundTrip(r)
			if err == nil {
				all, _ := io.ReadAll(resp.Body)
				all = contents.ReplaceAll(all, nil)
				resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(all)), int64(len(all))
			}
			return resp, err
		}, ledger.AuditFailed, "listing is not consistent"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.bucket(ledger.Source, "photos")
			l.seedMany("photos", "%d", 30)
			l.start(nil)
			l.copyAll("photos")
			l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
				if isList(r) {
					return tc.list(l, r)
				}
				return aged(l, r)
			})
			l.startAudit(auditETag, true, nil, "photos")
			var a ledger.Audit
			waitLong(t, 30*time.Second, func() bool {
				a, _, _ = l.led.Audit(t.Context())
				return strings.Contains(a.Problem, tc.wantCause)
			})
			if a.Result != tc.wantResult || a.Missing+a.Extra+a.Different != 0 {
				t.Errorf("%+v", a)
			}
			if n := len(l.keys(ledger.Target, "photos")); n != 30 {
				t.Errorf("the target holds %d objects", n)
			}
			l.faults[ledger.Source].set(nil)
			if tc.wantResult == "" {
				if a := l.audited(); a.Compared != 30 || a.Missing+a.Extra+a.Different != 0 {
					t.Errorf("after it was mended: %+v", a)
				}
			}
		})
	}
}

// What answers for both stores while they are away, as the default backend of an
// ingress does, is not taken for two stores without the bucket: that would be an
// audit of nothing, and a clean one.
func TestGatewayThatAnswersForTheStoresIsNotBelieved(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.seedMany("photos", "%d", 3)
	l.start(nil)
	l.copyAll("photos")
	for _, f := range l.faults {
		f.set(func(r *http.Request) (*http.Response, error) { return respond(r, 404, "default backend - 404"), nil })
	}
	l.startAudit(auditETag, true, nil, "photos")
	waitFor(t, func() bool {
		a, _, _ := l.led.Audit(t.Context())
		if a.Result != ledger.AuditRunning {
			t.Fatalf("%+v", a)
		}
		return strings.Contains(a.Problem, "look for bucket")
	})
	for _, f := range l.faults {
		f.set(nil)
	}
	if a := l.audited(); a.Compared != 3 || a.Left() != 0 {
		t.Errorf("%+v", a)
	}
}

func TestBucketThatIsGoneFromMainIsAnError(t *testing.T) {
	l := newLab(t)
	for _, s := range []ledger.Store{ledger.Source, ledger.Target} {
		l.bucket(s, "photos")
		l.bucket(s, "deleted")
	}
	l.seed(ledger.Source, "photos", "a", []byte("a"))
	l.start(nil)
	l.copyAll("photos", "deleted")
	l.change("deleted", "", func(c *s3.Client) error {
		_, err := c.S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String("deleted")})
		return err
	})
	l.remove(ledger.Source, "photos", "a")
	if _, err := l.stores[ledger.Source].S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String("photos")}); err != nil {
		t.Fatal(err)
	}
	l.audit(auditETag, true, "deleted")
	l.startAudit(auditETag, true, nil, "photos")
	waitFor(t, func() bool {
		a, _, _ := l.led.Audit(t.Context())
		if a.Result != ledger.AuditRunning {
			t.Fatalf("%+v", a)
		}
		return strings.Contains(a.Problem, "bucket does not exist")
	})
	if out, _ := l.get(ledger.Target, "photos", "a"); out == nil {
		t.Error("deleted on the target")
	}
}

func TestBucketThatTheFollowerLacksIsRepaired(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.seedMany("photos", "%d", 5)
	l.start(nil)
	a := l.audit(auditETag, true, "photos")
	if a.Missing != 6 || a.Repaired != 6 {
		t.Errorf("%+v", a)
	}
	if diff := cmp.Diff(l.keys(ledger.Source, "photos"), l.keys(ledger.Target, "photos")); diff != "" {
		t.Error(diff)
	}
}

func TestBucketThatTheSourceLacksIsRepairedOnceTheTargetIsMain(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Target, "made")
	l.seed(ledger.Target, "made", "k", []byte("x"))
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Steady, Sync: true, Run: true, Uploads: ledger.Target})
	l.start(nil)
	if a := l.audit(auditETag, true, "made"); a.Missing != 2 || a.Repaired != 2 {
		t.Errorf("%+v", a)
	}
	if out, _ := l.get(ledger.Source, "made", "k"); out == nil {
		t.Error("not copied")
	}
}

// A proxy that Redis has not heard of for a moment may have written what it could not record.
func TestWritesOfAProxyThatCannotRecordThemNowAreNoDifference(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seedMany(b, "%d", 5)
	l.start(nil)
	l.copyAll(b)
	p := l.led.Join(ledger.MemberOptions{Role: ledger.RoleProxy, Instance: "p"})
	for again := true; again; {
		var err error
		again, err = p.Beat(t.Context())
		l.must(err)
	}
	l.seed(ledger.Source, b, "1", []byte("written without Redis"))
	l.startAudit(auditETag, true, nil, b)
	time.Sleep(1500 * time.Millisecond)
	l.must(l.led.Record(t.Context(), p.ID(), ledger.Change{Object: ledger.Object{Bucket: b, Key: "1"}, Store: ledger.Source}))
	go func() { _ = p.Run(t.Context()) }()
	if a := l.audited(); a.Missing+a.Extra+a.Different != 0 {
		t.Errorf("%+v", a)
	}
	l.synced()
	if _, got := l.get(ledger.Target, b, "1"); got != "written without Redis" {
		t.Error(got)
	}
}

// What the source's listing did not have says nothing of the target's.
func TestAuditThatGoesOnAfterASwitchBlamesNoListingForTheOtherOne(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seed(ledger.Target, b, "k", []byte("x"))
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		resp, err := l.faults[ledger.Target].next.RoundTrip(r)
		if err == nil && resp.Header.Get("Last-Modified") != "" {
			resp.Header.Set("Last-Modified", time.Now().Add(-24*time.Hour).UTC().Format(http.TimeFormat))
		}
		return resp, err
	})
	l.startAudit(auditETag, true, nil, b)
	w, err := New(Config{Ledger: l.led, Instance: "w", Stores: l.worker, Capabilities: l.can})
	l.must(err)
	for again := true; again; {
		again, err = w.member.Beat(t.Context())
		l.must(err)
	}
	r, err := l.led.ClaimAuditRange(t.Context(), w.member.ID())
	l.must(err)
	l.must(w.auditRange(t.Context(), w.member.ID(), l.route, &r)) // k is set aside
	l.must(w.member.Leave(t.Context()))
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Steady, Sync: true, Run: true, Uploads: ledger.Target})
	l.start(nil)
	if a := l.audited(); a.Result != ledger.AuditComplete || a.Missing != 1 || a.Repaired != 1 {
		t.Errorf("%+v", a)
	}
}

// What was compared before the follower's bucket was deleted past the proxies is gone with it: the
// audit is worth nothing, and must not go on for ever either.
func TestAuditEndsWhenTheFollowersBucketIsDeletedMeanwhile(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seedMany(b, "%d", 5)
	l.startAudit(auditETag, true, nil, b)
	m := l.led.Join(ledger.MemberOptions{Role: ledger.RoleWorker, Instance: "first"})
	_, err := m.Beat(t.Context())
	l.must(err)
	r, err := l.led.ClaimAuditRange(t.Context(), m.ID())
	l.must(err)
	l.must(l.led.AdvanceAudit(t.Context(), m.ID(), &r, "2", 3, nil, false))
	l.must(l.led.ReleaseAuditRange(t.Context(), m.ID(), r, ""))
	l.must(m.Leave(t.Context()))
	_, err = l.stores[ledger.Target].S3.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String(b)})
	l.must(err)
	l.start(nil)
	if a := l.audited(); a.Result != ledger.AuditFailed || !strings.Contains(a.Problem, "bucket") {
		t.Errorf("%+v", a)
	}
	if a := l.audit(auditETag, true, b); a.Missing != 6 || a.Repaired != 6 {
		t.Errorf("%+v", a)
	}
}

func TestPartsCutOtherwiseAreNoDifference(t *testing.T) {
	l := newLab(t)
	l.can[0].ChecksumsStored, l.can[1].ChecksumsStored = s3.No, s3.No
	l.bucket(ledger.Source, "films")
	l.bucket(ledger.Target, "films")
	content := make([]byte, 12<<20)
	_, _ = rand.Read(content)
	other := bytes.Clone(content)
	other[7<<20]++
	l.uploadContent(ledger.Source, "films", "same", content, 5<<20)
	l.uploadContent(ledger.Source, "films", "changed", content, 5<<20)
	l.uploadContent(ledger.Source, "films", "rewritten", content, 5<<20)
	l.seed(ledger.Source, "films", "plain", []byte("abc"))
	l.start(nil)
	l.copyAll("films")
	l.uploadContent(ledger.Target, "films", "same", content, 6<<20)
	l.uploadContent(ledger.Target, "films", "changed", other, 6<<20)
	l.seed(ledger.Target, "films", "plain", []byte("abd"))
	time.Sleep(time.Second) // Last-Modified has no more than seconds
	l.uploadContent(ledger.Source, "films", "rewritten", other, 6<<20)

	a := l.audit(auditETag, false, "films")
	var got []string
	for _, d := range a.Differences {
		got = append(got, d.Key)
	}
	slices.Sort(got)
	// "changed" was written to the follower later, in other parts and as long: mode
	// ETag has no word for that where the stores keep no checksums.
	if diff := cmp.Diff([]string{"plain", "rewritten"}, got); diff != "" {
		t.Error(diff)
	}
	a = l.audit(auditChecksum, true, "films")
	if a.Different != 3 || a.Repaired != 3 {
		t.Errorf("%+v", a)
	}
}

// uploadContent writes an object in parts of a size.
func (l *lab) uploadContent(on ledger.Store, bucket, key string, content []byte, size int) {
	l.t.Helper()
	api := l.stores[on].S3
	up, err := api.CreateMultipartUpload(l.t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		l.t.Fatal(err)
	}
	done := completed{}
	for i := 0; i*size < len(content); i++ {
		n := int32(i + 1)
		out, err := api.UploadPart(l.t.Context(), &awss3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: &n,
			Body: bytes.NewReader(content[i*size : min(len(content), (i+1)*size)])})
		if err != nil {
			l.t.Fatal(err)
		}
		done.add(n, out.ETag)
	}
	if _, err := api.CompleteMultipartUpload(l.t.Context(), &awss3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, MultipartUpload: &done.CompletedMultipartUpload}); err != nil {
		l.t.Fatal(err)
	}
}

// mortal has a worker use a connection to Redis of its own; kill ends it, and with
// it all that the ledger hears of that worker.
func (l *lab) mortal(c *Config) (kill func()) {
	rdb := redis.NewClient(&redis.Options{Addr: l.redis})
	l.t.Cleanup(func() { _ = rdb.Close() })
	c.Ledger, c.Grace = ledger.New(ledger.Options{Redis: rdb, Migration: "test"}), time.Millisecond
	return func() { _ = rdb.Close() }
}

func TestAuditGoesOnWhereAWorkerLeftItAndIsShared(t *testing.T) {
	for _, end := range []string{"stopped", "killed"} {
		t.Run("the worker was "+end, func(t *testing.T) {
			l := newLab(t)
			l.bucket(ledger.Source, "photos")
			l.seedMany("photos", "%05d", 2300)
			_, stop := l.start(nil)
			l.copyAll("photos")
			stop()
			isPage := func(r *http.Request) bool { return r.URL.Query().Get("max-keys") == "1000" }
			// The first one gets a page and hangs.
			reached := make(chan struct{}, 100)
			ctx, cancel := context.WithCancel(t.Context())
			l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
				if isPage(r) && r.URL.Query().Get("start-after") > "00900" {
					reached <- struct{}{}
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return nil, nil
			})
			l.startAudit(auditETag, true, nil, "photos")
			var kill func()
			_, stop = l.start(func(c *Config) { kill = l.mortal(c) })
			<-reached
			if a, _, _ := l.led.Audit(t.Context()); a.Compared == 0 {
				t.Error("nothing was kept of what was compared")
			}
			if end == "killed" {
				kill()
			}
			// Pages take their time from now on, so that there is something to share.
			var now, most atomic.Int64
			l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
				if !isPage(r) {
					return nil, nil
				}
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				return nil, sleep(r.Context(), time.Second)
			})
			cancel()
			stop()
			quick := func(c *Config) { c.DeadAfter, c.MaxInFlight = time.Second, time.Second }
			l.start(quick)
			l.start(quick)
			if a := l.audited(); a.Compared != 2300 || a.Left() != 0 {
				t.Errorf("%+v", a)
			}
			// What a killed one had not begun is done before the rest is taken over.
			if end == "stopped" && most.Load() < 2 {
				t.Error("one listed while the other had nothing to do")
			}
		})
	}
}

func TestAuditOfAnObjectThatClientsNeverLeaveAlone(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.start(func(c *Config) { c.AuditPatience = 2 * time.Second })
	l.copyAll("photos")
	var stop atomic.Bool
	var g sync.WaitGroup
	for range 3 {
		g.Go(func() {
			for n := 0; !stop.Load(); n++ {
				l.put("photos", "hot", strings.Repeat("x", n%100))
			}
		})
	}
	waitFor(t, func() bool { out, _ := l.get(ledger.Target, "photos", "hot"); return out != nil })
	for range 3 {
		if a := l.audit(auditChecksum, true, "photos"); a.Missing+a.Extra+a.Different != 0 {
			t.Errorf("%+v", a)
		}
	}
	stop.Store(true)
	g.Wait()
	l.synced()
	if diff := cmp.Diff(l.keys(ledger.Source, "photos"), l.keys(ledger.Target, "photos")); diff != "" {
		t.Error(diff)
	}
}

// What is found different is copied behind all else that waits, and may be large; clients may write
// it all the time since. It is left only when copying it fails.
func TestAuditWaitsForARepairThatTakesItsTime(t *testing.T) {
	const b = "photos"
	slow := func(*http.Request) (*http.Response, error) {
		time.Sleep(2 * time.Second) // as if it were large
		return nil, nil
	}
	for name, tc := range map[string]struct {
		copying  func(*http.Request) (*http.Response, error)
		written  bool
		repaired int64
	}{
		"slow":    {slow, false, 1},
		"written": {slow, true, 1},
		"fails":   {func(r *http.Request) (*http.Response, error) { return answer(r, 403, "AccessDenied"), nil }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.bucket(ledger.Source, b)
			l.seedMany(b, "%d", 5)
			l.start(func(c *Config) { c.AuditPatience = 500 * time.Millisecond })
			l.copyAll(b)
			l.remove(ledger.Target, b, "1")
			repairing := make(chan struct{})
			begun := sync.OnceFunc(func() { close(repairing) })
			l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodPut {
					return nil, nil
				}
				begun()
				return tc.copying(r)
			})
			l.startAudit(auditETag, true, nil, b)
			<-repairing
			var stop atomic.Bool
			var g sync.WaitGroup
			for n := 0; tc.written && n < 3; n++ {
				g.Go(func() {
					for !stop.Load() {
						l.put(b, "1", "new")
					}
				})
			}
			if a := l.audited(); a.Missing != 1 || a.Repaired != tc.repaired {
				t.Errorf("%+v", a)
			}
			stop.Store(true)
			g.Wait()
		})
	}
}

type completed struct{ types.CompletedMultipartUpload }

func (c *completed) add(n int32, etag *string) {
	c.Parts = append(c.Parts, types.CompletedPart{PartNumber: &n, ETag: etag})
}

func TestChecksumsThatBothStoresKeepSpareTheReading(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "films")
	l.bucket(ledger.Target, "films")
	content := make([]byte, 11<<20)
	_, _ = rand.Read(content)
	l.uploadContent(ledger.Source, "films", "same", content, 5<<20)
	l.start(nil)
	l.copyAll("films")
	l.uploadContent(ledger.Target, "films", "same", content, 6<<20)
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/same") && len(r.URL.Query()) <= 1 && !r.URL.Query().Has("tagging") {
			t.Error("it was read")
		}
		return nil, nil
	})
	if a := l.audit(auditChecksum, true, "films"); a.Different != 0 || a.Compared != 1 {
		t.Errorf("%+v", a)
	}
}

func withSum(a types.ChecksumAlgorithm) edit {
	return func(in *awss3.PutObjectInput) { in.ChecksumAlgorithm = a }
}

func TestChecksumsOfDifferentKindsAreNoProof(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "films")
	for _, k := range []string{"same", "other"} {
		l.seed(ledger.Source, "films", k, []byte("content A"), withSum(types.ChecksumAlgorithmSha256))
	}
	l.start(nil)
	l.copyAll("films")
	l.seed(ledger.Target, "films", "same", []byte("content A"), withSum(types.ChecksumAlgorithmCrc32))
	l.seed(ledger.Target, "films", "other", []byte("content B"), withSum(types.ChecksumAlgorithmCrc32))
	var read atomic.Int64
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/same") && !r.URL.Query().Has("tagging") {
			read.Add(1)
		}
		return nil, nil
	})
	a := l.audit(auditChecksum, true, "films")
	if a.Different != 1 || a.Repaired != 1 || a.Differences[0].Key != "other" || read.Load() == 0 {
		t.Errorf("read %d times; %+v", read.Load(), a)
	}
}

func TestSameSums(t *testing.T) {
	x, y, parts, otherParts := aws.String("AAAA"), aws.String("BBBB"), aws.String("AAAA-2"), aws.String("BBBB-2")
	full, composite := types.ChecksumTypeFullObject, types.ChecksumTypeComposite
	for name, tc := range map[string]struct {
		a, b        checksums
		same, known bool
	}{
		"equal":                         {checksums{kind: full, crc64: x}, checksums{kind: full, crc64: x}, true, true},
		"different":                     {checksums{kind: full, sha1: x}, checksums{kind: full, sha1: y}, false, true},
		"different algorithms":          {checksums{kind: full, crc32: x}, checksums{kind: full, crc32c: x}, false, false},
		"only one has any":              {checksums{kind: full, crc32: x}, checksums{}, false, false},
		"of parts and of all":           {checksums{kind: composite, sha256: parts}, checksums{kind: full, sha256: x}, false, false},
		"of the same parts":             {checksums{kind: composite, sha256: parts}, checksums{kind: composite, sha256: parts}, true, true},
		"of other parts":                {checksums{kind: composite, sha256: parts}, checksums{kind: composite, sha256: otherParts}, false, false},
		"of other parts, kind not told": {checksums{sha256: parts}, checksums{sha256: otherParts}, false, false},
		"kind not told":                 {checksums{sha256: x}, checksums{sha256: y}, false, true},
	} {
		if same, known := sameSums(tc.a, tc.b); known != tc.known || known && same != tc.same {
			t.Errorf("%s: %v, %v", name, same, known)
		}
	}
}

func TestPartsAreComparedByTheirStoresOwnClocks(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	written := func(clock, age time.Duration) *properties {
		return &properties{now: now.Add(clock), modified: now.Add(clock - age)}
	}
	for name, tc := range map[string]struct {
		main, follower *properties
		want           bool
	}{
		"copied since":       {written(0, time.Hour), written(0, time.Minute), true},
		"main written since": {written(0, time.Minute), written(0, time.Hour), false},
		"main written since, a clock that is fast": {written(0, time.Minute), written(2*time.Hour, time.Hour), false},
		"copied since, a clock that is slow":       {written(0, time.Hour), written(-2*time.Hour, time.Minute), true},
		"no clock":                                 {written(0, time.Hour), &properties{modified: now}, false},
	} {
		if got := tc.follower.writtenSince(tc.main); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestObjectsAreDatedByTheirStoresOwnClock(t *testing.T) {
	l := newLab(t)
	w, err := New(Config{Ledger: l.led, Stores: l.worker})
	if err != nil {
		t.Fatal(err)
	}
	for name, clock := range map[string]time.Duration{"right": 0, "fast": 3 * time.Hour, "slow": -3 * time.Hour} {
		for _, f := range l.faults {
			f.set(func(r *http.Request) (*http.Response, error) {
				resp := respond(r, 200, "")
				now := time.Now().Add(clock).UTC()
				resp.Header.Set("Date", now.Format(http.TimeFormat))
				resp.Header.Set("Last-Modified", now.Add(-10*time.Minute).Format(http.TimeFormat))
				resp.Header.Set("ETag", `"x"`)
				return resp, nil
			})
		}
		f, err := w.look(t.Context(), w.stores[0], w.stores[1], "b", "k", auditETag)
		if err != nil || f.kind != "" {
			t.Fatal(f, err)
		}
		for _, at := range []time.Time{f.main, f.follower} {
			if age := time.Since(at).Round(5 * time.Second); age != 10*time.Minute {
				t.Errorf("by a clock that is %s: written %s ago", name, age)
			}
		}
	}
}

// A write past the proxies while an object is read leaves half of each: such a
// look says nothing, the next one does.
func TestObjectThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	l := newLab(t)
	l.can[0].ChecksumsStored, l.can[1].ChecksumsStored = s3.No, s3.No
	l.bucket(ledger.Source, "films")
	l.seed(ledger.Source, "films", "moving", []byte("content A"))
	l.start(nil)
	l.copyAll("films")
	var reads atomic.Int64
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("If-Match") != "" && reads.Add(1) == 1 {
			l.seed(ledger.Source, "films", "moving", []byte("content B"))
		}
		return nil, nil
	})
	a := l.audit(auditChecksum, true, "films")
	if reads.Load() < 2 || a.Different != 1 || a.Repaired != 1 || a.Bypassed != 1 {
		t.Errorf("%d reads, %+v", reads.Load(), a)
	}
	l.synced()
	if _, got := l.get(ledger.Target, "films", "moving"); got != "content B" {
		t.Errorf("the target holds %q", got)
	}
}

// One object that a store cannot read must not keep the others from being
// compared, nor look equal; a store that is down is waited for.
func TestObjectThatAStoreCannotReadIsReported(t *testing.T) {
	l := newLab(t)
	l.can[0].ChecksumsStored, l.can[1].ChecksumsStored = s3.No, s3.No
	l.bucket(ledger.Source, "films")
	l.seedMany("films", "%d", 10)
	l.start(func(c *Config) { c.AuditPatience = 500 * time.Millisecond })
	l.copyAll("films")
	rotten := func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/7") {
			return answer(r, 500, "InternalError"), nil
		}
		return nil, nil
	}
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodHead && strings.Trim(r.URL.Path, "/") == "films" {
			return answer(r, 503, "SlowDown"), nil
		}
		return rotten(r)
	})
	l.startAudit(auditChecksum, true, nil, "films")
	waitLong(t, time.Minute, func() bool {
		a, _, _ := l.led.Audit(t.Context())
		if a.Result != ledger.AuditRunning || a.Different > 0 {
			t.Fatalf("a store that is down: %+v", a)
		}
		return a.Problem != ""
	})
	l.faults[ledger.Source].set(rotten)
	a := l.audited()
	if a.Compared != 10 || a.Different != 1 || a.Left() != 1 || a.Differences[0].Key != "7" || !strings.Contains(a.Differences[0].Detail, "cannot be compared") {
		t.Errorf("%+v", a)
	}
}

func TestKeysThatNeedCareAreComparedAndNamed(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	keys := seed.OddKeys(true)
	for _, k := range keys {
		content := []byte("content")
		if k.Empty {
			content = nil
		}
		l.seed(ledger.Source, b, k.Name, content)
	}
	l.start(nil)
	l.copyAll(b)
	a := l.audit(auditChecksum, true, b)
	if a.Compared != int64(len(keys)) || a.Missing+a.Extra+a.Different != 0 {
		t.Errorf("%+v", a)
	}
	var want []string
	for _, k := range keys {
		if k.Empty {
			l.remove(ledger.Target, b, k.Name)
			want = append(want, k.Name+" Missing")
		} else if !strings.Contains(k.Name, "parent") {
			l.seed(ledger.Source, b, k.Name, []byte("changed"))
			want = append(want, k.Name+" Different")
		}
	}
	a = l.audit(auditETag, true, b)
	var got []string
	for _, d := range a.Differences {
		got = append(got, d.Key+" "+d.Kind)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || a.Repaired != int64(len(want)) {
		t.Errorf("%+v\n%s", a.AuditCounts, diff)
	}
	l.synced()
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		t.Error(diff)
	}
}

// lostFinish loses the first report on a batch of an audit, or the answer to it.
type lostFinish struct {
	answer bool
	lost   atomic.Bool
}

func (h *lostFinish) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *lostFinish) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *lostFinish) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !slices.Contains(cmd.Args(), any("notkept")) || h.lost.Load() {
			return next(ctx, cmd)
		}
		if h.answer {
			if err := next(ctx, cmd); err != nil {
				return err // the script is not known yet
			}
		}
		h.lost.Store(true)
		cmd.SetErr(io.ErrUnexpectedEOF)
		return io.ErrUnexpectedEOF
	}
}

func TestDifferencesAreCountedOnceWhateverRedisMissed(t *testing.T) {
	for name, answer := range map[string]bool{"the report": false, "the answer": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.bucket(ledger.Source, "photos")
			l.seedMany("photos", "%d", 20)
			h := &lostFinish{answer: answer}
			l.start(func(c *Config) {
				rdb := redis.NewClient(&redis.Options{Addr: l.redis, MaxRetries: -1})
				t.Cleanup(func() { _ = rdb.Close() })
				rdb.AddHook(h)
				c.Ledger = ledger.New(ledger.Options{Redis: rdb, Migration: "test"})
			})
			l.copyAll("photos")
			l.remove(ledger.Target, "photos", "3")
			a := l.audit(auditETag, true, "photos")
			if !h.lost.Load() || a.Missing != 1 || a.Repaired != 1 || len(a.Differences) != 1 {
				t.Errorf("%+v", a)
			}
		})
	}
}
