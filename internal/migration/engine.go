package migration

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// Engine drives one migration's ledger, from one goroutine. It keeps nothing
// that matters: what a new one needs is in Input.State and in the ledger.
type Engine struct {
	Ledger *ledger.Ledger
	// ListBuckets lists the source's buckets; it is asked when the spec names none.
	ListBuckets func(context.Context) ([]string, error)
	// BucketsMade lists the target's buckets that were made since a time. It is asked for an audit of an
	// unclean event when the spec names none: clients make them there once it is main. Nil: nobody does.
	BucketsMade func(context.Context, time.Time) ([]string, error)
	Now         func() time.Time

	rates rates
	// processes are those that lived lately, by their first session, as seen since a
	// time; zero: since the migration began.
	processes map[string]lately
	since     time.Time
	// unlisted is why the source's buckets could not be listed, as was told last.
	unlisted string
	// unmade is why those of the target could not be.
	unmade string
	quiet  struct {
		epoch int64
		since time.Time
	}
}

const (
	// relistEvery is how often the source is asked for new buckets.
	relistEvery = 30 * time.Second
	// danglingFresh is how old a worker's report may be that lets a switch end.
	danglingFresh = 15 * time.Second
	// leftoversMost is how long a switch waits for the uploads of copies that may have
	// been killed: an object that is written all the time leaves no time to look.
	leftoversMost = 10 * time.Minute
)

// Step looks at everything once, does the next thing if its time has come, and
// says how it stands. It may be called at any time, by anyone who holds the
// State, and does nothing twice.
func (e *Engine) Step(ctx context.Context, in Input) (Output, error) {
	out := Output{State: in.State, Next: 2 * time.Second}
	st := &out.State
	out.Conditions = storeConditions(in)

	f := facts{in: in, out: &out}
	var err error
	if f.route, err = e.route(ctx, &f, &out); err != nil {
		if !errors.Is(err, ledger.ErrUnavailable) && !errors.Is(err, ledger.ErrNoRoute) {
			return out, err
		}
		if !errors.Is(err, ledger.ErrNoRoute) {
			return unavailable(out, err)
		}
		out.Phase = Pending
		why := cond(CondLedgerHealthy, false, "Waiting", "The ledger is set up once both stores are reachable.")
		if old := (*tooOld)(nil); errors.As(err, &old) {
			why = cond(CondLedgerHealthy, false, "RedisTooOld", old.Error())
		}
		out.Conditions = append(out.Conditions, why)
		return out, nil
	}
	if err := e.read(ctx, &f, &out); err != nil {
		return unavailable(out, err)
	}
	if err := e.advance(ctx, &f, &out); err != nil {
		return unavailable(out, err)
	}
	st.Route, st.Pending = f.route, ledger.Route{}
	e.report(ctx, f, &out)
	return out, nil
}

func unavailable(out Output, err error) (Output, error) {
	if errors.Is(err, ledger.ErrStaleEpoch) {
		out.Next = 0 // somebody else moved the route: look again
		return out, nil
	}
	if !errors.Is(err, ledger.ErrUnavailable) {
		return out, err
	}
	out.Conditions = append(out.Conditions, cond(CondLedgerHealthy, false, "Unreachable", ledgerProblem(err, out.State.Route.State)))
	for _, typ := range []string{CondCaughtUp, CondSwitchReady} {
		out.Conditions = append(out.Conditions, unknown(typ, "Unreachable", "Not known while Redis does not answer."))
	}
	return out, nil
}

