package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// aim is what goes wrong around a switch.
type aim int

const (
	unanswered    aim = iota // writes go unanswered
	lateWrites               // clients' writes take their time, there or back
	lateCopies               // and copies
	lateBoth                 // both; what is not sent fails late
	cutOff                   // a proxy does not hear of the switch, but goes on
	longSleep                // a proxy sleeps for so long that it is buried
	wakeAndDie               // it does, and dies when it has only just woken up
	deaths                   // processes die with requests under way
	lateUploads              // uploads from before the switch end late
	sleepers                 // workers sleep with copies from before the switch
	losses                   // Redis loses data
	lateCompletes            // uploads from before the switch land, and their answers take their time
	lostAtSwitch             // writes of what is dirty at the switch never land, and nobody is told
	slowReads                // reads take their time while uploads end on the old store
	nappers                  // workers sleep with a copy that was answered, beyond its lock
	overtaken                // conditional writes take their time while uploads end on the old store
	bucketMoves              // a bucket is created and deleted at the switch
	lostDirty                // Redis loses what is not copied yet, and what was written since with whoever wrote it
	turnedBack               // the switch is turned back while writes from before it are on their way
	briefLosses              // Redis loses moments, again and again
	lostLocks                // Redis loses everything while copies hold locks and are on their way
	missed                   // it does, or is restarted, and a proxy dies with it: the others tell of older writes
	anything                 // whatever the seed says
	// Only where they are named, and in games: what other seeds stand for stays as it is.
	toldLate // Redis loses what was begun of late, and one proxy tells last of what it did before
	lostBack // it loses everything with every proxy, and then the switch is turned back
	// These play the history of the same seed under any of the others, with something in it that no other
	// one has, see wide_test.go.
	lostBucket    // a bucket is created and deleted around a loss of data
	noReverse     // spec.switch.reverse is off
	copiedVersion // copies name the version that they copy; versions are used whoever made them
	suspended     // the bucket kept versions until it was suspended, before the migration
	spareVersions // the second bucket keeps versions: fails still, see docs/sim.md
	// These play one scene, see scenes_test.go.
	raced       // a conditional write is on its way while an upload ends on the old store, and what it made is deleted
	closing     // versions are deleted on the old store until the switch is over, and longer
	olderCopies // everything is lost, with every proxy, when an older version has just been copied to the new main
	unsaid      // Redis is restarted, and every proxy dies before it has said what it was answered
	intentLost  // Redis loses that a write has begun which is answered then
	// Three more losses.
	longAgo   // it loses what came last with every proxy, and what that was about was written long before
	undone    // it loses a switch that was just made, and the manager brings it back in pieces
	justAfter // it loses what was overwritten just after the switch, with who wrote it
	// More scenes.
	bucketGone   // a bucket is created and deleted on the new main, and the switch turned back before that is copied
	deletedSince // an object is deleted after everything was lost with every proxy, and then the switch is turned back
	lostThenBack // what is written just after the switch is lost so, and then the switch is turned back
	keptLater    // an object is deleted, and Redis restarted while a proxy dies: others tell of older writes
	copiedBack   // a copy to the old main is late, and lands after the object was written again on the new one; then all is lost with a proxy
	bucketKept   // a bucket is deleted on the new main, the switch turned back before that is copied, and Redis restarted
	uploadsSeen  // clients list uploads while theirs, and those of copies, are under way; played as the wide ones are
	allAims      // how many there are
)

// loses says whether Redis loses data.
func (a aim) loses() bool {
	return slices.Contains([]aim{losses, lostDirty, briefLosses, lostLocks, missed, toldLate, lostBack, lostBucket, olderCopies, unsaid, intentLost, longAgo, undone, justAfter, deletedSince, lostThenBack, keptLater, copiedBack, bucketKept}, a)
}

func (a aim) String() string {
	return [...]string{"unanswered", "lateWrites", "lateCopies", "lateBoth", "cutOff", "longSleep", "wakeAndDie", "deaths", "lateUploads", "sleepers", "losses",
		"lateCompletes", "lostAtSwitch", "slowReads", "nappers", "overtaken", "bucketMoves", "lostDirty", "turnedBack", "briefLosses", "lostLocks", "missed", "", "toldLate", "lostBack",
		"lostBucket", "noReverse", "copiedVersion", "suspended", "spareVersions",
		"raced", "closing", "olderCopies", "unsaid", "intentLost", "longAgo", "undone", "justAfter", "bucketGone", "deletedSince", "lostThenBack", "keptLater", "copiedBack", "bucketKept",
		"uploadsSeen"}[a]
}

