package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-io/crossfade/test/compare"
	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
	"github.com/crossfade-io/crossfade/test/traffic"
)

// platform runs the Migration: as one process, or on Kubernetes.
type platform interface {
	// start begins the migration and returns where clients find its proxy.
	start(ctx context.Context) (lab.Endpoint, error)
	status(ctx context.Context) (*status, error)
	switchTo(ctx context.Context, store string) error
	// alive is an error once the platform can't go on.
	alive() error
	// explain prints what helps to see why something failed.
	explain()
	// kill ends one process of a role as kill -9 does.
	kill(ctx context.Context, role string) error
	// remove deletes the migration and checks that it leaves nothing behind.
	remove(ctx context.Context) error
	// redisBytes is the memory that the ledger takes in Redis, now and at most; 0 if unknown.
	redisBytes(ctx context.Context) (used, peak int64)
}

// demo is a whole migration with everything that it takes.
type demo struct {
	root, work, host string
	kube, forward    bool
	back             bool
	killWith         string
	seed             seed.Config
	rate             float64
	before, after    time.Duration
	keep             bool
	report           string

	source, target lab.Endpoint
	platform       platform
	stops          []func()
	began          time.Time
	out            demoReport
}

func demoCommand() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Move one real store to another under traffic, and check everything", Args: cobra.NoArgs,
		Long: `Start two S3 servers of different make, seed one, run the migration, drive
checking clients through its proxy, switch, go on, compare both stores in full,
report. Exits with 1 when anything was wrong. Ends all that it started.`,
	}
	fs := cmd.Flags()
	fs.StringVar(&d.root, "root", ".", "the checkout")
	fs.BoolVar(&d.kube, "kube", false, "on the Kubernetes that KUBECONFIG names; run it where pods and Services can be reached")
	fs.BoolVar(&d.forward, "forward", false, "with --kube: reach the proxies with kubectl port-forward")
	fs.StringVar(&d.host, "host", "127.0.0.1", "address that the two stores listen on; pods must reach it")
	fs.StringVar(&d.work, "work", "", "directory for everything written (default: a temporary one)")
	fs.BoolVar(&d.keep, "keep", false, "keep that directory")
	fs.IntVar(&d.seed.Objects, "objects", 4000, "number of small objects")
	fs.IntVar(&d.seed.Multipart, "multipart", 6, "number of large objects")
	fs.Float64Var(&d.rate, "rate", 80, "client requests a second")
	fs.DurationVar(&d.before, "before", 8*time.Second, "how long clients go on between catching up and the switch")
	fs.DurationVar(&d.after, "after", 15*time.Second, "how long clients go on after the switch")
	fs.BoolVar(&d.back, "back", false, "switch back in the end")
	fs.StringVar(&d.killWith, "kill-with", "", "kill -9 one process of each role along the way, with this command and a container's id")
	fs.StringVar(&d.report, "report", "", "write the report there, as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := d.prepare(); err != nil {
			return err
		}
		err := d.run(cmd.Context())
		if err != nil && d.platform != nil {
			d.platform.explain()
		}
		d.cleanUp(err != nil)
		return err
	}
	return cmd
}

func (d *demo) prepare() error {
	var err error
	if d.root, err = filepath.Abs(d.root); err != nil {
		return err
	}
	if d.work == "" {
		d.work, err = os.MkdirTemp("", "crossfade-demo-")
	} else {
		err = os.MkdirAll(d.work, 0o700)
	}
	if err != nil {
		return err
	}
	d.work, err = filepath.Abs(d.work)
	d.seed.Seed, d.seed.BucketPrefix, d.seed.Buckets, d.seed.Conc = 1, "demo", 2, 16
	d.seed.OddKeys, d.seed.PosixKeys = true, true
	d.seed.Features = seed.Features{Tags: true, CORS: true, Policy: true, BucketTags: true}
	d.began = time.Now()
	return err
}

// cleanUp ends what was started, last first.
func (d *demo) cleanUp(failed bool) {
	for i := len(d.stops) - 1; i >= 0; i-- {
		d.stops[i]()
	}
	if d.keep || failed {
		d.say("Logs and state are in %s", d.work)
		return
	}
	_ = os.RemoveAll(d.work)
}

// say prints a line with the time since the demo began.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// pairs names the buckets on both stores. One has another name on the target.
func (d *demo) pairs() []compare.Bucket {
	var out []compare.Bucket
	for i, b := range d.seed.BucketNames() {
		p := compare.Bucket{A: b, B: b}
		if i == 1 {
			p.B = b + "-moved"
		}
		out = append(out, p)
	}
	return out
}

