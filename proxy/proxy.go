// Package proxy is the S3 endpoint for clients: it authenticates a request,
// routes it to the store that must answer it, records writes in the ledger and
// streams. It keeps nothing but writes that could not be recorded yet.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// Store is one of the two object stores, as the proxy needs it.
type Store struct {
	Endpoint s3.Endpoint
	// Trailers says whether the store takes STREAMING-UNSIGNED-PAYLOAD-TRAILER
	// bodies, so that checksums which clients send after the body reach it that
	// way. If not (or nil), they reach it in the header with bodies of at most
	// 1 MiB, and are verified and dropped with longer ones.
	Trailers func() bool
	// Transport replaces the endpoint's own. It must not decompress.
	Transport http.RoundTripper
}

// Config is what a proxy is made of. Durations of zero get their defaults.
type Config struct {
	Ledger *ledger.Ledger
	// Instance is the pod or machine; it outlives the process.
	Instance string
	// StateDir holds the journal of writes that could not be recorded, and the last
	// route; it should outlive the process. Empty: they are kept in memory only.
	StateDir string
	// Stores by ledger.Source and ledger.Target.
	Stores [2]Store
	// Clients may sign requests. Empty: whoever has the source's own keys.
	Clients []Client
	// Anonymous forwards requests without a signature as they are, for the store
	// to decide on. Otherwise they are refused.
	Anonymous bool
	// SignatureV2 lets clients sign with Signature Version 2.
	SignatureV2 bool
	// Regions that clients may sign for. Empty: any.
	Regions []string
	// AskRegions lets clients sign for another region too if a store takes it.
	AskRegions bool
	// Domains are host names below which a bucket may be named in the host.
	Domains []string
	// BucketNames maps names on the source to names on the target, where they differ.
	BucketNames map[string]string
	// Buckets says which are migrated; nil: all. Others stay on the source.
	Buckets func(bucket string) bool
	// Fallback is obeyed when the ledger has been out of reach since the start, unless
	// StateDir has a later route. Nil: main is the source, and steady.
	Fallback *ledger.Route

	Log      logr.Logger
	Registry prometheus.Registerer

	// Heartbeat is the interval of heartbeats; default 500 ms.
	Heartbeat time.Duration
	// MaxInFlight is the longest time that an upstream request can still land
	// after the proxy lost it; default 60 s.
	MaxInFlight time.Duration
	// MaxHold is how long a write is held during a PauseWrites switch; default 5.5 min,
	// which is more than any spec.switch.maxPause: the hold ends before, and the write goes on.
	MaxHold time.Duration
	// LedgerGrace is how long after its last answer an unreachable ledger is
	// waited for, before a steady proxy goes on without it; default 2 s.
	LedgerGrace time.Duration
	// LedgerWait is how long a request that can't do without the ledger (while a
	// switch is under way) waits for it; default 30 s.
	LedgerWait time.Duration
	// StartGrace is how long requests wait for the first route; default 5 s.
	StartGrace time.Duration
	// IdleTimeout bounds the time in which no byte of a body arrives, or a piece of
	// one (64 KiB) can't be handed on; default 2 min.
	IdleTimeout time.Duration
	// BlanksAfter is how long CopyObject and UploadPartCopy wait for their source before
	// their client is sent blanks, for it may have less patience; default 20 s.
	BlanksAfter time.Duration
	// ResponseTimeout bounds the time from the body's end to the response's
	// header; default 5 min.
	ResponseTimeout time.Duration
	// DrainTimeout bounds the end of Run; default 30 s.
	DrainTimeout time.Duration
}

func (c *Config) setDefaults() {
	for d, v := range map[*time.Duration]time.Duration{
		&c.Heartbeat: 500 * time.Millisecond, &c.MaxInFlight: time.Minute, &c.MaxHold: ledger.LongestHold,
		&c.LedgerGrace: 2 * time.Second, &c.LedgerWait: 30 * time.Second, &c.BlanksAfter: 20 * time.Second, &c.StartGrace: 5 * time.Second, &c.IdleTimeout: 2 * time.Minute,
		&c.ResponseTimeout: 5 * time.Minute, &c.DrainTimeout: 30 * time.Second,
	} {
		if *d <= 0 {
			*d = v
		}
	}
	// A write before the switch must come to the journal before it is refused.
	c.LedgerWait = max(c.LedgerWait, 2*c.LedgerGrace)
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Log.GetSink() == nil {
		c.Log = logr.Discard()
	}
}

