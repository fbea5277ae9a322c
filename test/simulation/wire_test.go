package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// peer is whom a process talks to.
type peer string

const (
	redisPeer  peer = "redis"
	sourcePeer peer = "source"
	targetPeer peer = "target"
)

var (
	errUnsent = errors.New("simulated: not sent")
	errBroken = errors.New("simulated: connection reset")
)

// process is one process of the system: what it sends and hears goes through
// its call, and nowhere else.
type process struct {
	w      *world
	name   string
	dead   chan struct{} // closed by a crash
	awake  chan struct{} // open while it is stopped, else closed
	cut    map[peer]bool // partitions
	counts map[string]int
	oracle bool // sees everything at once: the test itself
}

func (w *world) newProcess(name string) *process {
	p := &process{w: w, name: name, dead: make(chan struct{}), awake: make(chan struct{}), cut: map[peer]bool{}, counts: map[string]int{}}
	close(p.awake)
	return p
}

// fate is what becomes of one call.
type fate struct {
	before, after time.Duration // until it is applied, until its answer has come
	lost          time.Duration // the caller hears of a broken connection then; 0: never
	never         bool          // it is not applied at all
	refused       string        // the peer answers with this instead ("500", "503"), after applying it or not
	again         bool          // repeated by the client's library: applied twice
	survives      bool          // lands although its sender died meanwhile
	eager         bool          // its answer is heard although its time is over, if it came before that
	name          string
}

// fateOf throws the dice for a call. label says what the call is.
func (p *process) fateOf(to peer, label string) fate {
	w := p.w
	w.mu.Lock()
	p.counts[label]++
	name := fmt.Sprintf("%s>%s#%d", p.name, label, p.counts[label])
	quiet := w.quiet
	w.mu.Unlock()
	r := roll(w.seed, name)
	f := fate{name: name, survives: chance(r, .5)}
	if to == redisPeer {
		f.before, f.after = between(r, 50*time.Microsecond, 2*time.Millisecond), between(r, 50*time.Microsecond, 2*time.Millisecond)
	} else {
		f.before, f.after = between(r, 200*time.Microsecond, 30*time.Millisecond), between(r, 200*time.Microsecond, 30*time.Millisecond)
	}
	slow := 3 * time.Second
	if to == redisPeer {
		slow = redisPatience / 3 // more would be no answer: a fault
	}
	if chance(r, w.plan.slow) {
		f.before += between(r, 0, slow)
	}
	if chance(r, w.plan.slow) {
		f.after += between(r, 0, slow)
	}
	if to != redisPeer && p.is("worker") && chance(r, w.plan.slowCopies) {
		f.before += between(r, 0, 4*time.Second)
	}
	share := w.plan.callFaults
	if to != redisPeer && !strings.Contains(label, " GET ") {
		share = w.plan.writeFaults
	}
	fault := chance(r, share)
	kind, span := r.IntN(8), between(r, 0, w.plan.maxInFlight*4/5)
	half := chance(r, .5)
	f.eager = chance(r, .5)
	// What the dice are thrown for must not depend on the phase, only what follows.
	if quiet || w.plan.mask[name] {
		return f
	}
	final := to != redisPeer && !strings.Contains(label, " GET ") && !strings.Contains(label, " HEAD ")
	if final && (p.is("proxy") && chance(r, w.plan.lateWrites) || p.is("worker") && chance(r, w.plan.lateCopies)) {
		switch {
		case w.plan.lateAborts && chance(r, .3):
			f.never, f.lost, f.refused = true, between(r, time.Second, w.plan.maxInFlight/2), "unsent"
		default:
			f.late(r, w.plan.lateFrom, w.plan.maxInFlight*17/20)
		}
		w.fault("late "+label, name)
		return f
	}
	if kind := w.plan.aimed(p, to, label, final, &f, r); kind != "" {
		w.fault(kind+" "+label, name)
		return f
	}
	if !fault {
		return f
	}
	soon := f.before + f.after
	switch {
	case kind == 0:
		f.never, f.lost, f.refused = true, soon, "unsent"
	case kind <= 2:
		f.lost = f.before + f.after/2 // applied, and the answer is lost
	case kind == 3:
		f.before, f.lost = f.before+span, soon // applied late, or never
		f.never = half
	case kind == 4 && to == redisPeer, kind == 5 && to == redisPeer:
		f.again = true
	case to == redisPeer:
		f.after += span / 8
	case kind == 4:
		f.refused, f.never = "500", half
	case kind == 5:
		f.refused, f.never = "503", true
	default:
		f.after += span / 4
	}
	w.fault("call "+label, name)
	return f
}

