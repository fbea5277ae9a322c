package migration

import (
	"context"
	"errors"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// Stranded says what only one store holds while a switch is half-way, so that
// the ledger must not go: "" means that it may. A ledger that was lost, or came back
// with an older state, does not say so itself: then the State does.
func (e *Engine) Stranded(ctx context.Context, st State) (string, error) {
	known := st.Route
	if st.Pending.Epoch > known.Epoch {
		known = st.Pending
	}
	r, err := e.Ledger.Furthest(ctx)
	if err != nil && !errors.Is(err, ledger.ErrNoRoute) {
		return "", err
	}
	if r.Epoch < known.Epoch {
		r = known
	}
	if r.State == ledger.Switched {
		return "the switch is half-way: some objects are newest on the old store. Wait for SwitchDone, or switch back", nil
	}
	if r.State == ledger.Preparing {
		return "a switch is being prepared: take spec.switch away first, or wait for SwitchDone", nil
	}
	return "", nil
}

// Destroy deletes the migration's ledger.
func (e *Engine) Destroy(ctx context.Context) error { return e.Ledger.Destroy(ctx) }
