package simulation

import (
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// widePlan draws a history that has more in it than others.
func widePlan(seed uint64, at aim) *plan {
	r := roll(seed, "wide "+at.String())
	base := aim(r.IntN(int(anything) + 1))
	if at == lostBucket {
		base = []aim{losses, lostDirty, briefLosses, lostLocks, missed, toldLate, anything, anything}[r.IntN(8)]
	}
	if at == uploadsSeen {
		base = []aim{lateUploads, lateCompletes, lateCopies, deaths, turnedBack, sleepers, losses, anything}[r.IntN(8)]
	}
	p := newPlan(seed, base)
	if at == suspended {
		p = drawPlan(seed, base)
	}
	switch at {
	case lostBucket:
		p.addBucket(r)
		if !slices.ContainsFunc(p.faults, fault.loses) {
			p.drawLosses(r, p.length())
			slices.SortStableFunc(p.faults, func(a, b fault) int { return int(a.at - b.at) })
		}
	case noReverse:
		for i := range p.switches {
			p.switches[i].noReverse = chance(r, .8)
		}
	case copiedVersion:
		if !p.versioned {
			p.drawVersions(r)
		}
		p.copyVersions(r)
	case suspended:
		p.suspend(r)
	case spareVersions:
		p.addBucket(r)
		p.keepSpare(r)
	case uploadsSeen:
		p.seesUploads = true
	}
	return p
}

// keepSpare has the second bucket keep versions, and clients take them back.
func (p *plan) keepSpare(r *rand.Rand) {
	p.spareVersioned = true
	for c, ops := range p.clients {
		var more []op
		for i, o := range ops {
			switch {
			case (o.kind == "putSpare" || o.kind == "deleteSpare") && chance(r, .5):
				more = append(more, op{id: fmt.Sprintf("%sr%d", o.id, i), of: o.id, kind: "removeSpare", keys: keys[:1], at: o.at + between(r, 10*time.Millisecond, 8*time.Second)})
			case o.kind == "deleteBucket" && chance(r, .5): // it has to be empty
				more = append(more, op{id: fmt.Sprintf("%se%d", o.id, i), kind: "emptySpare", keys: keys[:1], at: max(0, o.at-between(r, time.Millisecond, 500*time.Millisecond))})
			}
		}
		p.clients[c] = append(ops, more...)
		slices.SortStableFunc(p.clients[c], func(a, b op) int { return int(a.at - b.at) })
	}
}

// keepSpareVersion notes the version that a write in the second bucket was answered.
func (c *client) keepSpareVersion(o op, rep *reply) {
	if id := rep.Header().Get("X-Amz-Version-Id"); id != "" && rep.Code < 300 {
		c.made[madeBy(o.id, spareKey)] = version{id: id, call: rep.call}
	}
}

// takeSpare deletes versions of the second bucket's object: one of the client's own, or all
// that it finds.
func (c *client) takeSpare(o op) {
	var ids []string
	if o.kind == "removeSpare" {
		if v, ok := c.made[madeBy(o.of, spareKey)]; ok {
			ids = append(ids, v.id)
		}
	} else {
		rep, ok := c.send(o, "list", request{method: "GET", bucket: spareBucket, query: "versions="})
		type entry struct{ VersionId string }
		var page struct{ Version, DeleteMarker []entry }
		if !ok || rep.Code != 200 || xml.Unmarshal([]byte(rep.body()), &page) != nil {
			return
		}
		for _, e := range append(page.Version, page.DeleteMarker...) {
			ids = append(ids, e.VersionId)
		}
	}
	for i, id := range ids {
		x := o
		x.id = fmt.Sprint(o.id, ".", i)
		c.w.take(spareKey)
		rep, ok := c.send(x, "", request{method: "DELETE", bucket: spareBucket, key: spareKey, query: "versionId=" + url.QueryEscape(id)})
		c.w.take(spareKey)
		switch {
		case !ok:
			c.did(x, "removeSpare", spare, "", "", rep, output{unknown: true})
		case rep.Code == 204:
			c.did(x, "removeSpare", spare, "", "", rep, output{ok: true})
			c.w.count("spareVersionsDeleted")
		case strings.Contains(rep.body(), "<Code>NoSuchBucket<"):
			c.did(x, "removeSpare", spare, "", "", rep, output{code: "NoSuchBucket"})
		case rep.Code == 400 || rep.Code == 404: // it was another store's, or is gone
			c.w.count("spareVersionsRefused")
		default:
			c.wrong(x, rep)
		}
	}
}

// emptySpare does what docs/operations.md has people do when a bucket that kept versions was
// deleted: the other store's has older ones, which no copy deletes. The caller holds the lock.
func (w *world) emptySpare(main ledger.Store) {
	b := w.stores[main.Other()].buckets[spareBucket]
	if !w.plan.spareVersioned || w.stores[main].buckets[spareBucket] != nil || b == nil || len(b.objects) > 0 || len(b.versions) == 0 {
		return
	}
	clear(b.versions)
	w.result.faults["emptied"]++
	w.write(nil, "OPERATOR empties the bucket that was deleted")
}

const (
	kept   = "\x05" // begins a state of the second bucket in which it may hold versions
	unsure = "\x06" // one in which nobody knows which of them is current
)

// stepSpareVersions is stepSpare where the bucket keeps versions: which one comes back when
// one is deleted is not checked.
func stepSpareVersions(state string, in input, out output) (bool, string) {
	there := state != noBucket
	now, held := strings.CutPrefix(state, kept)
	open := strings.HasPrefix(state, unsure)
	sees := func(fits bool, next string) (bool, string) {
		return there && fits && (open || next == now), map[bool]string{true: kept + next, false: state}[open]
	}
	switch {
	case !out.ok && !out.unknown && out.code == "NoSuchBucket":
		return !there, state
	case in.kind == "read": // the end
		return out.value == noBucket && !there || open || out.value == now, state
	case in.kind == "createBucket" && there:
		return out.unknown || out.ok || out.code == "BucketAlreadyOwnedByYou", state
	case in.kind == "createBucket":
		return out.ok || out.unknown, ""
	case in.kind == "deleteBucket" && (out.ok || out.unknown):
		if there && (!held || now == "") {
			return true, noBucket
		}
		return out.unknown, state
	case in.kind == "deleteBucket":
		return there && state != "" && out.code == "BucketNotEmpty", state
	case !there:
		return out.unknown || in.kind == "getSpare" && out.code == "NoSuchKey", state
	case in.kind == "putSpare":
		return out.ok || out.unknown, kept + in.value
	case in.kind == "deleteSpare":
		return out.ok || out.unknown, kept
	case in.kind == "removeSpare":
		return out.ok || out.unknown, unsure
	case in.kind == "headBucket":
		return out.ok, state
	case in.kind == "getSpare":
		return sees(out.ok || out.code == "NoSuchKey", out.value)
	default: // listSpare
		return sees(out.ok, out.value)
	}
}

// Contents from before versioning was suspended: each has an id of its own.
var oldOf = map[string]string{"a/k0": "<old0>", "a/k1": "<old1>"}

// suspend has clients look at what a key's null version is, and delete that.
func (p *plan) suspend(r *rand.Rand) {
	p.suspended = true
	for c, ops := range p.clients {
		var more []op
		for i, o := range ops {
			if !slices.Contains([]string{"put", "get", "putIfAbsent", "copy", "multipart", "delete"}, o.kind) {
				continue
			}
			if chance(r, .25) {
				more = append(more, op{id: fmt.Sprintf("%sg%d", o.id, i), kind: "getNull", keys: o.keys[:1], at: o.at + between(r, time.Millisecond, 8*time.Second)})
			}
			if !p.noDeletes && chance(r, .15) {
				more = append(more, op{id: fmt.Sprintf("%sn%d", o.id, i), kind: "removeNull", keys: o.keys[:1], at: o.at + between(r, time.Millisecond, 8*time.Second), many: chance(r, .3)})
			}
		}
		if chance(r, .5) {
			more = append(more, op{id: fmt.Sprintf("c%dl", c), kind: "listVersions", keys: keys[:1], at: between(r, 0, p.length())})
		}
		p.clients[c] = append(ops, more...)
		slices.SortStableFunc(p.clients[c], func(a, b op) int { return int(a.at - b.at) })
	}
}

// onNull reads or deletes a key's null version.
func (c *client) onNull(o op) {
	key := o.keys[0]
	rq := request{method: "GET", key: key, query: "versionId=null"}
	if o.kind == "removeNull" {
		rq.method = "DELETE"
	}
	if o.many {
		rq = request{method: "POST", query: "delete=", body: "<Delete><Object><Key>" + key + "</Key><VersionId>null</VersionId></Object></Delete>"}
	}
	rep, ok := c.send(o, "", rq)
	switch {
	case !ok && o.kind == "getNull":
	case !ok:
		c.did(o, o.kind, key, "", "", rep, output{unknown: true})
	case o.kind == "getNull" && rep.Code == 200:
		c.did(o, o.kind, key, "", "", rep, output{value: rep.body()})
	case o.kind == "getNull" && (rep.Code == 404 || rep.Code == 405):
		c.did(o, o.kind, key, "", "", rep, output{})
	case o.kind == "removeNull" && (rep.Code == 204 || o.many && strings.Contains(rep.body(), "<Deleted>")):
		c.did(o, o.kind, key, "", "", rep, output{})
	case o.many && strings.Contains(rep.body(), "<Code>InternalError</Code>"):
		c.did(o, o.kind, key, "", "", rep, output{unknown: true})
	default:
		c.wrong(o, rep)
	}
}

// stepNull is what a request about the null version says of a key.
func (v *versionRules) stepNull(s string, i input, o output) (bool, string) {
	now, sure := v.current(s)
	older := oldOf[i.key]
	switch {
	case i.kind == "removeNull" && v.exact[i.op]:
		return true, older
	case i.kind == "removeNull": // the store that it was on has the older version, or not
		return true, anyOld + other + other + older
	case !sure && o.value == "":
		return true, s
	case !sure:
		return v.older(s, o.value), seenOld + o.value
	case o.value == "": // only on the store that has the older version it is not the null one
		return now == "" || now == older, s
	}
	return now == o.value, s
}

// copyVersions has clients copy versions of their own, now and then back onto the same key.
func (p *plan) copyVersions(r *rand.Rand) {
	for c, ops := range p.clients {
		for i, o := range ops {
			if o.of != "" || !slices.Contains([]string{"put", "putIfAbsent", "putIfMatch", "copy", "multipart", "delete", "deleteMany"}, o.kind) || !chance(r, .35) {
				continue
			}
			made := o.keys[0]
			if o.kind == "copy" {
				made = o.keys[1]
			}
			x := op{id: fmt.Sprintf("%sx%d", o.id, i), kind: "copyVersion", of: o.id, keys: []string{made, made}, at: o.at + between(r, time.Millisecond, 15*time.Second)}
			if chance(r, .5) {
				x.keys[1] = keys[r.IntN(len(keys))]
			}
			p.clients[c] = append(p.clients[c], x)
		}
		slices.SortStableFunc(p.clients[c], func(a, b op) int { return int(a.at - b.at) })
	}
	// Others take what they find, whoever made it: clients or copies.
	for c := range 2 {
		var ops []op
		for i := range 14 {
			o := op{id: fmt.Sprintf("l%d.%d", c, i), kind: "listed", keys: keys[:1], at: between(r, 0, p.length())}
			if len(p.switches) > 0 && chance(r, .7) {
				o.at = p.switches[r.IntN(len(p.switches))].at + between(r, 0, 12*time.Second)
			}
			if o.verb = []string{"GET", "HEAD", "DELETE", "PUT"}[r.IntN(4)]; o.verb == "DELETE" && p.noDeletes {
				o.verb = "GET"
			}
			ops = append(ops, o)
		}
		slices.SortStableFunc(ops, func(a, b op) int { return int(a.at - b.at) })
		p.clients = append(p.clients, ops)
	}
}

// useListed lists versions, and reads, deletes or copies one of them.
func (c *client) useListed(o op) {
	rep, ok := c.send(o, "list", request{method: "GET", query: "versions="})
	if !ok {
		return
	}
	type entry struct{ Key, VersionId, ETag string }
	var page struct{ Version, DeleteMarker []entry }
	if rep.Code != 200 || xml.Unmarshal([]byte(rep.body()), &page) != nil {
		c.wrong(o, rep)
		return
	}
	// What a store got before its bucket kept versions has the same id on both.
	all := slices.DeleteFunc(append(page.Version, page.DeleteMarker...), func(e entry) bool { return e.VersionId == "null" })
	if len(all) == 0 {
		return
	}
	e := all[roll(c.w.seed, "listed "+o.id).IntN(len(all))]
	v := version{id: e.VersionId, call: rep.call}
	if e.ETag != "" {
		if v.value, ok = c.valueOf(o, e.ETag); !ok {
			return
		}
	}
	c.w.mu.Lock()
	o.of = c.w.makers[v.id]
	gone := c.w.dropping[v.id] > 0
	c.w.mu.Unlock()
	rq := request{method: o.verb, key: e.Key, query: "versionId=" + url.QueryEscape(v.id)}
	switch o.verb {
	case "PUT":
		rq.query, rq.header = "", http.Header{"X-Amz-Copy-Source": {"/" + bucketName + "/" + e.Key + "?versionId=" + url.QueryEscape(v.id)}}
	case "DELETE":
		c.w.drops(v.id)
		c.w.take(e.Key)
	}
	rep, ok = c.send(o, "use", rq)
	if o.verb == "DELETE" {
		c.w.take(e.Key)
	}
	c.w.mu.Lock()
	gone = gone || c.w.dropping[v.id] > 1 || c.w.dropping[v.id] == 1 && o.verb != "DELETE"
	c.w.mu.Unlock()
	missing := ok && (rep.Code == 400 || rep.Code == 404) && (gone || c.w.forgotten(v) || o.verb == "PUT" && c.w.elsewhere(v, rep))
	switch {
	case !ok && o.verb == "DELETE":
		c.dropped(o, e.Key, rep, output{unknown: true})
	case !ok && o.verb == "PUT" && v.value != "":
		c.did(o, "write", e.Key, v.value, "", rep, output{unknown: true})
	case !ok, missing:
	case o.verb == "DELETE" && rep.Code == 204:
		c.dropped(o, e.Key, rep, output{})
		if o.of == "" {
			c.w.count("copiesVersionsDeleted")
		} else {
			c.w.count("othersVersionsDeleted")
		}
	case o.verb == "PUT" && rep.Code == 200 && v.value != "" && strings.Contains(rep.body(), escaped(md5tag(v.value))):
		c.know(v.value)
		c.did(o, "write", e.Key, v.value, "", rep, output{})
	case o.verb == "PUT" && rep.Code == 400 && v.value == "":
	case o.verb == "GET" && rep.Code == 200 && v.value != "" && rep.body() == v.value:
	case o.verb == "HEAD" && rep.Code == 200 && v.value != "" && rep.etag() == strings.Trim(e.ETag, `"`):
	case (o.verb == "GET" || o.verb == "HEAD") && rep.Code == 405 && v.value == "":
	default:
		c.wrong(o, rep)
	}
}

// dropped records that a version was deleted, whoever made it.
func (c *client) dropped(o op, key string, rep *reply, out output) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.record(input{kind: "removeVersion", key: key, op: o.id, version: o.of}, out, rep.call, rep.ret)
}

