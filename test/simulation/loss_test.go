package simulation

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// Losses of what Redis had acknowledged:
//
//	flush    everything
//	lose     what it was told within a time: a crash between two fsyncs, a
//	         failover to a replica that lags
//	restart  nothing
var lossKinds = []string{"flush", "lose", "lose", "lose", "restart"}

func (f fault) loses() bool { return slices.Contains(lossKinds, f.kind) }

// drawLosses has Redis lose data, mostly while a switch is under way.
func (p *plan) drawLosses(r *rand.Rand, length time.Duration) {
	p.audit = true
	if chance(r, .6) {
		// What clients are promised holds as long as those live that wrote of late.
		p.faults = slices.DeleteFunc(p.faults, func(f fault) bool { return strings.HasSuffix(f.kind, "Proxy") })
	}
	for range 1 + r.IntN(2)*r.IntN(2) {
		at := between(r, 0, length)
		if len(p.switches) > 0 && chance(r, .7) {
			at = p.switches[r.IntN(len(p.switches))].at + between(r, 0, 12*time.Second)
		}
		p.drawLoss(r, "", at)
	}
}

func (p *plan) drawLoss(r *rand.Rand, on string, at time.Duration) {
	f := fault{id: fmt.Sprint("loss", len(p.faults)), on: on, at: at, kind: lossKinds[r.IntN(len(lossKinds))], forget: chance(r, .75)}
	if f.kind == "lose" {
		f.span = []time.Duration{between(r, time.Millisecond, time.Second), between(r, 50*time.Millisecond, 5*time.Second), between(r, 5*time.Second, 50*time.Second)}[r.IntN(3)]
	}
	f.gap = []time.Duration{0, 0, between(r, 0, 3*time.Second), between(r, 3*time.Second, 12*time.Second)}[r.IntN(4)]
	f.forget = f.forget || f.kind == "restart"
	p.faults = append(p.faults, f)
}

// loss is one that happened.
type loss struct {
	from, to time.Time // what was applied between them is gone; zero from: all
	seen     bool      // LedgerHealthy was False after it
	told     map[*process]string
}

// snapshot is what Redis holds.
type snapshot struct {
	keys   map[string]any
	leases map[string]time.Time
}

// snapshot and restore are used under the world's lock.
func (w *world) snapshot() snapshot {
	s := snapshot{map[string]any{}, maps.Clone(w.leases)}
	names := texts(w.redis.do([]any{"KEYS", "*"})[0].([]any))
	dump := make([][]any, len(names))
	for i, k := range names {
		dump[i] = []any{"DUMP", k}
	}
	for i, v := range w.redis.do(dump...) {
		s.keys[names[i]] = v
	}
	return s
}

func (w *world) restore(s snapshot) {
	cmds := [][]any{{"FLUSHALL"}}
	for k, v := range s.keys {
		cmds = append(cmds, []any{"RESTORE", k, 0, v})
	}
	for _, v := range w.redis.do(cmds...) {
		if err, ok := v.(redisError); ok {
			panic(err)
		}
	}
	w.leases = s.leases
	w.memo = newMemo()
}

func (w *world) lose(f fault) {
	x := &loss{told: map[*process]string{}}
	w.mu.Lock()
	kept := snapshot{leases: map[string]time.Time{}}
	if f.kind == "lose" {
		x.from, kept = time.Now(), w.snapshot()
	}
	w.losses = append(w.losses, x)
	w.mu.Unlock()
	time.Sleep(f.span)
	w.mu.Lock()
	if f.kind == "restart" {
		x.from, kept = time.Now(), w.snapshot()
	}
	x.to = time.Now()
	w.shakenAt = w.clock
	if f.kind != "restart" {
		w.lostAt = w.clock
	}
	w.restore(kept)
	if f.forget {
		w.forgot = map[string]bool{}
		for sum := range scripts {
			w.forgot[sum] = true
		}
	}
	w.down[redisPeer] = f.gap > 0
	w.write(nil, "LOST what Redis was told since %v", x.from.Sub(w.began))
	w.mu.Unlock()
	time.Sleep(f.gap)
	w.mu.Lock()
	w.down[redisPeer] = false
	w.mu.Unlock()
}

// endsTask are scripts that end a session's task, or give it back: whoever was told must miss it.
var endsTask = map[string]bool{"finishbucket": true, "failbucket": true, "finishbatch": true, "releasetask": true,
	"split": true, "auditjudged": true, "auditrelease": true, "auditsplit": true}

// heard notes who was told of something that is lost, or will be.
func (w *world) heard(p *process, requests [][]any, answers []any, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.losses) == 0 {
		return
	}
	for i, args := range requests {
		name := w.scriptOf(args)
		list, _ := answers[i].([]any)
		switch {
		case (name == "heartbeat" || name == "begin") && len(list) > 0 && text(list[0]) == "OK": // not refused
		case name == "commit" && len(list) > 0:
		case (name == "advance" || name == "auditadvance") && len(list) > 0 && text(list[0]) == "OK":
		case (name == "lock" || endsTask[name]) && answers[i] != int64(0):
		case name == "claimevents" && len(list) > 1:
		default:
			continue
		}
		for _, x := range w.losses {
			if !at.Before(x.from) && (x.to.IsZero() || at.Before(x.to)) {
				x.told[p] = name
			}
		}
	}
}

