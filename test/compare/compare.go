// Package compare finds every difference between two stores: objects that one
// lacks, and content, ETag, headers, metadata, tags or ACL that differ.
package compare

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/test/lab"
)

// Bucket names a bucket on both stores.
type Bucket struct{ A, B string }

// ParseBucket reads NAME or NAME=NAME-ON-B.
func ParseBucket(s string) Bucket {
	a, b, renamed := strings.Cut(s, "=")
	if !renamed {
		b = a
	}
	return Bucket{A: a, B: b}
}

// Config says what to compare.
type Config struct {
	A, B         lab.Endpoint
	NameA, NameB string // for people; "a" and "b" when empty
	Buckets      []Bucket
	Concurrent   int  // objects at a time; default 8
	ListingOnly  bool // sizes and ETags only, no object is read
	ACL          bool // compare object ACLs, too
	NoTags       bool
	// IgnoreETag says for which objects another ETag is no difference.
	IgnoreETag func(bucket, key string) bool
	// Skip leaves objects out.
	Skip func(bucket, key string) bool
}

// Kind says what differs.
type Kind string

// The kinds of differences.
const (
	MissingOnA Kind = "missing on a"
	MissingOnB Kind = "missing on b"
	Size       Kind = "size"
	ETag       Kind = "etag"
	Content    Kind = "content"
	Header     Kind = "header"
	Metadata   Kind = "metadata"
	Tags       Kind = "tags"
	ACL        Kind = "acl"
	Unreadable Kind = "unreadable"
)

// Difference is one thing that differs.
type Difference struct {
	Kind   Kind   `json:"kind"`
	Bucket string `json:"bucket"` // on A
	Key    string `json:"key"`
	Detail string `json:"detail,omitempty"`
}

// String renders a difference in a line.
func (d Difference) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s: %s/%q: %s", d.Kind, d.Bucket, d.Key, d.Detail), ": ")
}

// Report is what a comparison came to.
type Report struct {
	Buckets     int            `json:"buckets"`
	Objects     int64          `json:"objects"` // seen on either side
	Bytes       int64          `json:"bytes"`   // of the objects on A
	Differences int64          `json:"differences"`
	ByKind      map[Kind]int64 `json:"byKind,omitempty"`
	First       []Difference   `json:"first,omitempty"`
	Took        time.Duration  `json:"took"`
}

// maxNamed is how many differences of a kind a report names; all are counted.
const maxNamed = 50

// String renders the report as text.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d buckets, %d objects, %.1f MiB compared in %s: %d differences\n",
		r.Buckets, r.Objects, float64(r.Bytes)/(1<<20), r.Took.Round(100*time.Millisecond), r.Differences)
	for _, d := range r.First {
		fmt.Fprintf(&b, "  %s\n", d)
	}
	return b.String()
}

type comparer struct {
	cfg  Config
	a, b *s3.Client
	mu   sync.Mutex
	rep  Report
}

// Run compares the buckets. It fails only when a bucket can't be listed; an
// object that can't be read is a difference.
func Run(ctx context.Context, cfg Config) (Report, error) {
	begin := time.Now()
	if cfg.Concurrent <= 0 {
		cfg.Concurrent = 8
	}
	c := &comparer{cfg: cfg, a: cfg.A.Client(lab.WithRetries(4)), b: cfg.B.Client(lab.WithRetries(4)), rep: Report{ByKind: map[Kind]int64{}}}
	for _, b := range cfg.Buckets {
		if err := c.bucket(ctx, b); err != nil {
			return c.rep, err
		}
		c.rep.Buckets++
	}
	slices.SortFunc(c.rep.First, func(x, y Difference) int {
		return strings.Compare(x.Bucket+"/"+x.Key, y.Bucket+"/"+y.Key)
	})
	c.rep.Took = time.Since(begin)
	return c.rep, nil
}

// bucket walks both listings together and compares what both have.
func (c *comparer) bucket(ctx context.Context, b Bucket) error {
	g, ctx := errgroup.WithContext(ctx)
	left, right := make(chan item, 1000), make(chan item, 1000)
	g.Go(func() error { return walk(ctx, c.a, b.A, left) })
	g.Go(func() error { return walk(ctx, c.b, b.B, right) })
	g.Go(func() error {
		var objects errgroup.Group
		objects.SetLimit(c.cfg.Concurrent)
		x, okX := <-left
		y, okY := <-right
		for (okX || okY) && ctx.Err() == nil {
			switch {
			case okX && (!okY || x.key < y.key):
				c.differ(MissingOnB, b.A, x.key, "")
				c.seen(b.A, x)
				x, okX = <-left
			case okY && (!okX || y.key < x.key):
				c.differ(MissingOnA, b.A, y.key, "")
				c.seen(b.A, item{key: y.key})
				y, okY = <-right
			default:
				c.seen(b.A, x)
				c.listed(b, x, y)
				if !c.cfg.ListingOnly && !c.skip(b.A, x.key) {
					key := x.key
					objects.Go(func() error {
						c.object(ctx, b, key)
						return nil
					})
				}
				x, okX = <-left
				y, okY = <-right
			}
		}
		_ = objects.Wait() // they don't fail, they differ
		return ctx.Err()
	})
	return g.Wait()
}

func (c *comparer) listed(b Bucket, x, y item) {
	if x.size != y.size {
		c.differ(Size, b.A, x.key, fmt.Sprintf("%d and %d bytes", x.size, y.size))
	}
	if x.etag != y.etag && (c.cfg.IgnoreETag == nil || !c.cfg.IgnoreETag(b.A, x.key)) {
		c.differ(ETag, b.A, x.key, fmt.Sprintf("%s and %s", x.etag, y.etag))
	}
}

func (c *comparer) skip(bucket, key string) bool { return c.cfg.Skip != nil && c.cfg.Skip(bucket, key) }

func (c *comparer) seen(bucket string, x item) {
	if c.skip(bucket, x.key) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rep.Objects++
	c.rep.Bytes += x.size
}

func (c *comparer) differ(kind Kind, bucket, key, detail string) {
	if c.skip(bucket, key) {
		return
	}
	if kind == MissingOnA && c.cfg.NameA != "" {
		detail = "the " + c.cfg.NameA + " has none"
	}
	if kind == MissingOnB && c.cfg.NameB != "" {
		detail = "the " + c.cfg.NameB + " has none"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rep.Differences++
	c.rep.ByKind[kind]++
	if c.rep.ByKind[kind] <= maxNamed {
		c.rep.First = append(c.rep.First, Difference{Kind: kind, Bucket: bucket, Key: key, Detail: detail})
	}
}
