package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/controllers"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/stores"
)

type localFlags struct {
	file, secretsDir, listen, redis, stateDir, statusFile, metrics string
	plain                                                          bool
	proxies                                                        []string
}

func localCommand(log func() logr.Logger) *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{Use: "local -f migration.yaml",
		Short: "Run a whole migration on this machine, without Kubernetes",
		Long: `Run proxy, workers and the phase engine of one Migration in this process.

The manifest is the one that kubectl apply takes; Secrets may stand in the same
file or in --secrets-dir (one directory a Secret, one file a key). The file is
read again when it changes: add "switch: {}" to its spec to cut over, or run
"crossfade local switch -f FILE". Audits, paused, retryFailed and keys are followed
too, the rest counts from the next start. State is kept in --state-dir: started again,
the migration goes on from where it was.

With --proxies this process runs the phase engine alone: "crossfade proxy" and
"crossfade worker" are processes of their own then, with manifests that name the
same Migration and the same Redis. No switch begins while one of the proxies
named does not obey the route.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(f.redis); f.redis != "" && err != nil {
				return fmt.Errorf("--redis is host:port, like 127.0.0.1:6379, not %q: name a Redis with a password, Sentinel or Cluster in spec.redis", f.redis)
			}
			return whereSecretsAre(runLocal(cmd.Context(), f, log()), f.file, f.secretsDir)
		}}
	fs := cmd.Flags()
	fs.StringVarP(&f.file, "file", "f", "", "the Migration's manifest (required)")
	fs.StringVar(&f.secretsDir, "secrets-dir", "", "directory with one directory a Secret")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address for S3 clients")
	fs.StringVar(&f.redis, "redis", "", "address of a Redis; left out: spec.redis, or a redis-server of our own")
	fs.StringVar(&f.stateDir, "state-dir", "", "directory for state; default: crossfade-NAME beside the manifest")
	fs.StringVar(&f.statusFile, "status-file", "", "write the Migration's status there as JSON, every second")
	fs.StringVar(&f.metrics, "metrics", "", "address of metrics and probes; left out: none")
	fs.StringSliceVar(&f.proxies, "proxies", nil, "run the phase engine alone, for crossfade proxy processes with these --instance names")
	fs.BoolVar(&f.plain, "plain", false, "plain lines instead of a live picture")
	_ = cmd.MarkFlagRequired("file")
	cmd.AddCommand(localSwitchCommand())
	return cmd
}

// local is a migration that runs in this process.
type local struct {
	f      localFlags
	log    logr.Logger
	m      *manifest
	ledger *ledger.Ledger
	stores *stores.Stores
	engine *migration.Engine
	state  *stateFile
	screen *screen
	// capabilities that the stores were found to have.
	capabilities [2]atomic.Pointer[map[string]string]
}

func runLocal(ctx context.Context, f localFlags, log logr.Logger) error {
	m, err := openManifest(f.file, f.secretsDir)
	if err != nil {
		return err
	}
	if f.stateDir == "" {
		f.stateDir = filepath.Join(filepath.Dir(f.file), "crossfade-"+m.config().Migration.Name)
	}
	if err := os.MkdirAll(f.stateDir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	lock, err := lockState(f.stateDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	lo := &local{f: f, log: log, m: m}
	if lo.state, err = openState(filepath.Join(f.stateDir, "status.json")); err != nil {
		return err
	}
	c := m.config()
	if err := lo.state.continues(c.Migration); err != nil {
		return err
	}
	if _, err := config.Stores(c.Migration, m.secrets()); err != nil {
		return err
	}
	c.Migration.Status = lo.state.status
	rdb, stop, err := lo.openRedis(ctx)
	if err != nil {
		return err
	}
	defer stop()
	defer func() { _ = rdb.Close() }()
	lo.ledger = ledger.New(ledger.Options{Redis: rdb, Migration: config.LedgerName(c.Migration), Epoch: knownEpoch(c.Migration)})
	if err := lo.begins(ctx); err != nil {
		return err
	}
	if lo.stores, err = controllers.OpenStores(c.Migration, m.secrets(), time.Now); err != nil {
		return err
	}
	defer lo.stores.Close()
	lo.engine = &migration.Engine{Ledger: lo.ledger, ListBuckets: lo.stores.ListBuckets, BucketsMade: lo.stores.BucketsMade, Now: time.Now}
	lo.screen = newScreen(os.Stdout, f.plain)
	return lo.run(ctx)
}

// begins refuses a migration without a state that finds a ledger under its name:
// without Kubernetes nothing but their names tells two migrations apart, so clients
// would be led to whichever store is main there; and when it began would not be known,
// which keeps audits from deleting what is older.
func (lo *local) begins(ctx context.Context) error {
	if lo.state.spec != nil {
		return nil // it has begun, and knows its ledger
	}
	switch _, err := lo.ledger.Furthest(ctx); {
	case errors.Is(err, ledger.ErrNoRoute):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("a migration cannot begin before its Redis answers (%s): start it, or name another one with --redis or spec.redis", migration.Cause(err))
	}
	name := config.LedgerName(lo.m.config().Migration)
	return fmt.Errorf("this Redis holds the ledger of a migration %s already, and %s has no state of it: "+
		"name the --state-dir that it began with, or give this one another metadata.name; "+
		"if that one is over, delete its keys, which begin with cf:{%s", name, lo.f.stateDir, name)
}

func (lo *local) run(ctx context.Context) error {
	if len(lo.f.proxies) > 0 {
		return lo.drive(ctx, "http://"+lo.f.listen)
	}
	c, reg := lo.m.config(), newRegistry()
	host, _ := os.Hostname()
	for i := range lo.capabilities {
		lo.capabilities[i].Store(&map[string]string{})
	}
	trailers := func(s ledger.Store) bool { return config.TakesTrailers(s, *lo.capabilities[s].Load()) }
	p, err := newProxy(c, lo.m.secrets(), lo.ledger, host, lo.f.stateDir, 0, trailers, lo.log.WithName("proxy"), reg)
	if err != nil {
		return err
	}
	secure, err := config.ServerTLS(c.Migration, lo.m.secrets())
	if err != nil {
		return err
	}
	scheme := "http://"
	if secure != nil {
		scheme = "https://"
	}
	w, err := newWorker(c, lo.m.secrets(), lo.ledger, host, 0, danglingPolicy(lo.m.config), lo.log.WithName("worker"), reg)
	if err != nil {
		return err
	}
	// The engine and the ledger outlive the roles, which have things to finish.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		probes := metricsServer(lo.f.metrics, reg, p.Healthz(), p.Readyz())
		if lo.f.metrics == "" {
			probes = nil
		}
		return runProxy(gctx, p, clientServer(lo.f.listen, p.Handler(), secure), probes)
	})
	g.Go(func() error { return w.Run(gctx) })
	g.Go(func() error { return lo.drive(gctx, scheme+lo.f.listen) })
	lo.screen.say("S3 endpoint for clients: " + scheme + lo.f.listen)
	return ignoreClosed(g.Wait())
}

// drive steps the engine, and shows how it stands. What goes wrong once it has begun is
// said, and tried again: clients are served by this process, and a full disk is no reason
// to leave them.
func (lo *local) drive(ctx context.Context, address string) error {
	began, failing := false, false
	for ctx.Err() == nil {
		before := lo.m.config().Migration
		changed, err := lo.m.reload()
		switch {
		case err != nil:
			lo.screen.say("The manifest is not used: " + err.Error())
		case changed && wantsRestart(before, lo.m.config().Migration):
			lo.screen.say("The manifest was read again. What it says anew beside switch, audit, paused and retryFailed counts from the next start.")
		case changed:
			lo.screen.say("The manifest was read again.")
		}
		c := lo.m.config()
		lo.state.spec = &c.Migration.Spec
		looks := lo.stores.Look(ctx)
		in := migration.Input{Spec: config.EngineSpec(&c.Migration.Spec), State: controllers.StateOf(&lo.state.status),
			Persist: func(_ context.Context, s migration.State) error {
				before := lo.state.status.DeepCopy()
				controllers.KeepState(&lo.state.status, s)
				err := lo.state.save(lo.f.statusFile)
				if err != nil {
					lo.state.status = *before // else it would count as kept when this is tried again
				}
				return err
			}}
		for i, look := range looks {
			in.Stores[i] = look.StoreFacts
			lo.capabilities[i].Store(&look.Capabilities)
		}
		if len(lo.f.proxies) > 0 {
			in.Instances = map[string]bool{}
			for _, name := range lo.f.proxies {
				in.Instances[name] = true
			}
		}
		out, err := lo.engine.Step(ctx, in)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			controllers.ReportLocal(c.Migration, &out, looks, address, time.Now())
			lo.state.status = c.Migration.Status
			err = lo.state.save(lo.f.statusFile)
		}
		next := min(out.Next, time.Second)
		switch {
		case err == nil:
			began, failing = true, false
		case !began:
			return err
		default:
			if !failing {
				lo.screen.say("This is tried again: " + err.Error())
			}
			failing, next = true, time.Second
		}
		for _, ev := range out.Events {
			lo.screen.say(ev.Message)
		}
		lo.screen.show(&lo.state.status)
		select {
		case <-ctx.Done():
		case <-time.After(next):
		}
	}
	return nil
}

// wantsRestart says whether a change is one that proxy, worker and probes, which are
// made once, do not follow. Credentials are followed.
func wantsRestart(before, after *v1alpha1.Migration) bool {
	specs := [2]v1alpha1.MigrationSpec{*before.Spec.DeepCopy(), *after.Spec.DeepCopy()}
	for i := range specs {
		specs[i].Switch, specs[i].Audit, specs[i].Paused, specs[i].RetryFailed = nil, v1alpha1.Audit{}, false, ""
	}
	return !equality.Semantic.DeepEqual(specs[0], specs[1])
}

// openRedis uses the Redis that was named, or starts one that ends with us.
func (lo *local) openRedis(ctx context.Context) (redis.UniversalClient, func(), error) {
	spec := lo.m.config().Migration.Spec.Redis
	switch {
	case lo.f.redis != "":
		return redis.NewClient(&redis.Options{Addr: lo.f.redis, DisableIdentity: true, MaxRetries: -1}), func() {}, nil
	case spec != nil:
		rdb, err := config.OpenRedis(spec, lo.m.secrets())
		return rdb, func() {}, err
	}
	return startRedis(ctx, lo.f.stateDir)
}

var errNoRedis = errors.New("redis-server is not installed: install it (Debian: apt-get install redis-server), or name one with --redis")
