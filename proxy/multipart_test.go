package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
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
)

func (r *rig) createUpload(key string) string {
	r.Helper()
	out, err := r.client.S3.CreateMultipartUpload(r.Context(), &awss3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &key})
	r.must(err)
	return *out.UploadId
}

func (r *rig) part(key, id string, n int32, body string) types.CompletedPart {
	r.Helper()
	out, err := r.client.S3.UploadPart(r.Context(), &awss3.UploadPartInput{Bucket: &r.bucket, Key: &key, UploadId: &id, PartNumber: &n, Body: strings.NewReader(body)})
	r.must(err)
	return types.CompletedPart{ETag: out.ETag, PartNumber: &n, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC64NVME: out.ChecksumCRC64NVME}
}

func (r *rig) complete(key, id string, parts ...types.CompletedPart) {
	r.Helper()
	_, err := r.client.S3.CompleteMultipartUpload(r.Context(), &awss3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	r.must(err)
}

func TestUploadCrossesTheSwitch(t *testing.T) {
	r := newRig(t, rigOptions{})
	big := strings.Repeat("x", 5<<20)
	id := r.createUpload("old")
	first := r.part("old", id, 1, big)
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.put(r.client, "old", "written meanwhile")
	newID := r.createUpload("new")
	newPart := r.part("new", newID, 1, "n")
	second := r.part("old", id, 2, "tail")
	parts, err := r.client.S3.ListParts(t.Context(), &awss3.ListPartsInput{Bucket: &r.bucket, Key: aws.String("old"), UploadId: &id})
	r.must(err)
	if len(parts.Parts) != 2 {
		t.Errorf("%d parts", len(parts.Parts))
	}
	r.complete("old", id, first, second)
	if got := r.newest("old"); got != "Source" {
		t.Errorf("old: newest on %q", got)
	}
	if got := r.get(r.client, "old"); got != big+"tail" {
		t.Errorf("old reads %d bytes", len(got))
	}
	r.complete("new", newID, newPart)
	r.settled()
	if got := r.get(r.direct[ledger.Target], "new"); got != "n" {
		t.Errorf("new on the target: %q", got)
	}
	r.sync()
	if got := r.get(r.direct[ledger.Target], "old"); got != big+"tail" {
		t.Errorf("old on the target: %d bytes", len(got))
	}
	if at, err := r.ledger.Upload(t.Context(), ledger.Object{Bucket: r.bucket, Key: "new"}, newID); err != nil || at.Store != ledger.Source {
		t.Errorf("a finished upload is remembered: %v %v", at, err)
	}
}

func TestAbortedUploadIsForgotten(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	id := r.createUpload("k")
	o := ledger.Object{Bucket: r.bucket, Key: "k"}
	if at, err := r.ledger.Upload(t.Context(), o, id); err != nil || at.Store != ledger.Target {
		t.Fatalf("not remembered: %v %v", at, err)
	}
	_, err := r.client.S3.AbortMultipartUpload(t.Context(), &awss3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("k"), UploadId: &id})
	r.must(err)
	if at, err := r.ledger.Upload(t.Context(), o, id); err != nil || at.Store != ledger.Source {
		t.Errorf("still remembered: %v %v", at, err)
	}
	r.settled()
	if got := r.newest("k"); got != "" {
		t.Errorf("an upload changed the object: newest on %q", got)
	}
}

func TestUploadPartCopyOfADirtySource(t *testing.T) {
	r := newRig(t, rigOptions{})
	dirtyOn(r, "from")
	id := r.createUpload("to")
	done := make(chan error, 1)
	go func() {
		_, err := r.client.S3.UploadPartCopy(t.Context(), &awss3.UploadPartCopyInput{Bucket: &r.bucket, Key: aws.String("to"), UploadId: &id,
			PartNumber: aws.Int32(1), CopySource: aws.String(r.bucket + "/from")})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	for finished := false; !finished; {
		select {
		case err := <-done:
			r.must(err)
			finished = true
		default:
			r.sync()
		}
	}
}

func TestUploadsOfBothStoresAreListed(t *testing.T) {
	r := newRig(t, rigOptions{})
	want := map[string]string{}
	for _, k := range []string{"a", "b", "d/1", "d/2"} {
		want[r.createUpload(k)] = k
	}
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	for _, k := range []string{"a", "c", "d/3"} {
		want[r.createUpload(k)] = k
	}
	// A worker's copy under way is not the clients' business.
	hidden, err := r.direct[ledger.Target].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("b")})
	r.must(err)
	for _, max := range []int32{1, 2, 3, 1000} {
		got := map[string]string{}
		var order []string
		in := awss3.ListMultipartUploadsInput{Bucket: &r.bucket, MaxUploads: &max}
		for range 20 {
			page, err := r.client.S3.ListMultipartUploads(t.Context(), &in)
			r.must(err)
			for _, u := range page.Uploads {
				got[*u.UploadId] = *u.Key
				order = append(order, *u.Key)
			}
			if !*page.IsTruncated {
				break
			}
			in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d: %s", max, diff)
		}
		if !slices.IsSorted(order) || len(order) != len(want) {
			t.Errorf("pages of %d: order %v", max, order)
		}
		if _, ok := got[*hidden.UploadId]; ok {
			t.Error("a worker's upload is listed")
		}
	}
	page, err := r.client.S3.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &r.bucket, Delimiter: aws.String("/")})
	r.must(err)
	if len(page.Uploads) != 4 || len(page.CommonPrefixes) != 1 {
		t.Errorf("by delimiter: %d uploads, %d prefixes", len(page.Uploads), len(page.CommonPrefixes))
	}
}

