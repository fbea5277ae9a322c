// Package migration decides what should happen next to one migration: from what
// the user asked for, what the ledger holds and which processes live, it derives
// the phase, the route and the conditions. It knows neither Kubernetes nor S3:
// controllers wraps it for a cluster, crossfade local for a single machine.
package migration

import (
	"context"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// Phase is how far a migration has come. It is derived, never trusted.
type Phase string

// The phases, in order.
const (
	Pending       Phase = "Pending"
	Copying       Phase = "Copying"
	CatchingUp    Phase = "CatchingUp"
	SwitchStarted Phase = "SwitchStarted"
	SwitchDone    Phase = "SwitchDone"
)

// SwitchRequest asks for a store to become main.
type SwitchRequest struct {
	To ledger.Store
	// PauseWrites holds writes until the other store has caught up, at most for
	// MaxPause; past it the switch is called off.
	PauseWrites bool
	MaxPause    time.Duration
	// Reverse keeps the old store in sync after the switch.
	Reverse bool
	// MaxDirty and MaxLag bound what may still be dirty when it begins.
	MaxDirty int64
	MaxLag   time.Duration
	// Overrides are guards that do not count.
	Overrides map[Guard]bool
	// Attempt tells one request from the next, after one was called off.
	Attempt string
}

// Spec is what the user asked for.
type Spec struct {
	// Buckets are the source buckets to move; nil means all.
	Buckets     []string
	Paused      bool
	RetryFailed string
	Audit       AuditRequest
	Switch      *SwitchRequest
}

// State is what the migration's owner keeps between steps, outside of the
// ledger: enough to bring a lost ledger back on the right route.
type State struct {
	Route ledger.Route
	// Pending is a route that is about to be put in force, or was: it is kept
	// before the ledger hears of it, so that a lost ledger never comes back with an
	// older main. Its epoch is 0 when there is none.
	Pending           ledger.Route
	StartedAt         time.Time
	SwitchStartedAt   time.Time // by the ledger's clock, as losses are dealt with
	SwitchFinishedAt  time.Time
	SwitchBehind      bool // the new main may have lacked more than what was just written, see behind
	PreparingSince    time.Time
	CalledOff         string
	RetryFailed       string
	LedgerTick        time.Time
	LedgerGeneration  string
	BucketsListedAt   time.Time
	AcknowledgedClean string
	Audit             AuditState
}

// StoreFacts is what was last seen of a store.
type StoreFacts struct {
	Reachable bool
	// Problem says what is wrong and what to do; "" when Reachable.
	Problem string
}

// Input is everything that Step decides from, besides the ledger.
type Input struct {
	Spec   Spec
	State  State
	Stores [2]StoreFacts
	// Instances are the proxy processes' homes (pods) that exist, by name. Nil
	// means that there is no way to know: every session in the ledger counts.
	Instances map[string]bool
	// Persist keeps a State for good, in the middle of a step, before the ledger
	// gets its Pending route. Nil: nothing outlives the ledger.
	Persist func(context.Context, State) error
}

// Condition is one aspect of the migration, as in the Kubernetes API.
type Condition struct {
	Type string
	// Status: nil means unknown.
	Status  *bool
	Reason  string
	Message string
}

// Progress is how much is copied.
type Progress struct {
	BucketsTotal, BucketsCopied, BucketsFailed int64
	Listed, Copied, Skipped                    ledger.Progress
	Failed                                     int64
	Failures                                   []ledger.Failure
	// Percent of the listed objects that need no copy any more, 0 to 100.
	Percent int32
	// BytesPerSecond and ObjectsPerSecond are over the last half minute.
	BytesPerSecond, ObjectsPerSecond float64
	// ETA is zero when it cannot be told yet.
	ETA time.Duration
}

// Output is what Step decided.
type Output struct {
	State      State
	Conditions []Condition
	// Phase is "" when the ledger did not answer: then it, and all that follows
	// up to Events, is as it was.
	Phase    Phase
	Progress Progress
	// Dirty objects, and how long the oldest one has been so.
	Dirty       int64
	Lag         time.Duration
	Buckets     []ledger.BucketState
	Sessions    []ledger.Session
	WaitingFor  []string
	UncleanList []ledger.UncleanEvent
	// Events are what just changed, for people.
	Events []Event
	// Next is when Step should be called again.
	Next time.Duration
}

// Event is something that just happened.
type Event struct {
	Warning bool
	Reason  string
	Message string
}
