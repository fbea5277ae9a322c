package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is a run of one suite, directly or in a phase.
type row struct {
	suite, setup, phase string
	res                 results
	second              int // cases that passed when tried again
	took                time.Duration
	// Against the direct run: cases that do not pass here and do there.
	exceptions, regressions int
	direct                  bool
}

type regression struct{ suite, setup, phase, name string }

type report struct {
	began       time.Time
	except      exceptions
	rows        []row
	regressions []regression
	used        map[exception]bool
	left        []string
}

// add notes a run; direct are the results to compare it with, nil for a direct run.
func (p *report) add(r row, direct results) {
	r.direct = direct == nil
	bad := p.except.regressions(r.suite, direct, r.res)
	for _, name := range bad {
		p.regressions = append(p.regressions, regression{r.suite, r.setup, r.phase, name})
	}
	r.regressions = len(bad)
	for name, d := range direct {
		if x, ok := p.except.of(r.suite, name); ok && d.verdict == pass && r.res[name].verdict != pass {
			r.exceptions++
			if p.used == nil {
				p.used = map[exception]bool{}
			}
			p.used[x] = true
		}
	}
	p.rows = append(p.rows, r)
	fmt.Printf("%-20s %-20s %-30s %4d passed, %3d failed, %2d skipped, %3d exceptions, %3d not as directly; %s\n", r.suite, r.setup, r.phase,
		r.res.count(pass), r.res.count(fail), r.res.count(skip), r.exceptions, r.regressions, r.took.Round(time.Second))
	for _, name := range bad {
		fmt.Printf("    %s: %s\n", name, shorten(cmp.Or(r.res[name].why, "was not run")))
	}
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}

func (p *report) summary() string {
	return fmt.Sprintf("%d runs, %d cases pass directly and not through the proxy, %s\n", len(p.rows), len(p.regressions), time.Since(p.began).Round(time.Second))
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
		"passed when it was run again by itself counts as passed, and in *again*.\n\n" +
		"| stores | suite | phase | passed | failed | skipped | again | exceptions | not as directly |\n| --- | --- | --- | --: | --: | --: | --: | --: | --: |\n")
	for _, r := range p.rows {
		against := []string{fmt.Sprint(r.second), fmt.Sprint(r.exceptions), fmt.Sprint(r.regressions)}
		if r.direct {
			against = []string{"", "", ""}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %s |\n", r.setup, r.suite, r.phase, r.res.count(pass), r.res.count(fail), r.res.count(skip), strings.Join(against, " | "))
	}
	for _, l := range p.left {
		fmt.Fprintf(&b, "\nLeft out: %s.\n", l)
	}
	if len(p.regressions) > 0 {
		b.WriteString("\n## Not as directly\n\n")
		byCase := map[string][]string{}
		for _, r := range p.regressions {
			k := r.suite + " " + r.name
			byCase[k] = append(byCase[k], r.setup+" "+r.phase)
		}
		for _, k := range sortedKeys(byCase) {
			fmt.Fprintf(&b, "- %s: %s\n", k, strings.Join(byCase[k], ", "))
		}
	}
	b.WriteString("\n## Exceptions met\n\n")
	for _, x := range p.except {
		if p.used[x] {
			fmt.Fprintf(&b, "- `%s` `%s`: %s\n", x.suite, x.name, x.reason)
		}
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
