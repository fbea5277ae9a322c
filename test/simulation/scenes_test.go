package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Some rules matter only where a few things come together that dice hardly ever bring
// together. A scene has clients do just these around the first switch, each at a time
// that is still drawn.

// scenes by what they aim at. They replace what clients do.
var scenes = map[aim]func(p *plan, r *rand.Rand) [][]op{
	raced: sceneRaced, closing: sceneClosing, olderCopies: sceneOlderCopies, unsaid: sceneUnsaid, intentLost: sceneIntentLost, bucketGone: sceneBucketGone,
	deletedSince: sceneDeletedSince, lostThenBack: sceneLostThenBack, keptLater: sceneKeptLater, copiedBack: sceneCopiedBack, bucketKept: sceneBucketKept,
}

// pace is how long the request of an op to a store takes, there and back.
type pace struct{ there, back time.Duration }

type paceKey struct{}

// paced slows a client's request to a store down as its op wants it.
func paced(ctx context.Context, f *fate) bool {
	v, ok := ctx.Value(paceKey{}).(pace)
	if ok {
		f.before, f.after, f.survives = f.before+v.there, f.after+v.back, true
	}
	return ok
}

// await waits until the route has got to a state, and then for a time. It reports
// whether the route got there at all.
func (w *world) await(on string, at time.Duration) bool {
	never := time.NewTimer(time.Minute)
	defer never.Stop()
	select {
	case <-w.reached(on):
	case <-never.C:
		return false
	}
	time.Sleep(at)
	return true
}

// scene collects the ops of one client.
type scene struct {
	name string
	key  string
	ops  []op
}

func (s *scene) add(kind, on string, at time.Duration) *op {
	o := op{id: fmt.Sprintf("%s.%d", s.name, len(s.ops)), kind: kind, keys: []string{s.key}, on: on, at: at, most: 1000}
	o.value = "<" + o.id + ">"
	s.ops = append(s.ops, o)
	return &s.ops[len(s.ops)-1]
}

// looks has a client read from a moment on.
func looks(name, key, on string, from, every time.Duration, times int) []op {
	s := scene{name: name, key: key}
	s.add("get", on, from)
	for range times - 1 {
		s.add("get", "", 0).gap = every
	}
	return s.ops
}

const atSwitch = "Switched#1"

// sceneRaced: a PUT under If-None-Match is on its way to the new main, where there is
// something. An upload ends on the old one, and then that object is deleted, before the
// PUT gets there and before the delete is answered.
func sceneRaced(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	for i, key := range keys {
		name := func(what string) string { return fmt.Sprint(what, i) }
		first := scene{name: name("first"), key: key}
		first.add("put", "", asked-between(r, 5*time.Second, 6*time.Second))
		upload := scene{name: name("upload"), key: key}
		u := upload.add("multipart", "", asked-between(r, 3*time.Second, 4*time.Second))
		u.parts, u.pause, u.finish = 1, 10*time.Millisecond, true
		u.endOn, u.endAt = atSwitch, between(r, 1500*time.Millisecond, 3*time.Second)
		ifAbsent := scene{name: name("ifAbsent"), key: key}
		ifAbsent.add("putIfAbsent", atSwitch, between(r, 700*time.Millisecond, 1500*time.Millisecond)).pace = pace{there: between(r, 3*time.Second, 6*time.Second)}
		remove := scene{name: name("remove"), key: key}
		remove.add("delete", atSwitch, u.endAt+between(r, 100*time.Millisecond, 2*time.Second)).pace = pace{back: between(r, time.Second, 5*time.Second)}
		out = append(out, first.ops, upload.ops, ifAbsent.ops, remove.ops, looks(name("look"), key, atSwitch, 3*time.Second, 400*time.Millisecond, 25))
	}
	return out
}

