package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
)

const demoNamespace, operatorNamespace = "crossfade-demo", "crossfade-system"

// kubePlatform runs the migration on Kubernetes: the chart, kubectl apply,
// kubectl patch, pods.
type kubePlatform struct {
	*demo
	said string
}

func (p *kubePlatform) start(ctx context.Context) (lab.Endpoint, error) {
	proxy := p.source
	p.say("helm install crossfade charts/crossfade")
	if _, err := p.command(ctx, nil, "helm", "upgrade", "--install", "crossfade", filepath.Join(p.root, "charts", "crossfade"),
		"--namespace", operatorNamespace, "--create-namespace", "--wait", "--timeout", "3m",
		"--set", "image.repository=localhost/crossfade", "--set", "image.tag=dev", "--set", "image.pullPolicy=Never",
		"--set", "redis.image.repository=localhost/redis", "--set", "redis.image.tag=dev"); err != nil {
		return proxy, err
	}
	text, err := p.manifestYAML()
	if err != nil {
		return proxy, err
	}
	_, _ = p.kubectl(ctx, nil, "create", "namespace", demoNamespace)
	p.say("kubectl apply -f migration.yaml")
	if _, err := p.kubectl(ctx, text, "apply", "-f", "-"); err != nil {
		return proxy, err
	}
	p.stops = append(p.stops, p.uninstall)
	if _, err := p.await(ctx, 3*time.Minute, "the proxies", func(s *status) bool { return s.Proxy.Address != "" && s.Proxy.Ready > 0 }); err != nil {
		return proxy, err
	}
	if p.forward {
		if proxy.URL, err = p.portForward(ctx); err != nil {
			return proxy, err
		}
		return proxy, p.awaitProxy(ctx, proxy)
	}
	// The address in the status is a name that pods can resolve; we need its IP.
	out, err := p.kubectl(ctx, nil, "get", "service", "-l", ours("proxy"), "-o", "jsonpath={.items[0].spec.clusterIP}:{.items[0].spec.ports[0].port}")
	if err != nil {
		return proxy, err
	}
	proxy.URL = "http://" + string(out)
	return proxy, p.awaitProxy(ctx, proxy)
}

// portForward makes the proxies' Service reachable on this machine, until the
// demo ends, and returns its URL.
func (p *kubePlatform) portForward(ctx context.Context) (string, error) {
	service, err := p.kubectl(ctx, nil, "get", "service", "-l", ours("proxy"), "-o", "jsonpath={.items[0].metadata.name}:{.items[0].spec.ports[0].port}")
	if err != nil {
		return "", err
	}
	name, port, _ := strings.Cut(string(service), ":")
	listen, err := lab.FreePort("127.0.0.1")
	if err != nil {
		return "", err
	}
	process, err := lab.Start(p.work, "port-forward", nil, p.tool("kubectl"), "--namespace", demoNamespace, "port-forward", "service/"+name, fmt.Sprintf("%d:%s", listen, port))
	if err != nil {
		return "", err
	}
	p.stops = append(p.stops, func() { process.Stop(5 * time.Second) })
	return fmt.Sprintf("http://127.0.0.1:%d", listen), nil
}

// ours selects what belongs to the migration's component.
func ours(component string) string {
	return "app.kubernetes.io/instance=demo,app.kubernetes.io/component=" + component
}

// remove deletes the migration: its finalizer cleans up, and nothing stays.
func (p *kubePlatform) remove(ctx context.Context) error {
	p.say("kubectl delete migration demo")
	if _, err := p.kubectl(ctx, nil, "delete", "migration", "demo", "--timeout=90s"); err != nil {
		return err
	}
	left := ""
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		out, err := p.kubectl(ctx, nil, "get", "all,configmap,secret,serviceaccount,pvc,pdb", "-l", "app.kubernetes.io/managed-by=crossfade", "-o", "name")
		if err != nil {
			return err
		}
		if left = strings.TrimSpace(string(out)); left == "" {
			return nil
		}
	}
	return fmt.Errorf("the deleted migration leaves behind: %s", left)
}

func (p *kubePlatform) uninstall() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, _ = p.kubectl(ctx, nil, "delete", "migration", "demo", "--ignore-not-found", "--timeout=60s")
	_, _ = p.kubectl(ctx, nil, "delete", "namespace", demoNamespace, "--wait=false")
	_, _ = p.command(ctx, nil, "helm", "uninstall", "crossfade", "--namespace", operatorNamespace)
}

