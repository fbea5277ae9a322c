// Command faults runs Crossfade's roles as processes of their own, on a real
// Redis and two real S3 servers, under load from checking clients, and does to
// them whatever a bad day can: processes killed and stopped, connections cut,
// held and throttled, stores that fail and hang, a Redis that goes away; in
// every phase, with the switch and the switch back in the middle.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// options are the command's flags.
type options struct {
	time        time.Duration // for which faults go on; what it takes to come to rest is beyond that
	storm       time.Duration // how long all kinds of faults go on in a phase
	seed        uint64
	quick       bool // versitygw on both sides
	losses      int  // of the ledger, at most
	proxies     int
	workers     int
	rate        float64 // requests a second
	faults      float64 // a second
	maxInFlight time.Duration
	dir, report string
	binary      string
	keep, race  bool
}

func main() {
	var o options
	flag.DurationVar(&o.time, "time", 12*time.Minute, "how long faults go on")
	flag.DurationVar(&o.storm, "storm", 35*time.Second, "how long all kinds of faults go on in each phase")
	flag.Uint64Var(&o.seed, "seed", 0, "of the schedule; 0: by the clock")
	flag.BoolVar(&o.quick, "quick", false, "versitygw on both sides, also where Ceph's gateway is installed")
	flag.IntVar(&o.losses, "losses", 1000, "how often, at most, Redis loses what the ledger holds: FLUSHALL, a replica that lags, a restart without its file or with an older one")
	flag.IntVar(&o.proxies, "proxies", 3, "number of proxies")
	flag.IntVar(&o.workers, "workers", 2, "number of workers")
	flag.Float64Var(&o.rate, "rate", 40, "requests a second, of all clients together")
	flag.Float64Var(&o.faults, "faults", 6, "faults a second")
	flag.DurationVar(&o.maxInFlight, "max-in-flight", 20*time.Second, "of proxies and workers")
	flag.StringVar(&o.dir, "dir", "", "directory for logs and data; left out: a temporary one, kept when something is wrong")
	flag.BoolVar(&o.keep, "keep", false, "keep the directory in any case")
	flag.StringVar(&o.binary, "binary", "", "a crossfade that is built already; left out: it is built")
	flag.BoolVar(&o.race, "race", false, "build the roles with the race detector")
	flag.StringVar(&o.report, "report", "", "write the report there, as JSON")
	flag.Parse()
	redis.SetLogger(quiet{})
	o.seed = cmp.Or(o.seed, uint64(time.Now().UnixNano())%1_000_000)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// quiet drops go-redis' own log: that Redis is away is what faults are about.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func run(ctx context.Context, o options) (bool, error) {
	dir := o.dir
	var err error
	if dir == "" {
		if dir, err = os.MkdirTemp("", "crossfade-faults-"); err != nil {
			return false, err
		}
	} else if err = os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false, err
	}
	w := newWorld(o, dir)
	ok, err := w.play(ctx)
	w.close()
	if ok && err == nil && !o.keep && o.dir == "" {
		return true, os.RemoveAll(dir)
	}
	fmt.Println("Logs:", dir)
	return ok, err
}