// call sends one request. apply is called when it reaches its peer, at most
// once, or twice when it is repeated. It returns errUnsent when nothing was
// sent, and errBroken or ctx's error when the answer is missing.
func (p *process) call(ctx context.Context, to peer, label string, within time.Duration, apply func()) (fate, error) {
	w := p.w
	if p.oracle {
		apply()
		return fate{}, nil
	}
	f := p.fateOf(to, label)
	if to != redisPeer && !strings.Contains(label, " GET ") && !strings.Contains(label, " HEAD ") && paced(ctx, &f) {
		w.fault("late "+label, f.name)
	}
	began := time.Now()
	if err := p.wait(ctx, to, f); err != nil {
		return f, err
	}
	late := time.Since(began)
	if late > within*3/4 {
		// It slept with the request in hand: the protocol assumes that such a
		// request does not arrive after all.
		return f, errUnsent
	}
	f.before = min(f.before, within*9/10-late)
	if f.again {
		// The first attempt's answer was lost; the library sends it again.
		f.after += f.before
	}
	landed := make(chan struct{})
	sent := f // what becomes of it is settled; f goes on to change
	timer := time.AfterFunc(f.before, func() {
		if !sent.never {
			w.step(p, label, sent)
			apply()
			if sent.again {
				apply()
			}
		}
		if !sent.never || sent.lost == 0 {
			close(landed)
		}
	})
	var lost <-chan time.Time
	if f.lost > 0 {
		t := time.NewTimer(f.lost)
		defer t.Stop()
		lost = t.C
	}
	give := func(err error) (fate, error) {
		if !f.survives {
			timer.Stop()
		}
		w.note(p, "no answer to %s: %v", f.name, err)
		return f, err
	}
	select {
	case <-landed:
	case <-lost:
		if f.refused == "unsent" {
			return f, errUnsent
		}
		if !f.never {
			f.survives = true
		}
		return give(errBroken)
	case <-ctx.Done():
		return give(ctx.Err())
	case <-p.dead:
		return give(errBroken)
	}
	var answered <-chan time.Time
	if f.lost == 0 || f.lost > f.before+f.after { // at the same instant the loss is first, always
		t := time.NewTimer(f.after)
		defer t.Stop()
		answered = t.C
	}
	select {
	case <-answered:
	case <-lost:
		return give(errBroken)
	case <-ctx.Done():
		return give(ctx.Err())
	case <-p.dead:
		return give(errBroken)
	}
	if err := p.hear(ctx, to); err != nil && (!f.eager || !errors.Is(err, context.DeadlineExceeded)) {
		return give(err)
	}
	return f, nil
}

// wait holds a call until its process is awake and its peer within reach.
func (p *process) wait(ctx context.Context, to peer, f fate) error {
	if err := p.up(ctx); err != nil {
		return errUnsent
	}
	if !p.reaches(to) {
		t := time.NewTimer(f.before + f.after*20)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-p.dead:
		}
		return errUnsent
	}
	return nil
}

// hear waits until a process that was stopped goes on and hears the answer.
func (p *process) hear(ctx context.Context, to peer) error {
	err := p.up(ctx)
	if errors.Is(err, errBroken) || !p.reaches(to) {
		return errBroken
	}
	return err
}

// up waits until the process is not stopped.
func (p *process) up(ctx context.Context) error {
	for {
		p.w.mu.Lock()
		awake := p.awake
		p.w.mu.Unlock()
		select {
		case <-p.dead:
			return errBroken
		default:
		}
		select {
		case <-awake:
			return ctx.Err()
		default:
		}
		select {
		case <-p.dead:
			return errBroken
		case <-awake:
		}
	}
}

func (p *process) reaches(to peer) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return !p.cut[to] && !p.w.down[to]
}

func (p *process) crash() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	select {
	case <-p.dead:
	default:
		close(p.dead)
	}
}

func (p *process) alive() bool {
	select {
	case <-p.dead:
		return false
	default:
		return true
	}
}

func (p *process) stop() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	select {
	case <-p.awake:
		p.awake = make(chan struct{})
	default:
	}
}

func (p *process) resume() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	select {
	case <-p.awake:
	default:
		close(p.awake)
	}
}
