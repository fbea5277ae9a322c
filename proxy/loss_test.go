package proxy

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// moveLoss does what the phase engine does about a loss: once every session has
// vouched or replayed, it goes on.
func (r *rig) moveLoss(until ledger.LossState) {
	r.Helper()
	r.eventually("the loss is dealt with", func() bool {
		done, err := r.moveLossOn(until)
		r.must(err)
		return done
	})
}

func (r *rig) moveLossOn(until ledger.LossState) (done bool, err error) {
	all, err := r.ledger.Losses(r.Context())
	if err != nil {
		return false, err
	}
	id := r.proxy.member.ID()
	for _, x := range all {
		switch {
		case x.State == until:
			return true, nil
		case x.State == ledger.Suspected && x.Vouched[id]:
			err = r.ledger.MoveLoss(r.Context(), x, ledger.Healthy, time.Time{}, ledger.Gone{})
		case x.State == ledger.Replaying && x.Replayed[id]:
			err = r.ledger.MoveLoss(r.Context(), x, ledger.Lost, time.Time{}, ledger.Gone{})
		}
		if err != nil {
			return false, err
		}
	}
	return len(all) == 0 && until == ledger.Healthy, nil
}

// moveLosses goes on with that until the test ends: the test's ledger and the proxy's may both
// find that Redis was restarted, and one of them say so when the loss is dealt with already.
func (r *rig) moveLosses(until ledger.LossState) {
	go func() {
		for r.Context().Err() == nil {
			_, _ = r.moveLossOn(until)
			time.Sleep(5 * time.Millisecond)
		}
	}()
}

// nothingLost waits until every session has found what it was told.
func (r *rig) nothingLost() { r.Helper(); r.moveLoss(ledger.Healthy) }

// snapshot keeps what Redis holds of a migration, restore brings it back: a
// failover to a replica that lags.
func snapshot(r *rig, rdb *redis.Client) (restore func()) {
	r.Helper()
	keys, err := rdb.Keys(r.Context(), "*").Result()
	r.must(err)
	dump := map[string]string{}
	for _, k := range keys {
		if dump[k], err = rdb.Dump(r.Context(), k).Result(); err != nil {
			r.Fatal(err)
		}
	}
	return func() {
		pipe := rdb.TxPipeline()
		pipe.FlushAll(r.Context())
		pipe.ScriptFlush(r.Context())
		for k, v := range dump {
			pipe.Restore(r.Context(), k, 0, v)
		}
		_, err := pipe.Exec(r.Context())
		r.must(err)
	}
}

func lossRig(t *testing.T) (*rig, *redis.Client) { return lossRigOf(t, nil) }

func lossRigOf(t *testing.T, config func(*Config)) (*rig, *redis.Client) {
	redisServer := newRedis(t)
	r := newRig(t, rigOptions{redis: redisServer.Addr, config: func(c *Config) {
		c.Anonymous = true
		if config != nil {
			config(c)
		}
	}})
	rdb := redis.NewClient(&redis.Options{Addr: redisServer.Addr})
	t.Cleanup(func() { _ = rdb.Close() })
	return r, rdb
}

func TestWriteBeforeTheSwitchThatRedisForgotIsCopiedAllTheSame(t *testing.T) {
	r, rdb := lossRig(t)
	r.put(r.client, "a", "1")
	r.settled()
	restore := snapshot(r, rdb)
	r.put(r.client, "b", "2")
	r.settled()
	restore()
	r.moveLoss(ledger.Lost)
	r.sync()
	if got := r.get(r.direct[1], "b"); got != "2" {
		t.Errorf("target holds %q", got)
	}
}

