package worker

import (
	"context"
	"maps"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const (
	sweepEvery = time.Second
	sweepLease = "sweep"
	doubtsMost = 500
)

// sweepLoop settles what others left open: intents in doubt, and sessions that
// fell silent. One worker at a time does it.
func (w *Worker) sweepLoop(take, work context.Context) {
	watched := silences{}
	for take.Err() == nil {
		if id, ok := w.elected(work, sweepLease, 5*sweepEvery); ok {
			if err := w.sweep(work, id, watched); err != nil {
				w.log.V(1).Info("sweep failed", "error", err.Error())
			}
		}
		_ = sleep(take, sweepEvery)
	}
}

// elected reports whether a lease is ours, and the session that holds it.
func (w *Worker) elected(ctx context.Context, name string, ttl time.Duration) (string, bool) {
	if !w.alive() {
		return "", false
	}
	id := w.member.ID()
	ok, err := w.led.Elect(ctx, id, name, ttl)
	return id, ok && err == nil
}

// silences are the last heartbeats of sessions, and since when there was no other.
type silences map[string]silence

type silence struct{ seen, since time.Time }

// dead returns the sessions that were fenced, or that were silent for a time under
// our own eyes. What Redis says of the time before is no proof: it may have been
// away, or have come back with older data.
func (watched silences) dead(all []ledger.Session, after time.Duration) []ledger.Session {
	now := time.Now()
	var out []ledger.Session
	known := map[string]bool{}
	for _, s := range all {
		known[s.ID] = true
		if was, ok := watched[s.ID]; !ok || !was.seen.Equal(s.Seen) {
			watched[s.ID] = silence{s.Seen, now}
		}
		if s.Fenced || s.Silent > after && now.Sub(watched[s.ID].since) >= after {
			out = append(out, s)
		}
	}
	maps.DeleteFunc(watched, func(id string, _ silence) bool { return !known[id] })
	return out
}

func (w *Worker) sweep(ctx context.Context, self string, watched silences) error {
	if _, err := w.led.SettleDoubts(ctx, doubtsMost); err != nil {
		return err
	}
	if n, err := w.led.Orphans(ctx); err != nil {
		return err
	} else if n > 0 {
		w.log.Info("found what sessions had left that nobody knows any more", "sessions", n)
	}
	all, err := w.led.Sessions(ctx)
	if err != nil {
		return err
	}
	for _, s := range watched.dead(all, w.cfg.DeadAfter) {
		if s.ID == self {
			continue
		}
		done, err := w.led.Bury(ctx, s.ID, w.cfg.MaxInFlight)
		if err != nil {
			return err
		}
		if done {
			w.log.Info("settled what a dead session left", "session", s.ID, "role", string(s.Role), "instance", s.Instance)
		}
	}
	return nil
}
