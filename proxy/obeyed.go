package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// obeyedFile holds, in the state directory, the route that the last process there obeyed.
// Its manifest may be older, or know of none: a volume follows the manager with a delay,
// and nobody writes routes into a manifest that people keep.
const obeyedFile = "obeyed.route"

// obeyedSize is the file's length: it is written in place, so that a full disk can't keep
// a switch from beginning.
const obeyedSize = 1024

// keptRoute is what the file holds.
type keptRoute struct {
	Migration string       `json:"migration"`
	Route     ledger.Route `json:"route"`
}

// keepRoute writes down a route that is about to be obeyed. That Redis is away at the next
// start must not lead clients back to a store that is not main any more: so a route by
// which another store may become main is obeyed only once it stands there.
func (p *Proxy) keepRoute(r ledger.Route) error {
	if p.cfg.StateDir == "" {
		return nil
	}
	b, err := json.Marshal(keptRoute{p.ledger.Migration(), r})
	if err != nil {
		return err
	}
	b = append(b, bytes.Repeat([]byte(" "), max(0, obeyedSize-len(b)))...)
	f, err := os.OpenFile(filepath.Join(p.cfg.StateDir, obeyedFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteAt(b, 0)
		err = errors.Join(err, f.Truncate(int64(len(b))), f.Sync(), f.Close())
	}
	switch {
	case err == nil:
		return nil
	case r.State == ledger.Steady:
		// The route before it is still there, and was not steady if main is another one now.
		p.log.Error(err, "the route can't be kept in the state directory")
		return nil
	}
	return fmt.Errorf("keep the route in the state directory: %w", err)
}

// keptFallback is the route to obey while the ledger is out of reach from the start: the
// later one of the manifest's and of what the last process here obeyed.
func keptFallback(cfg Config) (*ledger.Route, error) {
	if cfg.StateDir == "" {
		return cfg.Fallback, nil
	}
	b, err := os.ReadFile(filepath.Join(cfg.StateDir, obeyedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return cfg.Fallback, nil
	}
	if err != nil {
		return nil, err
	}
	var kept keptRoute
	if err := json.Unmarshal(b, &kept); err != nil {
		// Something was obeyed, and nobody knows what: nothing is served without the ledger.
		unknown := ledger.Route{State: ledger.Preparing, Sync: true}
		if cfg.Fallback != nil {
			unknown = *cfg.Fallback
			unknown.State = ledger.Preparing
		}
		cfg.Log.Error(err, "the route in the state directory can't be read; waiting for the ledger's")
		return &unknown, nil
	}
	if kept.Migration != cfg.Ledger.Migration() || cfg.Fallback != nil && cfg.Fallback.Epoch >= kept.Route.Epoch {
		return cfg.Fallback, nil
	}
	return &kept.Route, nil
}