func TestReadsAfterALossInTheMiddleOfASwitchFindTheNewestStore(t *testing.T) {
	tests := map[string]struct {
		before func(*rig) // known to the ledger that comes back
		lost   func(*rig)
		want   string
	}{
		"written before the switch, forgotten": {
			func(r *rig) { r.put(r.direct[1], "k", "old copy") },
			func(r *rig) {
				r.put(r.client, "k", "new")
				r.settled()
				r.route(ledger.Source, ledger.Preparing)
				r.route(ledger.Target, ledger.Switched)
			},
			"new",
		},
		"written after the switch, forgotten": {
			func(r *rig) {
				r.put(r.client, "k", "old")
				r.settled()
				r.route(ledger.Source, ledger.Preparing)
				r.route(ledger.Target, ledger.Switched)
			},
			func(r *rig) { r.put(r.client, "k", "new"); r.settled() },
			"new",
		},
		"deleted after the switch, forgotten": {
			func(r *rig) {
				r.put(r.client, "k", "old")
				r.settled()
				r.sync()
				r.route(ledger.Source, ledger.Preparing)
				r.route(ledger.Target, ledger.Switched)
			},
			func(r *rig) { r.del(r.client, "k"); r.settled() },
			"NoSuchKey",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, rdb := lossRig(t)
			tc.before(r)
			restore := snapshot(r, rdb)
			tc.lost(r)
			last := *r.proxy.route.Load()
			restore()
			// Until the route is back, and everybody has told what they know, nothing is answered.
			answer := make(chan string, 1)
			go func() { answer <- r.get(r.client, "k") }()
			if got, err := r.ledger.Furthest(t.Context()); err == nil && got.Epoch < last.Epoch {
				last.Epoch++
				r.must(r.ledger.MarkLost(t.Context(), time.Now()))
				r.must(r.ledger.SetRoute(t.Context(), last))
			}
			r.moveLosses(ledger.Lost)
			if got := <-answer; got != tc.want {
				t.Errorf("read %q while the loss is dealt with", got)
			}
			if got := r.get(r.client, "k"); got != tc.want {
				t.Errorf("read %q after it", got)
			}
			r.sync()
			for s, c := range r.direct {
				if got := r.get(c, "k"); got != tc.want {
					t.Errorf("%s holds %q", ledger.Store(s), got)
				}
			}
		})
	}
}

// Redis comes back with data from before the switch, and a proxy starts before
// anybody has brought the route back: it must not serve the old store.
func TestProxyThatStartsBesideAnOlderLedgerServesTheRouteOfTheMigration(t *testing.T) {
	now := ledger.Route{Epoch: 5, Main: ledger.Target, State: ledger.Steady, Sync: true, Uploads: ledger.Target, Run: true}
	old := ledger.Route{Epoch: 1, Main: ledger.Source, State: ledger.Steady, Sync: true, Uploads: ledger.Source, Run: true}
	r := newRig(t, rigOptions{redis: newRedis(t).Addr, none: true, known: now.Epoch, config: func(c *Config) {
		if err := c.Ledger.SetRoute(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		remembered := now
		c.Fallback = &remembered
	}})
	r.put(r.direct[0], "k", "old")
	r.put(r.direct[1], "k", "newest")
	if got := r.get(r.client, "k"); got != "newest" {
		t.Errorf("read %q", got)
	}
	r.put(r.client, "w", "written")
	if got := r.get(r.direct[1], "w"); got != "written" {
		t.Errorf("the target holds %q", got)
	}
	now.Epoch++
	r.must(r.ledger.SetRoute(t.Context(), now)) // as the phase engine restores it
	r.eventually("the write is recorded", func() bool { return r.proxy.unrecorded.count() == 0 && r.dirty() == 1 })
}

// Whoever has not told yet what it knows may know of a newer version: until then a
// read waits, and is refused in the end. It is never answered without it.
func TestReadsThatWaitForMemoriesOfOthersFailInTheEnd(t *testing.T) {
	r, _ := lossRigOf(t, func(c *Config) { c.LedgerWait = time.Second })
	r.put(r.client, "k", "v")
	r.settled()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.must(r.ledger.MarkLost(t.Context(), time.Now())) // and nobody moves it on
	for path, what := range map[string]string{"/k": "read", "?list-type=2": "listing"} {
		began := time.Now()
		resp := r.raw(http.MethodGet, "/"+r.bucket+path, "", nil)
		if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(resp.text, "SlowDown") {
			t.Errorf("%s: %d %s", what, resp.StatusCode, resp.text)
		}
		if took := time.Since(began); took < time.Second {
			t.Errorf("%s: refused after %s, without waiting", what, took)
		}
	}
}

// Once a loss in the middle of a switch is healed, nobody knows any more where
// uploads live: both stores are asked.
func TestUploadThatALossHasForgottenIsFoundOnEitherStore(t *testing.T) {
	r, _ := lossRig(t)
	create := func() string {
		up, err := r.client.S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("k")})
		r.must(err)
		r.settled()
		return *up.UploadId
	}
	before := create()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	since := create()
	r.must(r.ledger.MarkLost(t.Context(), time.Now()))
	r.must(r.ledger.DeleteUpload(t.Context(), ledger.Object{Bucket: r.bucket, Key: "k"}, since))
	r.moveLoss(ledger.Lost)
	all, err := r.ledger.Losses(t.Context())
	r.must(err)
	r.must(r.ledger.MoveLoss(t.Context(), all[0], ledger.Healthy, time.Time{}, ledger.Gone{}))
	for when, id := range map[string]string{"before": before, "since": since} {
		_, err := r.client.S3.UploadPart(t.Context(), &awss3.UploadPartInput{Bucket: &r.bucket, Key: aws.String("k"), UploadId: &id,
			PartNumber: aws.Int32(1), Body: strings.NewReader("part")})
		if err != nil {
			t.Errorf("an upload from %s the switch: %v", when, err)
		}
	}
}