// kill ends a container of a role with SIGKILL, from outside: that of the role's
// pods which has lived longest.
func (p *kubePlatform) kill(ctx context.Context, role string) error {
	args := []string{"get", "pods", "-o", "json", "-l", ours(role)}
	if role == "manager" {
		args = []string{"get", "pods", "-o", "json", "--namespace", operatorNamespace}
	}
	var pod, id string
	_, err := p.await(ctx, 2*time.Minute, "a running "+role, func(*status) bool {
		out, err := p.kubectl(ctx, nil, args...)
		if err == nil {
			pod, id = eldest(out)
		}
		return id != ""
	})
	if err != nil {
		return err
	}
	p.say("kill -9 %s (%s)", role, pod)
	_, err = p.command(ctx, nil, p.killWith, id)
	return err
}

// eldest picks the running container that started first out of a list of pods.
func eldest(pods []byte) (pod, container string) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				ContainerStatuses []struct {
					ContainerID string
					State       struct {
						Running *struct{ StartedAt time.Time }
					}
				}
			}
		}
	}
	if json.Unmarshal(pods, &list) != nil {
		return "", ""
	}
	var first time.Time
	for _, i := range list.Items {
		for _, c := range i.Status.ContainerStatuses {
			if r := c.State.Running; r != nil && (pod == "" || r.StartedAt.Before(first)) {
				pod, container, first = i.Metadata.Name, strings.TrimPrefix(c.ContainerID, "containerd://"), r.StartedAt
			}
		}
	}
	return pod, container
}

// status reads the Migration, and says when something moved.
func (p *kubePlatform) status(ctx context.Context) (*status, error) {
	out, err := p.kubectl(ctx, nil, "get", "migration", "demo", "-o", "json")
	if err != nil {
		return nil, err
	}
	var m struct{ Status status }
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, err
	}
	s := &m.Status
	if line := fmt.Sprintf("%s, %d %% copied", s.Phase, s.Progress.Percent); line != p.said && s.Phase != "" {
		p.said = line
		p.say("kubectl get migration: %s, %d waiting to be copied", line, s.Lag.Objects)
	}
	return s, nil
}

func (p *kubePlatform) switchTo(ctx context.Context, store string) error {
	patch := fmt.Sprintf(`{"spec":{"switch":{"to":%q}}}`, store)
	p.say("kubectl patch migration demo --type merge -p '%s'", patch)
	_, err := p.kubectl(ctx, nil, "patch", "migration", "demo", "--type", "merge", "-p", patch)
	return err
}

func (p *kubePlatform) alive() error { return nil }

func (p *kubePlatform) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if st, err := p.status(ctx); err == nil {
		fmt.Printf("Last status: %s\n", st)
	}
	dump, err := p.redisCLI(ctx, "eval", ledgerDump, "0")
	fmt.Printf("Ledger: %v\n", err)
	for _, l := range strings.Split(string(dump), "\n") {
		fmt.Printf("  %q\n", l)
	}
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "-n", operatorNamespace, "-l", "app.kubernetes.io/name=crossfade", "--tail=20"},
		{"logs", "-l", "app.kubernetes.io/name=crossfade", "--prefix", "--tail=20"},
	} {
		out, _ := p.kubectl(ctx, nil, args...)
		fmt.Printf("kubectl %s:\n%s\n", strings.Join(args, " "), out)
	}
}

func (p *kubePlatform) redisBytes(ctx context.Context) (used, peak int64) {
	out, _ := p.redisCLI(ctx, "info", "memory")
	return memoryOf(string(out))
}

// redisCLI asks the operator's Redis, in its pod.
func (p *kubePlatform) redisCLI(ctx context.Context, args ...string) ([]byte, error) {
	pod, err := p.kubectl(ctx, nil, "get", "pods", "-l", ours("redis"), "-o", "jsonpath={.items[0].metadata.name}")
	if err != nil {
		return nil, err
	}
	return p.kubectl(ctx, nil, append([]string{"exec", string(pod), "--", "sh", "-c",
		`read -r _ password </etc/redis/redis.conf; REDISCLI_AUTH=$password exec redis-cli "$@"`, "redis-cli"}, args...)...)
}

func (p *kubePlatform) kubectl(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	return p.command(ctx, stdin, "kubectl", append([]string{"--namespace", demoNamespace}, args...)...)
}

// tool is the path of a tool of the checkout, or of the PATH.
func (p *kubePlatform) tool(name string) string {
	for _, dir := range []string{"bin/kube", "bin"} {
		if found, err := exec.LookPath(filepath.Join(p.root, dir, name)); err == nil {
			return found
		}
	}
	return name
}

func (p *kubePlatform) command(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, p.tool(name), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, errors.Join(fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err), errors.New(strings.TrimSpace(stderr.String())))
	}
	return out, nil
}
