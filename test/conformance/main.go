// Command conformance runs other people's S3 test suites and real clients
// against stores directly and through the proxy, in every phase of a migration,
// case by case. It fails on any case that passes directly and not through the
// proxy, and writes a table of what passed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	root, work, suites, setups, phases, kept, out string
	short, keep                                   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.root, "root", ".", "the checkout")
	flag.StringVar(&o.work, "work", "", "directory for stores and logs, on a file system with extended attributes; left out: a temporary one")
	flag.StringVar(&o.suites, "suites", "", "suites to run, with commas; left out: all")
	flag.StringVar(&o.setups, "stores", "", "stores to run on, with commas; left out: all that are installed")
	flag.StringVar(&o.phases, "phases", "", "phases to run, with commas; left out: all")
	flag.StringVar(&o.out, "out", "", "file for the table; left out: none")
	flag.StringVar(&o.kept, "keep-rows", "", "directory that keeps the table's rows, so that the next run adds to them; left out: none")
	flag.BoolVar(&o.short, "short", false, "a part of the cases, in two phases")
	flag.BoolVar(&o.keep, "keep", false, "keep the stores and logs")
	flag.Parse()
	if flag.Arg(0) == sdkGoSuite {
		runSDKGo(ctx)
		return
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.root, err = filepath.Abs(o.root); err != nil {
		return err
	}
	if o.work == "" {
		if o.work, err = os.MkdirTemp("", "crossfade-conformance-"); err != nil {
			return err
		}
		defer func() {
			if !o.keep && err == nil {
				_ = os.RemoveAll(o.work)
			}
		}()
	}
	except, err := readExceptions(filepath.Join(o.root, "test/conformance/exceptions.txt"))
	if err != nil {
		return err
	}
	suites := chosen(allSuites(o.root), o.suites, func(s suite) string { return s.name })
	phases := chosen(allPhases(o.short), o.phases, func(p phase) string { return p.name })
	rep := &report{began: time.Now(), except: except, with: map[string]string{}}
	if rep.build, err = build(); err != nil {
		return err
	}
	if o.kept != "" {
		if rep.kept, err = readKept(o.kept); err != nil {
			return err
		}
	}
	for _, set := range chosen(allSetups(o.short), o.setups, func(s setup) string { return s.name }) {
		if missing := set.missing(); missing != "" {
			fmt.Printf("%s is left out: %s\n", set.name, missing)
			continue
		}
		r := &runner{root: o.root, work: o.work, setup: set, phases: phases, report: rep}
		for _, s := range suites {
			if !slices.Contains(set.suites, s.name) {
				continue
			}
			if missing := s.missing(); missing != "" {
				fmt.Printf("%s is left out: %s\n", s.name, missing)
				rep.left = append(rep.left, s.name+": "+missing)
				continue
			}
			if err := r.suite(ctx, s); err != nil {
				return fmt.Errorf("%s on %s: %w", s.name, set.name, err)
			}
		}
	}
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(rep.markdown()), 0o644); err != nil {
			return err
		}
	}
	fmt.Print("\n" + rep.summary())
	if len(rep.rows) == 0 {
		return errors.New("nothing was run")
	}
	if n := rep.regressions(); n > 0 {
		return fmt.Errorf("%d cases pass directly and not through the proxy; logs: %s", n, o.work)
	}
	return nil
}

// chosen returns the elements whose names are in a list with commas, or all.
func chosen[T any](all []T, names string, name func(T) string) []T {
	if names == "" {
		return all
	}
	list := strings.Split(names, ",")
	return slices.DeleteFunc(all, func(t T) bool { return !slices.Contains(list, name(t)) })
}
