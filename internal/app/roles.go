package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/proxy"
	"github.com/crossfade-io/crossfade/worker"
)

// roleFlags are what proxy and worker pods are told.
type roleFlags struct {
	config, secretsDir, metrics, instance string
	maxInFlight                           time.Duration
}

func (f *roleFlags) add(fs *pflag.FlagSet) {
	host, _ := os.Hostname()
	fs.StringVar(&f.config, "config", "/etc/crossfade/migration.yaml", "the Migration's manifest")
	fs.StringVar(&f.secretsDir, "secrets-dir", "/etc/crossfade/secrets", "directory with one directory a Secret")
	fs.StringVar(&f.metrics, "metrics", ":9090", "address of metrics and probes")
	fs.StringVar(&f.instance, "instance", host, "name of the pod or machine")
	fs.DurationVar(&f.maxInFlight, "max-in-flight", time.Minute,
		"how long a request to a store may still land after this process lost sight of it; the same for all proxies and workers of a migration")
}

// role is what a proxy and a worker both have.
type role struct {
	config  *config.Config
	current func() *config.Config // as the manifest is now
	secrets config.Secrets
	ledger  *ledger.Ledger
	metrics *prometheus.Registry
}

func (f *roleFlags) open(ctx context.Context, log logr.Logger) (*role, error) {
	c, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	secrets := config.Layered{config.DirSecrets(f.secretsDir), c.Secrets}
	rdb, err := config.OpenRedis(c.Migration.Spec.Redis, secrets)
	if err != nil {
		return nil, err
	}
	return &role{config: c, current: follow(ctx, f.config, c, log), secrets: secrets, metrics: newRegistry(),
		ledger: ledger.New(ledger.Options{Redis: rdb, Migration: config.LedgerName(c.Migration), Epoch: knownEpoch(c.Migration)})}, nil
}

// whereSecretsAre has an error about a Secret that is missing say where it belongs.
func whereSecretsAre(err error, manifest, dir string) error {
	if !errors.Is(err, config.ErrNoSecret) {
		return err
	}
	place := "a directory that --secrets-dir names"
	if dir != "" {
		place = "the directory " + dir
		if _, serr := os.Stat(dir); errors.Is(serr, fs.ErrNotExist) {
			place += ", which does not exist"
		}
	}
	return fmt.Errorf("%w: add it to %s, or to %s", err, manifest, place)
}

func newProxy(c *config.Config, secrets config.Secrets, l *ledger.Ledger, instance, stateDir string, maxInFlight time.Duration, trailers func(ledger.Store) bool, log logr.Logger, reg prometheus.Registerer) (*proxy.Proxy, error) {
	endpoints, err := config.Stores(c.Migration, secrets)
	if err != nil {
		return nil, err
	}
	clients, err := config.Clients(c.Migration, secrets)
	if err != nil {
		return nil, err
	}
	cfg := proxy.Config{
		Ledger: l, Instance: instance, StateDir: stateDir, MaxInFlight: maxInFlight,
		Regions:     config.Regions(c.Migration),
		AskRegions:  len(c.Migration.Spec.Proxy.Regions) == 0,
		Domains:     c.Migration.Spec.Proxy.Domains,
		Anonymous:   c.Migration.Spec.Proxy.Anonymous == v1alpha1.AnonymousForward,
		SignatureV2: c.Migration.Spec.Proxy.SignatureV2,
		BucketNames: config.TargetNames(c.Migration),
		Fallback:    fallbackRoute(c.Migration),
		Log:         log, Registry: reg,
	}
	for i, e := range endpoints {
		cfg.Stores[i] = proxy.Store{Endpoint: e, Trailers: func() bool { return trailers(ledger.Store(i)) }}
	}
	for _, cl := range clients {
		cfg.Clients = append(cfg.Clients, proxy.Client(cl))
	}
	if bs := c.Migration.Spec.Buckets; len(bs) > 0 {
		named := map[string]bool{}
		for _, b := range bs {
			named[b.Name] = true
		}
		cfg.Buckets = func(b string) bool { return named[b] }
	}
	return proxy.New(cfg)
}

func newWorker(c *config.Config, secrets config.Secrets, l *ledger.Ledger, instance string, maxInFlight time.Duration, dangling func() worker.Dangling, log logr.Logger, reg prometheus.Registerer) (*worker.Worker, error) {
	endpoints, err := config.Stores(c.Migration, secrets)
	if err != nil {
		return nil, err
	}
	cfg := worker.Config{
		Ledger: l, Instance: instance, BucketNames: config.TargetNames(c.Migration), Named: len(c.Migration.Spec.Buckets) > 0,
		Concurrency: int(c.Migration.Spec.Worker.Concurrency), Log: log, Registry: reg,
		Dangling: dangling, MaxInFlight: maxInFlight,
	}
	for i, e := range endpoints {
		if cfg.Stores[i], err = s3.NewClient(e); err != nil {
			return nil, err
		}
	}
	if lim := c.Migration.Spec.Worker.Limits; lim != nil {
		if q := lim.BytesPerSecond; q != nil {
			cfg.Limits.BytesPerSecond = q.Value()
		}
		if n := lim.RequestsPerSecond; n != nil {
			cfg.Limits.RequestsPerSecond = float64(*n)
		}
	}
	return worker.New(cfg)
}

