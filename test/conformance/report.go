package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is a run of one suite, directly or in a phase.
type row struct {
	Suite, Setup, Phase     string
	Direct                  bool
	Passed, Failed, Skipped int
	Again                   int // cases that passed when tried again
	// What it was run with: the build of Crossfade, and the suite's and the stores' versions.
	Build string
	With  []string
	// Against the direct run: cases that do not pass here and do there.
	Exceptions, Regressions []string
}

type report struct {
	began  time.Time
	build  string
	except exceptions
	rows   []row // of this run
	kept   *kept // and of those before it, if asked for
	left   []string
	with   map[string]string // versions, by suite or kind of store
}

// add notes a run on some kinds of stores; direct are the results to compare it with, nil for a direct run.
func (p *report) add(ctx context.Context, r row, kinds []string, res, direct results, took time.Duration) error {
	if r.Build = p.build; direct == nil {
		r.Build = "" // none has a part in it
	}
	for _, name := range append(kinds, r.Suite) {
		if p.with[name] == "" {
			p.with[name] = versionOf(ctx, name)
		}
		if v := p.with[name]; !slices.Contains(r.With, v) {
			r.With = append(r.With, v)
		}
	}
	r.Direct, r.Passed, r.Failed, r.Skipped = direct == nil, res.count(pass), res.count(fail), res.count(skip)
	r.Regressions = p.except.regressions(r.Setup, r.Suite, direct, res)
	for name, d := range direct {
		if _, ok := p.except.of(r.Setup, r.Suite, name); ok && d.verdict == pass && res[name].verdict != pass {
			r.Exceptions = append(r.Exceptions, name)
		}
	}
	p.rows = append(p.rows, r)
	fmt.Printf("%-20s %-20s %-30s %4d passed, %3d failed, %2d skipped, %3d exceptions, %3d not as directly; %s\n", r.Suite, r.Setup, r.Phase,
		r.Passed, r.Failed, r.Skipped, len(r.Exceptions), len(r.Regressions), took.Round(time.Second))
	for _, name := range r.Regressions {
		fmt.Printf("    %s: %s\n", name, shorten(cmp.Or(res[name].why, "was not run")))
	}
	return p.kept.add(r)
}

// all are the rows that the table shows, the suites of a pair of stores together.
func (p *report) all() []row {
	if p.kept == nil {
		return p.rows
	}
	rows := slices.Clone(p.kept.Rows)
	place := map[string]int{}
	for i, ph := range allPhases(false) {
		place[ph.name] = i + 1
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.Setup, b.Setup), cmp.Compare(a.Suite, b.Suite), cmp.Compare(place[a.Phase], place[b.Phase]), cmp.Compare(a.Phase, b.Phase))
	})
	return rows
}

func (p *report) regressions() (n int) {
	for _, r := range p.rows {
		n += len(r.Regressions)
	}
	return n
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}

func (p *report) summary() string {
	return fmt.Sprintf("%d runs, %d cases pass directly and not through the proxy, %s\n", len(p.rows), p.regressions(), time.Since(p.began).Round(time.Second))
}

// markdown is the table, for people.
func (p *report) markdown() string {
	var b strings.Builder
	b.WriteString("# Conformance\n\n" +
		"Written by `make conformance`. Other people's S3 test suites, and scripts that drive real\n" +
		"clients, run against stores directly and through the proxy, in each phase of a migration. In\n" +
		"SwitchStarted the switch is held by an unfinished multipart upload, and once a second an upload\n" +
		"begun before it makes an object newest on the old store. In Copying a worker is still at work.\n\n" +
		"*Not as directly* counts the cases that pass on the store itself and not through the proxy.\n" +
		"*Exceptions* are those of them that cannot hold by nature; their reasons are below. A case that\n" +
		"passed when it was run again by itself counts as passed, and in *again*. versitygw's suite panics\n" +
		"on Ceph RGW: there its cases are run one by one, and through the proxy those that pass directly.\n" +
		"The table may be made in parts (`-keep-rows`). Source and target are two stores of the same kind,\n" +
		"or with *rgw*: from Ceph RGW to versitygw with versions.\n\n" +
		p.made() +
		"| stores | suite | phase | passed | failed | skipped | again | exceptions | not as directly |\n| --- | --- | --- | --: | --: | --: | --: | --: | --: |\n")
	used, byCase := map[exception]bool{}, map[string][]string{}
	for _, r := range p.all() {
		for _, name := range r.Exceptions {
			if x, ok := p.except.of(r.Setup, r.Suite, name); ok {
				used[x] = true
			}
		}
		for _, name := range r.Regressions {
			k := r.Suite + " " + name
			byCase[k] = append(byCase[k], r.Setup+" "+r.Phase)
		}
		against := []string{fmt.Sprint(r.Again), fmt.Sprint(len(r.Exceptions)), fmt.Sprint(len(r.Regressions))}
		if r.Direct {
			against = []string{"", "", ""}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %s |\n", r.Setup, r.Suite, r.Phase, r.Passed, r.Failed, r.Skipped, strings.Join(against, " | "))
	}
	for _, l := range p.left {
		fmt.Fprintf(&b, "\nLeft out: %s.\n", l)
	}
	b.WriteString(p.absent())
	if len(byCase) > 0 {
		b.WriteString("\n## Not as directly\n\n")
		for _, k := range sortedKeys(byCase) {
			fmt.Fprintf(&b, "- %s: %s\n", k, strings.Join(byCase[k], ", "))
		}
	}
	b.WriteString("\n## Exceptions met\n\n")
	for _, x := range p.except {
		if used[x] {
			fmt.Fprintf(&b, "- `%s` `%s`: %s\n", x.suite, x.name, x.reason)
		}
	}
	return b.String()
}

// made says what the rows were made with.
func (p *report) made() string {
	builds, with := map[string]bool{}, map[string]bool{}
	for _, r := range p.all() {
		if r.Build != "" || !r.Direct {
			builds[r.Build] = true
		}
		for _, v := range r.With {
			with[v] = true
		}
	}
	of := "one build"
	if len(builds) > 1 {
		of = fmt.Sprintf("%d builds", len(builds))
	}
	return "All rows are of " + of + " of Crossfade. Run with:\n\n- " + strings.Join(sortedKeys(with), "\n- ") + "\n\n"
}

// absent names the phases of suites that have no row.
func (p *report) absent() string {
	have := map[string]bool{}
	for _, r := range p.all() {
		have[r.Setup+" "+r.Suite+" "+r.Phase] = true
	}
	var lines []string
	for _, set := range allSetups(false) {
		for _, suite := range set.suites {
			var phases []string
			for _, ph := range allPhases(false) {
				if !have[set.name+" "+suite+" "+ph.name] {
					phases = append(phases, ph.name)
				}
			}
			if len(phases) > 0 {
				lines = append(lines, fmt.Sprintf("- %s, %s: %s\n", set.name, suite, strings.Join(phases, ", ")))
			}
		}
	}
	if len(lines) == 0 {
		return "\nEvery suite was run on its stores in every phase.\n"
	}
	return "\n## Not run\n\n" + strings.Join(lines, "")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
