package worker

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// An object that is encrypted with a client's own key can't be copied: it is
// named as such and given up, and goes on as others do once it is written anew.
func TestObjectWithAClientsOwnKeyIsNamedAndGivenUp(t *testing.T) {
	const why = "read without the key of a client's own that it is encrypted with (SSE-C): "
	for name, tc := range map[string]struct {
		source func(testing.TB) s3.Endpoint
		answer string // of the source, if it has no SSE-C itself
		cause  string
	}{
		"as S3 says it": {func(t testing.TB) s3.Endpoint { return s3test.Versitygw(t, s3test.Options{}) },
			"The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
			"InvalidRequest: The object was stored using a form of Server Side Encryption."},
		"RGW": {s3test.RGW, "", "InvalidArgument: Requests specifying Server Side Encryption with Customer provided keys"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLabOf(t, tc.source(t), s3test.Versitygw(t, s3test.Options{})).probed()
			b := s3test.Bucket(t, l.stores[ledger.Source])
			t.Cleanup(func() { _ = s3test.RemoveBucket(context.Background(), l.stores[ledger.Target], b) })
			key := []byte(strings.Repeat("k", 32))
			sum := md5.Sum(key)
			l.seed(ledger.Source, b, "secret", []byte("s"), func(in *awss3.PutObjectInput) {
				in.SSECustomerAlgorithm = aws.String("AES256")
				in.SSECustomerKey, in.SSECustomerKeyMD5 = aws.String(base64.StdEncoding.EncodeToString(key)), aws.String(base64.StdEncoding.EncodeToString(sum[:]))
			})
			l.seed(ledger.Source, b, "plain", []byte("p"))
			if tc.answer != "" {
				l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/secret") {
						return respond(r, http.StatusBadRequest, "<Error><Code>InvalidRequest</Code><Message>"+tc.answer+"</Message></Error>"), nil
					}
					return nil, nil
				})
			}
			w, _ := l.start(nil)
			if err := l.led.AddBuckets(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			all := l.failures()
			if len(all) != 1 || all[0].Object.Key != "secret" || !strings.HasPrefix(all[0].Cause, "Source: "+why+tc.cause) {
				t.Errorf("failures: %+v", all)
			}
			if got := l.keys(ledger.Target, b); len(got) != 1 || count(w.metrics.givenUp) != 1 {
				t.Errorf("the target holds %v; given up: %v", got, count(w.metrics.givenUp))
			}
			l.faults[ledger.Source].set(nil)
			l.put(b, "secret", "told")
			l.copiedAll()
			l.synced()
			if _, got := l.get(ledger.Target, b, "secret"); got != "told" {
				t.Errorf("the follower holds %q", got)
			}
		})
	}
}
