package migration

import (
	"context"
	"fmt"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// doSwitch moves the route towards what is asked for, one step at a time:
//
//	Steady(old) → Preparing(old) → Switched(new) → Steady(new)
//
// Barrier one stands before Switched: every process looks objects up before the
// first write goes to the new main. Barrier two stands before Steady(new):
// nothing newer is left on the old store.
func (e *Engine) doSwitch(ctx context.Context, f *facts, out *Output) error {
	st := &out.State
	req := f.in.Spec.Switch
	r := f.route
	switch r.State {
	case ledger.Steady:
		if req == nil || req.To == r.Main {
			st.CalledOff = ""
			return nil
		}
		if st.CalledOff != "" && st.CalledOff == requestID(*req) {
			return nil
		}
		if g, _ := blocked(*f, *req); g != "" {
			return nil
		}
		r.State, r.Hold, r.HoldFor = ledger.Preparing, req.PauseWrites, holdFor(req)
		st.PreparingSince = e.Now()
		out.Next = 200 * time.Millisecond
		out.Events = append(out.Events, Event{Reason: "SwitchPreparing", Message: "Every process looks objects up before traffic moves."})
		return e.setRoute(ctx, f, r)
	case ledger.Preparing:
		return e.prepare(ctx, f, out)
	case ledger.Switched:
		return e.drain(ctx, f, out)
	}
	return fmt.Errorf("route in unknown state %q", r.State)
}

// holdSlack is what the engine has to call a switch off after spec.switch.maxPause, before
// writes go on without it.
const holdSlack = 5 * time.Second

// holdFor bounds how long writes are held. One that was taken away meanwhile is called off at once.
func holdFor(req *SwitchRequest) time.Duration {
	if req == nil {
		return holdSlack
	}
	return req.MaxPause + holdSlack
}

// requestID tells one request to switch from the next.
func requestID(r SwitchRequest) string { return r.To.String() + "/" + r.Attempt }

func (e *Engine) prepare(ctx context.Context, f *facts, out *Output) error {
	st, req, r := &out.State, f.in.Spec.Switch, f.route
	out.Next = 200 * time.Millisecond
	if req == nil || req.To == r.Main {
		r.State, r.Hold = ledger.Steady, false
		out.Events = append(out.Events, Event{Reason: "SwitchCancelled", Message: "The switch was taken back before traffic moved."})
		return e.setRoute(ctx, f, r)
	}
	if why := uncleanSince(*f); why != "" && len(recovering(*f)) == 0 {
		// An audit takes its time. Until it is over nothing is gained by looking every
		// object up, or holding writes; the guards see to it that it comes first.
		r.State, r.Hold = ledger.Steady, false
		out.Events = append(out.Events, Event{Warning: true, Reason: "SwitchPostponed", Message: "The stores must be compared before traffic moves: " + Sentence(why)})
		return e.setRoute(ctx, f, r)
	}
	out.WaitingFor = append(waiting(*f, r.Epoch), unhealed(*f)...)
	if r.Hold {
		if f.stats.Dirty > 0 || f.stats.Intents[r.Main] > 0 {
			out.WaitingFor = append(out.WaitingFor, "held writes: changes are still being copied")
		}
		if len(out.WaitingFor) > 0 && e.Now().Sub(st.PreparingSince) > req.MaxPause {
			r.State, r.Hold = ledger.Steady, false
			st.CalledOff = requestID(*req)
			out.Events = append(out.Events, Event{Warning: true, Reason: "SwitchCalledOff", Message: "Writes were held for longer than spec.switch.maxPause; they go on to the old store."})
			return e.setRoute(ctx, f, r)
		}
	}
	if len(out.WaitingFor) > 0 {
		return nil
	}
	old := r.Main
	// Until everything has drained, "no record" must go on to mean "equal on both",
	// so changes are copied both ways whatever was asked for.
	r.Main, r.State, r.Hold, r.Sync, r.Uploads = req.To, ledger.Switched, false, true, old
	st.SwitchStartedAt, st.SwitchFinishedAt, st.SwitchBehind = f.stats.Now, time.Time{}, behind(*f)
	out.Events = append(out.Events, Event{Reason: "SwitchStarted", Message: "New writes go to the " + lower(r.Main) + "."})
	return e.setRoute(ctx, f, r)
}

func (e *Engine) drain(ctx context.Context, f *facts, out *Output) error {
	st, req, r := &out.State, f.in.Spec.Switch, f.route
	out.Next = 200 * time.Millisecond
	if req != nil && req.To != r.Main {
		// Back, half-way. Every process looks objects up already, so the first
		// barrier stands as soon as all of them obey this epoch.
		if out.WaitingFor = append(waiting(*f, r.Epoch), recovering(*f)...); len(out.WaitingFor) > 0 {
			return nil
		}
		r.Main, r.Sync = req.To, true
		st.SwitchStartedAt, st.SwitchBehind = f.stats.Now, st.SwitchBehind || backlogged(*f)
		if err := e.fellBehind(ctx, f, out); err != nil {
			return err
		}
		out.Events = append(out.Events, Event{Reason: "SwitchReversed", Message: "New writes go to the " + lower(r.Main) + " again."})
		return e.setRoute(ctx, f, r)
	}
	old := r.Main.Other()
	d, err := e.Ledger.Dangling(ctx)
	if err != nil {
		return err
	}
	// After the look: once no upload is left, nobody begins anything there any more.
	if f.stats, err = e.Ledger.Stats(ctx); err != nil {
		return err
	}
	w := append(waiting(*f, r.Epoch), leftOn(f.stats, old)...)
	switch {
	// A request that creates an upload holds an intent open: only a look that
	// began when there was none any more has seen every upload.
	case d.Epoch < r.Epoch || !d.At.After(e.quietSince(r.Epoch, f.stats, old)) || f.stats.Now.Sub(d.Reported) > danglingFresh:
		w = append(w, "a worker's look at multipart uploads on the old store")
	case d.Uploads > 0:
		w = append(w, "multipart uploads begun before the switch")
	}
	w = append(w, unburied(*f)...)
	w = append(w, unhealed(*f)...)
	if len(w) == 0 {
		if w, err = e.leftovers(ctx, r.Main); err != nil {
			return err
		}
	}
	if len(w) == 0 {
		// A version of an object may be deleted on the old store at any time.
		if w, err = e.closed(ctx, f, old); err != nil {
			return err
		}
	}
	if len(w) == 0 {
		// Nothing needs a copy to the new main from here on, so none creates another one.
		if w, err = e.leftovers(ctx, r.Main); err != nil {
			return err
		}
	}
	out.WaitingFor = w
	if len(w) > 0 {
		return nil
	}
	// Uploads that the ledger remembers live on the new main, or do not matter
	// any more; from now on every unknown one does too.
	r.State, r.Uploads, r.Sync = ledger.Steady, r.Main, req == nil || req.Reverse
	st.SwitchFinishedAt = e.Now()
	out.Events = append(out.Events, Event{Reason: "SwitchDone", Message: "The " + lower(r.Main) + " holds everything and serves every client."})
	if err := e.setRoute(ctx, f, r); err != nil {
		return err
	}
	return e.Ledger.ClearUploads(ctx)
}

// closed has nothing begin on the old store any more, and says what is left there.
func (e *Engine) closed(ctx context.Context, f *facts, old ledger.Store) (w []string, err error) {
	if err := e.Ledger.CloseOld(ctx, f.route.Epoch); err != nil {
		return nil, err
	}
	if f.stats, err = e.Ledger.Stats(ctx); err != nil {
		return nil, err
	}
	return leftOn(f.stats, old), nil
}

// leftovers says whether a worker has yet to look for uploads that copies may have left
// on the new main: from then on nobody can tell them from clients' uploads.
func (e *Engine) leftovers(ctx context.Context, main ledger.Store) (w []string, err error) {
	all, err := e.Ledger.CopyUploads(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range all {
		if u.Store == main && e.Now().Sub(u.Began) < leftoversMost {
			return []string{"a worker's look for multipart uploads that copies have left on the new store"}, nil
		}
	}
	return nil, nil
}

// leftOn says what keeps a switch from ending on the old store.
func leftOn(s ledger.Stats, old ledger.Store) (w []string) {
	if s.Newest[old] > 0 {
		w = append(w, "objects whose newest version is still on the old store")
	}
	if s.Intents[old] > 0 {
		w = append(w, "writes still under way on the old store")
	}
	return w
}

// quietSince returns since when, by the ledger's clock, no request is under way
// on the old store, as far as somebody has looked; the present, if there is one.
func (e *Engine) quietSince(epoch int64, s ledger.Stats, old ledger.Store) time.Time {
	switch {
	case s.Intents[old] > 0:
		e.quiet.since = time.Time{}
		return s.Now
	case e.quiet.epoch != epoch || e.quiet.since.IsZero():
		e.quiet.epoch, e.quiet.since = epoch, s.Now
	}
	return e.quiet.since
}
