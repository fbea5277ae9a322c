package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

type next = func(*http.Request) (*http.Response, error)

// dirtyOn leaves key newest on the source, while main is the target.
func dirtyOn(r *rig, keys ...string) {
	r.Helper()
	for _, k := range keys {
		r.put(r.client, k, "newest")
		r.put(r.direct[ledger.Target], k, "stale")
	}
	r.settled()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
}

func TestConditionalWriteWaitsForSync(t *testing.T) {
	r := newRig(t, rigOptions{})
	dirtyOn(r, "k")
	head, err := r.client.S3.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &r.bucket, Key: aws.String("k")})
	r.must(err)
	done := make(chan error, 1)
	go func() {
		_, err := r.client.S3.PutObject(context.Background(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"),
			Body: strings.NewReader("next"), IfMatch: head.ETag})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	r.sync()
	if err := <-done; err != nil {
		t.Errorf("If-Match of the newest content: %v", err)
	}
	if got := r.get(r.direct[ledger.Target], "k"); got != "next" {
		t.Errorf("target holds %q", got)
	}
	_, err = r.client.S3.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
	if code, _ := s3.ErrorCode(err); code != "PreconditionFailed" {
		t.Errorf("If-None-Match: %v", err)
	}
}

func TestCopyWaitsForItsSource(t *testing.T) {
	r := newRig(t, rigOptions{})
	dirtyOn(r, "from")
	done := make(chan error, 1)
	go func() {
		_, err := r.client.S3.CopyObject(context.Background(), &awss3.CopyObjectInput{Bucket: &r.bucket, Key: aws.String("to"), CopySource: aws.String(r.bucket + "/from")})
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
	if got := r.get(r.direct[ledger.Target], "to"); got != "newest" {
		t.Errorf("copied %q", got)
	}
}

// Whoever depends on an object that is newer on the other store waits for it as long as
// a conditional write would: a dead worker's claim of it may have to be buried first,
// which takes longer than a request can live.
func TestWhatWaitsForAnotherObjectOutlivesARequest(t *testing.T) {
	const maxInFlight = time.Second
	r := newRig(t, rigOptions{config: func(c *Config) { c.MaxInFlight = maxInFlight }})
	dirtyOn(r, "from")
	upload := r.createUpload("big")
	source := http.Header{"X-Amz-Copy-Source": {r.bucket + "/from"}}
	answers := make(chan string, 3)
	for name, send := range map[string]func() *rawResponse{
		"CopyObject": func() *rawResponse { return r.raw(http.MethodPut, "/"+r.bucket+"/to", "", source) },
		"UploadPartCopy": func() *rawResponse {
			return r.raw(http.MethodPut, "/"+r.bucket+"/big?partNumber=1&uploadId="+upload, "", source)
		},
		"DeleteBucket": func() *rawResponse { return r.raw(http.MethodDelete, "/"+r.bucket, "", nil) },
	} {
		go func() { answers <- fmt.Sprint(name, " ", send().StatusCode) }()
	}
	select {
	case a := <-answers:
		t.Fatalf("did not wait: %s", a)
	case <-time.After(maxInFlight * 3 / 2):
	}
	var got []string
	for len(got) < 3 {
		select {
		case a := <-answers:
			got = append(got, a)
		default:
			r.sync()
		}
	}
	slices.Sort(got)
	if want := []string{"CopyObject 200", "DeleteBucket 409", "UploadPartCopy 200"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCopyThatFailsInItsBody(t *testing.T) {
	tests := map[string]struct {
		body     string
		wantOpen bool
		wantCode string
	}{
		"refused": {body: errorBody("AccessDenied")},
		"failed":  {body: errorBody("InternalError"), wantOpen: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{config: func(c *Config) { c.MaxInFlight = 2 * time.Second }})
			r.put(r.client, "from", "v")
			r.settled()
			r.sync()
			r.hooks[0].set(func(req *http.Request, _ next) (*http.Response, error) { return answer(req, 200, tt.body), nil })
			resp := r.raw(http.MethodPut, "/"+r.bucket+"/to", "", http.Header{"X-Amz-Copy-Source": {r.bucket + "/from"}})
			if resp.StatusCode != 200 || resp.text != tt.body {
				t.Errorf("%d %q", resp.StatusCode, resp.text)
			}
			r.settled()
			if got := r.newest("to") != ""; got != tt.wantOpen {
				t.Errorf("open: %v", got)
			}
		})
	}
}

func TestDeleteObjectsRecordsEachKey(t *testing.T) {
	r := newRig(t, rigOptions{})
	dirtyOn(r, "gone", "kept")
	r.hooks[ledger.Target].set(func(req *http.Request, next next) (*http.Response, error) {
		if !req.URL.Query().Has("delete") {
			return next(req)
		}
		return answer(req, 200, `<DeleteResult><Deleted><Key>gone</Key></Deleted><Error><Key>kept</Key><Code>AccessDenied</Code></Error></DeleteResult>`), nil
	})
	out, err := r.client.S3.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{{Key: aws.String("gone")}, {Key: aws.String("kept")}}}})
	r.must(err)
	if len(out.Deleted) != 1 || len(out.Errors) != 1 {
		t.Errorf("answer %+v", out)
	}
	r.settled()
	if got := r.newest("gone"); got != "Target" {
		t.Errorf("gone: newest on %q", got)
	}
	if got := r.newest("kept"); got != "Source" {
		t.Errorf("a delete that was refused made its store the newest: %q", got)
	}
	if got := r.get(r.client, "kept"); got != "newest" {
		t.Errorf("kept reads %q", got)
	}
}

