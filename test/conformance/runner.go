package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
)

// maxRetries bounds how many cases of one run are tried again: a slow machine
// fails a few, a defect fails many.
const maxRetries = 60

// runner runs suites on one pair of stores.
type runner struct {
	root, work string
	setup      setup
	phases     []phase
	report     *report
	sequence   int
}

func (r *runner) dir(parts string) string {
	r.sequence++
	return filepath.Join(r.work, fmt.Sprintf("%s-%02d-%s", r.setup.name, r.sequence, parts))
}

// suite runs a suite on each kind of store directly, then in each phase.
func (r *runner) suite(ctx context.Context, s suite) error {
	direct := map[string]results{}
	// The names of what is run one by one come from a store where that is not needed.
	kinds := []string{r.setup.source, r.setup.target}
	slices.SortStableFunc(kinds, func(a, b string) int { return s.order(a) - s.order(b) })
	for _, kind := range kinds {
		if direct[kind] != nil || !r.isMain(kind) && s.order(r.setup.source) == 0 {
			continue
		}
		began := time.Now()
		res, err := r.direct(ctx, s, kind, direct[r.setup.target])
		if err != nil {
			return fmt.Errorf("directly on %s: %w", kind, err)
		}
		direct[kind] = res
		if err := r.report.add(ctx, row{Suite: s.name, Setup: r.setup.name, Phase: "directly on " + kind}, []string{kind}, res, nil, time.Since(began)); err != nil {
			return err
		}
	}
	for _, p := range r.phases {
		began := time.Now()
		kind := r.setup.main(p)
		res, second, err := r.through(ctx, s, p, kind, direct[kind])
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := r.report.add(ctx, row{Suite: s.name, Setup: r.setup.name, Phase: p.name, Again: second}, []string{r.setup.source, r.setup.target}, res, direct[kind], time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// isMain says whether clients are served by that kind of store in any phase.
func (r *runner) isMain(kind string) bool {
	return slices.ContainsFunc(r.phases, func(p phase) bool { return kind == r.setup.main(p) })
}

// direct runs a suite on a store; those of its cases that are known, if it runs
// them one by one.
func (r *runner) direct(ctx context.Context, s suite, kind string, known results) (results, error) {
	dir := r.dir(s.name + "-direct")
	st, err := startStore(ctx, r.root, dir, kind, "store")
	if err != nil {
		return nil, err
	}
	defer st.stop()
	if s.order(kind) > 0 {
		return s.runEach(ctx, filepath.Join(dir, "suite"), st.endpoint, slices.Collect(maps.Keys(known)))
	}
	return s.run(ctx, filepath.Join(dir, "suite"), st.endpoint, nil)
}

// through runs a suite through the proxy in a phase. What passes directly and
// failed here is tried again, a case at a time: second counts those that passed.
func (r *runner) through(ctx context.Context, s suite, p phase, kind string, direct results) (res results, second int, err error) {
	g, err := startRig(ctx, r.root, r.dir(s.name+"-"+p.name), r.setup, p)
	if err != nil {
		return nil, 0, err
	}
	defer func() { g.stop() }()
	if s.order(kind) > 0 {
		res, err = s.runEach(ctx, filepath.Join(g.dir, "suite"), g.proxy, direct.passed())
	} else {
		res, err = s.run(ctx, filepath.Join(g.dir, "suite"), g.proxy, nil)
	}
	if err != nil {
		return nil, 0, err
	}
	if err := g.holds(); err != nil {
		return nil, 0, err
	}
	again := r.report.except.regressions(r.setup.name, s.name, direct, res)
	if !s.single || len(again) == 0 || len(again) > maxRetries {
		return res, 0, nil
	}
	g.stop()
	if g, err = startRig(ctx, r.root, r.dir(s.name+"-"+p.name+"-again"), r.setup, p); err != nil {
		return nil, 0, err
	}
	for _, name := range again {
		one, err := s.run(ctx, filepath.Join(g.dir, name), g.proxy, []string{name})
		if err == nil && one[name].verdict == pass {
			res[name] = one[name]
			second++
		}
		wipe(ctx, g.proxy)
	}
	return res, second, g.holds()
}

// wipe removes what a failed case may have left, as far as that is allowed.
func wipe(ctx context.Context, e lab.Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := e.Client()
	for _, name := range bucketsOf(ctx, client) {
		if name != heldBucket {
			emptyBucket(ctx, client, name)
		}
	}
}
