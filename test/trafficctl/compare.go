package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crossfade-io/crossfade/test/compare"
	"github.com/crossfade-io/crossfade/test/traffic"
)

func encode(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

func compareCommand() *cobra.Command {
	var cfg compare.Config
	var buckets, out, ignoreETag string
	cmd := &cobra.Command{Use: "compare", Short: "Compare two stores in full; exits with 1 when they differ", Args: cobra.NoArgs}
	a := endpointFlags(cmd, "a", "A_", "one store")
	b := endpointFlags(cmd, "b", "B_", "the other store")
	fs := cmd.Flags()
	fs.StringVar(&buckets, "buckets", "", "buckets to compare, as NAME or NAME-ON-A=NAME-ON-B (required)")
	fs.IntVar(&cfg.Concurrent, "concurrent", 8, "objects at a time")
	fs.BoolVar(&cfg.ListingOnly, "listing-only", false, "compare listings only, read no object")
	fs.BoolVar(&cfg.ACL, "acl", false, "compare object ACLs, too")
	fs.BoolVar(&cfg.NoTags, "no-tags", false, "don't compare tags")
	fs.StringVar(&ignoreETag, "ignore-etag-prefix", "", "another ETag is no difference for keys with this prefix")
	fs.StringVar(&out, "report", "", "write the report there, as JSON")
	_ = cmd.MarkFlagRequired("buckets")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if cfg.A, err = a(); err != nil {
			return err
		}
		if cfg.B, err = b(); err != nil {
			return err
		}
		for _, s := range splitList(buckets) {
			cfg.Buckets = append(cfg.Buckets, compare.ParseBucket(s))
		}
		if ignoreETag != "" {
			cfg.IgnoreETag = func(_, key string) bool { return strings.HasPrefix(key, ignoreETag) }
		}
		rep, err := compare.Run(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		fmt.Print(rep)
		if out != "" {
			if err := writeJSON(out, rep); err != nil {
				return err
			}
		}
		if rep.Differences > 0 {
			return fmt.Errorf("%d differences", rep.Differences)
		}
		return nil
	}
	return cmd
}

func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "report FILE", Short: "Show a report that run wrote; exits with 1 when anything was wrong", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var rep traffic.Report
			if err := readJSON(args[0], &rep); err != nil {
				return err
			}
			if err := rep.Write(os.Stdout); err != nil {
				return err
			}
			return verdict(rep)
		},
	}
}
