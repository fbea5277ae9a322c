package traffic

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// listing is what to ask for.
type listing struct {
	op         Op
	client     *s3.Client
	bucket     string // as the run knows it
	at         string // as the store knows it
	prefix     string
	delimiter  string
	startAfter string
	maxKeys    int32
	encode     bool // ask for keys in URL encoding
}

// entry is one object or one common prefix of a page.
type entry struct {
	name   string
	prefix bool
	size   int64
	etag   string
}

// page is one answer, with its entries in S3's order.
type page struct {
	answer  answer
	entries []entry
	next    string // token or marker; empty on the last page
}

// list lists some part of the bucket and judges what it says.
func (c *client) list(op Op) {
	l := listing{op: op, client: c.run.client, bucket: c.bucket, prefix: c.prefix, maxKeys: []int32{3, 10, 50, 1000}[c.rnd.IntN(4)]}
	switch n := c.rnd.IntN(10); {
	case n < 1 && len(c.run.shared) > 0:
		l.prefix = c.run.cfg.Prefix + "shared/"
	case n < 3:
		other := c.run.clients[c.rnd.IntN(len(c.run.clients))]
		l.bucket, l.prefix = other.bucket, other.prefix
	case n < 4 && len(c.run.seeded) > 0:
		reg := c.run.seeded[c.rnd.IntN(len(c.run.seeded))]
		l.bucket, l.prefix = reg.bucket, reg.key[:strings.LastIndex(reg.key, "/")+1]
		l.maxKeys = 200
	case n < 6:
		l.prefix = fmt.Sprintf("%sd%d/k0", c.prefix, c.rnd.IntN(4))
	case n < 7:
		l.prefix, l.maxKeys = c.run.cfg.Prefix, 100
		l.delimiter = "/"
	}
	l.encode = c.rnd.IntN(3) == 0
	switch c.rnd.IntN(5) {
	case 0, 1:
		l.delimiter = "/"
	case 2:
		if l.delimiter == "" {
			l.startAfter = c.mine().key
		}
	}
	l.at = l.bucket
	c.run.list(l)
}

// list walks all pages and judges each key by the page that it belongs on.
func (r *Run) list(l listing) {
	at := &register{bucket: l.bucket, key: l.prefix}
	var pages []page
	for token := ""; ; {
		p := r.page(l, token)
		if !p.answer.ok() {
			if !p.answer.unknown() {
				r.unexpected(l.op, at, p.answer)
			}
			return
		}
		pages = append(pages, p)
		if p.next == "" {
			break
		}
		if p.next == token || len(pages) > 10000 {
			r.violate(KindListing, l.op, at, p.answer, "does not end: page %d has token %q", len(pages), p.next)
			return
		}
		token = p.next
		_ = r.limit.Wait(context.Background())
	}
	r.judgeListing(l, at, pages)
}

func (r *Run) page(l listing, token string) (p page) {
	var contents []types.Object
	var prefixes []types.CommonPrefix
	var encoding types.EncodingType
	if l.encode {
		encoding = types.EncodingTypeUrl
	}
	v1 := func(ctx context.Context) error {
		out, err := l.client.ListObjects(ctx, &s3.ListObjectsInput{
			Bucket: &l.at, Prefix: &l.prefix, Delimiter: optional(l.delimiter), MaxKeys: &l.maxKeys,
			Marker: optional(firstOf(token, l.startAfter)), EncodingType: encoding,
		})
		if err != nil {
			return err
		}
		contents, prefixes, encoding = out.Contents, out.CommonPrefixes, out.EncodingType
		if aws.ToBool(out.IsTruncated) {
			p.next = aws.ToString(out.NextMarker)
			// Ceph's gateway encodes keys, but not this one: the last entry says the same.
			if all := merge(contents, prefixes, encoding); len(all) > 0 && (p.next == "" || encoding != "") {
				p.next = all[len(all)-1].name
			}
			if p.next == "" {
				return fmt.Errorf("truncated, but without a marker")
			}
		}
		return nil
	}
	v2 := func(ctx context.Context) error {
		out, err := l.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
			Bucket: &l.at, Prefix: &l.prefix, Delimiter: optional(l.delimiter), MaxKeys: &l.maxKeys,
			ContinuationToken: optional(token), StartAfter: optional(l.startAfter), EncodingType: encoding,
		})
		if err != nil {
			return err
		}
		contents, prefixes, encoding = out.Contents, out.CommonPrefixes, out.EncodingType
		if aws.ToBool(out.IsTruncated) {
			if p.next = aws.ToString(out.NextContinuationToken); p.next == "" {
				return fmt.Errorf("truncated, but without a token")
			}
		}
		return nil
	}
	do := v2
	if l.op == ListObjects {
		do = v1
	}
	p.answer = r.call(l.op, l.bucket, l.prefix, do)
	p.entries = merge(contents, prefixes, encoding)
	return p
}

