// Command bench measures what a proxy in front of a store costs: the store
// directly, nginx in front of it and Crossfade in three phases, on the same
// cores, in rounds that take turns.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"
)

type options struct {
	out, backends, only, contenders, profile string
	quick, signed                            bool
	rounds                                   int
	time                                     time.Duration
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "store" {
		fail(serveStore(os.Args[2]))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.BoolVar(&o.quick, "quick", false, "a part of the cases, in one round each: a minute")
	flag.StringVar(&o.backends, "backends", "light,versitygw", "stores to run on, with commas")
	flag.StringVar(&o.only, "only", "", "cases to run, with commas, each a part of a case's name; left out: all")
	flag.StringVar(&o.contenders, "contenders", "", "contenders to run, with commas; left out: all")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each case; medians are reported")
	flag.DurationVar(&o.time, "time", 800*time.Millisecond, "measured time of each case, contender and round")
	flag.BoolVar(&o.signed, "signed-payload", false, "sign each body's hash, not UNSIGNED-PAYLOAD")
	flag.StringVar(&o.profile, "profile", "", "directory for a CPU profile of each proxy in each case; left out: none")
	flag.StringVar(&o.out, "out", "", "page whose tables between <!-- bench-proxy --> marks are replaced; left out: none")
	flag.Parse()
	if o.quick {
		o.rounds = 1
	}
	fail(run(ctx, o))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	debug.SetGCPercent(800) // the generator shares the cores
	work, err := os.MkdirTemp("", "crossfade-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			_ = os.RemoveAll(work)
		} else {
			err = fmt.Errorf("%w; logs: %s", err, work)
		}
	}()
	var tables string
	for _, kind := range []string{"light", "versitygw"} {
		if !listed(o.backends, kind) {
			continue
		}
		res, err := bench(ctx, o, kind, filepath.Join(work, kind))
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		text := res.markdown()
		fmt.Println("\n" + text)
		tables += text
	}
	if o.out != "" {
		return replaceTables(o.out, tables)
	}
	return nil
}
