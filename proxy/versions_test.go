package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// versioned is a rig whose bucket keeps versions.
func versioned(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, rigOptions{})
	for _, c := range r.direct {
		_, err := c.S3.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{Bucket: &r.bucket,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		r.must(err)
	}
	return r
}

// putVersion writes a key through the proxy, and returns the version's id.
func (r *rig) putVersion(key, body string) string {
	r.Helper()
	out, err := r.client.S3.PutObject(r.Context(), &awss3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: strings.NewReader(body)})
	r.must(err)
	r.settled()
	return aws.ToString(out.VersionId)
}

// Half of what is deleted lives on the old store.
func TestVersionsOfManyAreDeletedWhereTheyLive(t *testing.T) {
	r := versioned(t)
	old := r.putVersion("old", "1")
	both := r.putVersion("both", "1")
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.putVersion("new", "0")
	young := r.putVersion("new", "1")
	r.putVersion("both", "2")
	r.putVersion("plain", "1")
	r.settled()
	r.sync()
	out, err := r.client.S3.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &r.bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("old"), VersionId: &old}, {Key: aws.String("new"), VersionId: &young}, {Key: aws.String("both"), VersionId: &both}, {Key: aws.String("plain")},
	}}})
	r.must(err)
	if len(out.Errors) > 0 || len(out.Deleted) != 4 {
		t.Errorf("deleted %d, errors %+v", len(out.Deleted), out.Errors)
	}
	r.settled()
	for key, want := range map[string]string{"old": "NoSuchKey", "new": "0", "both": "2", "plain": "NoSuchKey"} {
		if got := r.get(r.client, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if got := r.versionsOf(0, "old"); len(got) != 0 {
		t.Errorf("the version is still there: %v", got)
	}
}

// A store that fails may have the version: nobody can say that it is missing.
func TestVersionOfAStoreThatFailsIsNotMissing(t *testing.T) {
	r := versioned(t)
	id := r.putVersion("k", "1")
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.hooks[0].set(func(*http.Request, func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		return &http.Response{StatusCode: 503, Status: "503 Slow Down", Header: http.Header{}, Body: http.NoBody}, nil
	})
	_, err := r.client.S3.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: &id}, oneTry)
	if _, status := s3.ErrorCode(err); status < 500 {
		t.Errorf("a read is answered %d", status)
	}
	_, err = r.client.S3.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: &id}, oneTry)
	if _, status := s3.ErrorCode(err); status < 500 {
		t.Errorf("a delete is answered %d", status)
	}
}

// Nor is one because a gateway says so while the store behind it is away: its delete would
// go to main, which says that all is well.
func TestVersionIsNotMissingBecauseAGatewaySaysSo(t *testing.T) {
	r := versioned(t)
	id := r.putVersion("k", "1")
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.hooks[0].set(func(req *http.Request, _ func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		return answer(req, 404, "default backend - 404"), nil
	})
	_, err := r.client.S3.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: &id}, oneTry)
	if _, status := s3.ErrorCode(err); status < 500 {
		t.Errorf("a delete is answered %d", status)
	}
}

func oneTry(o *awss3.Options) { o.RetryMaxAttempts = 1 }

// Before traffic moves back nobody writes the store that it moves to.
func TestVersionOfTheFollowerStaysWhileASwitchIsPrepared(t *testing.T) {
	r := versioned(t)
	id := r.putVersion("k", "1")
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.routeTo(ledger.Route{Main: ledger.Target, State: ledger.Steady, Sync: true, Uploads: ledger.Target, Run: true})
	r.routeTo(ledger.Route{Main: ledger.Target, State: ledger.Preparing, Sync: true, Uploads: ledger.Target, Run: true})
	_, _ = r.client.S3.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: aws.String("k"), VersionId: &id}, oneTry)
	r.settled()
	if got := r.get(r.direct[0], "k"); got != "1" {
		t.Errorf("the follower holds %q", got)
	}
	if got := r.newest("k"); got == ledger.Source.String() {
		t.Error("the follower has the newest version")
	}
}

// Each store has a version of its own under the id null: it is not looked for on the
// store that is behind.
func TestNullVersionIsTheNewestStores(t *testing.T) {
	r := newRig(t, rigOptions{}) // a bucket that keeps no versions has nothing else
	r.put(r.client, "deleted", "old")
	r.put(r.client, "taken", "old")
	r.settled()
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.del(r.client, "deleted")
	null := "null"
	_, err := r.client.S3.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &r.bucket, Key: aws.String("taken"), VersionId: &null})
	r.must(err)
	r.settled()
	for _, key := range []string{"deleted", "taken"} {
		out, err := r.client.S3.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &r.bucket, Key: &key, VersionId: &null})
		if err == nil {
			_ = out.Body.Close()
			t.Errorf("%s is still there", key)
		}
		if got := r.newest(key); got != "Target" {
			t.Errorf("%s is newest on %q", key, got)
		}
	}
}
