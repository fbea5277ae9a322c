package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// plan is all that a history does of its own accord. What becomes of its calls is
// decided call by call; see fateOf.
type plan struct {
	shards           int
	proxies, workers int
	maxInFlight      time.Duration
	conditional      bool    // the stores know If-Match and If-None-Match
	slow             float64 // share of calls that are slow
	slowCopies       float64 // share of the workers' requests that are slow
	slowManager      time.Duration
	callFaults       float64 // share of calls that go wrong
	writeFaults      float64 // that of requests to the stores which are no GET
	mask             map[string]bool
	clients          [][]op
	faults           []fault
	switches         []switchAt
	audit            bool // spec.audit is on
	// What goes wrong on purpose around a switch, see rough.
	lateWrites, lateCopies float64 // shares of final requests that take very long, one way or the other
	lateFrom               time.Duration
	lateAborts             bool          // what is not sent fails late
	noDeletes              bool          // nor uploads
	patience               time.Duration // how long clients wait for an answer
	brief                  bool          // clients end soon after the first switch was asked for
	quiet                  bool          // but few of them, and reads
	lateCompletes          float64       // share of uploads whose end is answered late, or never
	lateAnswers            float64       // share of clients' final requests whose answer takes some seconds
	lateCopyAnswers        float64       // that of copies'
	lostRoutes             float64       // share of the manager's calls that put a route in force and get nowhere
	neverWrites            float64       // share of clients' final requests that never land, and nobody is told
	slowFinals             float64       // share of copies' final requests that take some seconds to get there
	slowWrites             float64       // share of clients' writes that take some seconds to get there
	slowReads              float64       // share of clients' reads that take some seconds to get to the store
	slowReadsOfCopies      time.Duration // how long those of workers may take
	lateReadsOfCopies      time.Duration // the same on the way back
	slowEnd                time.Duration // how long it may take to note that a switch is done, once nothing is in its way
	buckets                bool          // a second bucket comes and goes
	untouched              bool          // what Redis loses is the first that was done with an object for minutes
	uploads                bool          // clients do little but multipart uploads, begun before a switch
	versioned              bool          // the bucket keeps versions
	suspended              bool          // it did, before the migration
	spareVersioned         bool          // the second bucket keeps them
	seesUploads            bool          // clients list uploads while theirs are under way
}

// inOrder says that no write can begin on the old store: there are no uploads, and no
// change of mind. Then none is overtaken either, but by itself being settled as dead.
func (p *plan) inOrder() bool {
	return p.noDeletes && len(p.switches) <= 1 && !slices.ContainsFunc(p.faults, func(f fault) bool { return strings.HasPrefix(f.kind, "stop") })
}

// op is what one client does next.
type op struct {
	id     string
	kind   string
	keys   []string
	value  string
	parts  int // of a multipart upload
	pause  time.Duration
	at     time.Duration // when it begins, if the client is free then
	most   int           // keys of a page
	leaves time.Duration // it hangs up then; 0: it waits
	// Of a listing: the first version of the operation, and keys grouped by directory.
	v1, delimiter bool
	finish        bool   // an upload is completed, not aborted
	of            string // whose version this is about: the client's own op
	many          bool   // by DeleteObjects
	verb          string // what becomes of a version that is listed
	// In scenes: "at" is counted from when the route has got there ("Switched#1"), or the op
	// begins so long after the one before. Its request to a store takes so long, there and back; an
	// upload ends at a moment of its own.
	on, endOn  string
	endAt, gap time.Duration
	pace       pace
}

// fault is something that happens to processes, not to single calls.
type fault struct {
	id   string
	at   time.Duration
	span time.Duration
	on   string // it waits for the route to get there first: "Switched#1"
	kind string
	who  int
	to   peer
	// Of a loss of the ledger's data: how long Redis is away then, and whether it
	// comes back without our scripts, as after a restart.
	gap    time.Duration
	forget bool
}