// follow returns a function that returns the manifest as it is now.
func follow(ctx context.Context, path string, c *config.Config, log logr.Logger) func() *config.Config {
	var current atomic.Pointer[config.Config]
	current.Store(c)
	go config.Watch(ctx, path, 5*time.Second, func(c *config.Config) { current.Store(c) },
		func(err error) { log.Error(err, "the changed manifest is not used") })
	return current.Load
}

// takesTrailers reads from the manifest what the manager found out about a store.
func takesTrailers(c *config.Config, store ledger.Store) bool {
	found := c.Migration.Status.Stores
	if found == nil {
		return config.TakesTrailers[v1alpha1.Capability](store, nil)
	}
	at := found.Source
	if store == ledger.Target {
		at = found.Target
	}
	return config.TakesTrailers(store, at.Capabilities)
}

// danglingPolicy follows the manifest's spec.switch.danglingUploads.
func danglingPolicy(current func() *config.Config) func() worker.Dangling {
	return func() worker.Dangling {
		if after, ok := config.AbortUploadsAfter(&current().Migration.Spec); ok {
			return worker.Dangling{Policy: worker.Abort, After: after}
		}
		return worker.Dangling{Policy: worker.Wait}
	}
}

// clientServer serves S3 clients: no timeout bounds a body, only its headers.
func clientServer(addr string, h http.Handler, secure *tls.Config) *http.Server {
	return &http.Server{Addr: addr, Handler: h, TLSConfig: secure, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ConnState: newConnections(connectionLimit(openFiles())).changed}
}

// drainGrace is how long requests under way may take when a proxy ends.
const drainGrace = 90 * time.Second

func proxyCommand(log func() logr.Logger) *cobra.Command {
	var f roleFlags
	var listen, stateDir, profiles string
	cmd := &cobra.Command{Use: "proxy", Short: "Serve S3 clients and record their writes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			defer func() { err = whereSecretsAre(err, f.config, f.secretsDir) }()
			// Two would each replace the other's journal, and writes be lost with it.
			if err := os.MkdirAll(stateDir, 0o700); err != nil {
				return fmt.Errorf("state directory: %w", err)
			}
			lock, err := lockState(stateDir)
			if err != nil {
				return err
			}
			defer func() { _ = lock.Close() }()
			r, err := f.open(cmd.Context(), log())
			if err != nil {
				return err
			}
			trailers := func(s ledger.Store) bool { return takesTrailers(r.current(), s) }
			p, err := newProxy(r.config, r.secrets, r.ledger, f.instance, stateDir, f.maxInFlight, trailers, log().WithName("proxy"), r.metrics)
			if err != nil {
				return err
			}
			secure, err := config.ServerTLS(r.config.Migration, r.secrets)
			if err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(cmd.Context())
			if profiles != "" {
				g.Go(func() error { return servePprof(ctx, profiles) })
			}
			g.Go(func() error {
				return runProxy(ctx, p, clientServer(listen, p.Handler(), secure), metricsServer(f.metrics, r.metrics, p.Healthz(), p.Readyz()))
			})
			return g.Wait()
		}}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&listen, "listen", ":8080", "address for S3 clients")
	cmd.Flags().StringVar(&stateDir, "state-dir", "/var/lib/crossfade", "directory of the journal; it should outlive the process")
	cmd.Flags().StringVar(&profiles, "pprof", "", "loopback address of CPU profiles, for debugging; left out: none")
	return cmd
}

// runProxy stops taking requests first, then lets the proxy record what is left.
func runProxy(ctx context.Context, p *proxy.Proxy, clients, probes *http.Server) error {
	served, stop := context.WithCancel(context.WithoutCancel(ctx))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer stop()
		return serve(gctx, clients, drainGrace)
	})
	g.Go(func() error { return p.Run(served) })
	if probes != nil {
		g.Go(func() error { return serve(served, probes, time.Second) })
	}
	return ignoreClosed(g.Wait())
}

func workerCommand(log func() logr.Logger) *cobra.Command {
	var f roleFlags
	cmd := &cobra.Command{Use: "worker", Short: "Copy buckets, objects and changes to the follower", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			defer func() { err = whereSecretsAre(err, f.config, f.secretsDir) }()
			r, err := f.open(cmd.Context(), log())
			if err != nil {
				return err
			}
			w, err := newWorker(r.config, r.secrets, r.ledger, f.instance, f.maxInFlight, danglingPolicy(r.current), log().WithName("worker"), r.metrics)
			if err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(cmd.Context())
			g.Go(func() error { return w.Run(ctx) })
			g.Go(func() error {
				return serve(ctx, metricsServer(f.metrics, r.metrics, w.Healthz(), w.Readyz()), time.Second)
			})
			return ignoreClosed(g.Wait())
		}}
	f.add(cmd.Flags())
	return cmd
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
