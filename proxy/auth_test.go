package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// user makes a user at a store who may create buckets, and returns its keys.
func (r *rig) user(store ledger.Store, name string) s3.Credentials {
	r.Helper()
	binary, err := s3test.Binary("versitygw")
	r.must(err)
	e := r.direct[store].Endpoint
	keys := s3.Credentials{AccessKeyID: fmt.Sprintf("%s-%s", name, strings.ToLower(s3.NewRequestID())), SecretAccessKey: name + "-secret"}
	out, err := exec.CommandContext(r.Context(), binary, "admin", "-a", e.AccessKeyID, "-s", e.SecretAccessKey, "-er", e.URL,
		"create-user", "-a", keys.AccessKeyID, "-s", keys.SecretAccessKey, "-r", "userplus").CombinedOutput()
	if err != nil {
		r.Fatalf("create user: %v %s", err, out)
	}
	return keys
}

func fixed(c s3.Credentials) s3.CredentialsFunc { return func() s3.Credentials { return c } }

func keysOf(c ...s3.Credentials) s3.KeysFunc { return func() []s3.Credentials { return c } }

// as is a client of the proxy with keys of its own.
func (r *rig) as(c s3.Credentials) *s3.Client {
	r.Helper()
	return s3test.Client(r, s3.Endpoint{URL: r.url, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken})
}

// Each client is itself at both stores: owners are right, and what one may not
// do at the store it may not do through the proxy.
func TestClientsActWithTheirOwnRightsAtTheStores(t *testing.T) {
	r := newRig(t, rigOptions{})
	own := r.direct[0].Endpoint
	alice := s3.Credentials{AccessKeyID: "client-alice", SecretAccessKey: "1", SessionToken: "session"}
	bob := s3.Credentials{AccessKeyID: "client-bob", SecretAccessKey: "2"}
	root := s3.Credentials{AccessKeyID: "client-root", SecretAccessKey: "3"}
	at := map[string][2]s3.Credentials{}
	for _, name := range []string{"alice", "bob"} {
		at[name] = [2]s3.Credentials{r.user(ledger.Source, name), r.user(ledger.Target, name)}
	}
	cfg := r.proxy.cfg
	cfg.Registry, cfg.StateDir = nil, t.TempDir()
	cfg.Clients = []Client{
		{Keys: keysOf(alice), Stores: [2]s3.CredentialsFunc{fixed(at["alice"][0]), fixed(at["alice"][1])}},
		{Keys: keysOf(bob), Stores: [2]s3.CredentialsFunc{fixed(at["bob"][0]), fixed(at["bob"][1])}},
		{Keys: keysOf(root)},
	}
	r.end()
	r.start(cfg)
	r.eventually("the route is obeyed", func() bool { return r.proxy.route.Load() != nil })

	if got := r.get(r.client, "k"); got != "InvalidAccessKeyId" {
		t.Errorf("the store's own keys, which are no client's: %s", got)
	}
	bucket := "alices-" + r.bucket
	r.must(r.as(alice).CreateBucket(t.Context(), bucket, false))
	owner := func(store ledger.Store) string {
		acl, err := r.direct[store].S3.GetBucketAcl(t.Context(), &awss3.GetBucketAclInput{Bucket: &bucket})
		r.must(err)
		return aws.ToString(acl.Owner.ID)
	}
	if got := owner(ledger.Source); got != at["alice"][0].AccessKeyID {
		t.Errorf("the bucket belongs to %s", got)
	}
	e := own
	e.AccessKeyID, e.SecretAccessKey = at["alice"][1].AccessKeyID, at["alice"][1].SecretAccessKey
	e.URL = r.direct[1].Endpoint.URL
	r.must(s3test.Client(t, e).CreateBucket(t.Context(), bucket, false))
	t.Cleanup(func() {
		for _, c := range r.direct {
			_ = s3test.RemoveBucket(t.Context(), c, bucket)
		}
	})
	r.bucket = bucket
	check := func(phase string) {
		t.Helper()
		r.put(r.as(alice), "k", phase)
		if got := r.get(r.as(alice), "k"); got != phase {
			t.Errorf("%s: alice reads %q", phase, got)
		}
		if got := r.get(r.as(bob), "k"); got != "AccessDenied" {
			t.Errorf("%s: bob reads %q", phase, got)
		}
		if got := r.get(r.as(root), "k"); got != phase {
			t.Errorf("%s: a client without keys at the stores reads %q", phase, got)
		}
		wrong := alice
		wrong.SessionToken = ""
		if got := r.get(r.as(wrong), "k"); got != "InvalidToken" {
			t.Errorf("%s: without the session token: %q", phase, got)
		}
	}
	check("Copying")
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	if got := r.get(r.as(alice), "k"); got != "Copying" {
		t.Errorf("dirty during the switch: alice reads %q", got)
	}
	check("SwitchStarted")
	r.settled()
	r.sync()
	r.route(ledger.Target, ledger.Steady)
	check("SwitchDone")
}