// route makes sure that the ledger carries the migration's route: it sets it up
// at first, and brings it back when the ledger was lost.
func (e *Engine) route(ctx context.Context, f *facts, out *Output) (ledger.Route, error) {
	l, in := e.Ledger, f.in
	st := &out.State
	r, err := l.Furthest(ctx)
	known := in.State.Route
	switch {
	case errors.Is(err, ledger.ErrNoRoute) && known.Epoch == 0 && in.State.Pending.Epoch == 0:
		if !in.Stores[ledger.Source].Reachable || !in.Stores[ledger.Target].Reachable {
			return r, ledger.ErrNoRoute
		}
		if err := e.suits(ctx); err != nil {
			return r, err
		}
		st.LedgerGeneration = rand.Text()
		r = ledger.Route{Epoch: 1, Main: ledger.Source, State: ledger.Steady, Sync: true, Uploads: ledger.Source}
		if err := e.persist(ctx, in, out, r); err != nil {
			return r, err
		}
		if err := l.SetMeta(ctx, "generation", st.LedgerGeneration); err != nil {
			return r, err
		}
		return r, l.SetRoute(ctx, r)
	case errors.Is(err, ledger.ErrNoRoute) && known.Epoch == 0:
		// It was never in force: a crash between the two.
		if err := l.SetMeta(ctx, "generation", st.LedgerGeneration); err != nil {
			return r, err
		}
		return in.State.Pending, e.enforce(ctx, in, in.State.Pending)
	case errors.Is(err, ledger.ErrNoRoute):
		return e.restore(ctx, in, out, "the ledger came back empty")
	case err != nil:
		return r, err
	case r.Epoch < known.Epoch:
		return e.restore(ctx, in, out, "the ledger came back with an older state")
	}
	gen, err := l.Meta(ctx, "generation")
	if err != nil {
		return r, err
	}
	if st.LedgerGeneration == "" {
		st.LedgerGeneration = gen
	}
	if gen != st.LedgerGeneration {
		return e.restore(ctx, in, out, "the ledger is not the one that this migration began with")
	}
	if p := in.State.Pending; p.Epoch > r.Epoch {
		return p, e.resume(ctx, in, out, r)
	}
	return r, nil
}

// resume puts the pending route in force after another one, r: it is the one that was decided
// on. It was in force and is lost since, or never was: then its time begins now. A copy from
// meanwhile must not pass for what a client wrote on the new main.
func (e *Engine) resume(ctx context.Context, in Input, out *Output, r ledger.Route) error {
	l, st, p := e.Ledger, &out.State, in.State.Pending
	if err := l.Ask(ctx); err != nil {
		return err
	}
	losses, err := l.Losses(ctx)
	if err != nil {
		return err
	}
	sessions, err := l.Sessions(ctx)
	if err != nil {
		return err
	}
	never := len(losses) == 0 && !slices.ContainsFunc(sessions, func(s ledger.Session) bool { return s.Epoch >= p.Epoch })
	if never {
		if p.State == ledger.Preparing && r.State != ledger.Preparing {
			st.PreparingSince = e.Now()
		}
		if p.State == ledger.Switched && p.Main != r.Main {
			stats, err := l.Stats(ctx)
			if err != nil {
				return err
			}
			st.SwitchStartedAt = stats.Now
		}
		if err := e.persist(ctx, in, out, p); err != nil {
			return err
		}
	}
	return e.enforce(ctx, in, p)
}

// pass leaves an epoch behind that has two meanings: two managers were at work, one of which had
// lost its lease. The switch is the one that goes on: clients may have written its main.
func (e *Engine) pass(ctx context.Context, f *facts) error {
	r, st := f.route, &f.out.State
	if p := st.Pending; r.State == ledger.Switched && st.Route.Main != r.Main && (p.State != r.State || p.Main != r.Main) {
		st.SwitchStartedAt = f.stats.Now
	}
	if r.Hold {
		r.HoldFor = holdFor(f.in.Spec.Switch)
	}
	return e.setRoute(ctx, f, r)
}

// enforce puts a route in force that was decided on earlier.
func (e *Engine) enforce(ctx context.Context, in Input, r ledger.Route) error {
	if r.Hold {
		r.HoldFor = holdFor(in.Spec.Switch)
	}
	return e.Ledger.SetRoute(ctx, r)
}

