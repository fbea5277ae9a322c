package worker

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// dressed gives an object all that may belong to one.
func dressed(in *awss3.PutObjectInput) {
	in.CacheControl, in.ContentDisposition = aws.String("max-age=60"), aws.String(`attachment; filename="a b.txt"`)
	in.ContentEncoding, in.ContentLanguage = aws.String("gzip"), aws.String("de")
	in.ContentType = aws.String("text/plain; charset=utf-8")
	in.Expires = aws.Time(time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC))
	in.Metadata = map[string]string{"owner": "you & me", "empty": ""}
	in.Tagging = aws.String("project=cross%20fade&stage=a%2Bb")
}

func headers(o *awss3.GetObjectOutput) map[string]string {
	m := map[string]string{
		"cc": aws.ToString(o.CacheControl), "cd": aws.ToString(o.ContentDisposition), "ce": aws.ToString(o.ContentEncoding),
		"cl": aws.ToString(o.ContentLanguage), "ct": aws.ToString(o.ContentType), "ex": aws.ToString(o.ExpiresString),
		"etag": aws.ToString(o.ETag),
	}
	for k, v := range o.Metadata {
		m["meta "+k] = v
	}
	return m
}

func TestInitialCopyKeepsAllThatBelongsToAnObject(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seed(ledger.Source, b, "dressed", []byte("content"), dressed)
	l.seed(ledger.Source, b, "checked", []byte("content"), func(in *awss3.PutObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	l.seed(ledger.Source, b, "empty", nil)
	for _, key := range []string{"a b+c%2F&=?.txt", "ünï/日本", "deep/er/key", "~!*'()"} {
		l.seed(ledger.Source, b, key, []byte(key))
	}
	l.seed(ledger.Source, b, "streamed", bytes.Repeat([]byte("0123456789abcdef"), 100<<10))
	l.upload(ledger.Source, b, "parts", 5<<20, 5<<20, 1<<20)
	l.upload(ledger.Source, b, "odd parts", 6<<20, 5<<20, 7)
	l.upload(ledger.Source, b, "one part", 4)
	w, _ := l.start(nil)
	l.copyAll(b)
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		t.Errorf("keys and ETags (-source +target):\n%s", diff)
	}
	for key := range l.keys(ledger.Source, b) {
		want, wantBody := l.get(ledger.Source, b, key)
		got, gotBody := l.get(ledger.Target, b, key)
		if got == nil || wantBody != gotBody {
			t.Errorf("%s: content differs", key)
			continue
		}
		if diff := cmp.Diff(headers(want), headers(got)); diff != "" {
			t.Errorf("%s (-source +target):\n%s", key, diff)
		}
		if diff := cmp.Diff(l.tags(ledger.Source, b, key), l.tags(ledger.Target, b, key)); diff != "" {
			t.Errorf("%s, tags (-source +target):\n%s", key, diff)
		}
	}
	head, err := l.stores[ledger.Target].S3.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: aws.String(b), Key: aws.String("checked"), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil || head.ChecksumSHA256 == nil {
		t.Errorf("the stored checksum was not kept: %v", err)
	}
	if n := count(w.metrics.lost.WithLabelValues(propETag)); n != 0 {
		t.Errorf("%v ETags not kept", n)
	}
}

func TestMultipartETagIsKeptWherePartsMustBeGuessed(t *testing.T) {
	l := newLab(t)
	l.can[ledger.Source].PartNumberGet = s3.No
	const b = "films"
	l.bucket(ledger.Source, b)
	l.upload(ledger.Source, b, "5 MiB parts", 5<<20, 5<<20, 1)
	l.upload(ledger.Source, b, "6 MiB parts", 6<<20, 5<<20)
	l.upload(ledger.Source, b, "uneven", 5<<20, 6<<20, 1)
	w, _ := l.start(nil)
	l.copyAll(b)
	want, got := l.keys(ledger.Source, b), l.keys(ledger.Target, b)
	for _, key := range []string{"5 MiB parts", "6 MiB parts"} {
		if got[key] != want[key] {
			t.Errorf("%s: ETag %s, want %s", key, got[key], want[key])
		}
	}
	_, have := l.get(ledger.Source, b, "uneven")
	if _, is := l.get(ledger.Target, b, "uneven"); is != have {
		t.Error("content must be right even where the ETag can't be kept")
	}
	if n := count(w.metrics.lost.WithLabelValues(propETag)); n != 1 {
		t.Errorf("%v ETags counted as not kept, want 1", n)
	}
	if n, _, err := w.Dangling(t.Context(), ledger.Target, b); n != 0 || err != nil {
		t.Errorf("%d uploads left behind, %v", n, err)
	}
}

func TestChecksumsOfPartsAreKept(t *testing.T) {
	l := newLab(t)
	const b, key = "films", "checked"
	l.bucket(ledger.Source, b)
	l.uploadWith(ledger.Source, b, key, types.ChecksumAlgorithmSha256, 5<<20, 9)
	l.start(nil)
	l.copyAll(b)
	var sums [2]string
	for i, c := range l.stores {
		head, err := c.S3.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: aws.String(b), Key: aws.String(key), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = aws.ToString(head.ETag) + " " + aws.ToString(head.ChecksumSHA256) + " " + string(head.ChecksumType)
	}
	if sums[0] != sums[1] {
		t.Errorf("source has %s, target %s", sums[0], sums[1])
	}
}

func TestEventsBringWritesAndDeletes(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seed(ledger.Source, b, "goes", []byte("x"))
	l.seed(ledger.Source, b, "changes", []byte("same"), dressed)
	l.start(nil)
	l.copyAll(b)

	l.put(b, "new", "1")
	l.put(b, "new", "2")
	l.delete(b, "goes")
	// The same content, so the same size and ETag, but without tags and with
	// other metadata.
	l.put(b, "changes", "same", func(in *awss3.PutObjectInput) { in.Metadata = map[string]string{"owner": "she"} })
	l.synced()

	if _, got := l.get(ledger.Target, b, "new"); got != "2" {
		t.Errorf("new is %q on the target", got)
	}
	if got, _ := l.get(ledger.Target, b, "goes"); got != nil {
		t.Error("a deleted object is still on the target")
	}
	got, _ := l.get(ledger.Target, b, "changes")
	if diff := cmp.Diff(map[string]string{"owner": "she"}, got.Metadata); diff != "" {
		t.Error(diff)
	}
	if tags := l.tags(ledger.Target, b, "changes"); len(tags) != 0 {
		t.Errorf("tags %v outlived the PUT without tags", tags)
	}
}

// Paused is the first copy. What clients change is copied on, so that little waits for
// the day that it goes on, and a switch that has begun can end.
func TestChangesAreCopiedWhilePaused(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.start(nil)
	l.copyAll(b)
	r := l.route
	r.Run = false
	l.setRoute(r)
	l.obeyed()
	l.bucket(ledger.Source, "later")
	if err := l.led.AddBuckets(t.Context(), "later"); err != nil {
		t.Fatal(err)
	}
	l.put(b, "new", "1")
	l.synced()
	if _, got := l.get(ledger.Target, b, "new"); got != "1" {
		t.Errorf("new is %q on the target", got)
	}
	all, err := l.led.Buckets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if (s.Name == "later") == (s.State == ledger.BucketCopied) {
			t.Errorf("%s is %s", s.Name, s.State)
		}
	}
}