func TestKeysRotateWithoutARestart(t *testing.T) {
	var mu sync.Mutex
	old := s3.Credentials{AccessKeyID: "client-old", SecretAccessKey: "1"}
	fresh := s3.Credentials{AccessKeyID: "client-new", SecretAccessKey: "2"}
	keys := []s3.Credentials{old}
	set := func(c ...s3.Credentials) { mu.Lock(); keys = c; mu.Unlock() }
	r := newRig(t, rigOptions{config: func(c *Config) {
		c.Clients = []Client{{Keys: func() []s3.Credentials { mu.Lock(); defer mu.Unlock(); return keys }}}
	}})
	r.put(r.as(old), "k", "v")
	takes := func(c s3.Credentials) func() bool { return func() bool { return r.get(r.as(c), "k") == "v" } }
	set(fresh, old)
	r.eventually("the new key is valid", takes(fresh))
	if !takes(old)() {
		t.Error("the old key is refused while keys rotate")
	}
	again := s3.Credentials{AccessKeyID: fresh.AccessKeyID, SecretAccessKey: "3"}
	set(again, fresh)
	r.eventually("a new secret of the same key is valid", takes(again))
	if !takes(fresh)() {
		t.Error("the old secret of the same key is refused while it rotates")
	}
	if got := r.get(r.as(old), "k"); got != "InvalidAccessKeyId" {
		t.Errorf("a key that is gone: %s", got)
	}
	set(again)
	r.eventually("the old secret is refused", func() bool { return r.get(r.as(fresh), "k") == "SignatureDoesNotMatch" })
}

