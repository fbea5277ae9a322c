package ledger

import (
	"errors"
	"fmt"
)

// errOlder: Redis came back with an older route than one that was obeyed.
var errOlder = errors.New("the ledger is older than what was answered before")

var (
	// ErrUnavailable wraps every failure to talk to Redis.
	ErrUnavailable = errors.New("ledger unavailable")
	// ErrNoRoute: the ledger holds no route: it is new, or it was lost.
	ErrNoRoute = errors.New("ledger has no route")
	// ErrFenced: this session was declared dead, or is not registered yet; the
	// next heartbeat registers a new one.
	ErrFenced = errors.New("session is fenced")
	// ErrMoved: the store that was asked for takes no writes any more; choose again.
	ErrMoved = errors.New("store takes no writes any more")
	// ErrSettled: the intent was settled as never made before it was committed.
	ErrSettled = errors.New("write was settled as not made")
	// ErrLocked: a worker is just committing a copy of this object; ask again
	// in a few milliseconds.
	ErrLocked = errors.New("object is locked by a copy")
	// ErrHeld: writes are held during a PauseWrites switch; ask again soon.
	ErrHeld = errors.New("writes are held")
	// ErrNotInSync: the store asked for does not yet hold the newest version.
	// The copy has been put at the head of the queue; ask again soon.
	ErrNotInSync = errors.New("object is not in sync")
	// ErrBeingCopied is ErrNotInSync while a worker has the object in hand: that
	// takes as long as the object is large.
	ErrBeingCopied = fmt.Errorf("%w: it is being copied", ErrNotInSync)
	// ErrClaimLost: the claim is no longer ours; drop the copy.
	ErrClaimLost = errors.New("claim lost")
	// ErrOverrun: the copy was written after its lock had run out and a client
	// wrote the same store since. Unless a conditional write fenced the copy,
	// the client's write may be gone: call MarkUnclean. Then end the claim.
	ErrOverrun = errors.New("copy overran its lock")
	// ErrNoWork: nothing to take now.
	ErrNoWork = errors.New("no work")
	// ErrQueueFull: copiers are behind; the lister must wait.
	ErrQueueFull = errors.New("copy queue is full")
	// ErrTaskLost: the task belongs to somebody else now; drop it.
	ErrTaskLost = errors.New("task lost")
	// ErrRecovering: data was lost, and it is being found out what; ask again soon.
	ErrRecovering = errors.New("the ledger lost data and is being brought back")
	// ErrUnknown: the ledger lost data and does not know whether the object is in
	// sync: compare the stores, Adopt what differs, and say so.
	ErrUnknown = errors.New("the ledger does not know whether the object is in sync")
	// ErrStaleEpoch: a newer route is in force.
	ErrStaleEpoch = errors.New("a newer route is in force")
)
