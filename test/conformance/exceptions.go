package main

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// exception is a case that cannot hold through a proxy by its nature.
type exception struct{ suite, name, reason string }

type exceptions []exception

// readExceptions reads lines of "suite case: reason", or "stores/suite case:
// reason"; the names may hold the wildcards of path.Match. Empty lines and those
// that begin with # are left out.
func readExceptions(file string) (exceptions, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var out exceptions
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		names, reason, ok := strings.Cut(line, ": ")
		fields := strings.Fields(names)
		if !ok || len(fields) != 2 || reason == "" {
			return nil, fmt.Errorf("%s:%d: not of the form \"suite case: reason\"", file, n)
		}
		for _, pattern := range fields {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("%s:%d: %q: %w", file, n, pattern, err)
			}
		}
		out = append(out, exception{fields[0], fields[1], reason})
	}
	return out, lines.Err()
}

// of returns the exception that a case is on a pair of stores, if it is one.
func (e exceptions) of(stores, suite, name string) (exception, bool) {
	for _, x := range e {
		of := suite
		if strings.Contains(x.suite, "/") {
			of = stores + "/" + suite
		}
		s, _ := path.Match(x.suite, of)
		n, _ := path.Match(x.name, name)
		if s && n {
			return x, true
		}
	}
	return exception{}, false
}

// regressions are the cases that pass directly, do not pass through the proxy,
// and are no exceptions; sorted.
func (e exceptions) regressions(stores, suite string, direct, through results) []string {
	var out []string
	for name, d := range direct {
		if d.verdict != pass || through[name].verdict == pass {
			continue
		}
		if _, ok := e.of(stores, suite, name); !ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