func TestAnonymousRequestsOnlyWhenAsked(t *testing.T) {
	for name, tt := range map[string]struct {
		forward bool
		want    int
	}{"refused": {false, 403}, "forwarded": {true, 200}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{config: func(c *Config) { c.Anonymous = tt.forward }})
			policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::` + r.bucket + `/public/*"}]}`
			for _, c := range r.direct {
				_, err := c.S3.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: &r.bucket, Policy: &policy})
				r.must(err)
			}
			r.put(r.client, "public/k", "v")
			r.put(r.client, "private", "v")
			r.settled()
			r.sync()
			request := func(method, key, body string) int {
				req, err := http.NewRequestWithContext(t.Context(), method, r.url+"/"+r.bucket+"/"+key, strings.NewReader(body))
				r.must(err)
				resp, err := r.client.HTTP.Transport.RoundTrip(req)
				r.must(err)
				_ = resp.Body.Close()
				return resp.StatusCode
			}
			if tt.forward {
				// What the client says of its body is the store's to check.
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+"/"+r.bucket+"/public/wrong", strings.NewReader("body"))
				r.must(err)
				req.Header.Set("X-Amz-Content-Sha256", s3.EmptyPayload)
				if resp := r.do(req); resp.StatusCode != 400 || !strings.Contains(resp.text, "XAmzContentSHA256Mismatch") {
					t.Errorf("wrong hash: %d %s", resp.StatusCode, resp.text)
				}
				r.settled()
			}
			for _, phase := range []string{"Copying", "SwitchStarted"} {
				if got := request(http.MethodGet, "public/k", ""); got != tt.want {
					t.Errorf("%s: public read: %d", phase, got)
				}
				if got := request(http.MethodGet, "private", ""); got != 403 {
					t.Errorf("%s: private read: %d", phase, got)
				}
				if got := request(http.MethodPut, "public/new", "w"); got != tt.want {
					t.Errorf("%s: public write: %d", phase, got)
				}
				r.settled()
				if got := r.newest("public/new") != ""; got != tt.forward {
					t.Errorf("%s: recorded: %v", phase, got)
				}
				r.route(ledger.Source, ledger.Preparing)
				r.route(ledger.Target, ledger.Switched)
			}
		})
	}
}

// During a switch a listing takes two stores; main alone says who may list.
func TestMainJudgesAnonymousListings(t *testing.T) {
	for name, tt := range map[string]struct {
		open ledger.Store // which store's policy lets anybody list
		want int
	}{"main's policy": {ledger.Target, 200}, "the old store's policy": {ledger.Source, 403}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{config: func(c *Config) { c.Anonymous = true }})
			r.createUpload("old/upload")
			r.put(r.client, "old/object", "v")
			r.settled()
			policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:ListBucket","s3:ListBucketVersions","s3:ListBucketMultipartUploads"],"Resource":"arn:aws:s3:::` + r.bucket + `"}]}`
			_, err := r.direct[tt.open].S3.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: &r.bucket, Policy: &policy})
			r.must(err)
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
			for query, key := range map[string]string{"": "old/object", "list-type=2": "old/object", "versions": "old/object", "uploads": "old/upload"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/"+r.bucket+"?"+query, http.NoBody)
				r.must(err)
				resp := r.do(req)
				if resp.StatusCode != tt.want || tt.want == 200 && !strings.Contains(resp.text, "<Key>"+key+"</Key>") {
					t.Errorf("?%s: %d %s", query, resp.StatusCode, resp.text)
				}
			}
		})
	}
}

// An object is judged by the store that holds its newest version, as docs/s3.md says.
func TestAnonymousReadIsJudgedWhereTheObjectIs(t *testing.T) {
	for name, tt := range map[string]struct {
		open     ledger.Store // which store's policy lets anybody read
		old, new int
	}{"the old store's policy": {ledger.Source, 200, 403}, "main's policy": {ledger.Target, 403, 200}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{config: func(c *Config) { c.Anonymous = true }})
			r.put(r.client, "old", "v")
			r.settled()
			policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::` + r.bucket + `/*"}]}`
			_, err := r.direct[tt.open].S3.PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{Bucket: &r.bucket, Policy: &policy})
			r.must(err)
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
			r.put(r.client, "new", "v")
			for key, want := range map[string]int{"old": tt.old, "new": tt.new} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/"+r.bucket+"/"+key, http.NoBody)
				r.must(err)
				if resp := r.do(req); resp.StatusCode != want {
					t.Errorf("%s: %d %s", key, resp.StatusCode, resp.text)
				}
			}
		})
	}
}

// What is no list of objects is for the store to refuse, also without a signature.
func TestAnonymousDeleteOfNothing(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Anonymous = true }})
	ask := func(base string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/"+r.bucket+"?delete", strings.NewReader("<Delete></Delete>"))
		r.must(err)
		resp := r.do(req)
		code, _, _ := strings.Cut(resp.text[strings.Index(resp.text, "<Code>")+1:], "<")
		return fmt.Sprint(resp.StatusCode, code)
	}
	if got, want := ask(r.url), ask(r.direct[0].Endpoint.URL); got != want {
		t.Errorf("%s, the store says %s", got, want)
	}
}

func TestRegionsThatClientsMaySignFor(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Regions = []string{"us-east-1", "eu-west-1"} }})
	r.put(r.client, "k", "v")
	for region, want := range map[string]string{"us-east-1": "v", "eu-west-1": "v", "moon-1": "AuthorizationHeaderMalformed"} {
		e := r.client.Endpoint
		e.Region = region
		if got := r.get(s3test.Client(t, e), "k"); got != want {
			t.Errorf("%s: %q", region, got)
		}
	}
}

// Ceph takes any region, and names one to its clients. They go on with it after
// the switch to a store that does not.
func TestRegionThatAStoreTakes(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Regions, c.AskRegions = []string{"us-east-1"}, true }})
	var asked atomic.Int32
	r.hooks[ledger.Source].set(func(req *http.Request, next next) (*http.Response, error) {
		if req.URL.Path == "/" {
			asked.Add(1)
			if strings.Contains(req.Header.Get("Authorization"), "/default/s3/") {
				return answer(req, 200, "<ListAllMyBucketsResult/>"), nil
			}
		}
		return next(req)
	})
	in := func(region, secret string) *s3.Client {
		e := r.client.Endpoint
		e.Region = region
		if secret != "" {
			e.SecretAccessKey = secret
		}
		return s3test.Client(t, e)
	}
	r.put(r.client, "k", "v")
	r.settled()
	r.sync()
	for range 3 {
		if got := r.get(in("default", "wrong"), "k"); got != "AuthorizationHeaderMalformed" {
			t.Errorf("a wrong secret: %q", got)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("strangers had the store asked %d times", n)
	}
	for _, phase := range []string{"Copying", "SwitchStarted"} {
		for region, want := range map[string]string{"default": "v", "us-east-1": "v", "moon-1": "AuthorizationHeaderMalformed"} {
			for range 3 {
				if got := r.get(in(region, ""), "k"); got != want {
					t.Errorf("%s, %s: %q", phase, region, got)
				}
			}
		}
		r.route(ledger.Source, ledger.Preparing)
		r.route(ledger.Target, ledger.Switched)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the store was asked %d times about two regions", n)
	}
}

func TestRegionsAreRememberedInBounds(t *testing.T) {
	var fail atomic.Bool
	var asked atomic.Int32
	g := newRegions(func(_ context.Context, region string) (bool, error) {
		asked.Add(1)
		if fail.Load() {
			return false, errors.New("out of reach")
		}
		return region == "yes", nil
	})
	fail.Store(true)
	if g.take("yes") {
		t.Error("taken by a store that could not be asked")
	}
	fail.Store(false)
	if !g.take("yes") || g.take("no") {
		t.Error("not what the store says")
	}
	fail.Store(true)
	if !g.take("yes") || g.take("no") || asked.Load() != 3 {
		t.Errorf("not remembered; asked %d times", asked.Load())
	}
	fail.Store(false)
	for i := range 2 * maxRegions {
		g.take(fmt.Sprint("r", i))
	}
	if n := len(g.taken); n > maxRegions {
		t.Errorf("%d are remembered", n)
	}
}

func TestRequestsOutOfTheirTimeAreRefused(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.put(r.client, "k", "v")
	before := r.hooks[0].calls.Load()
	for name, tt := range map[string]struct {
		at   time.Time
		want string
	}{
		"20 minutes ago":  {time.Now().Add(-20 * time.Minute), "RequestTimeTooSkewed"},
		"in 20 minutes":   {time.Now().Add(20 * time.Minute), "RequestTimeTooSkewed"},
		"the day before":  {time.Now().Add(-24 * time.Hour), "RequestTimeTooSkewed"},
		"the Epoch":       {time.Unix(0, 0), "RequestTimeTooSkewed"},
		"far, far future": {time.Now().AddDate(500, 0, 0), "RequestTimeTooSkewed"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, r.url+"/"+r.bucket+"/k", nil)
			r.must(err)
			s3.NewSigner(r.client.Endpoint).Sign(req, s3.EmptyPayload, tt.at)
			resp := r.do(req)
			if resp.StatusCode != 403 || !strings.Contains(resp.text, "<Code>"+tt.want+"</Code>") {
				t.Errorf("%d %s", resp.StatusCode, resp.text)
			}
			if strings.Contains(resp.text, r.client.Endpoint.SecretAccessKey) {
				t.Error("the answer holds the secret")
			}
		})
	}
	if r.hooks[0].calls.Load() != before {
		t.Error("the store was asked")
	}
}