// sceneClosing: versions are deleted one after the other, now and then, until the switch
// is over, whose end takes its time.
func sceneClosing(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	p.slowEnd = 3 * time.Second
	p.slowReadsOfCopies = []time.Duration{0, time.Second}[r.IntN(2)]
	for i, key := range p.keys() {
		own := scene{name: fmt.Sprint("own", i), key: key}
		const versions = 9
		for n := range versions {
			own.add("put", "", asked-4*time.Second+time.Duration(n)*300*time.Millisecond)
		}
		for n := range versions {
			of := own.ops[versions-1-n].id
			o := own.add("removeVersion", "", 0)
			if n == 0 {
				o.on = atSwitch
			}
			o.of, o.gap = of, between(r, 200*time.Millisecond, 5*time.Second)
		}
		out = append(out, own.ops, looks(fmt.Sprint("look", i), key, atSwitch, 0, 250*time.Millisecond, 100))
	}
	return out
}

// sceneOlderCopies: an object is written twice just before the switch. What was written
// first is copied to the new main after that, and then everything is lost, with every
// proxy, before the second is copied.
func sceneOlderCopies(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	p.slowManager, p.lateReadsOfCopies = 3*time.Second, 6*time.Second
	p.loseAll(r, "flush", between(r, time.Second, 5*time.Second), 0)
	for i, key := range keys {
		s := scene{name: fmt.Sprint("own", i), key: key}
		s.add("put", "", asked-between(r, 0, time.Second))
		s.add("put", "Preparing#1", between(r, 10*time.Millisecond, 700*time.Millisecond))
		out = append(out, s.ops, looks(fmt.Sprint("look", i), key, atSwitch, 0, 500*time.Millisecond, 80))
	}
	return out
}

// sceneUnsaid: an object that is in sync is deleted just before Redis is restarted, which
// loses nothing. The client is answered meanwhile, and the proxy dies before it has said so.
func sceneUnsaid(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	at, gap := between(r, 1500*time.Millisecond, 6*time.Second), between(r, 2*time.Second, 5*time.Second)
	p.loseAll(r, "restart", at, gap)
	for i, key := range keys {
		s := scene{name: fmt.Sprint("own", i), key: key}
		s.add("put", "", asked-between(r, 5*time.Second, 6*time.Second))
		s.add("delete", atSwitch, at-between(r, 10*time.Millisecond, 300*time.Millisecond)).pace = pace{back: between(r, 300*time.Millisecond, 1500*time.Millisecond)}
		out = append(out, s.ops, looks(fmt.Sprint("look", i), key, atSwitch, at+gap+time.Second, 700*time.Millisecond, 60))
	}
	return out
}

// sceneIntentLost: an object that was written just before the switch, and is not copied yet,
// is written on the new main; Redis loses that this has begun, before it is answered.
func sceneIntentLost(p *plan, r *rand.Rand) (out [][]op) {
	p.slowManager, p.slowReadsOfCopies = 3*time.Second, 15*time.Second
	at, span := between(r, time.Second, 3*time.Second), between(r, 300*time.Millisecond, 2*time.Second)
	p.drawLoss(r, atSwitch, at)
	f := &p.faults[len(p.faults)-1]
	f.kind, f.span, f.gap, f.forget = "lose", span, 0, true
	for i, key := range keys {
		s := scene{name: fmt.Sprint("own", i), key: key}
		s.add("put", "Preparing#1", between(r, 10*time.Millisecond, 700*time.Millisecond))
		begins := between(r, 0, span)
		s.add("put", atSwitch, at+begins).pace = pace{back: span - begins + between(r, 50*time.Millisecond, 3*time.Second)}
		out = append(out, s.ops, looks(fmt.Sprint("look", i), key, atSwitch, 0, 500*time.Millisecond, 60))
	}
	return out
}

// sceneBucketGone: a bucket is created on the new main, and deleted before that is copied, which
// takes its time. Then the switch is turned back, and clients go on to use the bucket.
func sceneBucketGone(p *plan, r *rand.Rand) (out [][]op) {
	p.buckets, p.slowCopies, p.slowFinals = true, 0, .9
	p.switches = append(p.switches, switchAt{at: p.switches[0].at + between(r, 3*time.Second, 5*time.Second), flip: true})
	own := scene{name: "own"}
	own.add("createBucket", atSwitch, between(r, 300*time.Millisecond, 1500*time.Millisecond))
	own.add("deleteBucket", "", 0).gap = between(r, 300*time.Millisecond, 1500*time.Millisecond)
	out = append(out, own.ops)
	for i := range 4 {
		s := scene{name: fmt.Sprint("use", i)}
		s.add("getSpare", "Switched#2", between(r, 0, 100*time.Millisecond))
		for range 80 {
			s.add([]string{"deleteSpare", "deleteSpare", "getSpare", "listSpare"}[r.IntN(4)], "", 0).gap = between(r, time.Millisecond, 100*time.Millisecond)
		}
		out = append(out, s.ops)
	}
	return out
}

