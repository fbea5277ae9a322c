package compare

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// item is one line of a listing.
type item struct {
	key  string
	size int64
	etag string
}

// walk sends a bucket's listing, in order, and closes out. A listing out of
// order is an error, since a merged walk would read it as differences.
func walk(ctx context.Context, c *s3.Client, bucket string, out chan<- item) error {
	defer close(out)
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &bucket})
	last := ""
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list %s: %w", bucket, err)
		}
		for _, o := range page.Contents {
			x := item{key: aws.ToString(o.Key), size: aws.ToInt64(o.Size), etag: strings.Trim(aws.ToString(o.ETag), `"`)}
			if x.key <= last && last != "" {
				return fmt.Errorf("list %s: %q comes after %q", bucket, x.key, last)
			}
			last = x.key
			select {
			case out <- x:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
