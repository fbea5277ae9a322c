package simulation

import (
	"math/rand/v2"
	"strings"
	"time"
)

// A second bucket, which clients create and delete, with one object in it: both
// make one register.
const (
	spareBucket = "spare"
	spareKey    = "k"
	spare       = spareBucket + "/" + spareKey // how the history names it
	noBucket    = "(no bucket)"                // its value then
)

var spareSteps = []string{"createBucket", "createBucket", "createBucket", "deleteBucket", "deleteBucket", "headBucket",
	"putSpare", "putSpare", "getSpare", "getSpare", "deleteSpare", "deleteSpare", "listSpare"}

// spareOps draws a client that does nothing else.
func spareOps(r *rand.Rand, ops []op) []op {
	for i := range ops {
		ops[i].kind = spareSteps[r.IntN(len(spareSteps))]
		ops[i].leaves = 0
	}
	return ops
}

// onSpare does what concerns the second bucket.
func (c *client) onSpare(o op) {
	rq := request{bucket: spareBucket}
	switch o.kind {
	case "createBucket":
		rq.method = "PUT"
	case "deleteBucket":
		rq.method = "DELETE"
	case "headBucket":
		rq.method = "HEAD"
	case "listSpare":
		rq.method, rq.query = "GET", "list-type=2"
	case "putSpare":
		c.know(o.value)
		rq.method, rq.key, rq.body = "PUT", spareKey, o.value
	case "getSpare":
		rq.method, rq.key = "GET", spareKey
	case "deleteSpare":
		rq.method, rq.key = "DELETE", spareKey
	}
	// It has to become known to be asked for.
	time.Sleep(time.Millisecond)
	rep, ok := c.send(o, "", rq)
	if !ok {
		if rq.method != "GET" && rq.method != "HEAD" {
			c.did(o, o.kind, spare, o.value, "", rep, output{unknown: true})
		}
		return
	}
	code := ""
	if _, rest, found := strings.Cut(rep.body(), "<Code>"); found {
		code, _, _ = strings.Cut(rest, "</Code>")
	}
	out := output{ok: rep.Code < 300, code: code}
	switch {
	case o.kind == "getSpare" && out.ok:
		out.value = rep.body()
	case o.kind == "listSpare" && out.ok:
		if _, rest, found := strings.Cut(rep.body(), "<ETag>"); found {
			tag, _, _ := strings.Cut(rest, "</ETag>")
			v, known := c.valueOf(o, strings.NewReplacer("&quot;", "", "&#34;", "", `"`, "").Replace(tag))
			if !known {
				return
			}
			out.value = v
		}
	case o.kind == "headBucket" && rep.Code == 404:
		out.code = "NoSuchBucket"
	}
	c.did(o, o.kind, spare, o.value, "", rep, out)
	if c.w.plan.spareVersioned {
		c.keepSpareVersion(o, rep)
	}
}

// stepSpare is the register's model.
func stepSpare(state string, in input, out output) (bool, string) {
	there := state != noBucket
	if !out.ok && !out.unknown && out.code == "NoSuchBucket" {
		return !there, state
	}
	switch in.kind {
	case "read": // the end
		return out.value == state, state
	case "createBucket":
		switch {
		case !there:
			return out.ok || out.unknown, ""
		default: // both are answers that S3 gives
			return out.unknown || out.ok || out.code == "BucketAlreadyOwnedByYou", state
		}
	case "deleteBucket":
		switch {
		case state == "" && (out.ok || out.unknown):
			return true, noBucket
		case out.unknown:
			return true, state
		}
		return there && state != "" && out.code == "BucketNotEmpty", state
	case "putSpare", "deleteSpare":
		value := ""
		if in.kind == "putSpare" {
			value = in.value
		}
		if !there {
			return out.unknown, state
		}
		return out.ok || out.unknown, value
	case "headBucket":
		return there && out.ok, state
	case "getSpare":
		if state == "" || !there && out.code == "NoSuchKey" {
			// The store that the object was deleted on answers, until the other one knows
			// that too; it may not have heard of the bucket's end.
			return out.code == "NoSuchKey", state
		}
		return there && out.ok && out.value == state, state
	default: // listSpare
		return there && out.ok && out.value == state, state
	}
}

// spareOf is what a store holds there. The caller holds the lock.
func (s *store) spare() string {
	b := s.buckets[spareBucket]
	switch {
	case b == nil:
		return noBucket
	case b.objects[spareKey] == nil:
		return ""
	}
	return b.objects[spareKey].data
}
