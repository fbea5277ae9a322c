package worker

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// begins begins an upload on a store.
func (l *lab) begins(on ledger.Store, bucket string) {
	l.t.Helper()
	_, err := l.stores[on].S3.CreateMultipartUpload(l.t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("film")})
	if err != nil {
		l.t.Fatal(err)
	}
}

// drained returns the first look at uploads under the route.
func (l *lab) drained() (d ledger.Dangling) {
	l.t.Helper()
	waitFor(l.t, func() bool {
		var err error
		d, err = l.led.Dangling(l.t.Context())
		return err == nil && d.Epoch == l.route.Epoch
	})
	return d
}

// The ledger knows the buckets that were listed on the source, which is not done in a switch.
func TestUploadsInABucketThatWasMadeJustBeforeTheSwitchAreSeen(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.start(nil)
	l.copyAll("photos")
	l.change("new", "", func(*s3.Client) error { l.bucket(ledger.Source, "new"); return nil })
	l.begins(ledger.Source, "new")
	l.synced()
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	if d := l.drained(); d.Uploads != 1 {
		t.Errorf("%d uploads are seen on the old main, there is 1", d.Uploads)
	}
}

// Nor is one that clients made on the target, after the switch, ever listed.
func TestUploadsInABucketThatWasMadeOnTheTargetAreSeenWhenGoingBack(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.start(nil)
	l.copyAll("photos")
	back := ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Uploads: ledger.Target, Run: true}
	l.setRoute(back)
	back.State = ledger.Steady
	l.setRoute(back)
	l.obeyed()
	l.change("new", "", func(*s3.Client) error { l.bucket(ledger.Target, "new"); return nil })
	l.begins(ledger.Target, "new")
	l.bucket(ledger.Target, "foreign") // which the source does not have
	l.begins(ledger.Target, "foreign")
	l.synced()
	back.Main, back.State = ledger.Source, ledger.Switched
	l.setRoute(back)
	if d := l.drained(); d.Uploads != 1 {
		t.Errorf("%d uploads are seen on the old main, there is 1", d.Uploads)
	}
}

// A store dates uploads by its own clock, which may be ahead by as much as signatures allow.
func TestUploadsOfAStoreWhoseClockIsAheadAreSeen(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	l.start(nil)
	l.copyAll("photos")
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet || !r.URL.Query().Has("uploads") {
			return nil, nil //nolint:nilnil // let it through
		}
		ahead := time.Now().Add(10 * time.Minute).UTC()
		body := fmt.Sprintf("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>film</Key><UploadId>u</UploadId>"+
			"<Initiated>%s</Initiated></Upload></ListMultipartUploadsResult>", ahead.Add(-time.Minute).Format(time.RFC3339))
		resp := respond(r, http.StatusOK, strings.TrimSpace(body))
		resp.Header.Set("Date", ahead.Format(http.TimeFormat))
		return resp, nil
	})
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	if d := l.drained(); d.Uploads != 1 {
		t.Errorf("%d uploads are seen on the old main, there is 1", d.Uploads)
	}
}

// Keys may hold what XML can't: stores write that all the same, unless they are asked not to.
func TestUploadOfAKeyWithControlCharactersIsSeen(t *testing.T) {
	l := newLab(t)
	l.bucket(ledger.Source, "photos")
	w, _ := l.start(nil)
	var pages atomic.Int64
	l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
		q := r.URL.Query()
		if r.Method != http.MethodGet || !q.Has("uploads") {
			return nil, nil //nolint:nilnil // let it through
		}
		page := func(key, encoding, marker string) (*http.Response, error) {
			pages.Add(1)
			return respond(r, http.StatusOK, fmt.Sprintf("<ListMultipartUploadsResult>%s<IsTruncated>%t</IsTruncated><NextKeyMarker>%s</NextKeyMarker>"+
				"<NextUploadIdMarker>%[3]s</NextUploadIdMarker><Upload><Key>%s</Key><UploadId>u</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>",
				encoding, marker != "", marker, key)), nil
		}
		switch {
		case q.Get("encoding-type") != "url":
			return page("a&#x1;b", "", "")
		case q.Get("key-marker") == "":
			return page("a%01b", "<EncodingType>url</EncodingType>", "a%01b")
		case q.Get("key-marker") == "a\x01b":
			return page("c+d", "<EncodingType>url</EncodingType>", "")
		}
		return respond(r, http.StatusBadRequest, ""), nil
	})
	var keys []string
	err := w.eachUpload(t.Context(), ledger.Source, "photos", func(key, _ string, _ time.Time) error {
		keys = append(keys, key)
		return nil
	})
	if want := []string{"a\x01b", "c d"}; !slices.Equal(keys, want) || err != nil {
		t.Errorf("%q, %v", keys, err)
	}
}
