package migration

import (
	"fmt"
	"strings"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// Guard is a condition that must hold before a switch may begin.
type Guard string

// The guards, in the order in which they are told. Only the last three can be
// overridden.
const (
	GuardStarted       Guard = "Started"
	GuardNotPaused     Guard = "NotPaused"
	GuardWayBack       Guard = "WayBack"
	GuardStores        Guard = "StoresReachable"
	GuardSessions      Guard = "SessionsHealthy"
	GuardCopied        Guard = "BucketsCopied"
	GuardNothingFailed Guard = "NothingFailed"
	GuardCaughtUp      Guard = "CaughtUp"
	GuardAuditClean    Guard = "AuditClean"
)

func (g Guard) mayBeOverridden() bool {
	return g == GuardNothingFailed || g == GuardCaughtUp || g == GuardAuditClean
}

// Defaults of a switch's bounds.
const (
	DefaultMaxDirty = 10000
	DefaultMaxLag   = 60 // seconds
)

type facts struct {
	in       Input
	route    ledger.Route
	stats    ledger.Stats
	buckets  []ledger.BucketState
	sessions []ledger.Session
	unclean  []ledger.UncleanEvent
	// losses are the shards that lost data, or may have.
	losses []ledger.Loss
	out    *Output
	audit  AuditState
	// listed says that the ledger knows which buckets there are: an empty list is
	// not one that nobody has asked for.
	listed bool
	// unlisted is why they could not be listed just now.
	unlisted string
}

// guards are pure: each says why the switch may not begin, or "".
var guards = []struct {
	name  Guard
	check func(facts, SwitchRequest) string
}{
	{GuardStarted, func(f facts, _ SwitchRequest) string {
		if !f.route.Run && !f.in.Spec.Paused {
			return "the migration has not started copying yet: wait for the proxies to be ready"
		}
		return ""
	}},
	{GuardNotPaused, func(f facts, _ SwitchRequest) string {
		if f.in.Spec.Paused {
			return "the migration is paused: set spec.paused to false"
		}
		return ""
	}},
	{GuardWayBack, func(f facts, _ SwitchRequest) string {
		if f.route.Main == ledger.Target && !f.route.Sync {
			return "spec.switch.reverse was off, so the source no longer holds what clients wrote: there is no way back"
		}
		return ""
	}},
	{GuardStores, func(f facts, _ SwitchRequest) string {
		for s, st := range f.in.Stores {
			if !st.Reachable {
				return fmt.Sprintf("the %s is not reachable: %s", strings.ToLower(ledger.Store(s).String()), st.Problem)
			}
		}
		return ""
	}},
	{GuardSessions, func(f facts, _ SwitchRequest) string {
		if w := waiting(f, f.route.Epoch); len(w) > 0 {
			return "not every process obeys the current route: " + strings.Join(w, "; ")
		}
		if !hasRole(f.sessions, ledger.RoleProxy) {
			return "no proxy is running"
		}
		if !hasRole(f.sessions, ledger.RoleWorker) {
			return "no worker is running"
		}
		return ""
	}},
	{GuardSessions, func(f facts, _ SwitchRequest) string {
		return strings.Join(append(recovering(f), lateWrites(f)...), "; ")
	}},
	{GuardCopied, func(f facts, _ SwitchRequest) string {
		if f.route.Main != ledger.Source {
			return ""
		}
		copied, failed := countBuckets(f.buckets)
		switch {
		case failed > 0:
			// Nothing is known of its objects, so they would be looked for on the new main.
			return "buckets could not be copied: see status.progress.failures; mend the cause and change spec.retryFailed"
		case !f.listed || copied < len(f.buckets):
			return "not every bucket is copied yet"
		}
		if u := unburied(f); len(u) > 0 {
			return "copying waits for " + strings.Join(u, "; ")
		}
		return ""
	}},
	{GuardNothingFailed, func(f facts, _ SwitchRequest) string {
		if f.stats.Failed > 0 {
			return "objects can't be copied: see status.progress.failures; mend the cause and change spec.retryFailed"
		}
		return ""
	}},
	{GuardCaughtUp, func(f facts, r SwitchRequest) string {
		if f.stats.Dirty > r.MaxDirty {
			return "more objects wait to be copied than spec.switch.maxDirty allows"
		}
		if f.stats.Oldest > r.MaxLag {
			return "an object has waited to be copied for longer than spec.switch.maxLag allows"
		}
		return ""
	}},
	{GuardAuditClean, func(f facts, _ SwitchRequest) string {
		_, why := unverified(f)
		return why
	}},
}

// blocked returns the first guard that keeps a switch from beginning.
func blocked(f facts, r SwitchRequest) (Guard, string) {
	for _, g := range guards {
		if r.Overrides[g.name] && g.name.mayBeOverridden() {
			continue
		}
		if why := g.check(f, r); why != "" {
			return g.name, why
		}
	}
	return "", ""
}

func hasRole(ss []ledger.Session, role ledger.Role) bool {
	for _, s := range ss {
		if s.Role == role && !s.Fenced {
			return true
		}
	}
	return false
}

func countBuckets(bs []ledger.BucketState) (copied, failed int) {
	for _, b := range bs {
		switch b.State {
		case ledger.BucketCopied:
			copied++
		case ledger.BucketFailed:
			failed++
		}
	}
	return copied, failed
}