func TestWhatTheTargetHoldsAlreadyIsNotCopiedAgain(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seed(ledger.Source, b, "same", []byte("same"))
	l.seed(ledger.Source, b, "differs", []byte("new"))
	l.seed(ledger.Target, b, "same", []byte("same"))
	l.seed(ledger.Target, b, "differs", []byte("old"))
	l.seed(ledger.Target, b, "only here", []byte("x"))
	l.start(nil)
	l.copyAll(b)
	all, err := l.led.Buckets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := all[0]; got.Skipped.Objects != 1 || got.Copied.Objects != 1 || got.Listed.Objects != 2 {
		t.Errorf("%+v, want 1 skipped, 1 copied of 2", got)
	}
	if _, got := l.get(ledger.Target, b, "differs"); got != "new" {
		t.Errorf("differs is %q", got)
	}
}

func TestBatchLeavesDirtyObjectsToTheirEvents(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seed(ledger.Source, b, "clean", []byte("clean"))
	// A client is still writing: the copy must wait for its end.
	in, err := l.led.Begin(t.Context(), l.client(), ledger.Object{Bucket: b, Key: "busy"}, ledger.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.seed(ledger.Source, b, "busy", []byte("1"))
	l.start(nil)
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		all, err := l.led.Buckets(t.Context())
		return err == nil && len(all) == 1 && all[0].State == ledger.BucketCopied
	})
	all, _ := l.led.Buckets(t.Context())
	if all[0].Copied.Objects != 1 || all[0].Skipped.Objects != 1 {
		t.Errorf("%+v, want the busy object left out", all[0])
	}
	l.seed(ledger.Source, b, "busy", []byte("2"))
	if err := l.led.Commit(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	l.synced()
	if _, got := l.get(ledger.Target, b, "busy"); got != "2" {
		t.Errorf("busy is %q", got)
	}
}

