package simulation

import (
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// versionKey is one more key in histories with versions, which one client at a time
// writes, deletes and brings back around each switch.
const versionKey = "v"

// keys are those that clients use in the bucket that all work with.
func (p *plan) keys() []string {
	all := slices.Clone(keys)
	if p.versioned {
		all = append(all, versionKey)
	}
	return all
}

// version is what a client's own write was answered.
type version struct {
	id, value string
	call      int64
}

func madeBy(op, key string) string { return op + "/" + key }

// drawVersions has the bucket keep versions: clients take back what they deleted or
// put, by the version that they were answered, some time later.
func (p *plan) drawVersions(r *rand.Rand) {
	p.versioned = true
	share := map[string]float64{"delete": .6, "deleteMany": .4, "put": .2, "putIfAbsent": .2, "copy": .2, "multipart": .3}
	for c, ops := range p.clients {
		var more []op
		n := 0
		after := func(o op, kind string, least, most time.Duration) op {
			n++
			o.of, o.kind, o.id = o.id, kind, fmt.Sprintf("%sv%d", o.id, n)
			o.at += between(r, least, most)
			o.leaves, o.many = 0, chance(r, .2)
			return o
		}
		for _, o := range ops {
			if p.noDeletes && o.kind != "getVersion" || o.kind == "copy" {
				continue
			}
			if !chance(r, share[o.kind]) {
				continue
			}
			if chance(r, .4) {
				more = append(more, after(o, "getVersion", time.Millisecond, 15*time.Second))
			}
			more = append(more, after(o, "removeVersion", 10*time.Millisecond, 15*time.Second))
			if chance(r, .15) { // once more
				more = append(more, after(o, "removeVersion", 16*time.Second, 25*time.Second))
			}
		}
		if chance(r, .5) && len(ops) > 0 {
			o := after(ops[r.IntN(len(ops))], "listVersions", 0, time.Second)
			more = append(more, o)
		}
		p.clients[c] = append(ops, more...)
		slices.SortStableFunc(p.clients[c], func(a, b op) int { return int(a.at - b.at) })
	}
	if p.noDeletes {
		return
	}
	var own, reads []op
	for i, s := range p.switches {
		name := fmt.Sprintf("v%d", i)
		at := max(0, s.at-between(r, 500*time.Millisecond, 5*time.Second))
		write := func(n int, kind string, after time.Duration) op {
			at += after
			return op{id: fmt.Sprintf("%s.%d", name, n), kind: kind, keys: []string{versionKey}, at: at, value: fmt.Sprintf("<%s.%d>", name, n), most: 1000}
		}
		var made []op
		for n := range 1 + r.IntN(3) {
			made = append(made, write(n, []string{"put", "put", "delete"}[r.IntN(3)], between(r, 10*time.Millisecond, 400*time.Millisecond)))
		}
		own = append(own, made...)
		at = s.at
		for n, o := range made {
			if chance(r, .7) {
				o.of, o.kind, o.many = o.id, "removeVersion", chance(r, .2)
				o.id, o.at = fmt.Sprintf("%s.%dr", name, n), s.at+between(r, 0, 12*time.Second)
				own = append(own, o)
			}
		}
		for n := range 6 {
			o := write(20+n, []string{"get", "get", "head", "list", "listVersions"}[r.IntN(5)], between(r, 100*time.Millisecond, 4*time.Second))
			o.v1 = chance(r, .5)
			reads = append(reads, o)
		}
	}
	if len(p.switches) > 0 && chance(r, .3) {
		own, reads = series(r, p.switches[0].at)
	}
	for _, ops := range [][]op{own, reads} {
		slices.SortStableFunc(ops, func(a, b op) int { return int(a.at - b.at) })
		p.clients = append(p.clients, ops)
	}
}

// series draws a client that writes a key some times before a switch, and then takes one
// version after the other back, now and then until the switch must be over, and one that
// looks on.
func series(r *rand.Rand, at time.Duration) (own, reads []op) {
	for n := range 14 {
		o := op{id: fmt.Sprintf("s.%d", n), kind: "put", keys: []string{versionKey}, at: max(0, at-time.Second*time.Duration(15-n)/5), value: fmt.Sprintf("<s.%d>", n)}
		own = append(own, o)
		o.id, o.of, o.kind, o.many = fmt.Sprintf("s.%dr", n), o.id, "removeVersion", chance(r, .2)
		o.at = at + time.Second*time.Duration(15-n)*3/2 + between(r, 0, time.Second)
		own = append(own, o)
	}
	for n := range 60 {
		reads = append(reads, op{id: fmt.Sprintf("sr.%d", n), kind: "get", keys: []string{versionKey}, at: at + time.Duration(n)*400*time.Millisecond})
	}
	return own, reads
}

// keep notes the version that a write was answered.
func (c *client) keep(o op, key, value string, rep *reply) {
	if rep.ResponseRecorder == nil || rep.Code >= 300 {
		return
	}
	id := rep.Header().Get("X-Amz-Version-Id")
	if id == "" && c.w.plan.versioned {
		c.wrong(o, rep)
		return
	}
	c.made[madeBy(o.id, key)] = version{id, value, rep.call}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.makers[id] = madeBy(o.id, key)
}

// removeVersion deletes for good the version that one of the client's own writes was
// answered: a delete is undone so, or a PUT taken back.
func (c *client) removeVersion(o op) {
	for _, key := range o.keys {
		v, ok := c.made[madeBy(o.of, key)]
		if !ok {
			continue
		}
		rq := request{method: "DELETE", key: key, query: "versionId=" + url.QueryEscape(v.id)}
		if o.many {
			rq = request{method: "POST", query: "delete=", body: "<Delete><Object><Key>" + key + "</Key><VersionId>" + v.id + "</VersionId></Object></Delete>"}
		}
		c.w.take(key)
		c.w.drops(v.id)
		rep, ok := c.send(o, key, rq)
		c.w.take(key)
		code := 0
		if ok {
			code = rep.Code
		}
		if o.many && code == 200 {
			switch {
			case strings.Contains(rep.body(), "<Deleted>"):
				code = 204
			case strings.Contains(rep.body(), "<Code>InvalidArgument</Code>"):
				code = 400
			case strings.Contains(rep.body(), "<Code>InternalError</Code>"):
				ok = false
			}
		}
		switch {
		case !ok, code == 204:
			c.did(o, "removeVersion", key, "", "", rep, output{unknown: !ok})
		case c.w.forgotten(v):
			// Its store was the other one by then, which alone knows it.
		case c.w.dropped(v, 1):
			// Nobody has it any more.
		default:
			c.wrong(o, rep)
		}
	}
}

func (w *world) take(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken[key] = time.Now()
}

// awaitsVersions says that a request waited for its object to be in sync, and that
// versions of it were deleted meanwhile, each of which makes the store that has them the
// newest. The caller holds the lock.
func (w *world) awaitsVersions(rq request, began time.Time) bool {
	waits := rq.header.Get("If-Match")+rq.header.Get("If-None-Match")+rq.header.Get("X-Amz-Copy-Source") != "" ||
		strings.Contains(rq.query, "versionId") || strings.Contains(rq.body, "VersionId")
	if !waits || time.Since(began) < w.plan.maxInFlight {
		return false
	}
	from, _, _ := strings.Cut(rq.header.Get("X-Amz-Copy-Source"), "?")
	for key, at := range w.taken {
		if at.After(began) && (rq.key == key || strings.HasSuffix(from, "/"+key) || strings.Contains(rq.body, "<Key>"+key+"<")) {
			return true
		}
	}
	return false
}

// getVersion reads it.
func (c *client) getVersion(o op) {
	key := o.keys[0]
	v, ok := c.made[madeBy(o.of, key)]
	if !ok {
		return
	}
	rep, ok := c.send(o, "", request{method: "GET", key: key, query: "versionId=" + url.QueryEscape(v.id)})
	switch {
	case !ok:
	case rep.Code == 200 && v.value != "":
		if rep.body() != v.value {
			c.wrong(o, rep)
		}
	case rep.Code == 405 && v.value == "":
	case (rep.Code == 400 || rep.Code == 404) && (c.w.forgotten(v) || c.w.dropped(v, 0)):
	default:
		c.wrong(o, rep)
	}
}

// dropped says that a version has been asked to be deleted more often than by its own asker.
func (w *world) dropped(v version, own int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropping[v.id] > own
}

// follow notes where clients write.
func (w *world) follow(r ledger.Route) {
	if r.Epoch == 0 {
		return
	}
	if len(w.mains) == 0 || w.mains[len(w.mains)-1].main != r.Main {
		w.clock++
		w.mains = append(w.mains, mainFrom{w.clock, r.Main})
	}
	if r.State == ledger.Switched && w.moved == 0 {
		w.clock++
		w.moved = w.clock
	}
	if r.State == ledger.Steady && !w.alone[r.Main] {
		w.clock++
		w.left[r.Main.Other()] = w.clock
	}
	w.alone = [2]bool{}
	if r.State == ledger.Steady {
		w.alone[r.Main] = true
	}
}

// forgotten says that since a version was made there was a time at which its store
// alone knew it, and was not asked.
func (w *world) forgotten(v version) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left[w.storeOf(v)] > v.call
}

// listVersions reads what is latest of each key.
func (c *client) listVersions(o op) {
	rep, ok := c.send(o, "", request{method: "GET", query: "versions="})
	if !ok {
		return
	}
	type entry struct {
		Key, ETag string
		IsLatest  bool
	}
	var page struct{ Version, DeleteMarker []entry }
	if rep.Code != 200 || xml.Unmarshal([]byte(rep.body()), &page) != nil {
		c.wrong(o, rep)
		return
	}
	latest, times := map[string]string{}, map[string]int{}
	for _, e := range page.Version {
		if !e.IsLatest {
			continue
		}
		v, known := c.valueOf(o, e.ETag)
		if !known {
			return
		}
		latest[e.Key] = v
		times[e.Key]++
	}
	for _, e := range page.DeleteMarker {
		if e.IsLatest {
			times[e.Key]++
		}
	}
	for _, k := range c.w.plan.keys() {
		if times[k] > 1 {
			c.wrong(o, rep)
			return
		}
		c.did(o, "read", k, "", "", rep, output{value: latest[k]})
	}
}
