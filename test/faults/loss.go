package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// losses are the ways in which Redis loses what the ledger holds. They are not
// left to chance: each is made where everything else is bearable, so that what
// follows can be told exactly.
var losses = []kind{
	{name: "redis flushed", make: redisCommand("redis flushed", 0, []any{"FLUSHALL"}, nil)},
	{name: "redis failed over to a late replica", make: func(w *world, rnd *rand.Rand) *fault {
		lag, pause := between(rnd, time.Second, 5*time.Second), between(rnd, 0, 3*time.Second)
		return w.redisDown("redis failed over to a late replica", 0, func(ctx context.Context) (func(), error) {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			return func() {}, w.redis.failover(ctx, lag, pause)
		})
	}},
	{name: "redis restarted with an older file", make: func(w *world, rnd *rand.Rand) *fault {
		pause := between(rnd, 0, 2*time.Second)
		return w.redisDown("redis restarted with an older file", 0, func(ctx context.Context) (func(), error) {
			return func() {}, w.redis.restart(ctx, syscall.SIGKILL, pause, w.redis.older)
		})
	}},
	{name: "redis lost its file", make: redisRestart("redis lost its file", syscall.SIGKILL, os.RemoveAll)},
}

const (
	// seenWithin is how soon a loss must be told.
	seenWithin = 30 * time.Second
	// calm is how old a change may be that nobody has copied when the ledger is
	// lost: what a process did that has died since can't be told again by it.
	calm = 3 * time.Second
)

// loss is one loss of the ledger and what came of it.
type loss struct {
	Kind, Phase  string
	Seen, Healed time.Duration // after it
	Reason       string
	Audit        string
}

// lose has Redis lose what the ledger holds. That must be told, and healed by an
// audit, with nobody's help.
func (w *world) lose(ctx context.Context, s *schedule) error {
	if w.o.losses == 0 || len(w.lost) >= w.o.losses {
		return nil
	}
	k := losses[(int(w.o.seed)+len(w.lost))%len(losses)]
	s.set(light)
	if err := w.await(ctx, "what the dead wrote to be copied", func() bool {
		c, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		st, err := w.ledger().Stats(c)
		return err == nil && st.Oldest < calm && st.Doubts == 0 &&
			meta.IsStatusConditionTrue(w.status().Conditions, v1alpha1.ConditionLedgerHealthy)
	}); err != nil {
		return err
	}
	f := k.make(w, w.rnd)
	for !w.busy.take(f.takes...) {
		w.rest(ctx, 100*time.Millisecond)
	}
	l := loss{Kind: k.name, Phase: w.faults.phaseNow()}
	w.say("%s, in %s", k.name, l.Phase)
	began, before := time.Now(), w.status().Audit
	s.do(ctx, f)
	for l.Seen == 0 {
		if c := meta.FindStatusCondition(w.status().Conditions, v1alpha1.ConditionLedgerHealthy); c != nil && c.Status == "False" && c.Reason != "Unreachable" {
			l.Seen, l.Reason = time.Since(began), c.Reason
		} else if time.Since(began) > seenWithin {
			w.problem("%s: not seen within %s", k.name, seenWithin)
			return nil
		}
		w.rest(ctx, 20*time.Millisecond)
	}
	if err := w.await(ctx, "an audit to heal that "+k.name, w.healthy); err != nil {
		return err
	}
	l.Healed = time.Since(began)
	if a := w.status().Audit; a != nil && (before == nil || a.ID != before.ID) {
		l.Audit = fmt.Sprintf("%d compared, %d missing, %d extra, %d different, %d repaired", a.Compared, a.Missing, a.Extra, a.Different, a.Repaired)
	} else {
		w.problem("%s counts as healed, and there was no audit", k.name)
	}
	w.say("%s: seen after %s (%s), healed after %s: %s", k.name, l.Seen.Round(100*time.Millisecond), l.Reason, l.Healed.Round(time.Second), l.Audit)
	w.lost = append(w.lost, l)
	return w.redis.keep()
}

// healthy tells whether the stores are known to be equal but for what the ledger holds.
func (w *world) healthy() bool {
	st := w.status()
	return meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionLedgerHealthy) && meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionAudited)
}