// sceneDeletedSince: everything is lost, with every proxy. When that has been found out an object is
// deleted, and the switch turned back before that is copied.
func sceneDeletedSince(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	p.slowReadsOfCopies = 15 * time.Second
	p.loseAll(r, "flush", between(r, time.Second, 2*time.Second), 0)
	p.switches = append(p.switches, switchAt{at: asked + between(r, 38*time.Second, 42*time.Second), flip: true})
	for i, key := range keys {
		s := scene{name: fmt.Sprint("own", i), key: key}
		s.add("put", "", asked-between(r, 4*time.Second, 6*time.Second))
		s.add("delete", atSwitch, between(r, 28*time.Second, 36*time.Second))
		out = append(out, s.ops, looks(fmt.Sprint("look", i), key, "Switched#2", 0, 400*time.Millisecond, 60))
	}
	return out
}

// sceneLostThenBack: an object is written just before the switch, and just after it; that is lost with
// every proxy, and the switch turned back before anybody reads it. More than a second is between the two:
// the stores' clocks tell no less.
func sceneLostThenBack(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	p.slowReadsOfCopies = 15 * time.Second
	p.loseAll(r, "flush", between(r, 2300*time.Millisecond, 3*time.Second), 0)
	p.switches = append(p.switches, switchAt{at: asked + between(r, 36*time.Second, 46*time.Second), flip: true})
	for i, key := range keys {
		s := scene{name: fmt.Sprint("own", i), key: key}
		s.add("put", "Preparing#1", between(r, 10*time.Millisecond, 700*time.Millisecond))
		s.add("put", atSwitch, between(r, 1500*time.Millisecond, 2200*time.Millisecond))
		out = append(out, s.ops, looks(fmt.Sprint("look", i), key, "", p.switches[1].at+between(r, 28*time.Second, 40*time.Second), 400*time.Millisecond, 60))
	}
	return out
}

// sceneKeptLater: an object that is in sync is deleted on the new main. Then Redis is restarted, which loses
// nothing, and a proxy dies; others tell of what they had written on the old main before.
func sceneKeptLater(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	at, gap := between(r, 1500*time.Millisecond, 4*time.Second), between(r, time.Second, 3*time.Second)
	p.drawLoss(r, atSwitch, at)
	f := &p.faults[len(p.faults)-1]
	f.kind, f.span, f.gap, f.forget = "restart", 0, gap, true
	p.faults = append(p.faults, fault{id: "dies", on: atSwitch, at: at, span: time.Second, kind: "crashProxy", who: r.IntN(p.proxies)})
	for i, key := range keys {
		s := scene{name: fmt.Sprint("own", i), key: key}
		s.add("put", "", asked-between(r, 5*time.Second, 6*time.Second))
		s.add("delete", atSwitch, between(r, 500*time.Millisecond, at-500*time.Millisecond))
		out = append(out, s.ops, looks(fmt.Sprint("look", i), key, atSwitch, at+gap+time.Second, 700*time.Millisecond, 60))
	}
	return out
}