// A store that fails when it has begun to answer with 200 says so in the body.
func TestDeleteObjectsThatFailsInItsBodyIsInDoubt(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.MaxInFlight = 500 * time.Millisecond }})
	dirtyOn(r, "k")
	r.hooks[ledger.Target].set(func(req *http.Request, next next) (*http.Response, error) {
		if !req.URL.Query().Has("delete") {
			return next(req)
		}
		return answer(req, 200, errorBody("InternalError")), nil
	})
	body := `<Delete><Object><Key>k</Key></Object></Delete>`
	if got := r.raw(http.MethodPost, "/"+r.bucket+"?delete", body, nil); !strings.Contains(got.text, "InternalError") {
		t.Errorf("answer %s", got.text)
	}
	r.settled()
	if got := r.newest("k"); got != "Source" {
		t.Errorf("a delete that failed made its store the newest: %q", got)
	}
	if got := r.get(r.client, "k"); got != "newest" {
		t.Errorf("reads %q", got)
	}
}

func TestDeleteObjectsOfNastyKeys(t *testing.T) {
	r := newRig(t, rigOptions{})
	keys := []string{"a&b<c>", "ü/ é", "x+y%2F", "q'\""}
	var ids []types.ObjectIdentifier
	for _, k := range keys {
		r.put(r.client, k, "v")
		ids = append(ids, types.ObjectIdentifier{Key: aws.String(k)})
	}
	out, err := r.client.S3.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)}})
	r.must(err)
	if len(out.Errors) != 0 {
		t.Errorf("errors %+v", out.Errors)
	}
	r.settled()
	for _, k := range keys {
		if got := r.get(r.direct[0], k); got != "NoSuchKey" {
			t.Errorf("%q is still there: %q", k, got)
		}
		if got := r.newest(k); got != "Source" {
			t.Errorf("%q: newest on %q", k, got)
		}
	}
}

func TestDeleteObjectsAreSplitByStore(t *testing.T) {
	r := newRig(t, rigOptions{})
	source := &change{p: r.proxy, store: ledger.Source, intents: []ledger.Intent{{Object: ledger.Object{Bucket: r.bucket, Key: "a<"}}}}
	body := source.share([]byte("<Delete><Quiet>true</Quiet></Delete>"), []deleteItem{
		{key: "a<", raw: []byte("<Object><Key>a&lt;</Key></Object>")}, {key: "b", raw: []byte("<Object><Key>b</Key></Object>")}})
	if want := "<Delete><Quiet>true</Quiet><Object><Key>a&lt;</Key></Object></Delete>"; string(body) != want {
		t.Errorf("share %s", body)
	}
	var joined *deleteAnswer
	for _, b := range []string{"<R><Deleted>1</Deleted></R>", "<R/>", "<R><Error>2</Error></R>"} {
		joined = joined.join(&deleteAnswer{body: []byte(b)})
	}
	if want := "<R><Deleted>1</Deleted><Error>2</Error></R>"; string(joined.body) != want {
		t.Errorf("joined %s", joined.body)
	}
}

// lostAborts has the first Abort not reach Redis.
type lostAborts struct {
	bucket atomic.Value
	lost   atomic.Bool
}

