package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
)

// verdict of one case.
type verdict string

const (
	pass verdict = "PASS"
	fail verdict = "FAIL"
	skip verdict = "SKIP"
)

type result struct {
	verdict verdict
	why     string
}

// results are a suite's, by case.
type results map[string]result

func (r results) count(v verdict) (n int) {
	for _, one := range r {
		if one.verdict == v {
			n++
		}
	}
	return n
}

// passed are the names of the cases that passed.
func (r results) passed() (names []string) {
	for name, one := range r {
		if one.verdict == pass {
			names = append(names, name)
		}
	}
	return names
}

// suite is a program that tests an S3 endpoint. It prints a line for each case:
// "PASS name", "FAIL name: reason" or "SKIP name: reason"; "RUN name" may come
// before. Without one of the first three, a case has failed.
type suite struct {
	name string
	// argv is what runs, for all cases or only those named.
	argv func(e lab.Endpoint, cases []string) []string
	// env is added to the environment, which has the usual AWS variables.
	env func(e lab.Endpoint) []string
	// parse, if set, takes the place of the lines above.
	parse func(line string) (name string, r result, ok bool)
	// single says that cases can be run one by one, in a process each.
	single bool
	// panics are the kinds of store on which it does not get to its end: there its
	// cases are run one by one, and through the proxy only those that pass directly.
	panics  []string
	needs   []string // programs
	timeout time.Duration
}

func (s suite) missing() string {
	for _, n := range s.needs {
		if _, err := lab.FindBinary(n); err != nil {
			return n + " is not installed"
		}
	}
	return ""
}

var (
	colours  = regexp.MustCompile("\x1b\\[[0-9;]*m")
	caseLine = regexp.MustCompile(`^(RUN|PASS|FAIL|SKIP)\s+([^\s:]+):?\s*(.*)$`)
)

func parseCase(line string) (string, result, bool) {
	m := caseLine.FindStringSubmatch(line)
	if m == nil {
		return "", result{}, false
	}
	if m[1] == "RUN" {
		return m[2], result{verdict: fail, why: "gave no result"}, true
	}
	return m[2], result{verdict: verdict(m[1]), why: m[3]}, true
}

// run runs the suite in a directory of its own and returns its results.
func (s suite) run(ctx context.Context, dir string, e lab.Endpoint, cases []string) (results, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// versitygw's suite calls ./versitygw for its users
	if bin, err := lab.FindBinary("versitygw"); err == nil {
		_ = os.Symlink(bin, filepath.Join(dir, "versitygw"))
	}
	// some leave hundreds of MB behind
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	env := []string{"HOME=" + dir, "TMPDIR=" + tmp, "AWS_ACCESS_KEY_ID=" + e.AccessKey, "AWS_SECRET_ACCESS_KEY=" + e.SecretKey,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "S3_ENDPOINT=" + e.URL}
	if s.env != nil {
		env = append(env, s.env(e)...)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	p, err := lab.Start(dir, s.name, env, s.argv(e, cases)...)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop(time.Second)
		if ctx.Err() != context.DeadlineExceeded {
			return nil, ctx.Err()
		}
	}
	return s.read(p.Log)
}

// order is 1 for a kind of store on which cases are run one by one, else 0.
func (s suite) order(kind string) int {
	if slices.Contains(s.panics, kind) {
		return 1
	}
	return 0
}

// oneTimeout is how long one case may take.
const oneTimeout = time.Minute

// runEach runs cases one by one, in a process each.
func (s suite) runEach(ctx context.Context, dir string, e lab.Endpoint, names []string) (results, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: no case to run", s.name)
	}
	s.timeout = oneTimeout
	slices.Sort(names)
	out := results{}
	for _, name := range names {
		one, err := s.run(ctx, filepath.Join(dir, name), e, []string{name})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var found bool
		if out[name], found = one[name]; !found {
			out[name] = result{fail, fmt.Sprintf("gave no result: %v", err)}
		}
		wipe(ctx, e)
	}
	return out, nil
}

func (s suite) read(log string) (results, error) {
	f, err := os.Open(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	parse := s.parse
	if parse == nil {
		parse = parseCase
	}
	out := results{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		name, r, ok := parse(strings.TrimSpace(colours.ReplaceAllString(lines.Text(), "")))
		if !ok {
			continue
		}
		// A case that has failed once has failed.
		if old, seen := out[name]; seen && old.verdict == fail && old.why != "gave no result" {
			continue
		}
		out[name] = r
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", log, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s gave no results: %s", s.name, log)
	}
	return out, nil
}