// switchAt is a change of spec.switch.
type switchAt struct {
	at    time.Duration
	to    ledger.Store
	flip  bool // to whichever store is not main then
	pause bool // PauseWrites
	none  bool // taken away
	// spec.switch.reverse is off: the old store is left behind.
	noReverse bool
}

var keys = []string{"a/k0", "a/k1", "k2"}

// newPlan draws a history, or one that aims at something: see rough.
func newPlan(seed uint64, at aim) *plan {
	if at >= lostBucket && at <= spareVersions || at == uploadsSeen {
		return widePlan(seed, at)
	}
	p := drawPlan(seed, at)
	if p.stage(seed, at); scenes[at] != nil {
		return p
	}
	if r := roll(seed, "versions"); chance(r, .25) {
		p.drawVersions(r)
	}
	return p
}

func drawPlan(seed uint64, at aim) *plan {
	r := roll(seed, "plan")
	p := &plan{shards: 1 + r.IntN(2), proxies: 2 + r.IntN(2), workers: 1 + r.IntN(2), maxInFlight: 24 * time.Second, conditional: true, mask: map[string]bool{}, patience: 50 * time.Second}
	calm := chance(r, .2) && at == anything // nothing fails: then no request may
	p.slow = []float64{0, .01, .05}[r.IntN(3)]
	if !calm {
		p.callFaults = []float64{0, .005, .02, .06}[r.IntN(4)]
	}
	p.writeFaults = 3 * p.callFaults
	p.conditional = chance(r, .85)
	p.slowCopies = []float64{0, .1, .4}[r.IntN(3)]
	p.slowManager = []time.Duration{time.Second, time.Second, 6 * time.Second}[r.IntN(3)]
	length := between(r, 25*time.Second, 70*time.Second)
	for at := between(r, 4*time.Second, 15*time.Second); at < length; at += between(r, time.Second, length/2) {
		p.switches = append(p.switches, switchAt{at: at, to: ledger.Store(r.IntN(2)), flip: chance(r, .7), pause: chance(r, .2), none: chance(r, .05)})
	}
	hot := 1 + r.IntN(len(keys))
	rough := !calm && chance(r, .5)
	if at == anything && rough {
		at = aim(r.IntN(int(anything)))
	}
	if rough = at != anything; rough {
		hot = 1 + r.IntN(2)*r.IntN(2)
		p.rough(r, at)
		if p.quiet || p.brief || at == lostBack {
			hot = len(keys)
		}
	}
	clients := 3 + r.IntN(4)
	if p.uploads {
		clients += 3
	}
	for c := range clients {
		ops := drawOps(r, c, length, hot, p.uploads, p.switches)
		if p.quiet {
			ops = quieter(ops, c%2 == 0)
		}
		if p.brief && len(p.switches) > 0 {
			// Nobody overwrites what comes of it.
			ops = slices.DeleteFunc(ops, func(o op) bool { return o.at > p.switches[0].at+8*time.Second })
		}
		if c%2 == 1 && p.slowReads > 0 {
			ops = busy(r, c, p.switches, "put")
		}
		if at == justAfter && len(p.switches) > 0 {
			ops = few(r, c, p.switches[0].at)
		}
		if p.untouched {
			ops = once(r, c, p.switches[0].at)
		}
		if at == lostBack {
			ops = unread(r, c, p.switches)
		}
		if c%2 == 1 && p.slowWrites > 0 {
			ops = busy(r, c, p.switches, "delete", "putIfAbsent")
		}
		p.clients = append(p.clients, ops)
	}
	if p.buckets = at == bucketMoves || chance(r, .25) && !at.loses(); p.buckets {
		for c := range 3 {
			p.clients = append(p.clients, spareOps(r, drawOps(r, clients+c, length, 1, false, p.switches)))
		}
	}
	if p.noDeletes {
		for _, ops := range p.clients {
			for i := range ops {
				if strings.HasPrefix(ops[i].kind, "delete") || ops[i].kind == "multipart" {
					ops[i].kind = "put"
				}
			}
		}
	}
	if !p.conditional {
		for _, ops := range p.clients {
			for i := range ops {
				if strings.HasPrefix(ops[i].kind, "putIf") {
					ops[i].kind = "put"
				}
			}
		}
	}
	if calm {
		return p
	}
	if rough {
		// Other faults would mostly keep the route from moving.
		slices.SortFunc(p.faults, func(a, b fault) int { return int(a.at - b.at) })
		return p
	}
	for i := range r.IntN(7) {
		p.faults = append(p.faults, drawFault(r, i, length))
	}
	if !p.buckets && chance(r, .3) { // what becomes of a bucket then is not told apart by anybody
		p.drawLosses(r, length)
	}
	p.audit = p.audit || chance(r, .2)
	slices.SortFunc(p.faults, func(a, b fault) int { return int(a.at - b.at) })
	return p
}