func (h *lostAborts) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *lostAborts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *lostAborts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		// EVALSHA sha 1 prefix, then time, session, id, store, bucket, key.
		if a := cmd.Args(); len(a) == 10 && a[8] == h.bucket.Load() && h.lost.CompareAndSwap(false, true) {
			err := &net.OpError{Op: "write", Err: io.ErrClosedPipe}
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

// A delete of many keys begins on one shard and must wait on another: what it
// began is taken back, even if Redis does not hear of that at first.
func TestDeleteOfManyKeysThatMustWaitLeavesNothingOpen(t *testing.T) {
	h := &lostAborts{}
	r := newRig(t, rigOptions{redis: newRedis(t).Addr, shards: 2, hook: h})
	var keys [2]string // one on each shard
	for i := 0; keys[0] == "" || keys[1] == ""; i++ {
		key, sum := fmt.Sprint("k", i), fnv.New32a()
		_, _ = sum.Write([]byte(r.bucket + "\x00" + key))
		keys[sum.Sum32()%2] = key
	}
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	source := ledger.Source
	in, err := r.ledger.Begin(t.Context(), r.proxy.member.ID(), ledger.Object{Bucket: r.bucket, Key: keys[1]}, ledger.BeginOptions{Store: &source, InSync: true})
	r.must(err)
	h.bucket.Store(r.bucket)
	done := make(chan error, 1)
	go func() {
		_, err := r.client.S3.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &r.bucket,
			Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: &keys[0]}, {Key: &keys[1]}}}})
		done <- err
	}()
	r.eventually("it was taken back without an answer", h.lost.Load)
	r.must(r.ledger.Abort(t.Context(), in))
	r.must(<-done)
	r.eventually("nothing is open", func() bool {
		s, err := r.ledger.Stats(t.Context())
		r.must(err)
		return s.Intents == [2]int64{}
	})
}

func TestBadDeleteListIsRefused(t *testing.T) {
	r := newRig(t, rigOptions{})
	before := r.hooks[0].calls.Load()
	for _, body := range []string{"", "<Delete><Object><Key>a</Key></Object>", "<Delete>" + strings.Repeat("<Object><Key>a</Key></Object>", 1001) + "</Delete>"} {
		if resp := r.raw(http.MethodPost, "/"+r.bucket+"?delete", body, nil); resp.StatusCode != 400 || !strings.Contains(resp.text, "MalformedXML") {
			t.Errorf("%.40q: %d %s", body, resp.StatusCode, resp.text)
		}
	}
	if r.hooks[0].calls.Load() != before {
		t.Error("the store was asked")
	}
}

func TestNastyKeysSurvive(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, k := range []string{"a b", "a+b", "a%20b", "a%2Fb", "ü", "日本/語", "~!@#$^&*()_-=", "q?x=y", "semi;colon", "c:d", "e,f", "'\"<>", "tab\there"} {
		r.put(r.client, k, k)
		if got := r.get(r.direct[0], k); got != k {
			t.Errorf("%q arrived as %q", k, got)
		}
		r.settled()
		if got := r.newest(k); got != "Source" {
			t.Errorf("%q: newest on %q", k, got)
		}
		r.del(r.client, k)
		if got := r.get(r.client, k); got != "NoSuchKey" {
			t.Errorf("%q after its delete: %q", k, got)
		}
	}
}

func TestChunkedUploads(t *testing.T) {
	body := make([]byte, 300<<10)
	_, _ = rand.Read(body)
	for name, opt := range map[string]func(*awss3.Options){
		"signed payload":   func(*awss3.Options) {},
		"trailer checksum": func(o *awss3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported },
		"unsigned": func(o *awss3.Options) {
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			e := r.client.Endpoint
			c := awss3.New(awss3.Options{Region: "us-east-1", BaseEndpoint: &e.URL, UsePathStyle: true, HTTPClient: r.client.HTTP,
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{AccessKeyID: e.AccessKeyID, SecretAccessKey: e.SecretAccessKey}, nil
				}), RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired}, opt)
			in := &awss3.PutObjectInput{Bucket: &r.bucket, Key: aws.String("k"), Body: bytes.NewReader(body), ContentEncoding: aws.String("gzip")}
			if name == "trailer checksum" {
				in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
			}
			_, err := c.PutObject(t.Context(), in)
			r.must(err)
			out, err := r.direct[0].S3.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &r.bucket, Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled})
			r.must(err)
			got, err := io.ReadAll(out.Body)
			r.must(err)
			if !bytes.Equal(got, body) {
				t.Error("the body changed")
			}
			if e := aws.ToString(out.ContentEncoding); e != "gzip" {
				t.Errorf("Content-Encoding %q", e)
			}
			if name == "trailer checksum" && aws.ToString(out.ChecksumCRC32) == "" {
				t.Error("the checksum did not reach the store")
			}
		})
	}
}