// A copy to the old main, of what was written since a switch, may be listed before its worker
// has heard of its id, and may have ended by the time the ledger is asked about it.
func TestUploadsOfCopiesAreNotListed(t *testing.T) {
	r := newRig(t, rigOptions{})
	want := []string{r.createUpload("k")}
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	want = append(want, r.createUpload("k"))
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1100 * time.Millisecond))) // stores say when in seconds, by a clock of their own
	o := ledger.Object{Bucket: r.bucket, Key: "k"}
	note, err := r.ledger.CreatingUpload(t.Context(), o, ledger.Source, time.Now(), nil) // it does not know the client's
	r.must(err)
	source := r.direct[ledger.Source].S3
	copied, err := source.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &o.Key})
	r.must(err)
	listed := func() (ids []string) {
		out, err := r.client.S3.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &r.bucket})
		r.must(err)
		for _, u := range out.Uploads {
			ids = append(ids, *u.UploadId)
		}
		return ids
	}
	same := cmpopts.SortSlices(strings.Compare)
	if diff := cmp.Diff(want, listed(), same); diff != "" {
		t.Errorf("before its worker knows of it: %s", diff)
	}
	r.must(r.ledger.EndedUpload(t.Context(), note))
	note, err = r.ledger.CreatingUpload(t.Context(), o, ledger.Source, time.Now().Add(-time.Hour), &ledger.OtherUploads{IDs: want[:1]})
	r.must(err)
	if diff := cmp.Diff(want, listed(), same); diff != "" {
		t.Errorf("created by a worker that knew of the client's: %s", diff)
	}
	// Once more on the first store: what clients begin there now is placed, or it would be taken for a copy's.
	r.route(ledger.Source, ledger.Switched)
	want = append(want, r.createUpload("k"))
	if diff := cmp.Diff(want, listed(), same); diff != "" {
		t.Errorf("after the switch was turned back: %s", diff)
	}
	r.route(ledger.Target, ledger.Switched)
	var once sync.Once
	r.hooks[ledger.Source].set(func(req *http.Request, send next) (*http.Response, error) {
		resp, err := send(req)
		if err == nil && req.URL.Query().Has("uploads") {
			once.Do(func() {
				_, err := source.AbortMultipartUpload(t.Context(), &awss3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &o.Key, UploadId: copied.UploadId})
				r.must(err)
				r.must(r.ledger.EndedUpload(t.Context(), note))
			})
		}
		return resp, err
	})
	if diff := cmp.Diff(want, listed(), same); diff != "" {
		t.Errorf("after it has ended: %s", diff)
	}
}

