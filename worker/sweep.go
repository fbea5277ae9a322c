package worker

import (
	"context"
	"time"
)

const (
	sweepEvery = time.Second
	sweepLease = "sweep"
	doubtsMost = 500
)

// sweepLoop settles what others left open: intents in doubt, and sessions that
// fell silent. One worker at a time does it.
func (w *Worker) sweepLoop(take, work context.Context) {
	for take.Err() == nil {
		if id, ok := w.elected(work, sweepLease, 5*sweepEvery); ok {
			if err := w.sweep(work, id); err != nil {
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

func (w *Worker) sweep(ctx context.Context, self string) error {
	if _, err := w.led.SettleDoubts(ctx, doubtsMost); err != nil {
		return err
	}
	if n, err := w.led.Orphans(ctx); err != nil {
		return err
	} else if n > 0 {
		w.log.Info("found what sessions had left that nobody knows any more", "sessions", n)
	}
	dead, err := w.led.DeadSessions(ctx, w.cfg.DeadAfter)
	if err != nil {
		return err
	}
	for _, s := range dead {
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