// Proxy serves clients. Make it with New; it answers nothing useful before Run.
type Proxy struct {
	cfg      Config
	log      logr.Logger
	ledger   *ledger.Ledger
	member   *ledger.Member
	verifier *s3.Verifier
	clients  *clientTable
	upstream [2]*upstream
	names    [2]map[string]string // target name by source name, and back
	metrics  *metrics

	route atomic.Pointer[ledger.Route]
	// fallback is obeyed while there is none.
	fallback *ledger.Route
	started  time.Time
	contact  atomic.Int64 // last good answer of the ledger to a request, Unix nanoseconds
	down     atomic.Bool  // the last ledger call of a request failed

	settler    *settler
	unrecorded *unrecorded
	inFlight   sync.WaitGroup
	standing   sync.Map // epoch by bucket that is on both stores or on none, see bucketStands
	draining   atomic.Bool
}

// New returns a proxy. It reads the journal of an earlier process in StateDir.
func New(cfg Config) (*Proxy, error) {
	cfg.setDefaults()
	if cfg.Ledger == nil {
		return nil, errors.New("proxy: no ledger")
	}
	p := &Proxy{cfg: cfg, log: cfg.Log, ledger: cfg.Ledger, started: time.Now()}
	var err error
	for i, s := range cfg.Stores {
		if p.upstream[i], err = newUpstream(s); err != nil {
			return nil, fmt.Errorf("proxy: %s: %w", ledger.Store(i), err)
		}
	}
	p.names = [2]map[string]string{cfg.BucketNames, {}}
	for s, t := range cfg.BucketNames {
		p.names[1][t] = s
	}
	p.clients = newClientTable(cfg.Clients, cfg.Stores)
	p.verifier = &s3.Verifier{Lookup: p.clients.keys, Regions: cfg.Regions, SignatureV2: cfg.SignatureV2, Domains: cfg.Domains}
	if cfg.AskRegions {
		p.verifier.TakesRegion = newRegions(p.takesRegion).take
	}
	if p.unrecorded, err = openUnrecorded(cfg.StateDir, cfg.MaxInFlight, cfg.Log); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if p.fallback, err = keptFallback(cfg); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	home, err := homeOf(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.settler = newSettler(p.ledger, cfg.MaxInFlight, cfg.Log)
	if p.metrics, err = newMetrics(cfg.Registry, p.unrecorded.count); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.member = p.ledger.Join(ledger.MemberOptions{
		Role: ledger.RoleProxy, Instance: cfg.Instance, Home: home, Interval: cfg.Heartbeat, Log: cfg.Log,
		Apply: p.apply, Unrecorded: p.unrecorded.count, Adopts: cfg.StateDir != "", Lands: cfg.MaxInFlight,
	})
	return p, nil
}

// Run keeps the proxy's membership, settles intents and flushes the journal
// until ctx ends. Then it waits for the requests under way, at most
// DrainTimeout, and leaves the ledger cleanly if all of them were recorded.
// Stop the listener before ctx ends.
func (p *Proxy) Run(ctx context.Context) error {
	bg, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.member.Run(bg); err != nil {
			p.log.Error(err, "membership ended")
		}
	})
	wg.Go(func() { p.settler.run(bg) })
	wg.Go(func() { p.flushUnrecorded(bg) })
	<-ctx.Done()

	p.draining.Store(true)
	end, cancel := context.WithTimeout(bg, p.cfg.DrainTimeout)
	defer cancel()
	idle := make(chan struct{})
	go func() { p.inFlight.Wait(); close(idle) }()
	clean := false
	select {
	case <-idle:
		clean = p.settler.drain(end) && p.unrecorded.drained(end)
	case <-end.Done():
	}
	stop()
	wg.Wait()
	p.unrecorded.close()
	if !clean {
		p.log.Info("ended with requests that are not recorded; workers settle them")
		return nil
	}
	leave, cancelLeave := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancelLeave()
	if err := p.member.Leave(leave); err != nil {
		p.log.Info("could not leave the ledger", "error", err.Error())
	}
	return nil
}

// Member is the proxy's membership in the ledger.
func (p *Proxy) Member() *ledger.Member { return p.member }

// Healthz answers 200 while the process works.
func (p *Proxy) Healthz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
}

// Readyz answers 200 once clients can be served: a route is known, or the
// ledger has been out of reach since the start for longer than StartGrace.
// Losing the ledger later does not end readiness.
func (p *Proxy) Readyz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case p.draining.Load():
			http.Error(w, "draining", http.StatusServiceUnavailable)
		case p.route.Load() != nil:
			_, _ = w.Write([]byte("ok\n"))
		case time.Since(p.started) > p.cfg.StartGrace:
			_, _ = w.Write([]byte("ok: the ledger has given no route since the start; serving the configured one\n"))
		default:
			http.Error(w, "waiting for a route", http.StatusServiceUnavailable)
		}
	})
}