func TestFramedBodyOfABucketIsRefused(t *testing.T) {
	r := newRig(t, rigOptions{})
	body := "5\r\nabcde\r\n0\r\n\r\n"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+"/"+r.bucket+"?tagging", strings.NewReader(body))
	r.must(err)
	req.Header.Set("X-Amz-Decoded-Content-Length", "5")
	s3.NewSigner(r.client.Endpoint).Sign(req, s3.StreamingUnsignedTrailer, time.Now())
	resp, err := r.client.HTTP.Transport.RoundTrip(req)
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	if got := s3.ParseError(resp); !errors.Is(got, s3.ErrInvalidRequest) || !strings.Contains(got.Message, "x-amz-content-sha256") {
		t.Errorf("got %v", got)
	}
}

func TestBadBodyIsNotWritten(t *testing.T) {
	r := newRig(t, rigOptions{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+"/"+r.bucket+"/k", strings.NewReader("other"))
	r.must(err)
	s3.NewSigner(r.direct[0].Endpoint).Sign(req, strings.Repeat("a", 64), time.Now())
	resp, err := r.client.HTTP.Transport.RoundTrip(req)
	r.must(err)
	_ = resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if got := r.get(r.client, "k"); got != "NoSuchKey" {
		t.Errorf("written: %q", got)
	}
}

func TestBucketNamesDiffer(t *testing.T) {
	r := newRig(t, rigOptions{names: true})
	r.put(r.client, "k", "v")
	r.settled()
	target := r.bucket + "-eu"
	_, err := r.direct[1].S3.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &target, Key: aws.String("k"), Body: strings.NewReader("v")})
	r.must(err)
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.put(r.client, "k", "w")
	r.settled()
	_, err = r.client.S3.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &r.bucket, Key: aws.String("copy"), CopySource: aws.String(r.bucket + "/k")})
	r.must(err)
	if got := r.get(r.client, "copy"); got != "w" {
		t.Errorf("copy reads %q", got)
	}
	resp := r.raw(http.MethodGet, "/"+r.bucket+"?list-type=2", "", nil)
	if !strings.Contains(resp.text, "<Name>"+r.bucket+"</Name>") || strings.Contains(resp.text, target) {
		t.Errorf("listing %s", resp.text)
	}
	resp = r.raw(http.MethodGet, "/", "", nil)
	if !strings.Contains(resp.text, "<Name>"+r.bucket+"</Name>") || strings.Contains(resp.text, target) {
		t.Errorf("buckets %s", resp.text)
	}
	up := r.raw(http.MethodPost, "/"+r.bucket+"/m?uploads", "", nil)
	if !strings.Contains(up.text, "<Bucket>"+r.bucket+"</Bucket>") {
		t.Errorf("upload %s", up.text)
	}
}

// A write must reach the store once, whatever net/http thinks of it.
func TestWriteIsNeverSentTwice(t *testing.T) {
	r := newRig(t, rigOptions{})
	for name, req := range map[string]struct{ method, path, body string }{
		"put":          {http.MethodPut, "/k", "body"},
		"empty put":    {http.MethodPut, "/k", ""},
		"delete":       {http.MethodDelete, "/k", ""},
		"complete":     {http.MethodPost, "/k?uploadId=u", "<CompleteMultipartUpload/>"},
		"restore":      {http.MethodPost, "/k?restore", ""},
		"empty upload": {http.MethodPost, "/k?uploads", ""},
	} {
		t.Run(name, func(t *testing.T) {
			store := newDroppingStore(t)
			transport := s3.NewTransport()
			defer transport.CloseIdleConnections()
			r.hooks[0].set(func(out *http.Request, _ next) (*http.Response, error) {
				out.URL.Host = store.Addr().String()
				return transport.RoundTrip(out)
			})
			// The first request leaves a kept connection, which the next one uses.
			if resp := r.raw(http.MethodHead, "/"+r.bucket+"/k", "", nil); resp.StatusCode != 200 {
				t.Fatalf("status %d", resp.StatusCode)
			}
			resp := r.raw(req.method, "/"+r.bucket+req.path, req.body, http.Header{"Idempotency-Key": {"x"}, "X-Idempotency-Key": {"x"}})
			if resp.StatusCode != 503 {
				t.Errorf("status %d", resp.StatusCode)
			}
			if n := store.requests.Load(); n != 2 {
				t.Errorf("the store saw %d requests, want 2", n)
			}
		})
	}
}