// quieter leaves some uploads to every other client, and reads to the others.
func quieter(ops []op, uploads bool) []op {
	if uploads {
		ops = slices.DeleteFunc(ops, func(o op) bool { return o.kind != "multipart" })
		return ops[:min(len(ops), 2)]
	}
	for i, o := range ops {
		if o.kind != "list" && o.kind != "head" {
			ops[i].kind = "get"
		}
	}
	return ops
}

// busy draws a client that reads and changes one key while uploads to it end.
func busy(r *rand.Rand, c int, switches []switchAt, changes ...string) []op {
	var out []op
	for i := range 40 {
		o := op{id: fmt.Sprintf("c%d.%d", c, i), kind: "get", keys: keys[:1], at: between(r, 0, 20*time.Second)}
		if len(switches) > 0 {
			o.at += switches[0].at
		}
		if o.value = "<" + o.id + ">"; chance(r, .3*float64(len(changes))) {
			o.kind = changes[r.IntN(len(changes))]
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b op) int { return int(a.at - b.at) })
	return out
}

// unread draws a client that writes at the first switch, writes nothing or deletes before it is turned back,
// and reads nothing before that.
func unread(r *rand.Rand, c int, switches []switchAt) []op {
	var out []op
	if len(switches) < 2 {
		return nil
	}
	add := func(kind string, from, to time.Duration) {
		o := op{id: fmt.Sprintf("c%d.%d", c, len(out)), kind: kind, keys: keys[c%len(keys):][:1], at: between(r, from, to), most: 1000}
		o.value = "<" + o.id + ">"
		out = append(out, o)
	}
	first, back := switches[0].at, switches[1].at
	for range 6 {
		add("put", first-time.Second, first+5*time.Second)
	}
	if chance(r, .5) {
		add("delete", back-7*time.Second, back)
	}
	for range 5 {
		add("get", back+2*time.Second, back+20*time.Second)
	}
	slices.SortFunc(out, func(a, b op) int { return int(a.at - b.at) })
	return out
}

// few draws a client that writes once or twice while the route moves, and reads later.
func few(r *rand.Rand, c int, at time.Duration) []op {
	var out []op
	add := func(kind string, from, to time.Duration) {
		o := op{id: fmt.Sprintf("c%d.%d", c, len(out)), kind: kind, keys: keys[r.IntN(len(keys)):][:1], at: between(r, from, to), most: 1000}
		o.value = "<" + o.id + ">"
		out = append(out, o)
	}
	for range 1 + r.IntN(2) {
		add("put", at, at+5*time.Second)
	}
	for range 4 {
		add("get", at+10*time.Second, at+30*time.Second)
	}
	slices.SortFunc(out, func(a, b op) int { return int(a.at - b.at) })
	return out
}

