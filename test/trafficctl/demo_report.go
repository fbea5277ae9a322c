package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/crossfade-io/crossfade/test/compare"
	"github.com/crossfade-io/crossfade/test/traffic"
)

// demoReport is what a demo came to.
type demoReport struct {
	Objects        int64          `json:"objectsCopied"`
	Bytes          int64          `json:"bytesCopied"`
	CaughtUp       time.Duration  `json:"caughtUpAfter"` // since the demo began
	SwitchAsked    time.Duration  `json:"switchAskedToDone"`
	SwitchDuration time.Duration  `json:"switchDuration"` // from the first write to the new store to SwitchDone
	LedgerBytes    int64          `json:"ledgerBytes"`    // in Redis, when the target had caught up
	LedgerPeak     int64          `json:"ledgerPeak"`     // at most until then
	Traffic        traffic.Report `json:"traffic"`
	Compare        compare.Report `json:"compare"`
}

func (r *demoReport) note(s *status) {
	r.Objects, r.Bytes = max(r.Objects, s.Progress.Objects.Copied), max(r.Bytes, s.Progress.Bytes.Copied)
	if !s.Switch.FinishedAt.IsZero() {
		r.SwitchDuration = s.Switch.FinishedAt.Sub(s.Switch.StartedAt)
	}
}

// judge ends the traffic, lets the old store catch up, and compares both.
func (d *demo) judge(ctx context.Context, clients *traffic.Run) error {
	d.say("Stopping the clients, and checking every key through the proxy")
	clients.Stop()
	rename := map[string]string{}
	for _, p := range d.pairs() {
		rename[p.A] = p.B
	}
	if err := d.drained(ctx); err != nil {
		_ = clients.Snapshot().Write(os.Stdout)
		return err
	}
	d.out.Traffic = clients.VerifyAt("target", d.target, rename)
	d.say("Comparing both stores in full")
	var err error
	d.out.Compare, err = compare.Run(ctx, compare.Config{A: d.source, B: d.target, NameA: "source", NameB: "target", Buckets: d.pairs(), Concurrent: 16})
	if err != nil {
		return err
	}
	if d.report != "" {
		if err := writeJSON(d.report, d.out); err != nil {
			return err
		}
	}
	return d.print()
}

// drained waits until the old store has every write that the new one took.
func (d *demo) drained(ctx context.Context) error {
	since := time.Time{}
	_, err := d.await(ctx, 5*time.Minute, "the old store to follow", func(s *status) bool {
		if s.Lag.Objects > 0 {
			since = time.Time{}
			return false
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) > 3*time.Second // the status is a second old at most
	})
	return err
}

func (d *demo) print() error {
	fmt.Println()
	if err := d.out.Traffic.Write(os.Stdout); err != nil {
		return err
	}
	fmt.Printf("\nmoved %d objects, %.1f MiB; ledger in Redis: %.2f MiB when caught up, %.2f MiB at most until then\n",
		d.out.Objects, mib(d.out.Bytes), mib(d.out.LedgerBytes), mib(d.out.LedgerPeak))
	fmt.Printf("switch: %s from asking to SwitchDone, %s of them with writes on the new store already\n",
		d.out.SwitchAsked.Round(10*time.Millisecond), d.out.SwitchDuration.Round(10*time.Millisecond))
	fmt.Printf("source and target: %s", d.out.Compare)
	return nil
}

// verdict is an error when anything was wrong.
func (d *demo) verdict() error {
	if n := d.out.Traffic.Violations() + d.out.Compare.Differences; n > 0 {
		return fmt.Errorf("%d violations and differences", n)
	}
	fmt.Println("\nNothing lost, nothing stale, nothing failed.")
	if !d.kube {
		fmt.Println("The same on Kubernetes, on a real node that it builds and starts: make demo-kube")
	}
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
