package migration

import (
	"fmt"
	"slices"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// home tells processes apart that do not follow one another: one that runs where an earlier
// one did, with what that has left, proves that it has ended.
type home struct {
	role          ledger.Role
	instance, dir string
}

func homeOf(s ledger.Session) home { return home{s.Role, s.Instance, s.Home} }

// latest is the session of each home that began last.
func (f facts) latest() map[home]ledger.Session {
	out := map[home]ledger.Session{}
	for _, s := range f.sessions {
		if l, ok := out[homeOf(s)]; !ok || s.Started.After(l.Started) {
			out[homeOf(s)] = s
		}
	}
	return out
}

// known says that a proxy of an instance has told the ledger of itself.
func (f facts) known(instance string) bool {
	return slices.ContainsFunc(f.sessions, func(s ledger.Session) bool { return s.Role == ledger.RoleProxy && s.Instance == instance })
}

// ended says that a proxy's instance does not exist any more, and gives no sign of life: what
// was deleted by force, or with its node, may run on for a while.
func (f facts) ended(s ledger.Session) bool {
	return f.in.Instances != nil && !f.in.Instances[s.Instance] && (s.Fenced || s.Silent > silence)
}

// unburied names the worker sessions that ended without a word, or were
// abandoned: until they are buried, what they had claimed is not copied, and
// nobody else may copy it.
func unburied(f facts) []string {
	latest := f.latest()
	var out []string
	for _, s := range f.sessions {
		if s.Role == ledger.RoleWorker && (s.Fenced || s.Silent > silence || latest[homeOf(s)].ID != s.ID) {
			out = append(out, fmt.Sprintf("the work of worker %s, which ended, to be taken over", s.Instance))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// silence is how long a worker may go without a heartbeat before its work
// counts as open, and a proxy that does not exist any more before it counts as gone.
const silence = 5 * time.Second

// waiting names the processes that do not obey an epoch yet. While there is one
// the barrier holds:
//
//   - A proxy reads without the ledger in Steady state, so it must have said that
//     it obeys, or be known to be gone: its home has a later session, or its instance no
//     longer exists and is silent. Its open writes are intents, which the protocol orders.
//   - A worker writes the follower without a lock in Steady state, and what it
//     sent may land after it died: it must have said that it obeys, or have been
//     buried, which takes as long as its requests can live.
//   - An instance that exists and never told the ledger of itself may serve
//     clients all the same.
func waiting(f facts, epoch int64) []string {
	var out []string
	for _, s := range f.latest() {
		if s.Role != ledger.RoleProxy || s.Epoch >= epoch && !s.Fenced || f.ended(s) {
			continue
		}
		out = append(out, fmt.Sprintf("proxy %s has not confirmed the route", s.Instance))
	}
	for name := range f.in.Instances {
		if !f.known(name) {
			out = append(out, fmt.Sprintf("proxy %s has not registered", name))
		}
	}
	for _, s := range f.sessions {
		if s.Role == ledger.RoleWorker && s.Epoch < epoch {
			out = append(out, fmt.Sprintf("worker %s has not confirmed the route", s.Instance))
		}
	}
	slices.Sort(out)
	return out
}