// tooOld: a Redis whose failovers go unnoticed, for its replicas know our scripts
// (docs/protocol.md, "Loss of the ledger").
type tooOld struct{ version string }

func (e *tooOld) Error() string {
	return "Redis " + e.version + " is too old: Crossfade needs 7 or later. Nothing is copied before spec.redis names such a one."
}

func (*tooOld) Unwrap() error { return ledger.ErrNoRoute }

// suits says whether this Redis can be the ledger's.
func (e *Engine) suits(ctx context.Context) error {
	version, err := e.Ledger.ServerVersion(ctx)
	if err != nil {
		return err
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 7 {
		return &tooOld{version}
	}
	return nil
}

func (e *Engine) persist(ctx context.Context, in Input, out *Output, r ledger.Route) error {
	out.State.Pending = r
	if in.Persist == nil {
		return nil
	}
	if err := in.Persist(ctx, out.State); err != nil {
		return fmt.Errorf("keep the route before it is put in force: %w", err)
	}
	return nil
}

// restore puts the last route that was decided on back into a ledger that lost
// it, one epoch on.
func (e *Engine) restore(ctx context.Context, in Input, out *Output, why string) (ledger.Route, error) {
	l, known := e.Ledger, in.State.Route
	if in.State.Pending.Epoch > known.Epoch {
		known = in.State.Pending // a process may have obeyed it
	}
	known.Epoch++
	if out.State.LedgerGeneration == "" {
		out.State.LedgerGeneration = rand.Text()
	}
	out.State.BucketsListedAt = time.Time{}
	if err := e.persist(ctx, in, out, known); err != nil {
		return known, err
	}
	if err := l.MarkUnclean(ctx, why); err != nil {
		return known, err
	}
	if err := l.MarkLost(ctx, in.State.SwitchStartedAt); err != nil {
		return known, err
	}
	if err := e.enforce(ctx, in, known); err != nil {
		return known, err
	}
	out.Events = append(out.Events, Event{Warning: true, Reason: "LedgerLost", Message: "Route restored: " + why + "."})
	// Last: a crash before it must not look like a ledger that is whole.
	return known, l.SetMeta(ctx, "generation", out.State.LedgerGeneration)
}

func (e *Engine) read(ctx context.Context, f *facts, out *Output) error {
	l := e.Ledger
	var err error
	if f.stats, err = l.Stats(ctx); err != nil {
		return err
	}
	if obeyed, err := l.Route(ctx); err != nil && !errors.Is(err, ledger.ErrNoRoute) {
		return err
	} else if known := f.in.State.Route.Epoch; known > 0 && (f.stats.MinEpoch == 0 || f.stats.MinEpoch < known-1) {
		// A crash leaves a shard one behind. Maybe nobody who lives was told anything by this one.
		if f.route, err = e.restore(ctx, f.in, out, "a shard of the ledger came back empty, or with an older state"); err != nil {
			return err
		}
	} else if f.stats.MinEpoch < f.route.Epoch || obeyed.Epoch < f.route.Epoch {
		// A crash between the shards.
		err := e.enforce(ctx, f.in, f.route)
		if errors.Is(err, ledger.ErrStaleEpoch) && f.stats.MaxEpoch <= f.route.Epoch {
			err = e.pass(ctx, f)
		}
		if err != nil {
			return err
		}
	}
	if f.stats.Tick.Before(out.State.LedgerTick) {
		if err := l.MarkUnclean(ctx, "the ledger went back in time to "+f.stats.Tick.UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	out.State.LedgerTick = f.stats.Tick
	if f.buckets, err = l.Buckets(ctx); err != nil {
		return err
	}
	if f.sessions, err = l.Sessions(ctx); err != nil {
		return err
	}
	if f.unclean, err = l.Unclean(ctx); err != nil {
		return err
	}
	e.remember(*f)
	return e.losses(ctx, f, out)
}

// advance does the next thing whose time has come.
func (e *Engine) advance(ctx context.Context, f *facts, out *Output) error {
	st := &out.State
	if f.in.Spec.RetryFailed != st.RetryFailed {
		n, err := e.Ledger.RetryFailed(ctx)
		if err != nil {
			return err
		}
		st.RetryFailed = f.in.Spec.RetryFailed
		if n > 0 {
			out.Events = append(out.Events, Event{Reason: "RetryingFailed", Message: "What had failed is tried again."})
		}
	}
	if err := e.start(ctx, f, out); err != nil {
		return err
	}
	f.listed = !st.BucketsListedAt.IsZero()
	if err := e.audit(ctx, f, out); err != nil {
		return err
	}
	return e.doSwitch(ctx, f, out)
}

// start lets the workers run once clients are served, and queues the buckets.
func (e *Engine) start(ctx context.Context, f *facts, out *Output) error {
	st := &out.State
	run := f.route.Run
	if !f.in.Spec.Paused && !run {
		if !hasRole(f.sessions, ledger.RoleProxy) || len(waiting(*f, f.route.Epoch)) > 0 || !f.in.Stores[ledger.Source].Reachable || !f.in.Stores[ledger.Target].Reachable {
			return nil
		}
		run = true
	}
	if f.in.Spec.Paused {
		run = false
	}
	copying := f.route.Main == ledger.Source && f.route.State == ledger.Steady
	// A ledger that was lost since must know which buckets to look for uploads in.
	if run && (copying && e.Now().Sub(st.BucketsListedAt) >= relistEvery || st.BucketsListedAt.IsZero()) {
		names, ok := e.wantedBuckets(ctx, f, out)
		if !ok && st.BucketsListedAt.IsZero() { // else those that are known go on
			return nil
		}
		add := e.Ledger.AddBuckets
		if !copying {
			add = e.Ledger.KnowBuckets
		}
		if len(names) > 0 {
			if err := add(ctx, names...); err != nil {
				return err
			}
		}
		if ok {
			st.BucketsListedAt = e.Now()
		}
		var err error
		if f.buckets, err = e.Ledger.Buckets(ctx); err != nil {
			return err
		}
	}
	if run == f.route.Run {
		return nil
	}
	r := f.route
	r.Run = run
	if st.StartedAt.IsZero() && run {
		st.StartedAt = e.Now()
		out.Events = append(out.Events, Event{Reason: "Started", Message: "Clients are served; copying has begun."})
	}
	return e.setRoute(ctx, f, r)
}

// wantedBuckets are those that the spec names, or all of the source. It returns
// false when the source does not list them, which is told once.
func (e *Engine) wantedBuckets(ctx context.Context, f *facts, out *Output) ([]string, bool) {
	if f.in.Spec.Buckets != nil {
		return f.in.Spec.Buckets, true
	}
	names, err := e.ListBuckets(ctx)
	f.unlisted = ""
	if err != nil {
		if f.unlisted = err.Error(); f.unlisted != e.unlisted {
			out.Events = append(out.Events, Event{Warning: true, Reason: "ListBucketsFailed", Message: Sentence(f.unlisted)})
		}
	}
	e.unlisted = f.unlisted
	return names, err == nil
}

func (e *Engine) setRoute(ctx context.Context, f *facts, r ledger.Route) error {
	r.Epoch = f.route.Epoch + 1
	if err := e.persist(ctx, f.in, f.out, r); err != nil {
		return err
	}
	if err := e.Ledger.SetRoute(ctx, r); err != nil {
		return fmt.Errorf("set route: %w", err)
	}
	r.HoldFor = 0
	f.route = r
	return nil
}

func phaseOf(r ledger.Route, copied, started bool) Phase {
	switch {
	case r.State == ledger.Switched:
		return SwitchStarted
	case r.Main == ledger.Target:
		return SwitchDone
	case copied:
		return CatchingUp
	case started:
		return Copying
	}
	return Pending
}