// sceneCopiedBack: an object is written twice on the new main. What was written first is copied to the old
// one, where it lands after the second was written, and looks younger. Then everything is lost, with a proxy:
// another one tells of what it had written on the old main before.
func sceneCopiedBack(p *plan, r *rand.Rand) (out [][]op) {
	p.proxies, p.slowFinals = 2, .9
	at := between(r, 5*time.Second, 8*time.Second)
	p.drawLoss(r, atSwitch, at)
	f := &p.faults[len(p.faults)-1]
	f.kind, f.span, f.gap, f.forget = "flush", 0, 0, true
	p.faults = append(p.faults, fault{id: "dies", on: atSwitch, at: at, span: time.Second, kind: "crashProxy", who: r.IntN(p.proxies)})
	for i, key := range keys {
		s := scene{name: fmt.Sprint("own", i), key: key}
		s.add("put", "Preparing#1", between(r, 10*time.Millisecond, 700*time.Millisecond))
		s.add("put", atSwitch, between(r, 300*time.Millisecond, 800*time.Millisecond))
		s.add("put", "", 0).gap = between(r, 200*time.Millisecond, 800*time.Millisecond)
		out = append(out, s.ops, looks(fmt.Sprint("look", i), key, atSwitch, at+time.Second, 500*time.Millisecond, 60))
	}
	return out
}

// sceneBucketKept: a bucket is emptied and deleted on the new main, and the switch turned back before that is
// copied, which takes its time. Then Redis loses a moment, and nobody dies.
func sceneBucketKept(p *plan, r *rand.Rand) (out [][]op) {
	asked := p.switches[0].at
	p.buckets, p.slowCopies, p.slowFinals = true, 0, .9
	p.switches = append(p.switches, switchAt{at: asked + between(r, 4*time.Second, 7*time.Second), flip: true})
	p.drawLoss(r, "Switched#2", between(r, 0, 500*time.Millisecond))
	f := &p.faults[len(p.faults)-1]
	f.kind, f.span, f.gap, f.forget = "lose", between(r, 300*time.Millisecond, time.Second), 0, true
	own := scene{name: "own"}
	own.add("createBucket", "", asked-between(r, 5*time.Second, 6*time.Second))
	own.add("putSpare", "", 0).gap = between(r, 10*time.Millisecond, 300*time.Millisecond)
	own.add("deleteSpare", atSwitch, between(r, 300*time.Millisecond, 1500*time.Millisecond))
	own.add("deleteBucket", "", 0).gap = between(r, 10*time.Millisecond, 300*time.Millisecond)
	busy := scene{name: "busy", key: keys[0]}
	busy.add("put", "Switched#2", 0)
	for range 40 {
		busy.add("put", "", 0).gap = 50 * time.Millisecond
	}
	out = append(out, own.ops, busy.ops)
	for i, kind := range []string{"headBucket", "getSpare", "listSpare"} {
		s := scene{name: fmt.Sprint("use", i)}
		s.add(kind, "Switched#2", f.at+f.span+between(r, 0, 300*time.Millisecond))
		for range 60 {
			s.add(kind, "", 0).gap = between(r, 50*time.Millisecond, 400*time.Millisecond)
		}
		out = append(out, s.ops)
	}
	return out
}

// loseAll has Redis lose something with every proxy.
func (p *plan) loseAll(r *rand.Rand, kind string, at, gap time.Duration) {
	p.drawLoss(r, atSwitch, at)
	f := &p.faults[len(p.faults)-1]
	f.kind, f.span, f.gap, f.forget = kind, 0, gap, true
	dies := at
	if gap > 0 {
		dies += between(r, gap*3/4, gap)
	}
	for who := range p.proxies {
		p.faults = append(p.faults, fault{id: fmt.Sprint("dies", who), on: atSwitch, at: dies, span: time.Second, kind: "crashProxy", who: who})
	}
}

// stage draws the scene that a history aims at, if there is one.
func (p *plan) stage(seed uint64, at aim) {
	draw := scenes[at]
	if draw == nil {
		return
	}
	r := roll(seed, "scene")
	// It must be asked for late enough for what comes before.
	p.faults, p.switches = nil, []switchAt{{at: between(r, 9*time.Second, 15*time.Second), flip: true}}
	p.callFaults, p.writeFaults, p.conditional, p.buckets = 0, 0, true, false
	p.versioned = at == closing
	p.audit = at.loses()
	p.slowManager = time.Second
	p.clients = draw(p, r)
	p.noDeletes = !slices.ContainsFunc(p.clients, func(ops []op) bool {
		return slices.ContainsFunc(ops, func(o op) bool {
			return strings.HasPrefix(o.kind, "delete") || o.kind == "multipart" || o.kind == "removeVersion"
		})
	})
}