// drops notes that somebody is about to delete a version.
func (w *world) drops(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropping[id]++
}

// copyVersion copies the version that one of the client's own writes was answered.
func (c *client) copyVersion(o op) {
	from, to := o.keys[0], o.keys[1]
	v, ok := c.made[madeBy(o.of, from)]
	if !ok {
		return
	}
	c.know(v.value)
	rep, ok := c.send(o, "", request{method: "PUT", key: to, header: http.Header{"X-Amz-Copy-Source": {"/" + bucketName + "/" + from + "?versionId=" + url.QueryEscape(v.id)}}})
	switch {
	case !ok && v.value != "":
		c.did(o, "write", to, v.value, "", rep, output{unknown: true})
	case !ok:
	case rep.Code == 200 && v.value != "" && strings.Contains(rep.body(), escaped(md5tag(v.value))):
		c.did(o, "write", to, v.value, "", rep, output{})
		c.keep(o, to, v.value, rep)
		c.w.count("versionsCopied")
	case rep.Code == 400 && v.value == "":
	case (rep.Code == 400 || rep.Code == 404) && (c.w.elsewhere(v, rep) || c.w.dropped(v, 0)):
		// Main alone is asked for it, or nobody has it any more.
		c.w.count("versionsNotCopied")
	default:
		c.wrong(o, rep)
	}
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.faults[what]++
}

