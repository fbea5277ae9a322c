package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// aim is what goes wrong around a switch.
type aim int

const (
	unanswered  aim = iota // writes go unanswered
	lateWrites             // clients' writes take their time, there or back
	lateCopies             // and copies
	lateBoth               // both; what is not sent fails late
	cutOff                 // a proxy does not hear of the switch, but goes on
	longSleep              // a proxy sleeps for so long that it is buried
	wakeAndDie             // it does, and dies when it has only just woken up
	deaths                 // processes die with requests under way
	lateUploads            // uploads from before the switch end late
	sleepers               // workers sleep with copies from before the switch
	losses                 // Redis loses data
	anything               // whatever the seed says
)

func (a aim) String() string {
	return [...]string{"unanswered", "lateWrites", "lateCopies", "lateBoth", "cutOff", "longSleep", "wakeAndDie", "deaths", "lateUploads", "sleepers", "losses", ""}[a]
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
		}
	case lateUploads:
		p.uploads, p.lateWrites, p.slowCopies = true, .5, .4
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
