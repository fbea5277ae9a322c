package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// listed is one object as a listing shows it.
type listed struct {
	key      string
	etag     string
	size     int64
	modified time.Time
}

// pageSize is the most that every store gives in one page.
const pageSize = 1000

// errListing: the store's listing contradicts itself, so nothing that follows
// from it can be trusted.
var errListing = errors.New("the listing is not consistent")

// list returns one page of the keys after a key, in order, and whether more
// follow. A page that makes no progress is an error, never an end.
func (s *store) list(ctx context.Context, bucket, after string, limit int32) ([]listed, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := s.bucket(bucket)
	in := &awss3.ListObjectsV2Input{Bucket: &name, MaxKeys: &limit, EncodingType: types.EncodingTypeUrl}
	if after != "" {
		in.StartAfter = &after
	}
	out, err := s.api.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, false, s.wrap("list", err)
	}
	if out.IsTruncated == nil {
		return nil, false, s.wrap("list", s3.ErrNoListing) // stores always say whether more follows
	}
	page := make([]listed, 0, len(out.Contents))
	last := after
	for _, o := range out.Contents {
		key, err := plainKey(out.EncodingType, o.Key)
		if err != nil {
			return nil, false, s.wrap("list", err)
		}
		if key <= last && last != "" {
			return nil, false, s.wrap("list", fmt.Errorf("%w: key %q after %q", errListing, key, last))
		}
		last = key
		page = append(page, listed{key, aws.ToString(o.ETag), aws.ToInt64(o.Size), aws.ToTime(o.LastModified)})
	}
	more := aws.ToBool(out.IsTruncated)
	if more && len(page) == 0 {
		return nil, false, s.wrap("list", fmt.Errorf("%w: a page after %q says that more follows, but is empty", errListing, after))
	}
	return page, more, nil
}

// walker reads a store's listing in step with another one.
type walker struct {
	s      *store
	bucket string
	cursor string
	page   []listed
	ended  bool
}

// find returns the object with a key, looking from where it is. Keys must be
// asked for in order.
func (k *walker) find(ctx context.Context, key string) (listed, bool, error) {
	for {
		for len(k.page) > 0 && k.page[0].key < key {
			k.page = k.page[1:]
		}
		if len(k.page) > 0 {
			return k.page[0], k.page[0].key == key, nil
		}
		if k.ended {
			return listed{}, false, nil
		}
		page, more, err := k.s.list(ctx, k.bucket, k.cursor, pageSize)
		if isCode(err, "NoSuchBucket") {
			page, more, err = nil, false, nil
		}
		if err != nil {
			return listed{}, false, err
		}
		k.page, k.ended = page, !more
		if len(page) > 0 {
			k.cursor = page[len(page)-1].key
		}
	}
}

// holds reports whether a follower's object is a copy of main's: the same
// content, written since main's was.
func (l listed) holds(main listed) bool {
	return l.size == main.size && sameETag(l.etag, main.etag) && l.etag != "" && !l.modified.Before(main.modified)
}

// exists reports whether any key after a key is there, and the first one.
func (s *store) first(ctx context.Context, bucket, after string) (string, error) {
	page, _, err := s.list(ctx, bucket, after, 1)
	if err != nil || len(page) == 0 {
		return "", err
	}
	return page[0].key, nil
}
