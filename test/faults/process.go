package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"text/template"
	"time"

	"github.com/crossfade-io/crossfade/test/faults/shim"
	"github.com/crossfade-io/crossfade/test/lab"
)

// process is one role; it is started again and again under the same name.
type process struct {
	w          *world
	name, role string
	listen     string // proxies: for clients
	metrics    string
	proxies    []string // engine: their names
	links      [3]*shim.Link

	mu      sync.Mutex
	current *lab.Process
	runs    int
	wanted  bool // to be running
}

// What a process' links lead to.
const (
	toSource = iota
	toTarget
	toRedis
)

var linkNames = [3]string{"source", "target", "redis"}

func (w *world) newProcess(name, role string) (*process, error) {
	p := &process{w: w, name: name, role: role}
	var err error
	if p.listen, err = freeAddr(); err != nil {
		return nil, err
	}
	if p.metrics, err = freeAddr(); err != nil {
		return nil, err
	}
	for i := range p.links {
		pick := func() []string { return []string{w.redis.addr()} }
		if i != toRedis {
			addr := w.stores[i].URL[len("http://"):]
			pick = func() []string { return []string{addr} }
		}
		if p.links[i], err = shim.Listen(name+">"+linkNames[i], pick); err != nil {
			return nil, err
		}
		w.stops = append(w.stops, p.links[i].Close)
	}
	return p, os.MkdirAll(filepath.Join(w.dir, name), 0o755)
}

var manifestText = template.Must(template.New("").Parse(`apiVersion: v1
kind: Secret
metadata: {name: s3}
stringData: {accessKeyID: {{.Access}}, secretAccessKey: {{.Secret}}}
---
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: {{.Name}}}
spec:
{{- with .Switch}}
  switch: {{.}}
{{- end}}
  retryFailed: "{{.Retry}}"
  source: {endpoint: "http://{{.Source}}", credentialsRef: {name: s3}}
  target: {endpoint: "http://{{.Target}}", credentialsRef: {name: s3}}
  redis: {addresses: ["{{.Redis}}"]}
  buckets:
{{- range .Buckets}}
  - {name: {{.A}}, targetName: {{.B}}}
{{- end}}
{{- with .Route}}
status:
  route: {{.}}
{{- end}}
`))

func (p *process) manifest() string { return filepath.Join(p.w.dir, p.name, "migration.yaml") }

// write writes the manifest that the process reads. Proxies find the route in
// it, as in a cluster, for a start without Redis.
func (p *process) write() error {
	req := p.w.request()
	data := map[string]any{"Access": access, "Secret": secret, "Name": migration, "Buckets": p.w.pairs(), "Retry": req.retry, "Switch": "", "Route": "",
		"Source": p.links[toSource].Addr(), "Target": p.links[toTarget].Addr(), "Redis": p.links[toRedis].Addr()}
	if p.role == "engine" {
		data["Switch"] = req.yaml()
	} else {
		data["Route"] = p.w.routes.yaml()
	}
	var text bytes.Buffer
	if err := manifestText.Execute(&text, data); err != nil {
		return err
	}
	tmp := p.manifest() + ".new"
	if err := os.WriteFile(tmp, text.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, p.manifest())
}

func (p *process) argv() []string {
	switch p.role {
	case "proxy":
		return []string{p.w.binary, "proxy", "--config", p.manifest(), "--listen", p.listen, "--metrics", p.metrics, "--instance", p.name,
			"--state-dir", filepath.Join(p.w.dir, p.name, "state"), "--max-in-flight", p.w.o.maxInFlight.String()}
	case "worker":
		return []string{p.w.binary, "worker", "-v", "1", "--config", p.manifest(), "--metrics", p.metrics, "--instance", p.name,
			"--max-in-flight", p.w.o.maxInFlight.String()}
	}
	argv := []string{p.w.binary, "local", "-f", p.manifest(), "--state-dir", filepath.Join(p.w.dir, p.name, "state"), "--plain"}
	for _, n := range p.proxies {
		argv = append(argv, "--proxies", n)
	}
	return argv
}

func (p *process) start() error {
	if err := p.write(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs++
	c, err := lab.Start(filepath.Join(p.w.dir, p.name), fmt.Sprintf("%s.%03d", p.name, p.runs), nil, p.argv()...)
	if err != nil {
		return err
	}
	p.current, p.wanted = c, true
	go p.watch(c)
	return nil
}

// watch restarts a process that ended by itself, as a cluster would.
func (p *process) watch(c *lab.Process) {
	<-c.Done()
	p.mu.Lock()
	mine := p.current == c && p.wanted
	p.mu.Unlock()
	if !mine || p.w.over() {
		return
	}
	p.w.problem("%s ended by itself: see %s", p.name, c.Log)
	conn := p.role == "proxy"
	defer p.w.faults.begin(window{Kind: "ended by itself", On: p.name, conn: conn, store: none})()
	time.Sleep(time.Second)
	if err := p.start(); err != nil {
		p.w.problem("%s does not start: %v", p.name, err)
	}
}

// kill ends the process with a signal, and waits until it has ended.
func (p *process) kill(s syscall.Signal, grace time.Duration) {
	p.mu.Lock()
	c := p.current
	p.wanted = false
	p.mu.Unlock()
	if c == nil {
		return
	}
	p.w.mu.Lock()
	p.w.ready[p.name] = false
	p.w.mu.Unlock()
	if s == syscall.SIGTERM {
		c.Stop(grace)
		return
	}
	_ = c.Signal(s)
	<-c.Done()
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		_ = p.current.Signal(s)
	}
}

func (p *process) close() { p.kill(syscall.SIGKILL, 0) }