// merge puts objects and common prefixes in the one order that S3 gives both.
// It keeps the order within each of the two, so that a wrong one shows.
func merge(contents []types.Object, prefixes []types.CommonPrefix, encoding types.EncodingType) []entry {
	var all []entry
	for len(contents)+len(prefixes) > 0 {
		if len(prefixes) > 0 {
			name := decode(aws.ToString(prefixes[0].Prefix), encoding)
			if len(contents) == 0 || name < decode(aws.ToString(contents[0].Key), encoding) {
				all = append(all, entry{name: name, prefix: true})
				prefixes = prefixes[1:]
				continue
			}
		}
		o := contents[0]
		all = append(all, entry{name: decode(aws.ToString(o.Key), encoding), size: aws.ToInt64(o.Size), etag: trimETag(o.ETag)})
		contents = contents[1:]
	}
	return all
}

// judgeListing checks every key that the run knows against the pages, and
// every entry of the pages against the keys.
func (r *Run) judgeListing(l listing, at *register, pages []page) {
	judged := map[string]bool{} // entries that keys account for
	listed := map[string]int{}  // entry to its page
	last := ""
	for i, p := range pages {
		if len(p.entries) > int(l.maxKeys) {
			r.violate(KindListing, l.op, at, p.answer, "page %d has %d entries, more than the %d asked for", i, len(p.entries), l.maxKeys)
		}
		for _, e := range p.entries {
			if e.name <= last && last != "" {
				r.violate(KindListing, l.op, at, p.answer, "%q comes after %q", e.name, last)
			}
			last = e.name
			listed[e.name] = i
		}
	}
	var group []*register
	groupName := ""
	flush := func() {
		if groupName != "" {
			judged[groupName] = true
			r.judgePrefix(l, at, pages, listed, groupName, group)
		}
		group, groupName = nil, ""
	}
	for _, reg := range r.space.within(l.bucket, l.prefix) {
		if l.startAfter != "" && reg.key <= l.startAfter {
			continue
		}
		if i := strings.Index(reg.key[len(l.prefix):], l.delimiter); l.delimiter != "" && i >= 0 {
			name := reg.key[:len(l.prefix)+i+len(l.delimiter)]
			if name != groupName {
				flush()
				groupName = name
			}
			group = append(group, reg)
			continue
		}
		judged[reg.key] = true
		r.judgeEntry(l, at, pages, listed, reg)
	}
	flush()
	for name, i := range listed {
		if !judged[name] && (r.cfg.IgnoreListed == nil || !r.cfg.IgnoreListed(name)) {
			r.violate(KindListing, l.op, at, pages[i].answer, "lists %q, which nobody wrote or which does not belong there", name)
		}
	}
}

// judgeEntry checks whether one key is rightly listed or rightly not.
func (r *Run) judgeEntry(l listing, at *register, pages []page, listed map[string]int, reg *register) {
	i, found := listed[reg.key]
	if !found {
		a, start, end := window(pages, reg.key)
		if !reg.possible(start, end, isAbsent) {
			v := reg.observe(start, end, func(*content) bool { return false })
			r.violate(KindListing, l.op, at, a, "misses %q, write %s", reg.key, &v.want.c)
		}
		return
	}
	p := pages[i]
	e := entry{}
	for _, x := range p.entries {
		if x.name == reg.key {
			e = x
		}
	}
	same := func(c *content) bool { return !c.absent && c.etag == e.etag && c.size == e.size }
	if e.prefix || reg.possible(p.answer.start, p.answer.end, same) {
		return
	}
	v := reg.observe(p.answer.start, p.answer.end, same)
	want := "nothing"
	if v.want != nil {
		want = v.want.c.String()
	}
	if v.matched != nil {
		r.violate(KindListing, l.op, at, p.answer, "shows %q as of write %s; now it is %s", reg.key, &v.matched.c, want)
		return
	}
	r.violate(KindListing, l.op, at, p.answer, "shows %q with %d bytes and ETag %s; it is %s", reg.key, e.size, e.etag, want)
}

// judgePrefix checks whether a common prefix is rightly listed or rightly not.
func (r *Run) judgePrefix(l listing, at *register, pages []page, listed map[string]int, name string, group []*register) {
	i, found := listed[name]
	if found {
		a := pages[i].answer
		for _, reg := range group {
			if reg.possible(a.start, a.end, isPresent) {
				return
			}
		}
		r.violate(KindListing, l.op, at, a, "shows prefix %q, below which everything is deleted", name)
		return
	}
	a, start, end := window(pages, name)
	for _, reg := range group {
		if !reg.possible(start, end, isAbsent) {
			r.violate(KindListing, l.op, at, a, "misses prefix %q, below which %q is", name, reg.key)
			return
		}
	}
}

// window returns when a listing would have met a name that it does not show:
// while the page was made whose range holds the name, or since the one before,
// for a name between two pages.
func window(pages []page, name string) (a answer, start, end time.Duration) {
	for i, p := range pages {
		final := i == len(pages)-1
		if !final && (len(p.entries) == 0 || name > p.entries[len(p.entries)-1].name) {
			continue
		}
		start = p.answer.start
		if i > 0 && (len(p.entries) == 0 || name < p.entries[0].name) {
			start = pages[i-1].answer.start
		}
		return p.answer, start, p.answer.end
	}
	return pages[0].answer, pages[0].answer.start, pages[len(pages)-1].answer.end
}

func decode(s string, encoding types.EncodingType) string {
	if encoding != types.EncodingTypeUrl {
		return s
	}
	if d, err := url.QueryUnescape(s); err == nil {
		return d
	}
	return s
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
