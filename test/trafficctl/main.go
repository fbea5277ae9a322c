// Command trafficctl proves a migration from the outside: it seeds a store,
// drives checking clients through a proxy, compares two stores, and runs the
// demo that does all of it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/crossfade-io/crossfade/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "trafficctl", Short: "Seed, load, check and compare S3 stores",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(seedCommand(), runCommand(), compareCommand(), reportCommand(), demoCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "trafficctl:", err)
		stop()
		os.Exit(1)
	}
}

// endpointFlags adds --NAME and --NAME-region. Keys come from the environment
// only: they don't belong on a command line.
func endpointFlags(cmd *cobra.Command, name, keys, what string) func() (lab.Endpoint, error) {
	e := lab.Endpoint{}
	cmd.Flags().StringVar(&e.URL, name, "", "URL of "+what+"; its keys: "+keys+"ACCESS_KEY and "+keys+"SECRET_KEY, or files named by these with _FILE")
	cmd.Flags().StringVar(&e.Region, name+"-region", "us-east-1", "region of "+what)
	_ = cmd.MarkFlagRequired(name)
	return func() (lab.Endpoint, error) { return e, e.KeysFromEnv(keys) }
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if path == "-" {
		_, err = os.Stdout.Write(append(data, '\n'))
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o600)
}

func readJSON(path string, v any) error {
	var data []byte
	var err error
	if path == "-" {
		data, err = io.ReadAll(os.Stdin)
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
