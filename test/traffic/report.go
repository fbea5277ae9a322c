package traffic

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Latency summarises how long requests took.
type Latency struct {
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

// OpReport is what one operation came to.
type OpReport struct {
	Op      Op      `json:"op"`
	Count   int64   `json:"count"`
	Errors  int64   `json:"errors"`
	Latency Latency `json:"latency"`
}

// PeriodReport is what happened between two calls of SetPeriod.
type PeriodReport struct {
	Name     string     `json:"name"`
	Requests int64      `json:"requests"`
	Errors   int64      `json:"errors"`
	Latency  Latency    `json:"latency"`
	Ops      []OpReport `json:"ops"`
}

// Report is what a run came to. Durations are nanoseconds in JSON.
type Report struct {
	Took          time.Duration  `json:"took"`
	Requests      int64          `json:"requests"`
	Bytes         int64          `json:"bytes"` // of bodies, both ways
	Errors        int64          `json:"errors"`
	StaleReads    int64          `json:"staleReads"`
	LostWrites    int64          `json:"lostWrites"`
	WrongListings int64          `json:"wrongListings"`
	WrongContent  int64          `json:"wrongContent"`
	Broken        int64          `json:"broken"`  // requests without an answer; among the errors unless allowed
	Excused       int64          `json:"excused"` // failures that Config.Excuse let pass
	InDoubt       int64          `json:"inDoubt"` // writes that failed without a definite answer
	KeysChecked   int64          `json:"keysChecked"`
	Ops           []OpReport     `json:"ops"`
	Periods       []PeriodReport `json:"periods"`
	First         []Violation    `json:"violations,omitempty"` // the first few of each kind
}

// Violations returns how many things went wrong, of any kind.
func (r Report) Violations() int64 {
	return r.Errors + r.StaleReads + r.LostWrites + r.WrongListings + r.WrongContent
}

func (s *stats) report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{
		Bytes: s.bytes, Broken: s.broken, Excused: s.excused,
		Errors: s.kinds[KindError], StaleReads: s.kinds[KindStale], LostWrites: s.kinds[KindLost],
		WrongListings: s.kinds[KindListing], WrongContent: s.kinds[KindCorrupt],
		First: slices.Clone(s.named),
	}
	total := map[Op]*opStats{}
	for _, name := range s.periods {
		p := PeriodReport{Name: name, Ops: render(s.ops[name])}
		var all histogram
		for op, o := range s.ops[name] {
			p.Requests += o.count
			p.Errors += o.errors
			all.merge(&o.lat)
			if total[op] == nil {
				total[op] = &opStats{}
			}
			total[op].count += o.count
			total[op].errors += o.errors
			total[op].lat.merge(&o.lat)
		}
		p.Latency = all.summary()
		r.Periods = append(r.Periods, p)
		r.Requests += p.Requests
	}
	r.Ops = render(total)
	return r
}

func render(ops map[Op]*opStats) []OpReport {
	out := []OpReport{}
	for op, o := range ops {
		out = append(out, OpReport{Op: op, Count: o.count, Errors: o.errors, Latency: o.lat.summary()})
	}
	slices.SortFunc(out, func(a, b OpReport) int { return strings.Compare(string(a.Op), string(b.Op)) })
	return out
}

func (h *histogram) summary() Latency {
	return Latency{P50: h.quantile(0.5), P99: h.quantile(0.99), Max: h.max}
}

// Write renders the report as text.
func (r Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "request\tcount\terrors\t")
	for _, p := range r.Periods {
		fmt.Fprintf(w, "%s p50\tp99\t", p.Name)
	}
	fmt.Fprintln(w)
	for _, o := range r.Ops {
		fmt.Fprintf(w, "%s\t%d\t%d\t", o.Op, o.Count, o.Errors)
		for _, p := range r.Periods {
			i := slices.IndexFunc(p.Ops, func(x OpReport) bool { return x.Op == o.Op })
			if i < 0 {
				fmt.Fprint(w, "-\t-\t")
				continue
			}
			fmt.Fprintf(w, "%s\t%s\t", short(p.Ops[i].Latency.P50), short(p.Ops[i].Latency.P99))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "all\t%d\t%d\t", r.Requests, r.Errors)
	for _, p := range r.Periods {
		fmt.Fprintf(w, "%s\t%s\t", short(p.Latency.P50), short(p.Latency.P99))
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range r.Periods {
		fmt.Fprintf(out, "%s: %d requests, slowest %s\n", p.Name, p.Requests, short(p.Latency.Max))
	}
	fmt.Fprintf(out, "%d requests and %d MiB in %s; %d keys checked at the end\n", r.Requests, r.Bytes>>20, r.Took.Round(time.Second), r.KeysChecked)
	fmt.Fprintf(out, "errors %d, stale reads %d, lost writes %d, wrong listings %d, wrong content %d\n",
		r.Errors, r.StaleReads, r.LostWrites, r.WrongListings, r.WrongContent)
	if r.Broken > 0 || r.InDoubt > 0 {
		fmt.Fprintf(out, "requests without an answer %d, writes in doubt %d\n", r.Broken, r.InDoubt)
	}
	if r.Excused > 0 {
		fmt.Fprintf(out, "failed requests that a fault explains %d\n", r.Excused)
	}
	for _, v := range r.First {
		fmt.Fprintf(out, "  %s\n", v)
	}
	return nil
}

func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
