package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results are the samples of one backend.
type results struct {
	kind       string
	o          options
	contenders []string
	cases      []kase
	samples    map[kase]map[string][]sample
}

// median of one figure over the rounds.
func median[T cmp.Ordered](r *results, k kase, name string, f func(sample) T) (m T) {
	var all []T
	for _, s := range r.samples[k][name] {
		all = append(all, f(s))
	}
	if len(all) == 0 {
		return m
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func bytesOf(s sample) float64     { return s.bytes }
func p50Of(s sample) time.Duration { return s.p50 }
func p99Of(s sample) time.Duration { return s.p99 }

// line tells how a case went, at once.
func (r *results) line(k kase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s %-22s", r.kind, k)
	for _, c := range r.contenders {
		fmt.Fprintf(&b, "  %s %s", c, rate(k, median(r, k, c, bytesOf)))
	}
	return b.String()
}

// rate is in requests a second, or in MB/s for large bodies.
func rate(k kase, bytes float64) string {
	if k.size >= 1<<20 {
		return fmt.Sprintf("%.0f MB/s", bytes/1e6)
	}
	return fmt.Sprintf("%.0f", bytes/float64(k.size))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1e3) }

// proxies are the contenders after the first two.
func (r *results) middle() []string {
	return slices.DeleteFunc(slices.Clone(r.contenders), func(c string) bool { return c == "direct" })
}

func (r *results) crossfade() []string {
	return slices.DeleteFunc(r.middle(), func(c string) bool { return c == "nginx" })
}

func (r *results) markdown() string {
	var b strings.Builder
	store := "a light store of our own in memory, without authentication"
	if r.kind != "light" {
		store = r.kind
	}
	fmt.Fprintf(&b, "### On %s\n\n%d cores, %d rounds of %s, medians.\n\n", store, runtime.NumCPU(), r.o.rounds, r.o.time)
	b.WriteString("Closed loop: requests a second, or MB/s for 16 MiB; below a proxy's figure its ratio to nginx' and to the store's own.\n\n")
	r.table(&b, "load", r.contenders, false, func(k kase, c string) string {
		v := median(r, k, c, bytesOf)
		s := rate(k, v)
		if n := median(r, k, "nginx", bytesOf); n > 0 && c != "direct" && c != "nginx" {
			s += fmt.Sprintf("<br>%.2f", v/n)
			if d := median(r, k, "direct", bytesOf); d > 0 {
				s += fmt.Sprintf(", %.2f", v/d)
			}
		}
		return s
	})
	b.WriteString("\nWhat the process in the middle spends on a request: µs of CPU, allocations (KiB).\n\n")
	r.table(&b, "load", r.middle(), false, func(k kase, c string) string {
		s := fmt.Sprintf("%.0f µs", median(r, k, c, func(s sample) float64 { return float64(s.cost.cpu.Nanoseconds()) / 1e3 }))
		if c != "nginx" {
			s += fmt.Sprintf(", %.0f (%.1f)", median(r, k, c, func(s sample) float64 { return s.cost.allocs }), median(r, k, c, func(s sample) float64 { return s.cost.heap / 1024 }))
		}
		return s
	})
	b.WriteString("\nRedis, a request: calls that it waits for; scripts run in all; round trips in all (concurrent commits share one); Redis' time in scripts.\n\n")
	r.table(&b, "load", r.crossfade(), false, func(k kase, c string) string {
		f := func(get func(counters) float64) float64 {
			return max(0, median(r, k, c, func(s sample) float64 { return get(s.cost) }))
		}
		return fmt.Sprintf("%.2f; %.2f; %.2f; %.0f µs", f(func(c counters) float64 { return c.asked }), f(func(c counters) float64 { return c.scripts }), f(func(c counters) float64 { return c.trips }),
			f(func(c counters) float64 { return float64(c.busy.Nanoseconds()) / 1e3 }))
	})
	b.WriteString("\nOpen loop, at moderate load: p50 / p99 in ms; below a proxy's what it adds to nginx'.\n\n")
	r.table(&b, "load", r.contenders, true, func(k kase, c string) string {
		p50, p99 := median(r, k, c, p50Of), median(r, k, c, p99Of)
		s := ms(p50) + " / " + ms(p99)
		if n := median(r, k, "nginx", p50Of); n > 0 && c != "direct" && c != "nginx" {
			s += fmt.Sprintf("<br>%+.2f / %+.2f", (p50-n).Seconds()*1e3, (p99-median(r, k, "nginx", p99Of)).Seconds()*1e3)
		}
		return s
	})
	b.WriteString("\nThe most memory held, MiB.\n\n")
	r.table(&b, "load", r.middle(), false, func(k kase, c string) string {
		return fmt.Sprintf("%d", median(r, k, c, func(s sample) int64 { return s.peak })>>20)
	})
	b.WriteString("\n")
	return b.String()
}

// table writes the cases of the closed or the open loop.
func (r *results) table(b *strings.Builder, first string, columns []string, open bool, cell func(k kase, c string) string) {
	fmt.Fprintf(b, "| %s | %s |\n|%s\n", first, strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)+1))
	for _, k := range r.cases {
		if k.rate > 0 != open {
			continue
		}
		fmt.Fprintf(b, "| %s |", k)
		for _, c := range columns {
			fmt.Fprintf(b, " %s |", cell(k, c))
		}
		b.WriteString("\n")
	}
}

const (
	beginMark = "<!-- bench-proxy -->"
	endMark   = "<!-- /bench-proxy -->"
)

// replaceTables writes the tables into a page.
func replaceTables(path, tables string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s: has no lines %s and %s", path, beginMark, endMark)
	}
	return os.WriteFile(path, []byte(head+beginMark+"\n\n"+tables+endMark+tail), 0o644)
}