// rough aims at one moment: the clients write few keys while the route moves, and
// one kind of thing goes wrong just then, again and again.
func (p *plan) rough(r *rand.Rand, at aim) {
	p.callFaults, p.writeFaults = 0, 0
	for i := range p.switches {
		p.switches[i].flip, p.switches[i].pause, p.switches[i].none = true, false, false
	}
	p.slowManager = time.Second
	moment := func(kind string, states ...string) {
		for _, s := range states {
			f := fault{id: "on " + s, on: s, kind: kind, who: r.IntN(3), at: between(r, 0, 3*time.Second), to: redisPeer}
			f.span = []time.Duration{between(r, 2*time.Second, 12*time.Second), between(r, 12*time.Second, 30*time.Second), between(r, 40*time.Second, 48*time.Second)}[r.IntN(3)]
			p.faults = append(p.faults, f)
		}
	}
	switch at {
	case unanswered:
		p.writeFaults, p.callFaults = .3, .01
	case lateWrites:
		p.lateWrites = .4
	case lateCopies:
		p.lateCopies = .4
	case lateBoth:
		p.lateWrites, p.lateCopies, p.lateAborts = .3, .3, true
	case cutOff:
		for i := range p.switches {
			f := fault{id: "before a switch", kind: "cutProxy", who: r.IntN(3), to: redisPeer, span: between(r, 8*time.Second, 25*time.Second)}
			f.at = p.switches[i].at - between(r, 0, 2*time.Second)
			p.faults = append(p.faults, f)
		}
		p.slowCopies = .4
	case longSleep:
		p.lateWrites = .2
		moment("stopProxy", "Switched#1", "Switched#2", "Steady#3")
		if chance(r, .5) { // what it wrote was dirty, and it has been buried when it hears the store's answer
			p.lateWrites, p.slowReadsOfCopies, p.lateAnswers, p.patience = 0, 8*time.Second, .8, 90*time.Second
			for i := range p.faults {
				p.faults[i].span = between(r, 41*time.Second, 55*time.Second)
			}
		}
	case wakeAndDie:
		moment("wakeDieProxy", "Preparing#1", "Switched#1", "Steady#3")
	case deaths:
		p.lateWrites, p.lateFrom = .5, p.maxInFlight*3/5 // they land when the dead are known to be dead
		moment("crashProxy", "Preparing#1", "Switched#1", "Switched#2", "Steady#3")
	case losses: // Redis loses data just then
		p.audit = true
		p.slowCopies = []float64{0, .4}[r.IntN(2)]
		on := fmt.Sprint([]string{"Preparing", "Switched", "Switched", "Steady"}[r.IntN(4)], "#", 1+r.IntN(2))
		p.drawLoss(r, on, between(r, 0, 4*time.Second))
		if chance(r, .4) { // and with a process what it had told
			f := p.faults[len(p.faults)-1]
			p.faults = append(p.faults, fault{id: "dies", on: on, at: f.at + f.span*time.Duration(r.IntN(100))/100, span: time.Second, kind: "crashProxy", who: r.IntN(3)})
			p.noDeletes = chance(r, .7)
			// More at once is more than the stores can tell, see docs/protocol.md.
			p.switches = p.switches[:min(1, len(p.switches))]
		}
	case lateUploads:
		p.uploads, p.lateWrites, p.slowCopies = true, .5, .4
	case lateCompletes:
		p.uploads, p.quiet, p.lateCompletes, p.switches = true, true, .8, p.switches[:min(1, len(p.switches))]
	case lostAtSwitch:
		p.slowReadsOfCopies, p.neverWrites = 8*time.Second, .4
	case slowReads:
		p.uploads, p.slowReads, p.lateAnswers, p.switches = true, .4, .5, p.switches[:min(1, len(p.switches))]
	case overtaken:
		p.uploads, p.slowWrites, p.lateAnswers, p.switches = true, .5, .5, p.switches[:min(1, len(p.switches))]
	case nappers:
		p.slowReadsOfCopies, p.lateCopyAnswers = 3*time.Second, .9
		moment("stopWorker", "Switched#1")
		for i := range p.faults {
			p.faults[i].span = between(r, 16*time.Second, 38*time.Second)
			p.faults[i].at /= 2
		}
		p.workers, p.switches, p.brief = 1, p.switches[:min(1, len(p.switches))], true
	case bucketMoves:
		p.slowCopies = .1
	case lostDirty:
		// A change of mind on top of that is more than the stores can tell, see docs/protocol.md.
		p.audit, p.slowReadsOfCopies, p.noDeletes, p.switches = true, 15*time.Second, true, p.switches[:min(1, len(p.switches))]
		on := []string{"Switched#1", "Switched#1", "Switched#1", "Steady#3"}[r.IntN(4)]
		p.drawLoss(r, on, between(r, 0, 2*time.Second))
		f := &p.faults[len(p.faults)-1]
		f.kind, f.span, f.forget = "lose", between(r, 300*time.Millisecond, 8*time.Second), true
		if at, span := f.at, f.span; chance(r, .7) {
			for who := range p.proxies {
				p.faults = append(p.faults, fault{id: fmt.Sprint("dies", who), on: on, at: at + span*time.Duration(20+r.IntN(80))/100, span: time.Second, kind: "crashProxy", who: who})
			}
		}
	case turnedBack:
		p.lateWrites, p.lateFrom, p.quiet = .35, 10*time.Second, false
		first := p.switches[:min(1, len(p.switches))]
		for _, s := range first {
			p.switches = append(first, switchAt{at: s.at + between(r, 5*time.Second, 12*time.Second), flip: true})
			if chance(r, .3) {
				p.switches = append(p.switches, switchAt{at: p.switches[1].at + between(r, 5*time.Second, 12*time.Second), flip: true})
			}
		}
	case lostLocks, missed:
		p.audit, p.noDeletes, p.brief, p.switches = true, true, true, p.switches[:min(1, len(p.switches))]
		p.drawLoss(r, "Switched#1", between(r, 0, 5*time.Second))
		f := &p.faults[len(p.faults)-1]
		f.kind, f.span, f.gap = "flush", 0, 0
		if at == lostLocks {
			p.slowFinals = .8
			break
		}
		p.slowReadsOfCopies = 6 * time.Second
		dies := f.at + between(r, 0, 200*time.Millisecond)
		if chance(r, .5) { // nothing is lost but what it knew
			f.kind, f.forget, f.gap = "restart", true, between(r, time.Second, 5*time.Second)
			p.noDeletes, p.slowReadsOfCopies, p.lateAnswers = false, 0, .5
		}
		p.faults = append(p.faults, fault{id: "dies", on: f.on, at: dies, span: time.Second, kind: "crashProxy", who: r.IntN(3)})
	case toldLate:
		p.audit, p.noDeletes, p.brief, p.lateAnswers, p.switches = true, true, true, .7, p.switches[:min(1, len(p.switches))]
		p.drawLoss(r, "Switched#1", between(r, 500*time.Millisecond, 4*time.Second))
		f := &p.faults[len(p.faults)-1]
		f.kind, f.span, f.forget, f.gap = "lose", between(r, 200*time.Millisecond, 2*time.Second), true, 0
		last := fault{id: "last", on: f.on, at: f.at + f.span - between(r, 0, 200*time.Millisecond), span: between(r, 3*time.Second, 9*time.Second), kind: "cutProxy", who: r.IntN(3), to: redisPeer}
		p.faults = append(p.faults, last)
	case lostBack:
		p.audit, p.slowReadsOfCopies, p.switches = true, 15*time.Second, p.switches[:min(1, len(p.switches))]
		for _, s := range p.switches {
			p.switches = append(p.switches, switchAt{at: s.at + between(r, 15*time.Second, 25*time.Second), flip: true})
		}
		p.drawLoss(r, "Switched#1", between(r, 500*time.Millisecond, 3*time.Second))
		f := &p.faults[len(p.faults)-1]
		f.kind, f.span, f.gap = "flush", 0, 0
		at := f.at
		for who := range p.proxies {
			p.faults = append(p.faults, fault{id: fmt.Sprint("dies", who), on: "Switched#1", at: at, span: time.Second, kind: "crashProxy", who: who})
		}
	case longAgo:
		p.audit, p.untouched, p.switches = true, true, []switchAt{{at: between(r, 150*time.Second, 170*time.Second), flip: true}}
		p.drawLoss(r, "Switched#1", between(r, 500*time.Millisecond, 4*time.Second))
		f := &p.faults[len(p.faults)-1]
		f.kind, f.span, f.forget = "lose", between(r, 0, 3*time.Second), true
		for who := range p.proxies {
			p.faults = append(p.faults, fault{id: fmt.Sprint("dies", who), on: f.on, at: f.at + f.span, span: time.Second, kind: "crashProxy", who: who})
		}
	case justAfter:
		p.audit, p.noDeletes, p.slowReadsOfCopies, p.switches = true, true, 8*time.Second, p.switches[:min(1, len(p.switches))]
		p.drawLoss(r, "Switched#1", between(r, 500*time.Millisecond, 1500*time.Millisecond))
		f := &p.faults[len(p.faults)-1]
		if f.forget, f.gap = true, 0; f.kind == "lose" {
			f.at, f.span = f.at-500*time.Millisecond, 500*time.Millisecond
		}
		p.faults = append(p.faults, fault{id: "dies", on: f.on, at: f.at + f.span, span: time.Second, kind: "crashProxy", who: r.IntN(3)})
	case undone:
		p.audit, p.brief, p.lostRoutes, p.switches = true, true, .5, p.switches[:min(1, len(p.switches))]
		p.drawLoss(r, "Preparing#1", between(r, 0, 1200*time.Millisecond))
		f := &p.faults[len(p.faults)-1]
		f.kind, f.span, f.forget, f.gap = "lose", between(r, 500*time.Millisecond, 3*time.Second), true, 0
	case briefLosses:
		p.audit = true
		for range 2 + r.IntN(4) {
			on := fmt.Sprint([]string{"Preparing", "Switched", "Switched", "Steady"}[r.IntN(4)], "#", 1+r.IntN(2))
			p.drawLoss(r, on, between(r, 0, 8*time.Second))
			f := &p.faults[len(p.faults)-1]
			f.kind, f.span, f.forget, f.gap = "lose", between(r, time.Millisecond, 300*time.Millisecond), true, 0
		}
	case sleepers:
		p.lateCopies = .3
		moment("stopWorker", "Preparing#1", "Switched#1", "Switched#2", "Steady#3")
	}
}

