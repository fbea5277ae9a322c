package s3

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// BucketNames returns the names of all of a store's buckets, but those of probes. Errors:
// [ErrNoListing], and what the store answered.
func BucketNames(ctx context.Context, api awss3.ListBucketsAPIClient) (names []string, err error) {
	return bucketNames(ctx, api, func(types.Bucket, time.Duration) bool { return true })
}

// BucketsMadeSince is BucketNames of those that were made since a time, by this process' clock.
func BucketsMadeSince(ctx context.Context, api awss3.ListBucketsAPIClient, since time.Time) (names []string, err error) {
	return bucketNames(ctx, api, func(b types.Bucket, ahead time.Duration) bool {
		return b.CreationDate != nil && b.CreationDate.Add(ahead).After(since)
	})
}

// bucketNames keeps some of them. It is told by how much this process' clock is ahead of the store's.
func bucketNames(ctx context.Context, api awss3.ListBucketsAPIClient, keep func(types.Bucket, time.Duration) bool) (names []string, err error) {
	pages := awss3.NewListBucketsPaginator(api, &awss3.ListBucketsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		if page.Buckets == nil {
			return nil, ErrNoListing
		}
		var ahead time.Duration
		if now, ok := awsmiddleware.GetServerTime(page.ResultMetadata); ok {
			ahead = time.Since(now)
		}
		for _, b := range page.Buckets {
			if name := aws.ToString(b.Name); name != "" && !strings.HasPrefix(name, ProbePrefix) && keep(b, ahead) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
