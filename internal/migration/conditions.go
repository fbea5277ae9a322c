package migration

import (
	"strings"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// The condition types that Step tells. The API documents them.
const (
	CondSourceReachable = "SourceReachable"
	CondTargetReachable = "TargetReachable"
	CondBucketsCopied   = "BucketsCopied"
	CondCaughtUp        = "CaughtUp"
	CondAudited         = "Audited"
	CondSwitchReady     = "SwitchReady"
	CondSwitched        = "Switched"
	CondLedgerHealthy   = "LedgerHealthy"
)

func cond(typ string, status bool, reason, message string) Condition {
	return Condition{Type: typ, Status: &status, Reason: reason, Message: message}
}

func unknown(typ, reason, message string) Condition {
	return Condition{Type: typ, Reason: reason, Message: message}
}

func storeConditions(in Input) []Condition {
	var out []Condition
	for i, typ := range []string{CondSourceReachable, CondTargetReachable} {
		if st := in.Stores[i]; st.Reachable {
			out = append(out, cond(typ, true, "Reachable", "The store answers and the credentials are good for what is needed."))
		} else {
			out = append(out, cond(typ, false, "Unreachable", st.Problem))
		}
	}
	return out
}

// The bounds within which a migration counts as caught up: dirty objects are
// what clients just wrote, not a backlog.
const (
	caughtUpLag   = 15 // seconds
	caughtUpDirty = 1000
)

func copyConditions(f facts) []Condition {
	copied, failed := countBuckets(f.buckets)
	all := f.route.Run && f.listed && copied == len(f.buckets) && len(unburied(f)) == 0
	// After the switch the initial copy is history.
	all = all || f.route.Main == ledger.Target
	var c Condition
	switch {
	case all:
		c = cond(CondBucketsCopied, true, "Copied", "Every bucket was copied.")
	case f.unlisted != "" && !f.listed:
		c = cond(CondBucketsCopied, false, "ListBucketsFailed", Sentence(f.unlisted)+" Name them in spec.buckets, or let the source's keys list them.")
	case failed > 0:
		c = cond(CondBucketsCopied, false, "BucketsFailed", "Some buckets could not be copied: see status.progress.failures, mend the cause and change spec.retryFailed.")
	case f.in.Spec.Paused:
		c = cond(CondBucketsCopied, false, "Paused", "Copying is paused by spec.paused.")
	default:
		c = cond(CondBucketsCopied, false, "Copying", "Buckets are being copied.")
	}
	out := []Condition{c}
	switch {
	case !all:
		out = append(out, cond(CondCaughtUp, false, "Copying", "Buckets are still being copied."))
	case !f.route.Sync:
		out = append(out, cond(CondCaughtUp, false, "ReverseOff", "The "+lower(f.route.Main.Other())+" is not kept in sync, because spec.switch.reverse was off."))
	case f.stats.Failed > 0:
		out = append(out, cond(CondCaughtUp, false, "ObjectsFailed", "Some objects can't be copied: see status.progress.failures and mend the cause. They are tried on; change spec.retryFailed to have that done at once, and for those that a store refused as they are."))
	case f.stats.Dirty > caughtUpDirty || f.stats.Oldest.Seconds() > caughtUpLag:
		out = append(out, cond(CondCaughtUp, false, "CatchingUp", "Changes made by clients are still being copied."))
	default:
		out = append(out, cond(CondCaughtUp, true, "CaughtUp", "The follower holds all but what clients just wrote."))
	}
	return out
}

func ledgerConditions(f facts) []Condition {
	c := cond(CondLedgerHealthy, true, "Healthy", "Redis answers and has lost nothing.")
	if n := len(f.unclean); n > 0 {
		c = cond(CondLedgerHealthy, false, "UncleanEvent", "The ledger may have missed changes: "+f.unclean[n-1].Reason+". An audit heals that, see condition Audited.")
	} else if w := recovering(f); len(w) > 0 {
		return []Condition{
			cond(CondLedgerHealthy, false, "Checking", Sentence(w[0])),
			unknown(CondAudited, "Checking", "Not known while it is being looked whether Redis lost anything."),
		}
	}
	return []Condition{c, auditCondition(f)}
}

func switchConditions(f facts, waits []string, calledOff bool) []Condition {
	r := f.in.Spec.Switch
	asked := r != nil && r.To != f.route.Main
	req := DefaultRequest(f.route.Main.Other())
	if r != nil {
		req = *r
	}
	var ready Condition
	switch g, why := blocked(f, req); {
	case f.route.State != ledger.Steady:
		ready = cond(CondSwitchReady, true, "InProgress", "A switch is in progress.")
	case g != "":
		ready = cond(CondSwitchReady, false, string(g), Sentence(why))
	default:
		ready = cond(CondSwitchReady, true, "Ready", "Every guard holds: patch spec.switch to cut over.")
	}
	var sw Condition
	switch {
	case f.route.State == ledger.Preparing:
		sw = cond(CondSwitched, false, "Preparing", "Waiting for every process to look objects up: "+orNone(waits)+".")
	case f.route.State == ledger.Switched:
		sw = cond(CondSwitched, false, "Draining", "Clients write to the "+lower(f.route.Main)+". Waiting for: "+orNone(waits)+".")
	case calledOff:
		sw = cond(CondSwitched, false, "CalledOff", "Writes were held for longer than spec.switch.maxPause: the switch is off. Change spec.switch.attempt to try again.")
	case asked:
		sw = cond(CondSwitched, false, "WaitingForGuards", "The switch waits: "+Sentence(ready.Message))
	case f.route.Main == ledger.Target:
		sw = cond(CondSwitched, true, "Switched", "The target serves the clients.")
	default:
		sw = cond(CondSwitched, false, "NotAsked", "The source serves the clients; patch spec.switch to cut over.")
	}
	return []Condition{ready, sw}
}

// DefaultRequest is a switch with nothing but its direction said.
func DefaultRequest(to ledger.Store) SwitchRequest {
	return SwitchRequest{To: to, Reverse: true, MaxDirty: DefaultMaxDirty, MaxLag: DefaultMaxLag * 1e9, MaxPause: 30e9}
}

func lower(s ledger.Store) string { return strings.ToLower(s.String()) }

func orNone(w []string) string {
	if len(w) == 0 {
		return "nothing any more"
	}
	return strings.Join(w, "; ")
}

// Sentence makes a sentence of a reason.
func Sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
