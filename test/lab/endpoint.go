package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Endpoint says how to reach one S3 store (or a proxy in front of one).
type Endpoint struct {
	URL       string `json:"url"`
	Region    string `json:"region,omitempty"` // us-east-1 when empty
	AccessKey string `json:"-"`
	SecretKey string `json:"-"`
}

// KeysFromEnv fills in the keys from PREFIXACCESS_KEY and PREFIXSECRET_KEY.
// Each may instead be in a file, named by PREFIXACCESS_KEY_FILE and
// PREFIXSECRET_KEY_FILE.
func (e *Endpoint) KeysFromEnv(prefix string) (err error) {
	if e.AccessKey, err = envOrFile(prefix + "ACCESS_KEY"); err != nil {
		return err
	}
	e.SecretKey, err = envOrFile(prefix + "SECRET_KEY")
	return err
}

func envOrFile(name string) (string, error) {
	if v := os.Getenv(name); v != "" {
		return v, nil
	}
	file := os.Getenv(name + "_FILE")
	if file == "" {
		return "", fmt.Errorf("neither %s nor %s_FILE is set", name, name)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}

// Client returns a client that answers each call with what the store said:
// path-style, no retries, no checksums beyond those that S3 demands. Its HTTP
// transport is its own, so the environment's proxies and CA bundles don't
// apply. Options change that, WithRetries for one.
func (e Endpoint) Client(opts ...func(*s3.Options)) *s3.Client {
	o := s3.Options{
		Region:                     cmp.Or(e.Region, "us-east-1"),
		BaseEndpoint:               aws.String(e.URL),
		UsePathStyle:               true,
		Credentials:                credentials.NewStaticCredentialsProvider(e.AccessKey, e.SecretKey, ""),
		HTTPClient:                 &http.Client{Transport: ownBodies{Transport()}},
		Retryer:                    aws.NopRetryer{},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
	}
	return s3.New(o, opts...)
}

// WithRetries lets the client try each call up to n times.
func WithRetries(n int) func(*s3.Options) {
	return func(o *s3.Options) {
		o.Retryer = retry.NewStandard(func(so *retry.StandardOptions) { so.MaxAttempts = n })
	}
}

// Transport returns an HTTP transport that neither unpacks bodies nor heeds
// the environment.
func Transport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   128,
		IdleConnTimeout:       30 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
	}
}

// ownBodies gives each request a copy of its body. The SDK closes the body that
// it handed over as soon as an answer begins; when that is before the transport
// saw the body's end, the transport cuts the connection, and the rest of a good
// answer is lost. Servers that answer early (Ceph's gateway to DeleteObjects)
// make that common.
type ownBodies struct{ next http.RoundTripper }

func (o ownBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return o.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return o.next.RoundTrip(r)
}

// Status returns the HTTP status and the S3 error code of an answer: 200 for
// no error, 0 when no answer came.
func Status(err error) (int, string) {
	if err == nil {
		return http.StatusOK, ""
	}
	var api interface{ ErrorCode() string }
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.Response != nil && re.Response.Response != nil {
		return re.HTTPStatusCode(), code
	}
	return 0, code
}

// Unsupported tells whether an error is a store's way of saying that it does
// not know the operation.
func Unsupported(err error) bool {
	status, code := Status(err)
	switch {
	case status == http.StatusNotImplemented, status == http.StatusMethodNotAllowed:
		return true
	case code == "NotImplemented", code == "AccessControlListNotSupported", code == "InvalidStorageClass":
		return true
	}
	return false
}

// EnsureBucket makes the bucket unless the caller has it already.
func EnsureBucket(ctx context.Context, c *s3.Client, bucket string) error {
	_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	if _, code := Status(err); code == "BucketAlreadyOwnedByYou" {
		return nil
	}
	return err
}
