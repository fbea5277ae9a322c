package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/test/lab"
)

const (
	accessKey = "bench"
	secretKey = "bench-secret"
)

// contender is a way to the store.
type contender struct {
	name    string
	addr    string
	process *lab.Process // in the middle; nil: none
	metrics string       // Crossfade's
	pprof   string
}

func (c *contender) crossfade() bool { return c.metrics != "" }

// rig is a store and the ways to it.
type rig struct {
	dir        string
	store      lab.Endpoint
	redis      *redis.Client
	contenders []*contender
	idle       counters // of Redis, a second, when nobody asks for anything
	stops      []func()
}

// phases are held by the route that is in force in them: no engine and no
// worker is there to move on, or to take a part of the cores.
var phases = []struct {
	name  string
	route ledger.Route
}{
	{"Copying", ledger.Route{Epoch: 1, Main: ledger.Source, State: ledger.Steady, Sync: true, Uploads: ledger.Source, Run: true}},
	{"SwitchStarted", ledger.Route{Epoch: 1, Main: ledger.Target, State: ledger.Switched, Sync: true, Uploads: ledger.Source, Run: true}},
	{"SwitchDone", ledger.Route{Epoch: 1, Main: ledger.Target, State: ledger.Steady, Sync: true, Uploads: ledger.Target, Run: true}},
}

// The one store is source and target, by two names: in none of these phases does
// a request of the load go to the other one.
var manifestText = template.Must(template.New("").Parse(`apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {accessKeyID: {{.Key}}, secretAccessKey: {{.Secret}}}
---
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: {{.Name}}}
spec:
  source: {endpoint: "{{.Source}}", credentialsRef: {name: keys}}
  target: {endpoint: "{{.Target}}", credentialsRef: {name: keys}}
  redis: {addresses: ["{{.Redis}}"]}
`))

func startRig(ctx context.Context, o options, kind, dir string) (g *rig, err error) {
	g = &rig{dir: dir}
	defer func() {
		if err != nil {
			g.stop()
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return g, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := g.startStore(ctx, kind); err != nil {
		return g, err
	}
	if err := lab.EnsureBucket(ctx, g.store.Client(), bucket); err != nil && kind != "light" {
		return g, err
	}
	if err := seed(ctx, g.store, sizes); err != nil {
		return g, fmt.Errorf("seed: %w", err)
	}
	store := strings.TrimPrefix(g.store.URL, "http://")
	g.contenders = append(g.contenders, &contender{name: "direct", addr: store})
	if listed(o.contenders, "nginx") {
		p, listen, err := startNginx(ctx, dir, store)
		if p != nil {
			g.stops = append(g.stops, func() { p.Stop(2 * time.Second) })
		}
		if err != nil {
			return g, err
		}
		g.contenders = append(g.contenders, &contender{name: "nginx", addr: listen, process: p})
	}
	if err := g.startProxies(ctx, o); err != nil {
		return g, err
	}
	if !listed(o.contenders, "direct") {
		g.contenders = g.contenders[1:]
	}
	g.idle, err = g.idleRate(ctx)
	return g, err
}

func (g *rig) startStore(ctx context.Context, kind string) error {
	var p *lab.Process
	var err error
	if kind != "light" {
		p, g.store, err = lab.StartVersityGW(ctx, g.dir, "127.0.0.1", accessKey, secretKey)
		if p != nil {
			g.stops = append(g.stops, func() { p.Stop(2 * time.Second) })
		}
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	listen, err := freeAddr()
	if err != nil {
		return err
	}
	if p, err = lab.Start(g.dir, "store", nil, self, "store", listen); err != nil {
		return err
	}
	g.stops = append(g.stops, func() { p.Stop(0) })
	g.store = lab.Endpoint{URL: "http://" + listen, Region: "us-east-1", AccessKey: accessKey, SecretKey: secretKey}
	return p.AwaitTCP(ctx, listen)
}

func (g *rig) startProxies(ctx context.Context, o options) error {
	server, addr, err := lab.StartRedis(ctx, g.dir)
	if err != nil {
		return err
	}
	g.stops = append(g.stops, func() { server.Stop(2 * time.Second) })
	g.redis = redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	g.stops = append(g.stops, func() { _ = g.redis.Close() })
	binary, err := lab.FindBinary("crossfade")
	if err != nil {
		return err
	}
	for _, p := range phases {
		if !listed(o.contenders, p.name) {
			continue
		}
		c, err := g.startProxy(ctx, binary, addr, p.name, p.route)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		g.contenders = append(g.contenders, c)
	}
	return nil
}

func (g *rig) startProxy(ctx context.Context, binary, redisAddr, name string, route ledger.Route) (*contender, error) {
	dir := filepath.Join(g.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	main, other := g.store.URL, strings.Replace(g.store.URL, "127.0.0.1", "localhost", 1)
	if route.Main == ledger.Target {
		main, other = other, main
	}
	var text strings.Builder
	err := manifestText.Execute(&text, map[string]any{"Name": strings.ToLower(name), "Source": main, "Target": other,
		"Redis": redisAddr, "Key": accessKey, "Secret": secretKey})
	if err != nil {
		return nil, err
	}
	manifest := filepath.Join(dir, "migration.yaml")
	if err := os.WriteFile(manifest, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	parsed, err := config.Load(manifest)
	if err != nil {
		return nil, err
	}
	l := ledger.New(ledger.Options{Redis: g.redis, Migration: config.LedgerName(parsed.Migration)})
	if err := l.SetRoute(ctx, route); err != nil {
		return nil, err
	}
	c := &contender{name: name}
	for _, addr := range []*string{&c.addr, &c.metrics, &c.pprof} {
		if *addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	c.process, err = lab.Start(dir, "proxy", nil, binary, "proxy", "--config", manifest, "--listen", c.addr, "--metrics", c.metrics,
		"--pprof", c.pprof, "--instance", name, "--state-dir", filepath.Join(dir, "state"))
	if err != nil {
		return nil, err
	}
	g.stops = append(g.stops, func() { c.process.Stop(3 * time.Second) })
	return c, c.ready(ctx)
}

// ready waits until the proxy knows its route.
func (c *contender) ready(ctx context.Context) error {
	if err := c.process.AwaitHTTP(ctx, "http://"+c.metrics+"/readyz"); err != nil {
		return err
	}
	for {
		resp, err := http.Get("http://" + c.metrics + "/readyz")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		if sleep(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("not ready: %w; its log: %s", ctx.Err(), c.process.Log)
		}
	}
}

func (g *rig) stop() {
	for _, s := range slices.Backward(g.stops) {
		s()
	}
	g.stops = nil
}

func freeAddr() (string, error) {
	port, err := lab.FreePort("127.0.0.1")
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// listed reports whether a list with commas names something; an empty one names all.
func listed(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}
