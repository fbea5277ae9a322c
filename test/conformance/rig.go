package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/test/lab"
)

// heldBucket is the one bucket that a migration begins with. No suite uses it.
const heldBucket = "crossfade-held"

// rig is a migration between two stores of its own, held in a phase.
type rig struct {
	dir, binary, manifest string
	phase                 phase
	signatureV2           bool // the store that serves clients takes it
	stores                [2]*store
	process               *lab.Process
	proxy                 lab.Endpoint
	dirtier               *dirtier
	stops                 []func()
}

var manifestText = template.Must(template.New("").Parse(`apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {accessKeyID: {{.Key}}, secretAccessKey: {{.Secret}}}
---
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: conformance}
spec:
  source:
    endpoint: {{.Source}}
    credentialsRef: {name: keys}
  target:
    endpoint: {{.Target}}
    credentialsRef: {name: keys}
  proxy: {anonymous: Forward, signatureV2: {{.V2}}}
{{- if .Slow}}
  worker:
    limits: {requestsPerSecond: 1}
{{- end}}
`))

// startRig starts everything and returns when the phase is reached.
func startRig(ctx context.Context, root, dir string, set setup, p phase) (g *rig, err error) {
	g = &rig{dir: dir, phase: p, signatureV2: set.main(p) == kindRGW, manifest: filepath.Join(dir, "migration.yaml")}
	defer func() {
		if err != nil {
			g.stop()
		}
	}()
	if g.binary, err = lab.FindBinary("crossfade"); err != nil {
		return g, err
	}
	var eg errgroup.Group
	for i, kind := range []string{set.source, set.target} {
		eg.Go(func() (err error) {
			g.stores[i], err = startStore(ctx, root, dir, kind, []string{"source", "target"}[i])
			return err
		})
	}
	err = eg.Wait()
	for _, s := range g.stores {
		if s != nil && s.stop != nil {
			g.stops = append(g.stops, s.stop)
		}
	}
	if err != nil {
		return g, err
	}
	if err := g.seed(ctx); err != nil {
		return g, fmt.Errorf("seed: %w", err)
	}
	if err := g.start(ctx); err != nil {
		return g, err
	}
	before := phase{phase: "CatchingUp", main: "Source", state: "Steady", name: "CatchingUp"}
	if p.slow {
		before = p
	}
	if err := g.await(ctx, before); err != nil {
		return g, err
	}
	if p.held {
		if g.dirtier, err = newDirtier(ctx, g.proxy.Client()); err != nil {
			return g, err
		}
	}
	if p.reach != nil {
		if err := p.reach(ctx, g); err != nil {
			return g, err
		}
	}
	if err := g.await(ctx, p); err != nil {
		return g, err
	}
	if g.dirtier != nil {
		g.stops = append(g.stops, g.dirtier.start())
	}
	return g, nil
}

// slowObjects take a slow worker longer than any suite.
const slowObjects = 2000

// seed fills the source's first bucket.
func (g *rig) seed(ctx context.Context) error {
	c, name, n := g.stores[0].endpoint.Client(), heldBucket, 1
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		return err
	}
	if g.phase.slow {
		n = slowObjects
	}
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(16)
	for i := range n {
		eg.Go(func() error {
			key := fmt.Sprintf("seed-%04d", i)
			_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &name, Key: &key, Body: strings.NewReader(key)})
			return err
		})
	}
	return eg.Wait()
}

func (g *rig) start(ctx context.Context) error {
	var text bytes.Buffer
	err := manifestText.Execute(&text, map[string]any{"Source": g.stores[0].endpoint.URL, "Target": g.stores[1].endpoint.URL,
		"Key": accessKey, "Secret": secretKey, "Slow": g.phase.slow, "V2": g.signatureV2})
	if err != nil {
		return err
	}
	if err := os.WriteFile(g.manifest, text.Bytes(), 0o600); err != nil {
		return err
	}
	redis, addr, err := lab.StartRedis(ctx, g.dir)
	if err != nil {
		return err
	}
	g.stops = append(g.stops, func() { redis.Stop(2 * time.Second) })
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		return err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	g.proxy = lab.Endpoint{URL: "http://" + listen, Region: "us-east-1", AccessKey: accessKey, SecretKey: secretKey}
	g.process, err = lab.Start(g.dir, "crossfade", nil, g.binary, "local", "-f", g.manifest, "--listen", listen, "--redis", addr,
		"--state-dir", filepath.Join(g.dir, "state"), "--status-file", filepath.Join(g.dir, "status.json"), "--plain")
	if err != nil {
		return err
	}
	g.stops = append(g.stops, func() { g.process.Stop(3 * time.Second) })
	return g.process.AwaitHTTP(ctx, g.proxy.URL)
}

func (g *rig) stop() {
	for _, s := range slices.Backward(g.stops) {
		s()
	}
	g.stops = nil
}

// status is what the rig reads of the Migration's.
type status struct {
	Phase string `json:"phase"`
	Route struct {
		Main, State string
	} `json:"route"`
	Conditions []struct{ Type, Status, Message string } `json:"conditions"`
}

func (g *rig) status() (*status, error) {
	data, err := os.ReadFile(filepath.Join(g.dir, "status.json"))
	if err != nil {
		return nil, err
	}
	var m struct{ Status status }
	return &m.Status, json.Unmarshal(data, &m)
}

func (g *rig) switchTo(ctx context.Context, store string) error {
	out, err := exec.CommandContext(ctx, g.binary, "local", "switch", "-f", g.manifest, "--to", store).CombinedOutput()
	if err != nil {
		return fmt.Errorf("crossfade local switch: %w: %s", err, out)
	}
	return nil
}