// mainFrom is a route's main, and when it was decided on.
type mainFrom struct {
	at   int64
	main ledger.Store
}

// elsewhere says that while a request was under way main may have been another store than a version's.
func (w *world) elsewhere(v version, rep *reply) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.mains) - 1; i >= 0; i-- {
		m := w.mains[i]
		if m.at <= rep.ret && m.main != w.storeOf(v) {
			return true
		}
		if m.at < rep.call {
			return false
		}
	}
	return false
}

// storeOf says which store made a version.
func (w *world) storeOf(v version) ledger.Store {
	if strings.HasPrefix(v.id, w.stores[ledger.Target].versionPrefix()) {
		return ledger.Target
	}
	return ledger.Source
}

// length is when the last client begins its last request.
func (p *plan) length() time.Duration {
	length := 20 * time.Second
	for _, ops := range p.clients {
		for _, o := range ops {
			length = max(length, o.at)
		}
	}
	return length
}

// addBucket has a second bucket come and go, if none does yet.
func (p *plan) addBucket(r *rand.Rand) {
	if p.buckets {
		return
	}
	p.buckets = true
	for c := range 3 {
		ops := spareOps(r, drawOps(r, len(p.clients)+c, p.length(), 1, false, p.switches))
		if !p.conditional {
			ops = slices.DeleteFunc(ops, func(o op) bool { return strings.HasPrefix(o.kind, "putIf") })
		}
		p.clients = append(p.clients, ops)
	}
}
