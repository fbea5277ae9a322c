package proxy

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// A proxy starts again while Redis is away. Its manifest knows of no route, or of one from
// before the switch: it must not lead clients back to the old store.
func TestProxyThatStartsWithoutRedisGoesOnByTheRouteThatTheOneBeforeItObeyed(t *testing.T) {
	steady := ledger.Route{Epoch: 1, Main: ledger.Source, State: ledger.Steady, Sync: true, Uploads: ledger.Source, Run: true}
	for name, manifest := range map[string]*ledger.Route{"no route in the manifest": nil, "an older one": &steady} {
		for state, wants := range map[ledger.RouteState][2]int{ledger.Switched: {503, 503}, ledger.Steady: {200, 200}} {
			t.Run(name+", "+string(state), func(t *testing.T) {
				redis := newRedis(t)
				var cfg Config
				r := newRig(t, rigOptions{redis: redis.Addr, config: func(c *Config) {
					c.Fallback, c.LedgerWait, c.DrainTimeout = manifest, 300*time.Millisecond, 50*time.Millisecond
					cfg = *c
				}})
				r.put(r.client, "k", "old")
				r.settled()
				r.sync()
				r.route(ledger.Source, ledger.Preparing)
				r.route(ledger.Target, ledger.Switched)
				if state == ledger.Steady {
					r.routeTo(ledger.Route{Main: ledger.Target, State: state, Sync: true, Uploads: ledger.Target, Run: true})
				}
				r.put(r.client, "k", "new")
				r.end()
				r.must(redis.Kill())
				cfg.Registry = nil
				r.start(cfg)
				read := r.raw(http.MethodGet, "/"+r.bucket+"/k", "", nil)
				if read.StatusCode != wants[0] || read.StatusCode == 200 && read.text != "new" {
					t.Errorf("read: %d %s", read.StatusCode, read.text)
				}
				if got := r.raw(http.MethodPut, "/"+r.bucket+"/k", "newer", nil).StatusCode; got != wants[1] {
					t.Errorf("write: %d", got)
				}
				if got := r.get(r.direct[ledger.Source], "k"); got != "old" {
					t.Errorf("the old store took %q", got)
				}
			})
		}
	}
}

func TestRouteInTheStateDirectory(t *testing.T) {
	r := newRig(t, rigOptions{})
	cfg := r.proxy.cfg
	at := filepath.Join(cfg.StateDir, obeyedFile)
	later := ledger.Route{Epoch: 7, Main: ledger.Target, State: ledger.Switched, Sync: true}
	fallback := func() ledger.Route {
		t.Helper()
		got, err := keptFallback(cfg)
		r.must(err)
		return *got
	}
	if got := fallback(); got != *r.proxy.route.Load() {
		t.Errorf("what was obeyed is not kept: %+v", got)
	}
	if cfg.Fallback = &later; fallback() != later {
		t.Error("the manifest's route is later, and does not count")
	}
	// Of another migration.
	r.must(os.WriteFile(at, []byte(`{"migration":"other","route":{"Epoch":9}}`), 0o600))
	if got := fallback(); got != later {
		t.Errorf("another migration's route: %+v", got)
	}
	// Torn: nothing is served without the ledger.
	r.must(os.WriteFile(at, []byte(`{"migration":`), 0o600))
	if got := fallback(); got.State != ledger.Preparing {
		t.Errorf("unreadable: %+v", got)
	}
	// By a route that can't be kept no other store may become main.
	r.must(os.Remove(at))
	r.must(os.Mkdir(at, 0o700))
	if r.proxy.keepRoute(later) == nil {
		t.Error("obeys a route that it could not keep")
	}
	later.State = ledger.Steady
	if err := r.proxy.keepRoute(later); err != nil {
		t.Errorf("does not obey a steady one: %v", err)
	}
}
