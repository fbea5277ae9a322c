package compare

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/test/lab"
)

// object is all that a store says about an object.
type object struct {
	size    int64
	sum     [sha256.Size]byte
	headers map[string]string
	meta    map[string]string
	tags    map[string]string
	grants  []string
}

// object compares one object that both stores list.
func (c *comparer) object(ctx context.Context, b Bucket, key string) {
	var x, y object
	var g errgroup.Group
	g.Go(func() (err error) {
		x, err = c.read(ctx, c.a, b.A, key)
		return named(err, cmp.Or(c.cfg.NameA, "a"))
	})
	g.Go(func() (err error) {
		y, err = c.read(ctx, c.b, b.B, key)
		return named(err, cmp.Or(c.cfg.NameB, "b"))
	})
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return // the comparison was broken off, which says nothing about the object
		}
		c.differ(Unreadable, b.A, key, err.Error())
		return
	}
	if x.size != y.size || x.sum != y.sum {
		c.differ(Content, b.A, key, fmt.Sprintf("%d bytes with SHA-256 %x… and %d with %x…", x.size, x.sum[:6], y.size, y.sum[:6]))
	}
	for _, h := range contentHeaders {
		if x.headers[h] != y.headers[h] {
			c.differ(Header, b.A, key, fmt.Sprintf("%s: %q and %q", h, x.headers[h], y.headers[h]))
		}
	}
	for kind, m := range map[Kind][2]map[string]string{Metadata: {x.meta, y.meta}, Tags: {x.tags, y.tags}} {
		if !maps.Equal(m[0], m[1]) {
			c.differ(kind, b.A, key, fmt.Sprintf("%v and %v", m[0], m[1]))
		}
	}
	if !slices.Equal(x.grants, y.grants) {
		c.differ(ACL, b.A, key, fmt.Sprintf("%v and %v", x.grants, y.grants))
	}
}

func named(err error, side string) error {
	if err != nil {
		return fmt.Errorf("on %s: %w", side, err)
	}
	return nil
}

var contentHeaders = []string{
	"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires",
	"Website-Redirect-Location",
}

func (c *comparer) read(ctx context.Context, client *s3.Client, bucket, key string) (object, error) {
	var o object
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return o, err
	}
	defer func() { _ = out.Body.Close() }()
	sum := sha256.New()
	if o.size, err = io.Copy(sum, out.Body); err != nil {
		return o, err
	}
	sum.Sum(o.sum[:0])
	o.meta = out.Metadata
	o.headers = map[string]string{
		"Content-Type": aws.ToString(out.ContentType), "Cache-Control": aws.ToString(out.CacheControl),
		"Content-Disposition": aws.ToString(out.ContentDisposition), "Content-Encoding": aws.ToString(out.ContentEncoding),
		"Content-Language": aws.ToString(out.ContentLanguage), "Expires": aws.ToString(out.ExpiresString),
		"Website-Redirect-Location": aws.ToString(out.WebsiteRedirectLocation),
	}
	if !c.cfg.NoTags {
		tags, err := client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
		if err != nil && !lab.Unsupported(err) {
			return o, err
		}
		if err == nil {
			for _, t := range tags.TagSet {
				if o.tags == nil {
					o.tags = map[string]string{}
				}
				o.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
		}
	}
	if c.cfg.ACL {
		acl, err := client.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: &bucket, Key: &key})
		if err != nil {
			return o, err
		}
		for _, g := range acl.Grants {
			// Owners have other ids on another store, groups have the same.
			who := "owner"
			if g.Grantee != nil && g.Grantee.URI != nil {
				who = *g.Grantee.URI
			}
			o.grants = append(o.grants, who+" "+string(g.Permission))
		}
		slices.SortFunc(o.grants, strings.Compare)
	}
	return o, nil
}
