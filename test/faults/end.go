package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/test/compare"
	"github.com/crossfade-io/crossfade/test/traffic"
)

// report is what a run came to.
type report struct {
	Seed     uint64                    `json:"seed"`
	Took     time.Duration             `json:"took"`
	Faults   int                       `json:"faults"`
	ByKind   map[string]map[string]int `json:"byKind"` // and phase
	Moves    []string                  `json:"routes"`
	Losses   []loss                    `json:"losses"`
	Helped   []string                  `json:"helped,omitempty"`
	Problems []string                  `json:"problems,omitempty"`
	Traffic  traffic.Report            `json:"traffic"`
	Compare  compare.Report            `json:"compare"`
	Ledger   map[string]int64          `json:"ledger"` // keys left, by kind
	OK       bool                      `json:"ok"`
}

func (r *record) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func (w *world) help(how string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.helped = append(w.helped, how)
}

// end lets everything come to rest and checks what is left.
func (w *world) end(ctx context.Context) (bool, error) {
	w.say("no more faults; waiting until nothing is in doubt")
	w.load.SetPeriod("end")
	rep := report{Seed: w.o.seed, ByKind: map[string]map[string]int{}}
	w.load.Stop()
	if err := w.await(ctx, "every change to be copied", func() bool { return w.settled(ctx) }); err != nil {
		w.note("%v", err)
	}
	if err := w.ledgerLeft(ctx, &rep); err != nil {
		return false, err
	}
	w.say("comparing the stores")
	rename := map[string]string{}
	for _, p := range w.pairs() {
		rename[p.A] = p.B
	}
	w.load.VerifyAt("source", w.stores[0], nil)
	rep.Traffic = w.load.VerifyAt("target", w.stores[1], rename)
	var err error
	rep.Compare, err = compare.Run(ctx, compare.Config{A: w.stores[0], B: w.stores[1], NameA: "source", NameB: "target", Buckets: w.pairs(), Concurrent: 8})
	if err != nil {
		return false, err
	}
	w.gather(&rep)
	return rep.OK, w.print(rep)
}

// settled tells whether both stores hold the same, as far as the ledger knows.
func (w *world) settled(ctx context.Context) bool {
	c, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	st, err := w.ledger().Stats(c)
	if err != nil || st.Dirty+st.Intents[0]+st.Intents[1]+st.Doubts+st.Failed > 0 {
		return false
	}
	buckets, err := w.ledger().Buckets(c)
	if err != nil || len(buckets) == 0 {
		return false
	}
	for _, b := range buckets {
		if b.State != ledger.BucketCopied {
			return false
		}
	}
	sessions, err := w.ledger().Sessions(c)
	for _, s := range sessions {
		if s.Fenced || s.Silent > 5*time.Second {
			return false
		}
	}
	return err == nil
}

// ledgerLeft counts the ledger's keys by kind: none of a single object may be left.
func (w *world) ledgerLeft(ctx context.Context, rep *report) error {
	rep.Ledger = map[string]int64{}
	var some []string
	keys := w.redis.client().Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		_, name, _ := strings.Cut(keys.Val(), "}:")
		kind, _, _ := strings.Cut(name, ":")
		rep.Ledger[kind]++
		if slices.Contains([]string{"o", "i", "cl", "q", "age", "doubt", "fail"}, kind) {
			some = append(some, keys.Val())
		}
	}
	if len(some) > 0 {
		w.problem("the ledger still has records: %q", some[:min(len(some), 10)])
	}
	return keys.Err()
}

func (w *world) gather(rep *report) {
	rep.Took, rep.Faults = time.Since(w.began), w.faults.count()
	for _, f := range w.faults.all {
		if rep.ByKind[f.Kind] == nil {
			rep.ByKind[f.Kind] = map[string]int{}
		}
		rep.ByKind[f.Kind][f.Phase]++
	}
	for _, x := range w.routes.all {
		rep.Moves = append(rep.Moves, fmt.Sprintf("%d %s %s", x.route.Epoch, x.route.State, x.route.Main))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rep.Helped, rep.Problems, rep.Losses = w.helped, w.problems, w.lost
	rep.OK = rep.Traffic.Violations() == 0 && rep.Compare.Differences == 0 && len(rep.Problems) == 0
}

func (w *world) print(rep report) error {
	if err := rep.Traffic.Write(os.Stdout); err != nil {
		return err
	}
	fmt.Print(rep.Compare)
	var phases, names []string
	for k, by := range rep.ByKind {
		names = append(names, k)
		for p := range by {
			if !slices.Contains(phases, p) {
				phases = append(phases, p)
			}
		}
	}
	slices.Sort(names)
	slices.Sort(phases)
	fmt.Printf("\n%-38s", "faults")
	for _, p := range phases {
		fmt.Printf(" %17s", p)
	}
	fmt.Println()
	for _, k := range names {
		fmt.Printf("%-38s", k)
		for _, p := range phases {
			fmt.Printf(" %17d", rep.ByKind[k][p])
		}
		fmt.Println()
	}
	fmt.Printf("\nroutes: %s\n", strings.Join(rep.Moves, ", "))
	for _, l := range rep.Losses {
		fmt.Printf("lost: %s, in %s: seen after %s (%s), healed after %s: %s\n", l.Kind, l.Phase, l.Seen.Round(100*time.Millisecond), l.Reason, l.Healed.Round(time.Second), l.Audit)
	}
	for _, h := range rep.Helped {
		fmt.Println("helped:", h)
	}
	for _, p := range rep.Problems {
		fmt.Println("violation:", p)
	}
	verdict := "nothing was wrong"
	if !rep.OK {
		verdict = fmt.Sprintf("%d violations, %d differences", rep.Traffic.Violations()+int64(len(rep.Problems)), rep.Compare.Differences)
	}
	fmt.Printf("seed %d: %d faults, %d requests, %d failures that a fault explains, in %s: %s\n", rep.Seed, rep.Faults, rep.Traffic.Requests,
		rep.Traffic.Excused, rep.Took.Round(time.Second), verdict)
	if w.o.report == "" {
		return nil
	}
	b, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(w.o.report, b, 0o644)
}
