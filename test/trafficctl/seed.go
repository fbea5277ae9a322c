package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crossfade-io/crossfade/test/seed"
)

func seedCommand() *cobra.Command {
	cfg := seed.Config{}
	var features, plan string
	cmd := &cobra.Command{Use: "seed", Short: "Fill a store with data of every kind", Args: cobra.NoArgs}
	endpoint := endpointFlags(cmd, "endpoint", "", "the store")
	fs := cmd.Flags()
	fs.Uint64Var(&cfg.Seed, "seed", 1, "equal numbers give equal data")
	fs.StringVar(&cfg.BucketPrefix, "bucket-prefix", "seed", "buckets are PREFIX-0, PREFIX-1, …")
	fs.IntVar(&cfg.Buckets, "buckets", 2, "number of buckets")
	fs.IntVar(&cfg.Objects, "objects", 2000, "number of small objects")
	fs.Int64Var(&cfg.MaxSmall, "max-small", 64<<10, "bytes of the largest of them")
	fs.IntVar(&cfg.Multipart, "multipart", 4, "number of large multipart objects")
	fs.Int64Var(&cfg.OddParts, "odd-parts", 0, "bytes a part of every third of them; 0: usual sizes only")
	fs.BoolVar(&cfg.OddKeys, "odd-keys", true, "add odd keys to each bucket")
	fs.BoolVar(&cfg.PosixKeys, "posix-keys", true, "of these only what a store on a file system takes")
	fs.StringVar(&features, "features", "tags,cors,policy,bucketTags", "of tags, objectACL, cors, policy, lifecycle, bucketTags, versioning")
	fs.IntVar(&cfg.Conc, "concurrent", 16, "requests at a time")
	fs.StringVar(&plan, "plan", "", "write the plan to this file, for run --seeded")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := endpoint()
		if err != nil {
			return err
		}
		if cfg.Features, err = parseFeatures(features); err != nil {
			return err
		}
		res, err := seed.Run(cmd.Context(), e, cfg)
		if err != nil {
			return err
		}
		if plan != "" {
			if err := writeJSON(plan, cfg); err != nil {
				return err
			}
		}
		return writeJSON("-", res)
	}
	return cmd
}

func parseFeatures(list string) (seed.Features, error) {
	var f seed.Features
	known := map[string]*bool{
		"tags": &f.Tags, "objectACL": &f.ObjectACL, "cors": &f.CORS, "policy": &f.Policy,
		"lifecycle": &f.Lifecycle, "bucketTags": &f.BucketTags, "versioning": &f.Versioning,
	}
	for _, name := range splitList(list) {
		if known[name] == nil {
			return f, fmt.Errorf("unknown feature %q", name)
		}
		*known[name] = true
	}
	return f, nil
}
