// Package app wires the roles: it reads configuration, opens what the packages
// need and runs them. Only main imports it.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Version may be set with -ldflags -X.
var Version = "dev"

// Command returns the crossfade command with one subcommand a role.
func Command() *cobra.Command {
	var verbosity int
	root := &cobra.Command{
		Use:           "crossfade",
		Short:         "Move S3 buckets between object stores while clients keep reading and writing",
		Version:       Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (%s --help lists the flags)", err, cmd.CommandPath())
	})
	root.PersistentFlags().IntVarP(&verbosity, "verbosity", "v", 0, "log verbosity: 0 for operators, 1 for debugging, 2 for every object")
	log := func() logr.Logger { return newLogger(verbosity) }
	root.AddCommand(managerCommand(log), proxyCommand(log), workerCommand(log), localCommand(log))
	return root
}

// Main runs the command until it ends or a signal does, and returns the exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	redis.SetLogger(quietRedis{})
	err := Command().ExecuteContext(ctx)
	if err == nil || errors.Is(err, context.Canceled) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "crossfade:", err)
	return 1
}

// quietRedis drops go-redis' own log: outages are told once, by who suffers.
type quietRedis struct{}

func (quietRedis) Printf(context.Context, string, ...any) {}

func newLogger(verbosity int) logr.Logger {
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(zapcore.Level(-verbosity))
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.Sampling = nil
	cfg.DisableStacktrace = true
	cfg.OutputPaths = []string{"stderr"}
	z, err := cfg.Build()
	if err != nil {
		return logr.Discard()
	}
	return zapr.NewLogger(z)
}

// metricsServer serves metrics and probes of a role.
func metricsServer(addr string, reg *prometheus.Registry, healthz, readyz http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", healthz)
	mux.Handle("GET /readyz", readyz)
	return &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// serve listens and serves until the context ends, then lets requests finish
// for at most grace.
func serve(ctx context.Context, srv *http.Server, grace time.Duration) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", srv.Addr)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			done <- srv.ServeTLS(l, "", "")
			return
		}
		done <- srv.Serve(l)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return errors.Join(err, srv.Close())
	}
	return nil
}
