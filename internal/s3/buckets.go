package s3

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// BucketNames returns the names of all of a store's buckets, but those of probes. Errors:
// [ErrNoListing], and what the store answered.
func BucketNames(ctx context.Context, api awss3.ListBucketsAPIClient) (names []string, err error) {
	pages := awss3.NewListBucketsPaginator(api, &awss3.ListBucketsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		if page.Buckets == nil {
			return nil, ErrNoListing
		}
		for _, b := range page.Buckets {
			if name := aws.ToString(b.Name); name != "" && !strings.HasPrefix(name, ProbePrefix) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
