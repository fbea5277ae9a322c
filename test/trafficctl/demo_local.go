package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/test/lab"
)

// localPlatform runs the migration with `crossfade local`.
type localPlatform struct {
	*demo
	binary, manifest, statusFile, redis string
	process                             *lab.Process
}

func (p *localPlatform) start(ctx context.Context) (lab.Endpoint, error) {
	p.binary, p.manifest, p.statusFile = filepath.Join(p.root, "bin", "crossfade"), filepath.Join(p.work, "migration.yaml"), filepath.Join(p.work, "status.json")
	proxy := p.source // its clients keep their keys
	text, err := p.manifestYAML()
	if err != nil {
		return proxy, err
	}
	if err := os.WriteFile(p.manifest, text, 0o600); err != nil {
		return proxy, err
	}
	var server *lab.Process
	if server, p.redis, err = lab.StartRedis(ctx, p.work); err != nil {
		return proxy, err
	}
	p.stops = append(p.stops, func() { server.Stop(2 * time.Second) })
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		return proxy, err
	}
	listen := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	proxy.URL = "http://" + listen
	read, write := io.Pipe()
	go func() {
		for lines := bufio.NewScanner(read); lines.Scan(); {
			fmt.Println("         |", lines.Text())
		}
	}()
	p.process, err = lab.StartShown(write, p.work, "crossfade", nil, p.binary, "local", "-f", p.manifest, "--listen", listen,
		"--redis", p.redis, "--state-dir", filepath.Join(p.work, "state"), "--status-file", p.statusFile, "--plain")
	if err != nil {
		return proxy, err
	}
	p.stops = append(p.stops, func() {
		p.process.Stop(30 * time.Second)
		_ = write.Close()
	})
	p.say("Started: crossfade local -f migration.yaml --listen %s --redis %s", listen, p.redis)
	return proxy, p.awaitProxy(ctx, proxy)
}

// awaitProxy waits until the proxy serves the source's buckets.
func (d *demo) awaitProxy(ctx context.Context, proxy lab.Endpoint) error {
	client := proxy.Client()
	bucket := d.seed.BucketNames()[0]
	for deadline := time.Now().Add(2 * time.Minute); ; {
		_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the proxy does not serve: %w", err)
		}
		if err := d.rest(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (p *localPlatform) status(context.Context) (*status, error) {
	data, err := os.ReadFile(p.statusFile)
	if err != nil {
		return nil, err
	}
	var m struct{ Status status }
	return &m.Status, json.Unmarshal(data, &m)
}

func (p *localPlatform) switchTo(ctx context.Context, store string) error {
	p.say("Run: crossfade local switch -f migration.yaml --to %s", store)
	out, err := exec.CommandContext(ctx, p.binary, "local", "switch", "-f", p.manifest, "--to", store).CombinedOutput()
	if err != nil {
		return fmt.Errorf("crossfade local switch: %w: %s", err, out)
	}
	return nil
}

func (p *localPlatform) kill(context.Context, string) error {
	return errors.New("crossfade local is one process: it has no roles to kill")
}

func (p *localPlatform) remove(context.Context) error { return nil }

func (p *localPlatform) alive() error {
	if p.process == nil {
		return nil
	}
	select {
	case <-p.process.Done():
		return errors.New("crossfade ended by itself")
	default:
		return nil
	}
}

func (p *localPlatform) explain() {
	if st, err := p.status(context.Background()); err == nil {
		fmt.Printf("Last status: %s\n", st)
	}
	if p.process == nil {
		return
	}
	p.dump(context.Background())
	if log, err := os.ReadFile(p.process.Log); err == nil {
		lines := strings.Split(strings.TrimSpace(string(log)), "\n")
		fmt.Printf("Last lines of %s:\n", p.process.Log)
		for _, l := range lines[max(0, len(lines)-15):] {
			fmt.Println("  " + l)
		}
	}
}

// dump prints the ledger's records of single objects.
func (p *localPlatform) dump(ctx context.Context) {
	c := redis.NewClient(&redis.Options{Addr: p.redis, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	lines, err := c.Eval(ctx, ledgerDump, nil).StringSlice()
	fmt.Printf("Ledger: %v\n", err)
	for _, l := range lines {
		fmt.Printf("  %q\n", l)
	}
}

func (p *localPlatform) redisBytes(ctx context.Context) (used, peak int64) {
	c := redis.NewClient(&redis.Options{Addr: p.redis, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	info, err := c.Info(ctx, "memory").Result()
	if err != nil {
		return 0, 0
	}
	return memoryOf(info)
}

// memoryOf reads from INFO memory what data takes, beyond an empty Redis.
func memoryOf(info string) (used, peak int64) {
	var empty int64
	for _, line := range strings.Fields(info) {
		_, _ = fmt.Sscanf(line, "used_memory:%d", &used)
		_, _ = fmt.Sscanf(line, "used_memory_peak:%d", &peak)
		_, _ = fmt.Sscanf(line, "used_memory_startup:%d", &empty)
	}
	return used - empty, peak - empty
}