func TestUploadsThatAKilledWorkerLeftAreAborted(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	begin := func(on ledger.Store, key string, placed ...ledger.Store) {
		out, err := l.stores[on].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: aws.String(b), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range placed {
			if err := l.led.PutUpload(t.Context(), ledger.Object{Bucket: b, Key: key}, *out.UploadId, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin(ledger.Target, "k", ledger.Source) // as a copy does
	begin(ledger.Target, "k", ledger.Target) // as a client does, during a switch
	begin(ledger.Target, "k")                // a client's, which its proxy is just about to place
	begin(ledger.Target, "k2", ledger.Source)
	l.start(nil)
	l.change(b, "k", func(*s3.Client) error { l.upload(ledger.Source, b, "k", 5<<20, 1); return nil })
	l.synced()
	if got := l.openUploads(ledger.Target, b); !slices.Equal(got, []string{"k", "k", "k2"}) {
		t.Errorf("open on the target: %q; want the clients', and that of another key", got)
	}
}

// openUploads returns the keys of a bucket's multipart uploads.
func (l *lab) openUploads(on ledger.Store, bucket string) (keys []string) {
	l.t.Helper()
	out, err := l.stores[on].S3.ListMultipartUploads(l.t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, u := range out.Uploads {
		keys = append(keys, *u.Key)
	}
	return keys
}

// A worker that is killed, or cut off, while it creates an upload never hears its ID. On the
// store where clients' uploads from before a switch live, nobody has placed those either.
func TestUploadThatAWorkerNeverHeardOfIsAborted(t *testing.T) {
	for name, c := range map[string]struct {
		to      ledger.Store
		theirs  bool // a client has one of the object there
		earlier bool // and so has a copy, of which it is not known whose others are
		guessed bool // the store does not tell where parts begin
	}{
		"on the follower":                            {to: ledger.Target},
		"on the old main":                            {to: ledger.Source},
		"on the old main, beside a client's":         {to: ledger.Source, theirs: true},
		"on the old main, after one that can't say":  {to: ledger.Source, theirs: true, earlier: true},
		"on the old main, in parts that are guessed": {to: ledger.Source, theirs: true, guessed: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			if c.guessed {
				l.can[c.to.Other()].PartNumberGet = s3.No
			}
			o := ledger.Object{Bucket: "photos", Key: "k"}
			l.bucket(ledger.Source, o.Bucket)
			l.bucket(ledger.Target, o.Bucket)
			var once atomic.Bool
			l.faults[c.to].set(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodPost || !r.URL.Query().Has("uploads") || once.Swap(true) {
					return nil, nil
				}
				resp, err := l.faults[c.to].next.RoundTrip(r)
				if err != nil {
					return nil, err
				}
				_ = resp.Body.Close()
				return answer(r, http.StatusForbidden, "AccessDenied"), nil
			})
			var want []string
			if c.theirs {
				up, err := l.stores[c.to].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &o.Bucket, Key: &o.Key})
				l.must(err)
				want = append(want, *up.UploadId)
			}
			if c.earlier {
				l.note(o, c.to, time.Now(), nil)
			}
			l.start(nil)
			if c.to == ledger.Source {
				l.switched(ledger.Source)
			}
			l.change(o.Bucket, o.Key, func(*s3.Client) error { l.upload(c.to.Other(), o.Bucket, o.Key, 5<<20, 1); return nil })
			l.synced()
			out, err := l.stores[c.to].S3.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &o.Bucket})
			l.must(err)
			var got []string
			for _, u := range out.Uploads {
				got = append(got, *u.UploadId)
			}
			if !slices.Equal(got, want) {
				t.Errorf("open on %s: %q, want %q", c.to, got, want)
			}
		})
	}
}

