package worker

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

func TestListingIsSplitBetweenIdleWorkersWithoutHolesOrDoubles(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.seedMany(b, "2024-%05d.jpg", 2600)
	var splits float64
	first, _ := l.start(func(c *Config) { c.Limits.RequestsPerSecond = 1500 })
	second, _ := l.start(func(c *Config) { c.Limits.RequestsPerSecond = 1500 })
	l.copyAll(b)
	splits = count(first.metrics.splits) + count(second.metrics.splits)
	if splits == 0 {
		t.Error("the range was not split though workers had nothing to list")
	}
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		t.Error(diff)
	}
	all, _ := l.led.Buckets(t.Context())
	if got := all[0]; got.Listed.Objects != 2600 || got.Copied.Objects+got.Skipped.Objects != 2600 {
		t.Errorf("after %v splits: %+v", splits, got)
	}
}

// Nobody would miss it if Redis lost what a session that was given up was told: its page would be
// left out.
func TestRangesOfASessionThatWasGivenUpGoOnFromTheLedgersCursor(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seedMany(b, "%05d", 1001)
	w, err := New(Config{Ledger: l.led, Instance: "w", Stores: l.worker, Capabilities: l.can})
	l.must(err)
	beat := func() {
		for again := true; again; {
			again, err = w.member.Beat(t.Context())
			l.must(err)
		}
	}
	beat()
	session := w.member.ID()
	l.must(l.led.AddBuckets(t.Context(), b))
	_, err = l.led.ClaimBucket(t.Context(), session)
	l.must(err)
	l.must(l.led.FinishBucket(t.Context(), session, b, nil, []ledger.Range{{}}))
	list, err := l.led.ClaimRange(t.Context(), session)
	l.must(err)
	l.startAudit(auditETag, false, nil, b)
	audit, err := l.led.ClaimAuditRange(t.Context(), session)
	l.must(err)
	w.member.Abandon(session)
	beat()
	if err := w.listRange(t.Context(), session, l.route, &list); !errors.Is(err, errPaused) || list.Cursor != "00999" {
		t.Errorf("listed to %q: %v", list.Cursor, err)
	}
	if err := w.auditRange(t.Context(), session, l.route, &audit); !errors.Is(err, errPaused) || audit.Cursor != "00249" {
		t.Errorf("compared to %q: %v", audit.Cursor, err)
	}
}

func TestListingThatContradictsItselfIsAnError(t *testing.T) {
	page := func(truncated bool, keys ...string) string {
		s := fmt.Sprintf("<ListBucketResult><IsTruncated>%v</IsTruncated>", truncated)
		for _, k := range keys {
			s += "<Contents><Key>" + k + "</Key><Size>1</Size></Contents>"
		}
		return s + "</ListBucketResult>"
	}
	for name, tc := range map[string]struct {
		body string
		want error
	}{
		"truncated without progress":           {page(true), errListing},
		"keys out of order":                    {page(false, "b", "a"), errListing},
		"key before the start":                 {page(false, "0"), errListing},
		"a page of something else":             {"<html><body>Please log in</body></html>", s3.ErrNoListing},
		"nothing at all":                       {"", s3.ErrNoListing},
		"a listing that is cut before it says": {"<ListBucketResult><Name>photos</Name></ListBucketResult>", s3.ErrNoListing},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
				return respond(r, http.StatusOK, tc.body), nil
			})
			w, err := New(Config{Ledger: l.led, Stores: l.worker})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.stores[ledger.Source].list(t.Context(), "photos", "a", 1000); !errors.Is(err, tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFollowerThatCannotBeListedIsNotTakenForEmpty(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	l.bucket(ledger.Target, b)
	l.seed(ledger.Source, b, "a", []byte("a"))
	l.seed(ledger.Target, b, "a", []byte("a"))
	failed := make(chan struct{}, 1000)
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("list-type") == "2" {
			failed <- struct{}{}
			return answer(r, 403, "AccessDenied"), nil
		}
		return nil, nil
	})
	l.start(nil)
	if err := l.led.AddBuckets(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	<-failed
	<-failed
	l.faults[ledger.Target].set(nil)
	l.copiedAll()
	if all, _ := l.led.Buckets(t.Context()); all[0].Skipped.Objects != 1 || all[0].Copied.Objects != 0 {
		t.Errorf("%+v", all[0])
	}
}
