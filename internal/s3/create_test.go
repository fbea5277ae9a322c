package s3

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// AWS refuses a location constraint that names its first region; other stores
// refuse one that they do not know.
func TestBucketIsCreatedInEveryRegion(t *testing.T) {
	for name, c := range map[string]struct {
		region  string
		refuses bool
		sent    []string // location constraints, in order
	}{
		"the first one":           {"us-east-1", false, []string{""}},
		"none":                    {"", false, []string{""}},
		"another one":             {"eu-central-1", false, []string{"eu-central-1"}},
		"one that is no location": {"default", true, []string{"default", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				_, rest, _ := strings.Cut(string(b), "<LocationConstraint>")
				at, _, _ := strings.Cut(rest, "<")
				sent = append(sent, at)
				if c.refuses && at != "" {
					w.WriteHeader(http.StatusBadRequest)
					_, _ = io.WriteString(w, "<Error><Code>InvalidLocationConstraint</Code></Error>")
				}
			}))
			defer srv.Close()
			client, err := NewClient(Endpoint{URL: srv.URL, Region: c.region, AccessKeyID: "a", SecretAccessKey: "s"})
			if err != nil {
				t.Fatal(err)
			}
			defer client.HTTP.CloseIdleConnections()
			if err := client.CreateBucket(t.Context(), "b", false); err != nil {
				t.Fatal(err)
			}
			if strings.Join(sent, ",") != strings.Join(c.sent, ",") {
				t.Errorf("sent %q, want %q", sent, c.sent)
			}
		})
	}
}
