package s3

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// clientAttempts bounds the SDK's own tries; longer waits are its caller's.
	clientAttempts   = 4
	clientMaxBackoff = 2 * time.Second
)

// Client talks to one store. S3 is safe for concurrent use and keeps keys of
// any kind as they are. Bodies of PutObject and UploadPart are sent with
// UNSIGNED-PAYLOAD and without checksums of the SDK's own choosing, so any
// io.Reader streams; set ContentLength. Only an io.Seeker can be sent again: a
// request with another body is tried once.
type Client struct {
	S3       *awss3.Client
	Endpoint Endpoint
	// HTTP is what S3 sends its requests with.
	HTTP *http.Client
}

// NewClient returns a client of e. It reads no environment variable and no
// shared AWS configuration file.
func NewClient(e Endpoint) (*Client, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	transport, err := e.NewTransport()
	if err != nil {
		return nil, err
	}
	httpClient := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	credentials := e.CredentialsFunc()
	client := awss3.New(awss3.Options{
		BaseEndpoint: aws.String(e.URL),
		Region:       e.region(),
		UsePathStyle: e.Addressing != VirtualHost,
		HTTPClient:   httpClient,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			c := credentials()
			return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
		}),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = clientAttempts
			o.MaxBackoff = clientMaxBackoff
			// The SDK's token bucket would fail requests of a long run at random.
			o.RateLimiter = ratelimit.None
		}),
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
		DisableMultiRegionAccessPoints:            true,
		DisableS3ExpressSessionAuth:               aws.Bool(true),
		// net/http sends the body after a refusal too, which Ceph takes for the next request.
		ContinueHeaderThresholdBytes: -1,
		APIOptions:                   []func(*middleware.Stack) error{adjustPayload},
	})
	return &Client{S3: client, Endpoint: e, HTTP: httpClient}, nil
}

// adjustPayload lets contents stream unsigned, and adds Content-MD5 to small
// bodies, which older stores insist on for DeleteObjects and configuration.
func adjustPayload(stack *middleware.Stack) error {
	switch stack.ID() {
	case "PutObject", "UploadPart":
		return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(stack)
	}
	return smithyhttp.AddContentChecksumMiddleware(stack)
}

// CreateBucket creates a bucket in the endpoint's region, with object lock if
// asked for. A bucket that the caller owns already is no error.
func (c *Client) CreateBucket(ctx context.Context, bucket string, objectLock bool) error {
	in := &awss3.CreateBucketInput{Bucket: &bucket}
	if objectLock {
		in.ObjectLockEnabledForBucket = aws.Bool(true)
	}
	region := c.Endpoint.region()
	if region != DefaultRegion {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(region),
		}
	}
	_, err := c.S3.CreateBucket(ctx, in)
	code, _ := ErrorCode(err)
	if in.CreateBucketConfiguration != nil && (code == "InvalidLocationConstraint" || code == "IllegalLocationConstraintException" || code == "MalformedXML") {
		// Stores other than AWS name regions that are no location.
		in.CreateBucketConfiguration = nil
		_, err = c.S3.CreateBucket(ctx, in)
	}
	var owned *types.BucketAlreadyOwnedByYou
	if errors.As(err, &owned) {
		return nil
	}
	return err
}