// Clients would see it in a listing: during a switch, uploads that nobody has placed are theirs.
func TestUploadThatCouldNotBeAbortedStaysNobodys(t *testing.T) {
	l := newLab(t)
	o := ledger.Object{Bucket: "photos", Key: "k"}
	l.bucket(ledger.Source, o.Bucket)
	l.bucket(ledger.Target, o.Bucket)
	var id atomic.Pointer[string] // of the upload that was left
	placed := make(chan bool, 1)
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		q := r.URL.Query()
		left := id.Load()
		switch {
		case left == nil && r.Method == http.MethodPut && q.Has("partNumber"):
			return answer(r, http.StatusForbidden, "AccessDenied"), nil
		case left == nil && r.Method == http.MethodDelete && q.Has("uploadId"):
			v := q.Get("uploadId")
			id.Store(&v)
			return answer(r, http.StatusForbidden, "AccessDenied"), nil
		case left != nil && q.Has("uploads") && len(placed) == 0: // it is tried again
			at, err := l.led.Upload(t.Context(), o, *left)
			placed <- err == nil && at.Known && at.Store == ledger.Source
		}
		return nil, nil
	})
	l.start(nil)
	l.change(o.Bucket, o.Key, func(*s3.Client) error { l.upload(ledger.Source, o.Bucket, o.Key, 5<<20, 1); return nil })
	l.synced()
	if !<-placed {
		t.Error("nobody says that it is not a client's")
	}
	if got := l.openUploads(ledger.Target, o.Bucket); len(got) > 0 {
		t.Errorf("open on the target: %q", got)
	}
}

// Nobody may copy the object in parts ever again: it was overwritten by a small one, or
// the route was changed.
func TestUploadOfAKilledWorkerIsAbortedThoughItsObjectIsNotCopiedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		route func(l *lab)
		known bool
		on    ledger.Store
	}{
		"on the follower":             {(*lab).obeyed, false, ledger.Target},
		"on the follower, known":      {(*lab).obeyed, true, ledger.Target},
		"on the new main in a switch": {func(l *lab) { l.switched(ledger.Source) }, false, ledger.Target},
		"known, there":                {func(l *lab) { l.switched(ledger.Source) }, true, ledger.Target},
		"there, with spec.paused": {func(l *lab) { // such a switch goes on
			l.switched(ledger.Source)
			paused := l.route
			paused.Run = false
			l.setRoute(paused)
			l.obeyed()
		}, false, ledger.Target},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			o := ledger.Object{Bucket: "photos", Key: "k"}
			l.bucket(ledger.Source, o.Bucket)
			l.bucket(ledger.Target, o.Bucket)
			up, err := l.stores[c.on].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &o.Bucket, Key: &o.Key})
			l.must(err)
			if c.known {
				l.must(l.led.PutUpload(t.Context(), o, *up.UploadId, c.on.Other()))
			}
			young := l.note(o, c.on, time.Now(), nil)
			w, _ := l.start(nil)
			c.route(l)
			l.must(w.sweepUploads(t.Context(), w.member.ID()))
			if got := l.openUploads(c.on, o.Bucket); len(got) == 0 {
				t.Error("aborted while it may belong to a copy that has just begun")
			}
			l.must(l.led.EndedUpload(t.Context(), young))
			l.note(o, c.on, time.Now().Add(-w.cfg.MaxInFlight-clockSkew), nil)
			l.must(w.sweepUploads(t.Context(), w.member.ID()))
			if got := l.openUploads(c.on, o.Bucket); len(got) > 0 {
				t.Errorf("open: %q", got)
			}
			if all, err := l.led.CopyUploads(t.Context()); err != nil || len(all) > 0 {
				t.Errorf("noted: %v %v", all, err)
			}
			l.synced()
		})
	}
}

