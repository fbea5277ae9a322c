package worker

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	// callTimeout bounds a request that moves no content, with its repetitions.
	callTimeout = time.Minute
	// bucketTimeout bounds all the requests that copy one bucket's configuration.
	bucketTimeout = 5 * time.Minute
)

// store is one of the two object stores, as the worker uses it.
type store struct {
	id      ledger.Store
	api     *awss3.Client
	region  string
	caps    s3.Capabilities
	names   map[string]string // source bucket to this store's bucket
	refused refusals
}

// bucket returns this store's name for a source bucket.
func (s *store) bucket(name string) string {
	if n, ok := s.names[name]; ok {
		return n
	}
	return name
}

// wrap says which store failed at what. The result is shown to users.
func (s *store) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &storeError{s.id, doing, err}
}

// storeError is an error as users read it in a status: which store failed at
// what and why, without the SDK's own words.
type storeError struct {
	store ledger.Store
	doing string
	err   error
}

func (e *storeError) Unwrap() error { return e.err }

func (e *storeError) Error() string {
	why := e.err.Error()
	var api smithy.APIError
	var transport *url.Error
	switch {
	case errors.As(e.err, &api) && api.ErrorCode() != "":
		why = api.ErrorCode()
		if m := api.ErrorMessage(); m != "" {
			why += ": " + m
		}
	case errors.As(e.err, &transport):
		why = transport.Err.Error()
	}
	return e.store.String() + ": " + e.doing + ": " + why
}

// causeOf is an error in the length that a ledger keeps.
func causeOf(err error) string {
	const most = 400
	msg := err.Error()
	if len(msg) > most {
		msg = msg[:most] + "…"
	}
	return msg
}

// hasBucket reports whether a bucket is there and may be used. That it is not,
// only the store's own code says: a HEAD has no body, and gateways answer 404 too.
func (s *store) hasBucket(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	bucket := s.bucket(name)
	_, err := s.api.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &bucket})
	if s3.Classify(err) == s3.NotFound {
		if _, err = s.api.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(1)}); isCode(err, "NoSuchBucket") {
			return false, nil
		}
	}
	return err == nil, s.wrap("look for bucket", err)
}

// isCode reports whether a store answered with that S3 error code in its body.
func isCode(err error, codes ...string) bool {
	code, _ := s3.ErrorCode(err)
	for _, c := range codes {
		if code == c {
			return true
		}
	}
	return false
}