func (d *demo) run(ctx context.Context) error {
	if err := d.startStores(ctx); err != nil {
		return err
	}
	res, err := seed.Run(ctx, d.source, d.seed)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	d.say("Seeded the source: %d objects in %d buckets, %.1f MiB, %d of them multipart", res.Objects, res.Buckets, mib(res.Bytes), res.Multipart)
	if d.kube {
		d.platform = &kubePlatform{demo: d}
	} else {
		d.platform = &localPlatform{demo: d}
	}
	proxy, err := d.platform.start(ctx)
	if err != nil {
		return err
	}
	clients, err := traffic.Start(context.WithoutCancel(ctx), traffic.Config{
		Endpoint: proxy, Buckets: d.seed.BucketNames(), Seeded: d.seed.Plan(), Rate: d.rate, Seed: 1, Timeout: 30 * time.Second,
		// What a killed proxy was at gets no answer; the switch waits for uploads
		// that nobody ends.
		AllowBroken: d.killWith != "", AbortStrays: d.killWith != "",
	})
	if err != nil {
		return err
	}
	d.say("Clients at work through %s, %.0f requests a second; each answer is checked", proxy.URL, d.rate)
	if err := d.migrate(ctx, clients); err != nil {
		// The clients' view tells most about what went wrong.
		_ = clients.Stop().Write(os.Stdout)
		return err
	}
	if err := d.judge(ctx, clients); err != nil {
		return err
	}
	if err := d.platform.remove(ctx); err != nil {
		return err
	}
	return d.verdict()
}

// migrate waits until the target has caught up, switches, and waits until the
// switch is done; back again, if asked to.
func (d *demo) migrate(ctx context.Context, clients *traffic.Run) error {
	if err := d.faults(ctx, "worker"); err != nil {
		return err
	}
	st, err := d.caughtUp(ctx)
	if err != nil {
		return err
	}
	d.out.note(st)
	d.out.CaughtUp = time.Since(d.began)
	d.out.LedgerBytes, d.out.LedgerPeak = d.platform.redisBytes(ctx)
	d.say("Caught up: %d objects and %.1f MiB copied", st.Progress.Objects.Copied, mib(st.Progress.Bytes.Copied))
	if err := d.faults(ctx, "proxy", "manager", "redis", "worker"); err != nil {
		return err
	}
	if err := d.rest(ctx, d.before); err != nil {
		return err
	}
	if _, err := d.caughtUp(ctx); err != nil {
		return err
	}
	if err := d.switchTo(ctx, clients, "Target", "during", "after"); err != nil || !d.back {
		return err
	}
	if err := d.faults(ctx, "proxy", "redis"); err != nil {
		return err
	}
	if _, err := d.caughtUp(ctx); err != nil {
		return err
	}
	return d.switchTo(ctx, clients, "Source", "going back", "back")
}

func (d *demo) caughtUp(ctx context.Context) (*status, error) {
	limit := 10*time.Minute + time.Duration(d.seed.Objects)*20*time.Millisecond
	return d.await(ctx, limit, "the follower to catch up", func(s *status) bool { return s.is("CaughtUp") && s.is("BucketsCopied") })
}

// switchTo moves the clients to a store. The requests made meanwhile are
// counted as of one period, and those of some time after as of another.
func (d *demo) switchTo(ctx context.Context, clients *traffic.Run, store, during, after string) error {
	d.say("Switching. So far: %s", standing(clients.Snapshot()))
	clients.SetPeriod(during)
	begin := time.Now()
	if err := d.platform.switchTo(ctx, store); err != nil {
		return err
	}
	if err := d.faults(ctx, "worker", "manager", "proxy"); err != nil {
		return err
	}
	st, err := d.await(ctx, 5*time.Minute, "the switch", func(s *status) bool {
		return s.Route.Main == store && s.Route.State == "Steady" && (store == "Source" || s.Phase == "SwitchDone")
	})
	if err != nil {
		return err
	}
	clients.SetPeriod(after)
	if store == "Target" {
		d.out.note(st)
		d.out.SwitchAsked = time.Since(begin)
	}
	d.say("Switch done")
	return d.rest(ctx, d.after)
}

// faults kills a process of each role, one after the other.
func (d *demo) faults(ctx context.Context, roles ...string) error {
	if d.killWith == "" {
		return nil
	}
	for _, role := range roles {
		if err := d.platform.kill(ctx, role); err != nil {
			return fmt.Errorf("kill %s: %w", role, err)
		}
		if err := d.rest(ctx, 3*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// await polls the status until done holds.
func (d *demo) await(ctx context.Context, limit time.Duration, what string, done func(*status) bool) (*status, error) {
	for deadline := time.Now().Add(limit); ; {
		st, err := d.platform.status(ctx)
		if err == nil && done(st) {
			return st, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("waited %s for %s", limit, what)
		}
		if err := d.rest(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("while waiting for %s: %w", what, err)
		}
	}
}

func (d *demo) rest(ctx context.Context, t time.Duration) error {
	end := time.After(t)
	for {
		if err := d.platform.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-time.After(min(t, 500*time.Millisecond)):
		}
	}
}