// One that lives on a store which is away is not said to be on none.
func TestUploadThatALossHasForgottenIsNotMissingWhileItsStoreIsAway(t *testing.T) {
	r, _ := lossRig(t)
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	id := r.createUpload("k")
	r.route(ledger.Source, ledger.Switched) // turned back
	r.must(r.ledger.MarkLost(t.Context(), time.Now()))
	r.must(r.ledger.DeleteUpload(t.Context(), ledger.Object{Bucket: r.bucket, Key: "k"}, id))
	r.moveLoss(ledger.Lost)
	all, err := r.ledger.Losses(t.Context())
	r.must(err)
	r.must(r.ledger.MoveLoss(t.Context(), all[0], ledger.Healthy, time.Time{}, ledger.Gone{}))
	part := func() int {
		return r.raw(http.MethodPut, "/"+r.bucket+"/k?partNumber=1&uploadId="+id, "part", nil).StatusCode
	}
	r.hooks[ledger.Target].set(func(req *http.Request, _ next) (*http.Response, error) {
		return answer(req, 503, errorBody("SlowDown")), nil
	})
	if got := part(); got != http.StatusServiceUnavailable {
		t.Errorf("answered %d", got)
	}
	r.hooks[ledger.Target].set(nil)
	if got := part(); got != http.StatusOK {
		t.Errorf("answered %d once it is back", got)
	}
}

// Who has said where uploads live says so again.
func TestUploadsAreListedAfterALoss(t *testing.T) {
	r, rdb := lossRig(t)
	want := []string{r.createUpload("k")}
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	want = append(want, r.createUpload("k"))
	ended := r.createUpload("k")
	_, err := r.client.S3.AbortMultipartUpload(t.Context(), &awss3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("k"), UploadId: &ended})
	r.must(err)
	// That of a copy, whose worker has died.
	_, err = r.direct[ledger.Target].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("k")})
	r.must(err)
	places, err := rdb.Keys(t.Context(), "*:u").Result()
	r.must(err)
	r.must(rdb.Del(t.Context(), places...).Err())
	r.must(r.ledger.MarkLost(t.Context(), time.Now()))
	list := make(chan []string, 1)
	go func() {
		out, err := r.client.S3.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &r.bucket})
		if err != nil {
			t.Error(err)
		}
		var ids []string
		for _, u := range out.Uploads {
			ids = append(ids, *u.UploadId)
		}
		list <- ids
	}()
	r.moveLoss(ledger.Lost)
	if diff := cmp.Diff(want, <-list, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Error(diff)
	}
	if n, err := rdb.HLen(t.Context(), places[0]).Result(); err != nil || n != 1 {
		t.Errorf("%d uploads are placed, %v", n, err)
	}
}