// late makes a final request take very long: on its way, or with its answer on the
// way back, or so that the answer is lost.
func (f *fate) late(r *rand.Rand, least, most time.Duration) {
	span := between(r, least, most)
	f.survives = true
	switch r.IntN(5) {
	case 0, 1:
		f.before += span
	case 2:
		f.after += span
	case 3: // it has landed, and nobody is told
		f.lost = f.before + f.after
	case 4: // it lands late, or never, and nobody is told
		f.lost, f.never = f.before+f.after, chance(r, .3)
		f.before += span
	}
}

// aimed has a call go as the history wants it to; it returns a word for what goes wrong.
func (p *plan) aimed(by *process, to peer, label string, final bool, f *fate, r *rand.Rand) string {
	if to == redisPeer {
		if by.is("manager") && strings.HasPrefix(label, "setroute") && chance(r, p.lostRoutes) {
			f.never, f.lost, f.refused = true, f.before+f.after, "unsent"
			return "late"
		}
		return ""
	}
	get := strings.Contains(label, " GET ")
	switch {
	case final && by.is("proxy") && strings.Contains(label, " POST ") && strings.Contains(label, "?uploadId=") && chance(r, p.lateCompletes):
		f.survives = true
		if chance(r, .4) {
			f.lost = f.before + f.after
		} else {
			f.after += between(r, time.Second, p.maxInFlight*17/20)
		}
		return "late"
	case p.seesUploads && by.is("worker") && strings.Contains(label, " POST ") && strings.Contains(label, "?uploads"):
		switch r.IntN(3) {
		case 0: // its worker never hears of it
			f.lost = f.before + f.after
		case 1:
			f.after += between(r, 100*time.Millisecond, 5*time.Second)
		}
		return "late"
	case final && by.is("proxy") && chance(r, p.neverWrites):
		f.never, f.lost = true, f.before+f.after
		return "late"
	case final && by.is("worker") && chance(r, p.slowFinals):
		f.before += between(r, 0, 6*time.Second)
		return "late"
	case final && by.is("proxy") && strings.Contains(label, " PUT ") && chance(r, p.slowWrites):
		f.before += between(r, 0, 6*time.Second)
		return "late"
	case final && (by.is("proxy") && chance(r, p.lateAnswers) || by.is("worker") && chance(r, p.lateCopyAnswers)):
		f.after += between(r, 100*time.Millisecond, 5*time.Second)
		return "late"
	case get && by.is("proxy") && chance(r, p.slowReads):
		f.before += between(r, 0, 7*time.Second)
	case get && by.is("worker") && p.slowReadsOfCopies > 0 && strings.Contains(label, " /"+bucketName+"/"):
		f.before += between(r, 0, p.slowReadsOfCopies)
		return "slow"
	case get && by.is("worker") && p.lateReadsOfCopies > 0 && strings.Contains(label, " /"+bucketName+"/"):
		f.after += between(r, 0, p.lateReadsOfCopies)
		return "slow"
	}
	return ""
}
