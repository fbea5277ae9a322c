package app

import (
	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
)

// fallbackRoute is what a proxy obeys that has never reached the ledger: the
// route that the Migration remembers. Without it a proxy that starts after the
// switch while Redis is down would serve the old store.
func fallbackRoute(m *v1alpha1.Migration) *ledger.Route {
	r := m.Status.Route
	if p := m.Status.PendingRoute; p != nil {
		// It may be in force already. Without the ledger, only a steady one is used.
		r = p
	}
	if r == nil {
		return nil
	}
	route := config.RouteOf(r)
	return &route
}

// knownEpoch is the last epoch that the Migration remembers to have been in force:
// what Redis holds from before it came back with older data.
func knownEpoch(m *v1alpha1.Migration) int64 {
	if m.Status.Route == nil {
		return 0
	}
	return m.Status.Route.Epoch
}
