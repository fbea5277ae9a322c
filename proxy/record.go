package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// callTimeout bounds one call of the ledger.
const callTimeout = 2 * time.Second

// change is a client's write that has begun: by intents in the ledger, or,
// while the ledger is out of reach, by entries in the journal.
type change struct {
	p       *Proxy
	store   ledger.Store
	intents []ledger.Intent
	entries []*entry
	route   ledger.Route
	settled bool
}

// begin records that a write to keys of one bucket is about to be forwarded,
// and says where to. It waits while the ledger asks for patience, and until all
// keys go to one store.
func (p *Proxy) begin(ctx context.Context, bucket string, keys []string, opt ledger.BeginOptions) (*change, error) {
	began := time.Now()
	for {
		changes, err := p.beginEach(ctx, bucket, keys, opt)
		if err != nil {
			return nil, err
		}
		if len(changes) == 1 {
			return changes[0], nil
		}
		// Shards of the ledger are at different epochs, for a moment.
		for _, c := range changes {
			c.abort()
		}
		if time.Since(began) > p.cfg.MaxInFlight {
			return nil, s3.ErrSlowDown
		}
		if err := pause(ctx, jitter(2*time.Millisecond, 20*time.Millisecond)); err != nil {
			return nil, err
		}
	}
}

// beginEach is begin, with a change for each store that keys go to.
func (p *Proxy) beginEach(ctx context.Context, bucket string, keys []string, opt ledger.BeginOptions) ([]*change, error) {
	var w waiting
	for {
		if p.outage() {
			if c := p.beginUnrecorded(bucket, keys, opt); c != nil {
				return []*change{c}, nil
			}
		}
		intents, err := p.tryBegin(ctx, bucket, keys, opt)
		if err == nil {
			return p.byStore(intents), nil
		}
		wait, limit, reason := patience(err, p.cfg)
		if ledgerLost(err) {
			if p.outage() {
				if c := p.beginUnrecorded(bucket, keys, opt); c != nil {
					return []*change{c}, nil
				}
			}
		}
		if errors.Is(err, ledger.ErrMoved) {
			return nil, errors.Join(s3.ErrSlowDown.With("The switch has just ended. Please try again."), ledger.ErrMoved)
		}
		if limit == 0 {
			return nil, err
		}
		if w.longer(limit, err) {
			return nil, s3.ErrSlowDown
		}
		p.metrics.wait(reason)
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// waiting is how long a request has waited for the ledger to let it begin. While a worker
// copies what it waits for, that takes as long as the object is large, or as the client stays.
type waiting struct{ began, since, asked, blanked time.Time }

// longer says that it has waited longer than limit. It is called whenever the ledger was
// asked, with what it said.
func (w *waiting) longer(limit time.Duration, err error) bool {
	now := time.Now()
	switch {
	case w.since.IsZero():
		w.began, w.since = now, now
	case errors.Is(err, ledger.ErrBeingCopied):
		w.since = w.since.Add(now.Sub(w.asked))
	}
	w.asked = now
	return now.Sub(w.since) > limit
}

// blank says that the client, who waits since more than after, should hear something again.
func (w *waiting) blank(after time.Duration) bool {
	now := time.Now()
	if now.Sub(w.began) < after || now.Sub(w.blanked) < after/4 {
		return false
	}
	w.blanked = now
	return true
}

// burial is how long it takes, beyond MaxInFlight, until what a process has left
// open that died is settled: to see that it is dead, and the rounds of who does it.
const burial = 30 * time.Second

// patience says how long to wait before Begin is asked again after err, how
// long in all (0: not at all), and for what.
func patience(err error, cfg Config) (wait, limit time.Duration, reason string) {
	switch {
	case errors.Is(err, ledger.ErrLocked):
		return jitter(2*time.Millisecond, 20*time.Millisecond), cfg.MaxInFlight + burial, "locked"
	case errors.Is(err, ledger.ErrHeld):
		return 20 * time.Millisecond, cfg.MaxHold, "held"
	case errors.Is(err, ledger.ErrNotInSync):
		return jitter(10*time.Millisecond, 50*time.Millisecond), cfg.MaxInFlight + burial, "sync"
	case errors.Is(err, ledger.ErrFenced):
		return 20 * time.Millisecond, cfg.MaxInFlight, "fenced"
	case ledgerLost(err):
		return jitter(20*time.Millisecond, 100*time.Millisecond), cfg.LedgerWait, "ledger"
	}
	return 0, 0, ""
}

// tryBegin asks the ledger once. The call outlives the client, so that its
// outcome is known.
func (p *Proxy) tryBegin(ctx context.Context, bucket string, keys []string, opt ledger.BeginOptions) ([]ledger.Intent, error) {
	if p.member.ID() == "" {
		// Not registered: nobody would settle our intents if we died.
		p.down.Store(true)
		return nil, ledger.ErrUnavailable
	}
	c, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	done := p.metrics.ledgerCall("begin")
	defer done()
	var intents []ledger.Intent
	var err error
	if len(keys) == 1 {
		var one ledger.Intent
		one, err = p.ledger.Begin(c, p.member.ID(), ledger.Object{Bucket: bucket, Key: keys[0]}, opt)
		intents = []ledger.Intent{one}
	} else {
		intents, err = p.ledger.BeginMany(c, p.member.ID(), bucket, keys, opt)
	}
	if err != nil && len(intents) > 0 && intents[0].ID != "" {
		// Only the answer may be lost, or some of many could not be taken back: what
		// was begun must not stay open.
		p.settler.settle(abort, intents)
	}
	switch {
	case err == nil:
		p.metrics.intents.WithLabelValues("begun").Add(float64(len(intents)))
	case ledgerLost(err):
		p.down.Store(true)
		return nil, err
	}
	p.answered()
	return intents, err
}

// beginUnrecorded begins a write without the ledger. It is nil unless the route
// is steady: then no other proxy can have moved on, for a new route waits for
// our acknowledgement, and that waits for these entries to be recorded.
func (p *Proxy) beginUnrecorded(bucket string, keys []string, opt ledger.BeginOptions) *change {
	r, ok := p.current()
	if !ok || r.State != ledger.Steady || r.Hold {
		return nil
	}
	if opt.Store != nil && *opt.Store != r.Main {
		return nil // the switch has ended since it was chosen
	}
	entries := p.unrecorded.add(r.Main, bucket, keys)
	// The member takes a new route first and counts entries then, so one of us
	// sees the other.
	if now, ok := p.current(); !ok || now != r {
		p.unrecorded.finish(entries, undone)
		return nil
	}
	p.metrics.intents.WithLabelValues("unrecorded").Add(float64(len(keys)))
	return &change{p: p, store: r.Main, entries: entries, route: r}
}

func (p *Proxy) byStore(intents []ledger.Intent) []*change {
	var out []*change
	for _, in := range intents {
		i := slices.IndexFunc(out, func(c *change) bool { return c.store == in.Store })
		if i < 0 {
			i = len(out)
			out = append(out, &change{p: p, store: in.Store, route: in.Route})
		}
		out[i].intents = append(out[i].intents, in)
	}
	return out
}

// stale reports that too much time has passed since the change began: its
// intents may be settled before a request sent now has landed.
func (c *change) stale() bool {
	return len(c.intents) > 0 && time.Since(c.intents[0].Began) > c.p.cfg.MaxInFlight/2
}

// commit settles a write that took place. It returns once the client may be
// answered; on error the write is done but not recorded yet.
func (c *change) commit(ctx context.Context) error {
	c.settled = true
	c.p.unrecorded.finish(c.entries, done)
	if len(c.intents) == 0 {
		return nil
	}
	c.p.metrics.intents.WithLabelValues("committed").Add(float64(len(c.intents)))
	if c.mayAnswerFirst() {
		c.p.settler.settle(commit, c.intents)
		return nil
	}
	return c.p.settler.settleNow(ctx, c.intents, c.p.cfg.MaxInFlight/2)
}

// mayAnswerFirst says that an intent left behind would be settled as done. A
// session that was fenced meanwhile may have no intents any more.
func (c *change) mayAnswerFirst() bool {
	// The session may be buried after 15 s of silence, unknown to us.
	if time.Since(c.p.member.Contact()) > 10*time.Second {
		return false
	}
	session := c.p.member.ID()
	for _, in := range c.intents {
		if in.Session != session || !c.p.ledger.MayAnswer(in) {
			return false
		}
	}
	return true
}

// abort settles a write that did not take place.
func (c *change) abort() {
	c.p.unrecorded.finish(c.entries, undone)
	c.settle(abort, "aborted")
}

// doubt leaves a write open whose outcome is unknown.
func (c *change) doubt() {
	c.p.unrecorded.finish(c.entries, doubtful)
	c.settle(doubt, "doubtful")
}

// finally leaves a change in doubt that nobody settled: the handler panicked.
func (c *change) finally() {
	if !c.settled {
		c.doubt()
	}
}

func (c *change) settle(v verb, outcome string) {
	c.settled = true
	if len(c.intents) == 0 {
		return
	}
	c.p.metrics.intents.WithLabelValues(outcome).Add(float64(len(c.intents)))
	c.p.settler.settle(v, c.intents)
}

// conclude settles a write by the status of its response.
func (c *change) conclude(ctx context.Context, status int) error {
	switch verdict(status) {
	case done:
		return c.commit(ctx)
	case undone:
		c.abort()
	default:
		c.doubt()
	}
	return nil
}

// lost settles a write whose response never came.
func (c *change) lost(err error) {
	if errors.Is(err, errNotSent) {
		c.abort()
		return
	}
	c.doubt()
}

// outcome of a write.
type outcome int

const (
	done     outcome = iota // it took place
	undone                  // it did not, and will not
	doubtful                // nobody knows
)

// verdict reads the outcome of a write from its response's status.
func verdict(status int) outcome {
	switch {
	case status >= 200 && status < 300:
		return done
	case status == 408, status == statusClientGone:
		return doubtful
	case status < 500, status == 501:
		return undone
	}
	return doubtful
}

// jitter is a random duration in [from, to), from the source that a simulation can seed.
func jitter(from, to time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return from + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(to-from))
}