// seeLoss notes that the manager, in a step that began then, has seen a loss.
func (w *world) seeLoss(began time.Time) {
	for _, x := range w.losses {
		x.seen = x.seen || !x.to.IsZero() && !began.Before(x.to)
	}
}

// noticed checks that no loss went unseen of which a process that lives was told.
func (w *world) noticed() {
	for _, x := range w.losses {
		for p, what := range x.told {
			if !x.seen && p.alive() {
				w.problem("a loss that nobody noticed: %s was told of a %s that was lost at %v", p.name, what, x.to.Sub(w.began))
			}
		}
	}
}

// told collects the unclean events that excuse what clients saw.
func (w *world) told() {
	for why := range w.manager.told {
		switch {
		case strings.Contains(why, "gave no sign of life"): // a proxy that died, and no more
		case strings.Contains(why, "Redis lost"), strings.Contains(why, "the ledger came back"), strings.Contains(why, "back in time"),
			strings.Contains(why, "Redis was restarted"):
			// Nothing may come of it while those live that wrote of late.
			w.lossy = w.lossy || w.mayForget()
		default:
			w.result.told = append(w.result.told, why)
		}
	}
}

// mayForget says that a proxy ended, or may have seemed to, before or while a loss
// was dealt with: what it alone knew is gone.
func (w *world) mayForget() bool {
	return slices.ContainsFunc(w.plan.faults, func(f fault) bool { return strings.HasSuffix(f.kind, "Proxy") })
}

// unhealed says what is not known of the stores.
func (w *world) unhealed(ctx context.Context, l *ledger.Ledger) string {
	if !w.plan.audit {
		return ""
	}
	losses, err := l.Losses(ctx)
	if err != nil || len(losses) > 0 {
		return fmt.Sprintf("losses %+v, %v", losses, err)
	}
	unclean, err := l.Unclean(ctx)
	if err != nil || len(unclean) > 0 {
		return fmt.Sprintf("unclean events %+v, %v", unclean, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.manager.state.Audit
	if w.manager.state.Route.Sync && (a.VerifiedAt.IsZero() || a.Result == ledger.AuditRunning) {
		return fmt.Sprintf("the audit is %+v", a)
	}
	return ""
}

// operate does what docs/operations.md has people do when a switch that is under
// way waits for them.
func (w *world) operate(ctx context.Context, l *ledger.Ledger, since time.Time) {
	m := w.manager
	w.mu.Lock()
	w.emptySpare(m.state.Route.Main)
	if a := m.state.Audit; a.Result == ledger.AuditComplete && a.Left() > 0 {
		m.spec.Audit.Trigger = a.ID
	}
	route, waits := m.state.Route, slices.ContainsFunc(m.out.WaitingFor, func(s string) bool { return strings.Contains(s, "an audit, or somebody") })
	if !route.Sync && route.State == ledger.Steady && w.plan.audit && time.Since(since) > 2*w.plan.maxInFlight {
		// There is nothing to compare with any more.
		w.speakFor(route.Main, fmt.Sprint("nothing to compare", time.Since(since)))
		w.mu.Unlock()
		return
	}
	if !w.plan.audit || !waits || time.Since(since) < 2*w.plan.maxInFlight {
		w.mu.Unlock()
		return
	}
	if route.State == ledger.Preparing {
		m.spec.Switch = nil // an audit runs then
		w.write(nil, "OPERATOR takes the switch back")
		w.mu.Unlock()
		return
	}
	equal := maps.Equal(w.stores[0].contents(bucketName), w.stores[1].contents(bucketName))
	spareEqual := w.stores[0].spare() == w.stores[1].spare()
	w.mu.Unlock()
	if !spareEqual {
		c := &client{w: w, name: "operator", signer: s3.NewSigner(endpoint(0)), seen: map[string]string{}, made: map[string]version{}}
		c.onSpare(op{id: fmt.Sprint("look at the bucket", time.Since(since)), kind: "listSpare"})
		return
	}
	if !equal {
		// Whoever looks has the stores compared.
		c := &client{w: w, name: "operator", signer: s3.NewSigner(endpoint(0)), seen: map[string]string{}}
		c.list(op{id: fmt.Sprint("look", time.Since(since)), most: 1000})
		return
	}
	losses, err := l.Losses(ctx)
	if err != nil || slices.ContainsFunc(losses, func(x ledger.Loss) bool { return x.State != ledger.Lost }) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.speakFor(route.Main, fmt.Sprint("compared", time.Since(since)))
	w.write(nil, "OPERATOR has compared the stores")
}

// speakFor overrides AuditClean. The caller holds the lock.
func (w *world) speakFor(main ledger.Store, attempt string) {
	req := migration.DefaultRequest(main)
	if w.manager.spec.Switch != nil {
		req = *w.manager.spec.Switch
	}
	req.Attempt = attempt
	req.Overrides = map[migration.Guard]bool{migration.GuardAuditClean: true, migration.GuardCaughtUp: true}
	w.manager.spec.Switch = &req
}
