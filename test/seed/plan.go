// Package seed fills a store with data that a migration must carry over in
// full. What it writes depends on its Config alone, so that others can work
// out the same plan again and know every object without reading it.
package seed

import (
	"cmp"
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
)

// Config says what to write. The zero value of a count leaves that kind out.
type Config struct {
	Seed         uint64   `json:"seed"`
	BucketPrefix string   `json:"bucketPrefix"` // buckets are PREFIX-0, PREFIX-1, …
	Buckets      int      `json:"buckets"`
	Objects      int      `json:"objects"`    // small objects in all
	MaxSmall     int64    `json:"maxSmall"`   // bytes; sizes lean to the small side
	Multipart    int      `json:"multipart"`  // large objects in all
	OddKeys      bool     `json:"oddKeys"`    // a set of them in each bucket
	PosixKeys    bool     `json:"posixKeys"`  // only what a store on a file system takes
	OddParts     int64    `json:"oddParts"`   // bytes a part of every third large object, if not 0
	Features     Features `json:"features"`   // what objects and buckets carry
	Conc         int      `json:"concurrent"` // requests at a time
}

// Features says what objects and buckets carry beside content.
type Features struct {
	Tags       bool `json:"tags"`
	ObjectACL  bool `json:"objectACL"`
	CORS       bool `json:"cors"`
	Policy     bool `json:"policy"`
	Lifecycle  bool `json:"lifecycle"`
	BucketTags bool `json:"bucketTags"`
	Versioning bool `json:"versioning"`
}

// Object is one object of the plan.
type Object struct {
	Bucket, Key string
	Size        int64
	PartSize    int64 // bytes a part; 0: written in one piece
	Header      Header
	Meta        map[string]string
	Tags        map[string]string
	PublicRead  bool // ACL
}

// Header holds an object's content headers. Expires is in HTTP's format.
type Header struct {
	ContentType        string `json:"contentType,omitempty"`
	CacheControl       string `json:"cacheControl,omitempty"`
	ContentDisposition string `json:"contentDisposition,omitempty"`
	ContentEncoding    string `json:"contentEncoding,omitempty"`
	ContentLanguage    string `json:"contentLanguage,omitempty"`
	Expires            string `json:"expires,omitempty"`
}

// Body returns the object's content.
func (o Object) Body() []byte { return lab.Body(o.Bucket+"/"+o.Key, 0, o.Size) }

// Sums returns the object's ETag and the MD5 of its content.
func (o Object) Sums() (etag string, sum [md5.Size]byte) {
	b := o.Body()
	return lab.ETag(b, o.PartSize), md5.Sum(b)
}

// BucketNames returns the names of the plan's buckets.
func (c Config) BucketNames() []string {
	names := make([]string, c.Buckets)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", cmp.Or(c.BucketPrefix, "seed"), i)
	}
	return names
}

const mib = 1 << 20

// partSizes are those that common clients use.
var partSizes = []int64{5 * mib, 8 * mib, 6 * mib}

// Plan returns every object that Run writes, ordered by bucket and key.
func (c Config) Plan() []Object {
	r := rand.New(rand.NewPCG(c.Seed, 0x5eed))
	buckets := c.BucketNames()
	var plan []Object
	if len(buckets) == 0 {
		return nil
	}
	for i := range c.Objects {
		key := fmt.Sprintf("data/%02d/%s-%06d", r.IntN(20), words[r.IntN(len(words))], i)
		plan = append(plan, c.dress(r, Object{Bucket: buckets[i%len(buckets)], Key: key, Size: smallSize(r, c.MaxSmall)}))
	}
	for i := range c.Multipart {
		part := partSizes[i%len(partSizes)]
		if i%3 == 2 && c.OddParts > 0 {
			part = c.OddParts
		}
		size := part*int64(1+r.IntN(3)) + r.Int64N(part) + 1 // the last part is uneven
		if i%4 == 3 {
			size = part * 2 // and now and then it is not
		}
		plan = append(plan, c.dress(r, Object{Bucket: buckets[i%len(buckets)], Key: fmt.Sprintf("large/%03d.bin", i), Size: size, PartSize: part}))
	}
	if c.OddKeys {
		for _, b := range buckets {
			for _, k := range OddKeys(c.PosixKeys) {
				o := Object{Bucket: b, Key: k.Name, Size: 1 + r.Int64N(2000)}
				o = c.dress(r, o)
				if k.Empty {
					// Stores on a file system have directories for markers, of this type.
					o.Size, o.Header = 0, Header{ContentType: "application/x-directory"}
				}
				plan = append(plan, o)
			}
		}
	}
	slices.SortFunc(plan, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key))
	})
	return plan
}

var words = []string{"invoice", "photo", "log", "backup", "report", "thumb", "index"}

// smallSize gives sizes of every order of magnitude up to limit, and 0 at times.
func smallSize(r *rand.Rand, limit int64) int64 {
	if limit <= 0 {
		limit = 64 << 10
	}
	if r.IntN(50) == 0 {
		return 0
	}
	top := int64(16)
	for top < limit && r.IntN(4) > 0 {
		top *= 2
	}
	return 1 + r.Int64N(min(top, limit))
}

// dress gives an object its headers, metadata, tags and ACL. Each kind is left
// out at times, so that "none" is carried over too.
func (c Config) dress(r *rand.Rand, o Object) Object {
	pick := func(vals ...string) string { return vals[r.IntN(len(vals))] }
	o.Header.ContentType = pick("text/plain", "application/json; charset=utf-8", "image/png", "application/octet-stream")
	if r.IntN(3) == 0 {
		o.Header.CacheControl = pick("no-cache", "public, max-age=31536000, immutable")
		o.Header.ContentDisposition = pick(`attachment; filename="a b.txt"`, "inline")
		o.Header.ContentEncoding = pick("gzip", "br")
		o.Header.ContentLanguage = pick("de", "en-GB, fr")
		o.Header.Expires = time.Date(2030+r.IntN(5), 1, 2, 3, 4, 5, 0, time.UTC).Format(httpTime)
	}
	o.Meta = map[string]string{}
	for i := range r.IntN(4) {
		o.Meta[fmt.Sprintf("note-%d", i)] = pick("plain", "with spaces  inside", "a=b&c=d;e", "100%41")
	}
	if c.Features.Tags && r.IntN(3) == 0 {
		o.Tags = map[string]string{"team": pick("red", "blue"), "cost centre": pick("1 + 1", "a/b:c")}
	}
	o.PublicRead = c.Features.ObjectACL && r.IntN(10) == 0
	return o
}

const httpTime = "Mon, 02 Jan 2006 15:04:05 GMT"
