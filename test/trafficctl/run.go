package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-io/crossfade/test/seed"
	"github.com/crossfade-io/crossfade/test/traffic"
)

type runFlags struct {
	cfg                                             traffic.Config
	buckets, seeded, periodFile, control, reportOut string
	duration, progress                              time.Duration
}

func runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run", Short: "Drive clients against an endpoint and check every answer", Args: cobra.NoArgs,
		Long: `Drive clients against an endpoint and check every answer, until SIGTERM, SIGINT
or --duration. Then every key is checked once more. Exits with 1 when anything
was wrong.

Periods ("before", "during", "after" a switch) are told by --period-file, whose
content is the label, or over HTTP with --control:
  POST /period/LABEL    GET /report    POST /stop`,
	}
	endpoint := endpointFlags(cmd, "endpoint", "", "the proxy")
	fs := cmd.Flags()
	fs.StringVar(&f.buckets, "buckets", "", "buckets to work in (default: those of --seeded)")
	fs.StringVar(&f.seeded, "seeded", "", "file that seed --plan wrote: those objects are read, too")
	fs.StringVar(&f.cfg.Prefix, "prefix", "", "prefix of every key written (default traffic-TIME/)")
	fs.IntVar(&f.cfg.Clients, "clients", 8, "number of clients")
	fs.IntVar(&f.cfg.KeysPerClient, "keys", 40, "keys that each client writes")
	fs.IntVar(&f.cfg.SharedKeys, "shared-keys", 8, "keys that all clients write; -1: none")
	fs.Float64Var(&f.cfg.Rate, "rate", 60, "requests a second, of all clients together")
	fs.Int64Var(&f.cfg.MaxSize, "max-size", 32<<10, "bytes of the largest object written in one piece")
	fs.DurationVar(&f.cfg.Timeout, "timeout", time.Minute, "of one request")
	fs.DurationVar(&f.cfg.Settle, "settle", 3*time.Second, "how long an unanswered write may still land")
	fs.DurationVar(&f.cfg.HoldUploads, "hold-uploads", 6*time.Second, "how long multipart uploads stay open, on average")
	fs.Uint64Var(&f.cfg.Seed, "seed", 1, "of the choices made")
	fs.BoolVar(&f.cfg.AllowBroken, "allow-broken", false, "requests without an answer are no violations")
	fs.DurationVar(&f.duration, "duration", 0, "how long; 0: until a signal")
	fs.StringVar(&f.periodFile, "period-file", "", "file with the label of the current period")
	fs.StringVar(&f.control, "control", "", "loopback address of the control port, like 127.0.0.1:9091")
	fs.StringVar(&f.reportOut, "report", "", "write the report there, as JSON")
	fs.DurationVar(&f.progress, "progress", 0, "say how it stands that often, on stderr; 0: never")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if f.cfg.Endpoint, err = endpoint(); err != nil {
			return err
		}
		return f.run(cmd.Context())
	}
	return cmd
}

func (f *runFlags) run(ctx context.Context) error {
	f.cfg.Buckets = splitList(f.buckets)
	if f.seeded != "" {
		var plan seed.Config
		if err := readJSON(f.seeded, &plan); err != nil {
			return err
		}
		f.cfg.Seeded = plan.Plan()
		if len(f.cfg.Buckets) == 0 {
			f.cfg.Buckets = plan.BucketNames()
		}
	}
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var listener net.Listener
	if f.control != "" {
		var err error
		if listener, err = loopback(f.control); err != nil {
			return err
		}
	}
	run, err := traffic.Start(context.WithoutCancel(ctx), f.cfg)
	if err != nil {
		return err
	}
	if listener != nil {
		server := &http.Server{Handler: controlHandler(run, stop), ReadHeaderTimeout: 5 * time.Second}
		go func() { _ = server.Serve(listener) }()
		defer func() { _ = server.Close() }()
	}
	f.wait(ctx, run)
	rep := run.Stop()
	if err := rep.Write(os.Stdout); err != nil {
		return err
	}
	if f.reportOut != "" {
		if err := writeJSON(f.reportOut, rep); err != nil {
			return err
		}
	}
	return verdict(rep)
}

// wait follows the period file and tells progress until ctx is done.
func (f *runFlags) wait(ctx context.Context, run *traffic.Run) {
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	period, said := "", time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
		if f.periodFile != "" {
			data, err := os.ReadFile(f.periodFile)
			if p := strings.TrimSpace(string(data)); err == nil && p != "" && p != period {
				period = p
				run.SetPeriod(p)
			}
		}
		if f.progress > 0 && time.Since(said) >= f.progress {
			said = time.Now()
			fmt.Fprintln(os.Stderr, standing(run.Snapshot()))
		}
	}
}

func standing(r traffic.Report) string {
	return fmt.Sprintf("%d requests; errors %d, stale reads %d, wrong listings %d, wrong content %d",
		r.Requests, r.Errors, r.StaleReads, r.WrongListings, r.WrongContent)
}

func verdict(r traffic.Report) error {
	if n := r.Violations(); n > 0 {
		return fmt.Errorf("%d violations", n)
	}
	return nil
}

// loopback listens, but never where others could reach it.
func loopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("the control port must be on a loopback address, not %q", host)
	}
	return net.Listen("tcp", addr)
}

func controlHandler(run *traffic.Run, stop func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /period/{label}", func(w http.ResponseWriter, r *http.Request) {
		run.SetPeriod(r.PathValue("label"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = encode(w, run.Snapshot())
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		stop()
	})
	return mux
}
