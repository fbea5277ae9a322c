package proxy

import (
	"encoding/xml"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// Clients have less patience than a large source takes to be copied: S3 sends blanks while
// it copies, and says in the body what has come of it.
func TestCopyThatWaitsForLongKeepsItsClient(t *testing.T) {
	refuse := func(body string, status int) func(*http.Request, next) (*http.Response, error) {
		return func(req *http.Request, send next) (*http.Response, error) {
			if req.Header.Get("X-Amz-Copy-Source") == "" {
				return send(req)
			}
			return answer(req, status, body), nil
		}
	}
	for name, c := range map[string]struct {
		hook func(*http.Request, next) (*http.Response, error)
		want string
	}{
		"copied":                  {nil, ""},
		"refused":                 {refuse(xml.Header+errorBody("AccessDenied"), http.StatusForbidden), "AccessDenied"},
		"refused without a body":  {refuse("", http.StatusNotModified), "NotModified"},
		"failed in its body":      {refuse(xml.Header+" "+errorBody("InternalError"), http.StatusOK), "InternalError"},
		"the store did not reply": {func(*http.Request, next) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, "ServiceUnavailable"},
	} {
		for _, op := range []string{"CopyObject", "CopyPart"} {
			t.Run(name+", "+op, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, rigOptions{config: func(c *Config) { c.BlanksAfter = 50 * time.Millisecond }})
				dirtyOn(r, "from")
				path := "/" + r.bucket + "/to"
				if op == "CopyPart" {
					path += "?partNumber=1&uploadId=" + r.createUpload("to")
				}
				req := r.signed(http.MethodPut, path, "")
				req.Header.Set("X-Amz-Copy-Source", r.bucket+"/from")
				s3.NewSigner(r.direct[0].Endpoint).Sign(req, s3.UnsignedPayload, time.Now())
				resp, err := r.client.HTTP.Transport.RoundTrip(req) // before the source is there
				r.must(err)
				defer func() { _ = resp.Body.Close() }()
				blanks := make([]byte, len(xml.Header)+2)
				if _, err := io.ReadFull(resp.Body, blanks); err != nil || string(blanks) != xml.Header+"  " {
					t.Errorf("%q, want blanks: %v", blanks, err)
				}
				r.hooks[ledger.Target].set(c.hook)
				body := make(chan []byte, 1)
				go func() {
					b, _ := io.ReadAll(resp.Body)
					body <- append(blanks, b...)
				}()
				var got []byte
				for got == nil {
					select {
					case got = <-body:
					default:
						r.sync()
					}
				}
				if resp.StatusCode != http.StatusOK {
					t.Error(resp.Status)
				}
				var result struct {
					XMLName    xml.Name
					Code, ETag string
				}
				if err := xml.Unmarshal(got, &result); err != nil {
					t.Fatalf("%q: %v", got, err)
				}
				root := op + "Result"
				if c.want != "" {
					root = "Error"
				}
				if result.XMLName.Local != root || result.Code != c.want || (result.ETag == "") != (c.want != "") {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}

// An object that is being copied is waited for as long as that takes; one that nobody
// copies, or that can't be copied, is not.
func TestWaitingDoesNotCountTheTimeOfACopy(t *testing.T) {
	for name, c := range map[string]struct {
		copied func(second int) bool
		want   int // s until it is given up; 0: not within an hour
	}{
		"nobody copies it":      {func(int) bool { return false }, 91},
		"it is copied":          {func(int) bool { return true }, 0},
		"one second in three":   {func(s int) bool { return s%3 == 0 }, 136},
		"only in the beginning": {func(s int) bool { return s < 1000 }, 1090},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w waiting
				got := 0
				for s := range 3600 {
					err := ledger.ErrNotInSync
					if c.copied(s) {
						err = ledger.ErrBeingCopied
					}
					if w.longer(90*time.Second, err) {
						got = s
						break
					}
					time.Sleep(time.Second)
				}
				if got != c.want {
					t.Errorf("given up after %d s, want %d", got, c.want)
				}
			})
		})
	}
}