// What broke before anything was sent is sent on another connection.
func TestRequestThatNothingWasSentOfIsSent(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		broke := 0
		r.hooks[0].set(func(out *http.Request, send next) (*http.Response, error) {
			if broke++; broke > 1 {
				return send(out)
			}
			if out.Body != nil {
				_, _ = io.ReadAll(out.Body)
			}
			return nil, fmt.Errorf("write: %w", s3.ErrUnwritten)
		})
		body := map[string]string{http.MethodPut: "content"}[method]
		if resp := r.raw(method, "/"+r.bucket+"/k", body, nil); resp.StatusCode != 200 || method == http.MethodGet && resp.text != "content" {
			t.Errorf("%s: %d %q", method, resp.StatusCode, resp.text)
		}
		if broke != 2 {
			t.Errorf("%s: sent %d times", method, broke)
		}
	}
}

// droppingStore answers the first request of a connection, reads the second and hangs up.
type droppingStore struct {
	net.Listener
	requests atomic.Int64
}

func newDroppingStore(t *testing.T) *droppingStore {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &droppingStore{Listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 64<<10)
				for i := range 2 {
					if _, err := c.Read(buf); err != nil {
						return
					}
					s.requests.Add(1)
					if i == 0 {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				}
			}()
		}
	}()
	return s
}

func TestBodyCanStartOverUntilMuchOfItWasRead(t *testing.T) {
	r := &rig{T: t}
	body := strings.Repeat("x", 200<<10)
	src := newReplay(strings.NewReader(body))
	part := make([]byte, 100<<10)
	_, err := io.ReadFull(src, part)
	r.must(err)
	again, err := src.again()
	r.must(err)
	all, err := io.ReadAll(again)
	r.must(err)
	if string(all) != body {
		t.Error("the body changed")
	}
	src = newReplay(strings.NewReader("in three pieces"))
	for i := range 4 { // each try reads more than the one before, and breaks
		part := make([]byte, 4*i)
		_, err := io.ReadFull(src, part)
		r.must(err)
		if want := "in three pieces"[:4*i]; string(part) != want {
			t.Errorf("try %d: %q, want %q", i, part, want)
		}
		next, err := src.again()
		r.must(err)
		src = next.(*replay)
	}
	if _, err := again.(*replay).again(); err == nil {
		t.Error("a body that is gone was given again")
	}
}

// dial sends the head of a signed request, and what follows it, on a connection of its own.
func (r *rig) dial(req *http.Request, length int, extra, body string) net.Conn {
	r.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	r.must(err)
	r.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s", req.Method, req.URL.RequestURI(), req.URL.Host, length, extra)
	for name, v := range req.Header {
		fmt.Fprintf(&head, "%s: %s\r\n", name, v[0])
	}
	_, err = io.WriteString(conn, head.String()+"\r\n"+body)
	r.must(err)
	return conn
}

func TestEmptyBodyWithExpectIsAnswered(t *testing.T) {
	r := newRig(t, rigOptions{})
	conn := r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/empty", ""), 0, "Expect: 100-continue\r\n", "")
	want := "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	r.must(err)
	if string(got) != want {
		t.Errorf("got %q", got)
	}
}

// versitygw takes an unsigned body that ends in good order for a whole one, however long it was to be.
func TestHalfSentBodyOverwritesNothing(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "as it was")
	ended := make(chan struct{})
	r.hooks[0].set(func(req *http.Request, send next) (*http.Response, error) {
		defer close(ended)
		return send(req)
	})
	conn := r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/k", ""), 64<<10, "", strings.Repeat("x", 40<<10))
	r.eventually("it is forwarded", r.open)
	r.must(conn.(*net.TCPConn).SetLinger(0))
	r.must(conn.Close())
	<-ended
	r.hooks[0].set(nil)
	for range 50 {
		if got := r.get(r.direct[0], "k"); got != "as it was" {
			t.Fatalf("%d bytes are left of it: %.20q", len(got), got)
		}
	}
}