// During a switch clients create uploads on the same store. One of which nothing is
// known is a leftover if it is nobody's who has not ended.
func TestClientsUploadIsNotTakenForOneThatAWorkerNeverHeardOf(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(l *lab, note ledger.CopyUpload)
		left bool
	}{
		"a leftover":                    {func(*lab, ledger.CopyUpload) {}, false},
		"a client's, not placed yet":    {func(l *lab, note ledger.CopyUpload) { l.begin(note.Object, ledger.Target) }, true},
		"Redis lost where uploads live": {func(l *lab, _ ledger.CopyUpload) { l.must(l.led.MarkLost(l.t.Context(), time.Now())) }, true},
		"no copy has created one": {func(l *lab, note ledger.CopyUpload) {
			l.must(l.led.EndedUpload(l.t.Context(), note))
		}, true},
		"that is where they live anyway": {func(l *lab, _ ledger.CopyUpload) { l.switched(ledger.Target) }, true},
		"there, with none before it": {func(l *lab, note ledger.CopyUpload) {
			l.switched(ledger.Target)
			l.note(note.Object, ledger.Target, time.Now(), &ledger.OtherUploads{})
		}, false},
		"there, a client creates one": {func(l *lab, note ledger.CopyUpload) {
			l.switched(ledger.Target)
			l.note(note.Object, ledger.Target, time.Now(), &ledger.OtherUploads{})
			l.begin(note.Object, ledger.Target)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			o := ledger.Object{Bucket: "photos", Key: "k"}
			l.bucket(ledger.Target, o.Bucket)
			w, _ := l.start(nil)
			l.switched(ledger.Source)
			note := l.note(o, ledger.Target, time.Now(), nil)
			_, err := l.stores[ledger.Target].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &o.Bucket, Key: &o.Key})
			l.must(err)
			c.do(l, note)
			w.dropLeftovers(t.Context(), o, ledger.Target)
			if left := len(l.openUploads(ledger.Target, o.Bucket)) > 0; left != c.left {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// note has the ledger know that a copy was about to create an upload, though a client may have
// written the object there since.
func (l *lab) note(o ledger.Object, on ledger.Store, began time.Time, others *ledger.OtherUploads) ledger.CopyUpload {
	l.t.Helper()
	value := strconv.FormatInt(began.UnixMilli(), 10)
	if others != nil {
		value += "\x00"
	}
	field := strings.Join([]string{o.Bucket, o.Key, map[ledger.Store]string{ledger.Source: "s", ledger.Target: "t"}[on], value}, "\x00")
	l.must(l.rdb.HSet(l.t.Context(), "cf:{test/0}:uc", strings.TrimSuffix(field, "\x00"), value).Err())
	all, err := l.led.CopyUploads(l.t.Context())
	l.must(err)
	i := slices.IndexFunc(all, func(u ledger.CopyUpload) bool {
		return u.Object == o && u.Store == on && u.Began.UnixMilli() == began.UnixMilli()
	})
	if i < 0 {
		l.t.Fatalf("no such note: %+v", all)
	}
	return all[i]
}

// What a copy finds there is noted, so that another one is known for a copy's: also while clients
// create uploads of the same object, but not if one of them began before the switch.
func TestCopyNotesWhichUploadsMayBeClients(t *testing.T) {
	for name, c := range map[string]struct {
		before, since bool // a request is under way
		known         bool
	}{
		"alone":                                    {false, false, true},
		"a client creates one":                     {false, true, true},
		"a client has since before the switch":     {true, false, false},
		"clients do, since before, and since then": {true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			o := ledger.Object{Bucket: "photos", Key: "k"}
			l.bucket(ledger.Source, o.Bucket)
			w, _ := l.start(nil)
			if c.before {
				l.begin(o, ledger.Source)
			}
			up, err := l.stores[ledger.Source].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &o.Bucket, Key: &o.Key})
			l.must(err)
			l.switched(ledger.Source)
			if c.since {
				l.begin(o, ledger.Source)
			}
			_, others := w.dropLeftovers(t.Context(), o, ledger.Source)
			if known := others != nil; known != c.known || known && !slices.Equal(others.IDs, []string{*up.UploadId}) {
				t.Errorf("others: %+v", others)
			}
		})
	}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// begin has a client's write be under way on a store.
func (l *lab) begin(o ledger.Object, on ledger.Store) {
	l.t.Helper()
	_, err := l.led.Begin(l.t.Context(), l.client(), o, ledger.BeginOptions{Store: &on})
	l.must(err)
}

// switched has the target take the clients' writes, while uploads from before live on
// a store.
func (l *lab) switched(uploads ledger.Store) {
	l.t.Helper()
	l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Uploads: uploads, Run: true})
	l.obeyed()
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Uploads: uploads, Run: true})
	l.obeyed()
}
