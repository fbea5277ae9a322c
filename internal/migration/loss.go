package migration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const (
	// gather is how long after a loss sessions that it forgot have to register again.
	gather = 5 * time.Second
	// gone is the silence after which nobody waits for what a session knows.
	gone = 15 * time.Second
	// remembered is how long before a loss a process may have ended that could have
	// told what it did; briefly, where nothing shows that anything was lost: then it is
	// what Redis had not fsynced, or replicated.
	remembered = 2 * time.Minute
	briefly    = 10 * time.Second
	// forgotten is how long a request can land which a process sent that the
	// ledger has forgotten, and that may not have heard of the loss.
	forgotten = 90 * time.Second
)

// losses moves on what is done about a loss of data:
//
//	suspect → none       every session still finds what it was told last
//	suspect → replay     one does not, or ended before it could look
//	replay  → lost       every session has told what it did of late
//	lost    → none       nothing is left that an audit, or a human, must heal
func (e *Engine) losses(ctx context.Context, f *facts, out *Output) error {
	l := e.Ledger
	all, err := l.Losses(ctx)
	if err != nil {
		return err
	}
	f.losses = all
	if err := e.fellBehind(ctx, f, out); err != nil {
		return err
	}
	flip := out.State.SwitchStartedAt
	for _, x := range all {
		done := x.Vouched
		if x.State == ledger.Replaying {
			done = x.Replayed
		}
		missing, ended := owing(*f, x, done)
		ended = append(ended, e.unknown(*f, x)...)
		// Until then those that live may seem silent: Redis was away, or forgot.
		early := f.stats.Now.Sub(x.At) < gather && !e.complete(*f, x, done)
		wait := len(missing) > 0 || early
		switch {
		case x.State == ledger.Suspected && len(ended) > 0 && !early:
			why := "Redis was restarted or replaced, and may have lost what " + ended[0] + " did, which ended: it can't be asked"
			if err := e.unclean(ctx, f, x, why); err != nil {
				return err
			}
			err = l.MoveLoss(ctx, x, ledger.Replaying, flip, ledger.Gone{})
		case x.State == ledger.Suspected && !wait && len(ended) == 0:
			err = l.MoveLoss(ctx, x, ledger.Healthy, flip, ledger.Gone{})
		case x.State == ledger.Replaying:
			// Noted before the loss can count as dealt with.
			if err := e.unclean(ctx, f, x, "Redis lost what was written to it last"); err != nil {
				return err
			}
			if !wait {
				err = l.MoveLoss(ctx, x, ledger.Lost, flip, ledger.Gone{Proxy: len(ended) > 0, Worker: e.workerGone(*f, x)})
			}
		case x.State == ledger.Lost && len(f.unclean) == 0 && landing(*f, x) <= 0:
			err = l.MoveLoss(ctx, x, ledger.Healthy, flip, ledger.Gone{})
		}
		if err != nil {
			return err
		}
	}
	if f.losses, err = l.Losses(ctx); err != nil {
		return err
	}
	if len(recovering(*f)) > 0 {
		out.Next = 200 * time.Millisecond
		return nil
	}
	return e.acknowledge(ctx, f, out)
}

// behind says that a store which becomes main may lack more than clients just wrote: what failed, or
// waits for long, or what no audit has found. After a loss what it lacks need not have been deleted there.
func behind(f facts) bool {
	return f.in.Spec.Audit.Mode != "" && f.audit.VerifiedAt.IsZero() || backlogged(f)
}

func backlogged(f facts) bool { return f.stats.Failed > 0 || f.stats.Oldest > ledger.Backlog/2 }

