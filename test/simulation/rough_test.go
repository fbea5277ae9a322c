package simulation

import (
	"math/rand/v2"
	"time"
)

// rough aims at one moment: the clients write few keys while the route moves, and
// one kind of thing goes wrong just then, again and again.
func (p *plan) rough(r *rand.Rand) {
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
	switch r.IntN(9) {
	case 0: // writes go unanswered
		p.writeFaults, p.callFaults = .3, .01
	case 1: // clients' writes take their time, there or back
		p.lateWrites = .4
	case 2:
		p.lateCopies = .4
	case 3:
		p.lateWrites, p.lateCopies, p.lateAborts = .3, .3, true
	case 4: // a proxy does not hear of the switch, but goes on
		for i := range p.switches {
			f := fault{id: "before a switch", kind: "cutProxy", who: r.IntN(3), to: redisPeer, span: between(r, 8*time.Second, 25*time.Second)}
			f.at = p.switches[i].at - between(r, 0, 2*time.Second)
			p.faults = append(p.faults, f)
		}
		p.slowCopies = .4
	case 5: // a proxy is asleep for so long that it is buried
		p.lateWrites = .2
		moment("stopProxy", "Switched#1", "Switched#2", "Steady#3")
	case 6: // it is, and dies when it has only just woken up
		moment("wakeDieProxy", "Preparing#1", "Switched#1", "Steady#3")
	case 7: // processes die with requests under way
		p.lateWrites, p.lateCopies = .3, .2
		moment("crashProxy", "Preparing#1", "Switched#1", "Switched#2", "Steady#3")
	case 8: // copies from before the switch are still under way
		p.lateCopies = .3
		moment("stopWorker", "Preparing#1", "Switched#1", "Switched#2", "Steady#3")
	}
}

// late makes a final request take very long: on its way, or with its answer on the
// way back, or so that the answer is lost.
func (f *fate) late(r *rand.Rand, most time.Duration) (lost bool) {
	span := between(r, 0, most)
	switch r.IntN(5) {
	case 0, 1:
		f.before += span
	case 2:
		f.after += span
	case 3: // it has landed, and nobody is told
		f.lost = f.before + f.after
		return true
	case 4: // it lands late, or never, and nobody is told
		f.lost, f.never = f.before+f.after, chance(r, .3)
		f.before += span
		return true
	}
	f.survives = true
	return false
}
