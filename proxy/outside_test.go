package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// outsideRig has one bucket that is migrated, and one that is not.
func outsideRig(t *testing.T) (r *rig, outside string) {
	t.Helper()
	var mine string
	r = newRig(t, rigOptions{config: func(c *Config) { c.Buckets = func(b string) bool { return b == mine } }})
	mine = r.bucket
	return r, s3test.Bucket(t, r.direct[ledger.Source])
}

// The source makes copies into buckets that are not migrated. What it holds of an object
// that has moved may be older than what clients were told was written.
func TestCopyIntoABucketThatIsNotMigratedHasTheNewestVersion(t *testing.T) {
	for name, state := range map[string]ledger.RouteState{"while the switch is under way": ledger.Switched, "after it": ledger.Steady} {
		t.Run(name, func(t *testing.T) {
			r, outside := outsideRig(t)
			r.put(r.client, "k", "old")
			r.settled()
			r.sync()
			r.route(ledger.Source, ledger.Preparing)
			r.route(ledger.Target, ledger.Switched)
			if state == ledger.Steady {
				r.routeTo(ledger.Route{Main: ledger.Target, State: state, Sync: true, Uploads: ledger.Target, Run: true})
			}
			r.put(r.client, "k", "new")
			r.settled()
			copied := make(chan int, 1)
			go func() {
				copied <- r.raw(http.MethodPut, "/"+outside+"/k", "", http.Header{"X-Amz-Copy-Source": {r.bucket + "/k"}}).StatusCode
			}()
			select {
			case status := <-copied:
				out := r.raw(http.MethodGet, "/"+outside+"/k", "", nil)
				t.Fatalf("answered %d before the source had it; the copy holds %q", status, out.text)
			case <-time.After(100 * time.Millisecond):
			}
			for status := 0; status == 0; {
				select {
				case status = <-copied:
					if status != http.StatusOK {
						t.Fatalf("answered %d", status)
					}
				default:
					r.sync()
				}
			}
			if got := r.raw(http.MethodGet, "/"+outside+"/k", "", nil).text; got != "new" {
				t.Errorf("the copy holds %q", got)
			}
		})
	}
}

// Without reverse nothing is copied back, so the source will never have it.
func TestCopyIntoABucketThatIsNotMigratedIsRefusedWithoutReverse(t *testing.T) {
	r, outside := outsideRig(t)
	r.put(r.client, "k", "old")
	r.settled()
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	r.routeTo(ledger.Route{Main: ledger.Target, State: ledger.Steady, Uploads: ledger.Target, Run: true})
	r.put(r.client, "k", "new")
	got := r.raw(http.MethodPut, "/"+outside+"/k", "", http.Header{"X-Amz-Copy-Source": {r.bucket + "/k"}})
	if got.StatusCode != http.StatusBadRequest || !strings.Contains(got.text, "InvalidRequest") {
		t.Errorf("answered %d %s", got.StatusCode, got.text)
	}
}

// A bucket of the same name on the target is somebody else's.
func TestCopyFromABucketThatIsNotMigratedIsNotReadOnTheTarget(t *testing.T) {
	r, outside := outsideRig(t)
	r.put(r.client, "k", "before")
	r.settled()
	r.sync()
	_ = r.raw(http.MethodPut, "/"+outside+"/k", "ours", nil)
	r.must(r.direct[ledger.Target].CreateBucket(t.Context(), outside, false))
	t.Cleanup(func() { _ = s3test.RemoveBucket(t.Context(), r.direct[ledger.Target], outside) })
	mine := r.bucket
	r.bucket = outside
	r.put(r.direct[ledger.Target], "k", "somebody else's")
	r.bucket = mine
	copyIt := func() *rawResponse {
		return r.raw(http.MethodPut, "/"+r.bucket+"/k", "", http.Header{"X-Amz-Copy-Source": {outside + "/k"}})
	}
	if got := copyIt(); got.StatusCode != http.StatusOK {
		t.Fatalf("before the switch: %d %s", got.StatusCode, got.text)
	}
	r.settled()
	r.sync()
	r.route(ledger.Source, ledger.Preparing)
	r.route(ledger.Target, ledger.Switched)
	if got := copyIt(); got.StatusCode != http.StatusBadRequest {
		t.Errorf("answered %d %s", got.StatusCode, got.text)
	}
	if got := r.get(r.client, "k"); got != "ours" {
		t.Errorf("the copy holds %q", got)
	}
}
