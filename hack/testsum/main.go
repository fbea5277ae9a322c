// testsum makes the output of `go test -json` readable while it streams, and
// counts: a line a package, the output of what failed, the reason of each skip,
// and at the end "N passed, N failed, N skipped" over all runs in its input.
// Its exit status is 1 when anything failed or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

func main() {
	total := summarize(os.Stdin, os.Stdout)
	fmt.Printf("%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	if total.failed > 0 || total.passed == 0 {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

type counts struct{ passed, failed, skipped int }

// testRun is one test or subtest: its last action ("" while it runs) and output.
type testRun struct {
	action string
	output strings.Builder
}

type packageRun struct {
	tests  map[string]*testRun
	output strings.Builder
}

func (p *packageRun) test(name string) *testRun {
	t := p.tests[name]
	if t == nil {
		t = &testRun{}
		p.tests[name] = t
	}
	return t
}

func summarize(in io.Reader, out io.Writer) counts {
	var total counts
	packages := map[string]*packageRun{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil:
			_, _ = out.Write(line) // not from go test: show it as it is
		case e.Action == "build-output":
			fmt.Fprint(out, e.Output)
		case e.Package != "":
			p := packages[e.Package]
			if p == nil {
				p = &packageRun{tests: map[string]*testRun{}}
				packages[e.Package] = p
			}
			if p.take(e) {
				total.add(p.report(e, out))
				delete(packages, e.Package)
			}
		}
		if err != nil {
			break
		}
	}
	for name, p := range packages { // go test was killed
		total.add(p.report(event{Package: name, Action: "fail"}, out))
	}
	return total
}

func (c *counts) add(o counts) {
	c.passed += o.passed
	c.failed += o.failed
	c.skipped += o.skipped
}

// take records an event and says whether the package is done.
func (p *packageRun) take(e event) bool {
	final := e.Action == "pass" || e.Action == "fail" || e.Action == "skip"
	switch {
	case e.Test == "" && final:
		return true
	case e.Test == "":
		p.output.WriteString(e.Output)
	case final:
		p.test(e.Test).action = e.Action
	default:
		p.test(e.Test).output.WriteString(e.Output)
	}
	return false
}

// report prints a finished package. A test with subtests counts through them,
// unless it failed on its own; a package that failed outside its tests counts
// as one failure.
func (p *packageRun) report(e event, out io.Writer) counts {
	names := make([]string, 0, len(p.tests))
	failing := map[string]bool{} // tests with a failed subtest
	parent := map[string]bool{}
	for name, t := range p.tests {
		names = append(names, name)
		for up := name; strings.Contains(up, "/"); {
			up = up[:strings.LastIndex(up, "/")]
			parent[up] = true
			failing[up] = failing[up] || t.failed()
		}
	}
	sort.Strings(names)
	var c counts
	for _, name := range names {
		t := p.tests[name]
		switch {
		case t.failed():
			fmt.Fprintf(out, "FAIL  %s %s\n%s", e.Package, name, indent(t.output.String()))
			if !failing[name] {
				c.failed++
			}
		case parent[name]:
		case t.action == "skip":
			c.skipped++
			fmt.Fprintf(out, "skip  %s %s: %s\n", e.Package, name, reason(t.output.String()))
		default:
			c.passed++
		}
	}
	switch {
	case e.Action == "fail":
		if c.failed == 0 {
			c.failed++
		}
		fmt.Fprintf(out, "FAIL  %s %.1fs\n%s", e.Package, e.Elapsed, indent(p.output.String()))
	case len(names) > 0:
		fmt.Fprintf(out, "ok    %s %d tests %.1fs\n", e.Package, c.passed, e.Elapsed)
	}
	return c
}

// failed: a test that never ended did not pass.
func (t *testRun) failed() bool { return t.action == "fail" || t.action == "" }

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("      " + line)
	}
	return b.String()
}

// reason is the last line that a skipped test printed, without its place.
func reason(output string) string {
	last := ""
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			last = line
		}
	}
	if _, text, ok := strings.Cut(last, ".go:"); ok {
		if _, text, ok = strings.Cut(text, ": "); ok {
			return text
		}
	}
	return last
}