// fellBehind has the shards that lost data know it.
func (e *Engine) fellBehind(ctx context.Context, f *facts, out *Output) error {
	for _, x := range f.losses {
		if !out.State.SwitchBehind || x.Behind {
			continue
		}
		if err := e.Ledger.FellBehind(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

// unclean notes an event of a loss, once.
func (e *Engine) unclean(ctx context.Context, f *facts, x ledger.Loss, why string) error {
	for _, u := range f.unclean {
		if u.Reason == why && !u.At.Before(x.At) {
			return nil
		}
	}
	if err := e.Ledger.MarkUnclean(ctx, why); err != nil {
		return err
	}
	var err error
	f.unclean, err = e.Ledger.Unclean(ctx)
	return err
}

// acknowledge takes the user's word that the stores are equal: what happened
// until a request to switch said so for the first time counts as healed. What
// happens later wants another spec.switch.attempt.
func (e *Engine) acknowledge(ctx context.Context, f *facts, out *Output) error {
	req := f.in.Spec.Switch
	if req == nil || !req.Overrides[GuardAuditClean] {
		out.State.AcknowledgedClean = ""
		return nil
	}
	if out.State.AcknowledgedClean == requestID(*req) {
		return nil
	}
	if len(f.unclean) > 0 {
		if err := e.Ledger.ForgetUnclean(ctx, f.unclean...); err != nil {
			return err
		}
		f.unclean = nil
		out.Events = append(out.Events, Event{Reason: "AcknowledgedClean", Message: "The stores count as compared by hand: spec.switch.overrides says AuditClean."})
	}
	out.State.AcknowledgedClean = requestID(*req)
	return nil
}

// owing returns the live sessions that have not said yet what they know, and the
// proxies that never will.
func owing(f facts, x ledger.Loss, done map[string]bool) (missing, ended []string) {
	latest := f.latest()
	for _, s := range f.sessions {
		switch {
		case done[s.ID] || s.Role == ledger.RoleWorker && (s.Fenced || s.Silent > gone):
		case s.Role == ledger.RoleProxy && (s.Fenced || s.Silent > gone || latest[homeOf(s)].ID != s.ID || f.ended(s)):
			ended = append(ended, "proxy "+s.Instance)
		case latest[homeOf(s)].ID == s.ID:
			missing = append(missing, string(s.Role)+" "+s.Instance)
		}
	}
	for name := range f.in.Instances {
		if !f.known(name) && f.stats.Now.Sub(x.At) < gone {
			missing = append(missing, "proxy "+name)
		}
	}
	slices.Sort(ended)
	return missing, ended
}

// lately is a process that lived a while ago.
type lately struct {
	role     ledger.Role
	instance string
	seen     time.Time // by the engine's clock
}

// remember notes who lives: a loss can make the ledger forget that.
func (e *Engine) remember(f facts) {
	now := e.Now()
	if e.processes == nil {
		e.processes = map[string]lately{}
		if f.in.State.Route.Epoch > 0 { // else it has watched from the beginning
			e.since = now
		}
	}
	for _, s := range f.sessions {
		if s.Process != "" && !s.Fenced && s.Silent <= gone { // not just a name that a shard knew
			e.processes[s.Process] = lately{s.Role, s.Instance, now.Add(-max(0, s.Silent))}
		}
	}
	maps.DeleteFunc(e.processes, func(_ string, p lately) bool { return now.Sub(p.seen) > remembered+forgotten })
}

// said returns the processes of which a session has said what it knows.
func said(f facts, done map[string]bool) map[string]bool {
	by := map[string]bool{}
	for _, s := range f.sessions {
		by[s.Process] = by[s.Process] || done[s.ID]
	}
	return by
}

// complete says that everybody has said what they know who was there just before a loss.
func (e *Engine) complete(f facts, x ledger.Loss, done map[string]bool) bool {
	said := said(f, done)
	before := e.Now().Add(-f.stats.Now.Sub(x.At) - briefly)
	for process, p := range e.processes {
		if !said[process] && p.seen.After(before) {
			return false
		}
	}
	return e.since.Before(before)
}

// unknown returns the proxies that ended before a loss and may have known what was
// lost, where the ledger has forgotten them.
func (e *Engine) unknown(f facts, x ledger.Loss) (ended []string) {
	window := briefly
	if x.State == ledger.Replaying {
		window = remembered
	}
	ago := f.stats.Now.Sub(x.At) + window
	known := map[string]bool{}
	for _, s := range f.sessions {
		known[s.Process] = true
		if s.Role == ledger.RoleProxy && e.Now().Sub(e.since) < ago && f.stats.Now.Sub(s.Born) < ago {
			// Nobody has watched for long enough to say that there was none.
			ended = append(ended, "whoever was proxy "+s.Instance+" before it")
		}
	}
	for process, p := range e.processes {
		if p.role == ledger.RoleProxy && !known[process] && e.Now().Sub(p.seen) < ago {
			ended = append(ended, "proxy "+p.instance)
		}
	}
	slices.Sort(ended)
	return ended
}

// workerGone says that a worker may have ended before it told what its copies did of late.
func (e *Engine) workerGone(f facts, x ledger.Loss) bool {
	ago := f.stats.Now.Sub(x.At) + remembered
	if e.Now().Sub(e.since) < ago {
		return true // nobody has watched for long enough
	}
	told := said(f, x.Replayed)
	for _, s := range f.sessions {
		if s.Role == ledger.RoleWorker && s.Process != "" && !told[s.Process] { // not just a name that a shard knew
			return true
		}
	}
	for process, p := range e.processes {
		if p.role == ledger.RoleWorker && !told[process] && e.Now().Sub(p.seen) < ago {
			return true
		}
	}
	return false
}

// landing is how long something may still land that was sent by a process which
// a loss has made the ledger forget.
func landing(f facts, x ledger.Loss) time.Duration {
	if x.State == ledger.Suspected {
		return 0
	}
	return forgotten - f.stats.Now.Sub(x.At)
}

// lateWrites says what neither a switch nor an audit may come before.
func lateWrites(f facts) []string {
	for _, x := range f.losses {
		if landing(f, x) > 0 {
			return []string{fmt.Sprintf("what processes sent that Redis has forgotten, for at most %s", forgotten)}
		}
	}
	return nil
}

// uncleanSince is why the stores may differ since a switch began, "" when they do not, or somebody
// has said so: none begins while there is an unclean event that nobody has spoken for.
func uncleanSince(f facts) string {
	if len(f.unclean) == 0 || f.in.Spec.Switch != nil && f.in.Spec.Switch.Overrides[GuardAuditClean] {
		return ""
	}
	return f.unclean[0].Reason
}

// recovering says what is still being found out after a loss.
func recovering(f facts) []string {
	for _, x := range f.losses {
		switch x.State {
		case ledger.Suspected:
			return []string{"Redis was restarted or replaced: every process looks whether it lost anything"}
		case ledger.Replaying:
			return []string{"Redis lost data: every process tells it again what it did of late"}
		}
	}
	return nil
}

// unhealed says what keeps a switch that is under way from going on.
func unhealed(f facts) []string {
	w := append(recovering(f), lateWrites(f)...)
	if why := uncleanSince(f); why != "" {
		paused := ""
		if f.in.Spec.Paused {
			paused = " (spec.paused keeps audits from running)"
		}
		w = append(w, "an audit, or somebody to compare the stores and to override AuditClean"+paused+": "+why)
	}
	return w
}