func TestStalledStoreFailsTheWriteInDoubt(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.IdleTimeout, c.ResponseTimeout = 100*time.Millisecond, 100*time.Millisecond }})
	r.hooks[0].set(func(req *http.Request, _ next) (*http.Response, error) {
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	})
	if s := rawPut(r, "k", "v"); s != 503 {
		t.Errorf("status %d", s)
	}
	r.settled()
	if !r.open() {
		t.Error("the write is not in doubt")
	}
}

func TestClientThatStallsIsCutOff(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.IdleTimeout = 200 * time.Millisecond }})
	conn := r.dial(r.signed(http.MethodPut, "/"+r.bucket+"/k", ""), 100, "", "the beginning")
	got := make([]byte, len("HTTP/1.1 400"))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "HTTP/1.1 400" {
		t.Errorf("%q %v", got, err)
	}
	if got := r.get(r.client, "k"); got != "NoSuchKey" {
		t.Errorf("written: %q", got)
	}
}

func TestBucketsOutsideTheMigrationStayOnTheSource(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Buckets = func(string) bool { return false } }})
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.put(r.client, "k", "v")
	if got := r.get(r.direct[ledger.Source], "k"); got != "v" {
		t.Errorf("source holds %q", got)
	}
	if got := r.newest("k"); got != "" {
		t.Errorf("recorded: newest on %q", got)
	}
}

func TestBucketConfigurationIsRecorded(t *testing.T) {
	r := newRig(t, rigOptions{})
	resp := r.raw(http.MethodPut, "/"+r.bucket+"?versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", nil)
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, resp.text)
	}
	r.settled()
	if got := r.newest(""); got != "Source" {
		t.Errorf("newest on %q", got)
	}
}

// A bucket is empty when its objects are, wherever their newest version is.
func TestDeletedBucketIsEmptyOnBothStores(t *testing.T) {
	for name, tt := range map[string]struct {
		deleted bool
		want    int
	}{"an object is newest on the old store": {false, 409}, "a delete is newest on the old store": {true, 204}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			if tt.deleted {
				r.put(r.client, "k", "v")
				r.settled()
				r.sync()
				r.del(r.client, "k")
			} else {
				r.put(r.client, "k", "v")
			}
			r.settled()
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
			answered := make(chan *rawResponse, 1)
			go func() { answered <- r.raw(http.MethodDelete, "/"+r.bucket, "", nil) }()
			r.eventually("an object is asked for", func() bool { return r.open() })
			select {
			case resp := <-answered:
				t.Fatalf("answered too early: %d %s", resp.StatusCode, resp.text)
			case <-time.After(200 * time.Millisecond):
			}
			r.sync()
			if resp := <-answered; resp.StatusCode != tt.want {
				t.Errorf("%d %s", resp.StatusCode, resp.text)
			}
			if !tt.deleted {
				if got := r.get(r.client, "k"); got != "v" {
					t.Errorf("read %q", got)
				}
			}
		})
	}
}

// Nor is one empty in which the old store is just being written, by who began before the
// switch was turned back.
func TestBucketIsNotDeletedUnderAWriteOnTheOldStore(t *testing.T) {
	r := newRig(t, rigOptions{shards: 16}) // the bucket itself is on another one
	r.put(r.client, "k", "old")
	r.settled()
	r.sync()
	r.del(r.client, "k")
	r.settled()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	in, err := r.ledger.Begin(t.Context(), r.proxy.member.ID(), ledger.Object{Bucket: r.bucket, Key: "k"}, ledger.BeginOptions{})
	r.must(err)
	r.route(ledger.Source, ledger.Switched)
	answered := make(chan *rawResponse, 1)
	go func() { answered <- r.raw(http.MethodDelete, "/"+r.bucket, "", nil) }()
	select {
	case resp := <-answered:
		t.Fatalf("answered too early: %d %s", resp.StatusCode, resp.text)
	case <-time.After(200 * time.Millisecond):
	}
	r.put(r.direct[ledger.Target], "k", "new")
	r.must(r.ledger.Commit(t.Context(), in))
	r.eventually("it is copied", func() bool { return r.sync() > 0 })
	if resp := <-answered; resp.StatusCode != 409 {
		t.Errorf("%d %s", resp.StatusCode, resp.text)
	}
}