// A store keeps a long CompleteMultipartUpload alive with blanks; they must
// reach the client while it works, and an error in the body must not count as done.
func TestCompletionIsJudgedByItsBody(t *testing.T) {
	const result = `<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>`
	tests := map[string]struct {
		body       string
		cut        bool
		wantNewest string
		wantBroken bool
	}{
		"done":      {body: result, wantNewest: "Source"},
		"refused":   {body: errorBody("InvalidPart")},
		"failed":    {body: errorBody("InternalError"), wantNewest: "Source"},
		"cut short": {body: result[:20], cut: true, wantNewest: "Source", wantBroken: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			release := make(chan struct{})
			r.hooks[0].set(func(req *http.Request, _ next) (*http.Response, error) {
				_, _ = io.Copy(io.Discard, req.Body)
				pr, pw := io.Pipe()
				go func() {
					_, _ = io.WriteString(pw, "<?xml version=\"1.0\"?>\n")
					_, _ = io.WriteString(pw, "  ")
					<-release
					_, _ = io.WriteString(pw, tt.body)
					if tt.cut {
						_ = pw.CloseWithError(fmt.Errorf("connection reset"))
						return
					}
					_ = pw.Close()
				}()
				resp := answer(req, 200, "")
				resp.Body, resp.ContentLength = pr, -1
				return resp, nil
			})
			req := r.signed(http.MethodPost, "/"+r.bucket+"/k?uploadId=u", "<CompleteMultipartUpload/>")
			resp, err := r.client.HTTP.Transport.RoundTrip(req)
			r.must(err)
			defer func() { _ = resp.Body.Close() }()
			blanks := make([]byte, len("<?xml version=\"1.0\"?>\n  "))
			if _, err := io.ReadFull(resp.Body, blanks); err != nil {
				t.Fatalf("no sign of life: %v", err)
			}
			close(release)
			rest, err := io.ReadAll(resp.Body)
			if (err != nil) != tt.wantBroken {
				t.Fatalf("body: %v", err)
			}
			if !tt.wantBroken && string(rest) != tt.body {
				t.Errorf("got %q", rest)
			}
			r.settled()
			if got := r.newest("k"); got != tt.wantNewest {
				t.Errorf("newest on %q, want %q", got, tt.wantNewest)
			}
		})
	}
}

// A proxy that was paused with its request was declared dead: a switch may have ended since
// without anybody having seen the upload.
func TestUploadOfAProxyThatWasDeclaredDeadMeanwhileIsNotHandedOut(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	session := r.proxy.member.ID()
	r.hooks[ledger.Target].set(func(req *http.Request, send next) (*http.Response, error) {
		resp, err := send(req)
		if req.Method == http.MethodPost && req.URL.Query().Has("uploads") {
			_, berr := r.ledger.Bury(t.Context(), session, 0)
			r.must(berr)
		}
		return resp, err
	})
	if resp := r.raw(http.MethodPost, "/"+r.bucket+"/k?uploads=", "", nil); resp.StatusCode != 503 {
		t.Errorf("%d %s", resp.StatusCode, resp.text)
	}
	out, err := r.direct[ledger.Target].S3.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &r.bucket})
	r.must(err)
	if len(out.Uploads) > 0 {
		t.Errorf("%d uploads are left", len(out.Uploads))
	}
}

// While a store is away, gateways before it answer 404. That is no word about an upload.
func TestUploadIsNotMissingBecauseAGatewaySaysSo(t *testing.T) {
	r := newRig(t, rigOptions{})
	id := r.createUpload("big")
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	away := r.hooks[ledger.Source]
	away.set(func(req *http.Request, _ next) (*http.Response, error) {
		return answer(req, 404, "default backend - 404"), nil
	})
	if got := r.raw(http.MethodPut, "/"+r.bucket+"/big?partNumber=1&uploadId="+id, "part", nil); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("answered %d %s", got.StatusCode, got.text)
	}
	away.set(nil)
	r.part("big", id, 1, "part")
	if got := r.raw(http.MethodPut, "/"+r.bucket+"/big?partNumber=1&uploadId=unknown", "part", nil); got.StatusCode != http.StatusNotFound {
		t.Errorf("an upload that is on neither store: %d %s", got.StatusCode, got.text)
	}
}

// A process that slept before it sent the request is not waited for any more: no look at
// what is left on the old store would see its upload.
func TestUploadIsNotCreatedByAProcessThatSlept(t *testing.T) {
	slow := &slowBegin{}
	r := newRig(t, rigOptions{redis: newRedis(t).Addr, hook: slow, config: func(c *Config) { c.MaxInFlight = 400 * time.Millisecond }})
	before := r.hooks[ledger.Source].calls.Load()
	slow.on.Store(true)
	got := r.raw(http.MethodPost, "/"+r.bucket+"/big?uploads", "", nil)
	if got.StatusCode != http.StatusServiceUnavailable || r.hooks[ledger.Source].calls.Load() != before {
		t.Errorf("answered %d %s, after %d requests to the store", got.StatusCode, got.text, r.hooks[ledger.Source].calls.Load()-before)
	}
}

// slowBegin keeps the answers of Begin back, as if the process slept.
type slowBegin struct{ on atomic.Bool }

func (*slowBegin) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *slowBegin) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if h.on.Load() && strings.Contains(fmt.Sprint(cmd.Args()...), "big") {
			time.Sleep(300 * time.Millisecond)
		}
		return err
	}
}

func (*slowBegin) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