// What was lost is found out with the stores' own keys: a client may write and
// not read.
func TestClientsThatMayOnlyWriteAfterALoss(t *testing.T) {
	r, _ := lossRig(t)
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::` + r.bucket + `/*"}]}`
	for _, c := range r.direct {
		_, err := c.S3.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: &r.bucket, Policy: &policy})
		r.must(err)
	}
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	// By another proxy, which is gone; and Redis forgot it.
	r.put(r.direct[ledger.Target], "k", "v")
	up, err := r.direct[ledger.Target].S3.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: aws.String("parts")})
	r.must(err)
	r.must(r.ledger.MarkLost(t.Context(), time.Now()))
	r.moveLoss(ledger.Lost)
	anybody := func(target string, header http.Header) *rawResponse {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+"/"+r.bucket+"/"+target, strings.NewReader("w"))
		r.must(err)
		maps.Copy(req.Header, header)
		return r.do(req)
	}
	if resp := anybody("k", http.Header{"If-None-Match": {"*"}}); resp.StatusCode != 412 {
		t.Errorf("conditional write: %d %s", resp.StatusCode, resp.text)
	}
	if resp := anybody("parts?partNumber=1&uploadId="+*up.UploadId, nil); resp.StatusCode != 200 {
		t.Errorf("part: %d %s", resp.StatusCode, resp.text)
	}
}

// forgotten moves traffic to the target and has the ledger lose all it knows, of which
// nobody tells.
func (r *rig) forgotten() {
	r.Helper()
	r.settled()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.must(r.ledger.MarkLost(r.Context(), time.Now()))
	all, err := r.ledger.Losses(r.Context())
	r.must(err)
	r.must(r.ledger.MoveLoss(r.Context(), all[0], ledger.Lost, time.Now(), ledger.Gone{Proxy: true}))
}

// What a gateway says while a store is away must not decide, for good, which store
// holds the newest version.
func TestGatewaysAnswerDoesNotDecideWhatIsNewest(t *testing.T) {
	r, _ := lossRig(t)
	r.put(r.client, "k", "on the source alone")
	r.forgotten()
	for name, status := range map[string]int{"404": 404, "a page with status 200": 200} {
		r.hooks[ledger.Source].set(func(req *http.Request, _ func(*http.Request) (*http.Response, error)) (*http.Response, error) {
			return answer(req, status, "<html><body>default backend</body></html>"), nil
		})
		for path, what := range map[string]string{"/k": "read", "?list-type=2": "listing"} {
			if resp := r.raw(http.MethodGet, "/"+r.bucket+path, "", nil); resp.StatusCode < 500 {
				t.Errorf("%s, %s: %d %s", name, what, resp.StatusCode, resp.text)
			}
		}
	}
	if loc, err := r.ledger.Lookup(t.Context(), ledger.Object{Bucket: r.bucket, Key: "k"}); err != nil || loc.Loss != ledger.Lost {
		t.Errorf("it counts as known that the %s has the newest (%v)", loc.Store, err)
	}
}

// An object that comes between two looks at a store is there.
func TestObjectThatAppearsWhileTheStoresAreComparedIsRead(t *testing.T) {
	r, _ := lossRig(t)
	r.put(r.client, "k", "content")
	r.forgotten()
	r.hooks[ledger.Source].set(func(req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		if req.Method == http.MethodHead {
			return answer(req, 404, ""), nil // it is not there yet
		}
		return send(req)
	})
	if resp := r.raw(http.MethodGet, "/"+r.bucket+"/k", "", nil); resp.StatusCode != 200 || resp.text != "content" {
		t.Errorf("%d %s", resp.StatusCode, resp.text)
	}
}