// once draws a client that writes an object at once, and changes it once after a switch; others read it.
func once(r *rand.Rand, c int, at time.Duration) []op {
	var out []op
	add := func(kind string, from, to time.Duration) {
		o := op{id: fmt.Sprintf("c%d.%d", c, len(out)), kind: kind, keys: keys[c%len(keys):][:1], at: between(r, from, to), most: 1000, parts: 1, finish: true}
		o.value, o.pause = "<"+o.id+">", between(r, time.Second, 2*time.Second)
		out = append(out, o)
	}
	if c < len(keys) {
		add("put", 0, 8*time.Second)
		switch r.IntN(4) {
		case 0:
			add("multipart", at-3*time.Second, at+time.Second)
		case 1:
			add("put", at, at+8*time.Second)
		default:
			add("delete", at, at+8*time.Second)
		}
	}
	for range 8 {
		add("get", at+2*time.Second, at+30*time.Second)
	}
	slices.SortFunc(out, func(a, b op) int { return int(a.at - b.at) })
	return out
}

// kinds of ops, as often as they come.
var kinds = map[string]int{"put": 22, "get": 24, "head": 5, "delete": 9, "deleteMany": 4, "list": 10, "putIfAbsent": 7, "putIfMatch": 6, "copy": 6, "multipart": 8}

// drawOps draws what a client does: much of it while a switch is under way.
func drawOps(r *rand.Rand, c int, length time.Duration, hot int, uploads bool, switches []switchAt) []op {
	var out []op
	for i := range 12 + r.IntN(20) {
		o := op{id: fmt.Sprintf("c%d.%d", c, i), at: between(r, 0, length), most: 1000, finish: chance(r, .85)}
		if len(switches) > 0 && chance(r, .7) {
			o.at = switches[r.IntN(len(switches))].at + between(r, 0, 9*time.Second)
		}
		n := r.IntN(101)
		for _, k := range []string{"put", "get", "head", "delete", "deleteMany", "list", "putIfAbsent", "putIfMatch", "copy", "multipart"} {
			if n -= kinds[k]; n < 0 {
				o.kind = k
				break
			}
		}
		if uploads && chance(r, []float64{.9, .2}[c%2]) {
			o.kind, o.finish = "multipart", true
			if len(switches) > 0 {
				o.at = max(0, switches[r.IntN(len(switches))].at-between(r, 0, 4*time.Second))
			}
		}
		first := r.IntN(hot)
		o.keys = []string{keys[first], keys[(first+1+r.IntN(len(keys)-1))%len(keys)]}
		o.value = "<" + o.id + ">"
		o.parts, o.pause = 1+r.IntN(2), between(r, time.Millisecond, 8*time.Second)
		o.v1, o.delimiter = chance(r, .3), chance(r, .3)
		if chance(r, .05) {
			o.leaves = between(r, time.Millisecond, 2*time.Second)
		}
		if chance(r, .4) {
			o.most = 1 + r.IntN(2)
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b op) int { return int(a.at - b.at) })
	return out
}

// The kinds of faults, without losses.
var faultKinds = []string{"crashProxy", "crashWorker", "crashManager", "stopProxy", "stopWorker", "stopManager", "endProxy", "endWorker",
	"cutProxy", "cutWorker", "cutManager", "redisDown", "redisRefuses", "storeDown", "crashProxy", "crashWorker", "stopProxy", "stopWorker"}

func drawFault(r *rand.Rand, i int, length time.Duration) fault {
	f := fault{id: fmt.Sprint("f", i), at: between(r, 0, length), kind: faultKinds[r.IntN(len(faultKinds))], who: r.IntN(3)}
	f.span = []time.Duration{between(r, 50*time.Millisecond, 2*time.Second), between(r, time.Second, 15*time.Second), between(r, 10*time.Second, 50*time.Second)}[r.IntN(3)]
	f.to = []peer{redisPeer, sourcePeer, targetPeer}[r.IntN(3)]
	if f.kind == "storeDown" {
		f.to = []peer{sourcePeer, targetPeer}[r.IntN(2)]
	}
	if f.kind == "cutManager" {
		f.to = redisPeer
	}
	return f
}
