package traffic

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/crossfade-io/crossfade/test/seed"
)

// client makes one request at a time. Nobody else writes its own keys.
type client struct {
	run    *Run
	rnd    *rand.Rand
	id     int
	bucket string
	prefix string
	own    []*register
	ops    []Op // each as often as it weighs

	uploads []*upload
	strays  map[string]bool // upload ids whose end is in doubt
	tidy    struct{ next, until time.Duration }
}

func newClient(r *Run, id int) *client {
	c := &client{
		run: r, id: id, rnd: rand.New(rand.NewPCG(r.cfg.Seed, uint64(id)+1)),
		bucket: r.cfg.Buckets[id%len(r.cfg.Buckets)],
		prefix: fmt.Sprintf("%sc%02d/", r.cfg.Prefix, id), strays: map[string]bool{},
	}
	for i := range r.cfg.KeysPerClient {
		name := fmt.Sprintf("%sd%d/k%03d", c.prefix, i%4, i)
		if i%5 == 1 {
			name += oddEnds[i/5%len(oddEnds)]
		}
		c.own = append(c.own, newRegister(c.bucket, name, content{absent: true}))
	}
	for op, n := range r.cfg.Mix {
		if op == CreateMultipartUpload && id%2 == 1 && r.cfg.Clients > 1 {
			continue // half of the clients are enough for the large bodies
		}
		for range n {
			c.ops = append(c.ops, op)
		}
	}
	slices.Sort(c.ops) // a map has no order, and the choices follow the seed
	return c
}

var oddEnds = []string{" a b", "+c", "%41%", "-ü日🙂", "&d=e?f#g", "'\"<h>", "~(i)*!", "/j/k.txt"}

// work goes on until ctx is done, then ends what is open.
func (c *client) work(ctx context.Context) {
	for c.run.limit.Wait(ctx) == nil {
		if !c.dueUpload() && !c.dueTidying() {
			c.step(c.ops[c.rnd.IntN(len(c.ops))])
		}
	}
	for len(c.uploads) > 0 {
		c.finish(c.uploads[0], true)
	}
}

// step makes one request of the kind.
func (c *client) step(op Op) {
	switch op {
	case PutObject:
		c.put(c.writable(), c.rnd.IntN(3) == 0)
	case DeleteObject:
		c.delete(c.writable())
	case GetObject:
		c.get(c.readable())
	case HeadObject:
		c.head(c.readable())
	case GetObjectTagging:
		c.getTags(c.mine())
	case GetObjectRange:
		c.getRange(c.readable())
	case ListObjectsV2, ListObjects:
		c.list(op)
	case ListMultipartUploads:
		c.listUploads()
	case PutObjectIfNoneMatch:
		c.putNew(c.mine())
	case DeleteObjects:
		c.deleteMany()
	case CopyObject:
		c.copy(c.mine(), c.mine())
	case PutObjectTagging:
		c.putTags(c.mine())
	case CreateMultipartUpload:
		c.createUpload(c.mine())
	}
}

func (c *client) mine() *register { return c.own[c.rnd.IntN(len(c.own))] }

// writable picks a key to write without conditions: mostly one of its own.
func (c *client) writable() *register {
	if len(c.run.shared) > 0 && c.rnd.IntN(8) == 0 {
		return c.run.shared[c.rnd.IntN(len(c.run.shared))]
	}
	return c.mine()
}

// readable picks any key that the run knows, mostly one of its own.
func (c *client) readable() *register {
	switch n := c.rnd.IntN(20); {
	case n < 3 && len(c.run.shared) > 0:
		return c.run.shared[c.rnd.IntN(len(c.run.shared))]
	case n < 6 && len(c.run.seeded) > 0:
		return c.run.seeded[c.rnd.IntN(len(c.run.seeded))]
	case n < 8:
		other := c.run.clients[c.rnd.IntN(len(c.run.clients))]
		return other.own[c.rnd.IntN(len(other.own))]
	}
	return c.mine()
}

// mayWrite tells whether an unconditional write of the key is judged rightly:
// not while an upload of it is open, nor while an unanswered one may land.
func (c *client) mayWrite(reg *register) bool {
	for _, u := range c.uploads {
		if u.reg == reg {
			return false
		}
	}
	return c.run.now() > reg.unsafeUntil()
}

// certain returns what one of its own keys must hold now, or nil when that is
// in doubt or the key may not be written now.
func (c *client) certain(reg *register) *content {
	if !c.mayWrite(reg) {
		return nil
	}
	w := reg.settled(c.run.now())
	if w == nil {
		return nil
	}
	return &w.c
}

func (c *client) randomSize() int64 {
	switch c.rnd.IntN(20) {
	case 0:
		return 0
	case 1:
		return c.run.cfg.MaxSize
	}
	return c.rnd.Int64N(max(c.run.cfg.MaxSize/8, 1)) + 1
}

func (c *client) randomTags() map[string]string {
	return map[string]string{"n": fmt.Sprint(c.rnd.IntN(1000)), "a b": "c+d/e"}
}

func (c *client) randomHeader() seed.Header {
	h := seed.Header{ContentType: "text/x-crossfade"}
	if c.rnd.IntN(2) == 0 {
		h.CacheControl = fmt.Sprintf("max-age=%d", c.rnd.IntN(1000))
		h.ContentDisposition = fmt.Sprintf(`attachment; filename="%d.txt"`, c.rnd.IntN(1000))
		h.ContentLanguage = "de"
	}
	return h
}
