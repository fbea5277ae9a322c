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
	// The address in the status is a name that pods can resolve; we need its IP.
	out, err := p.kubectl(ctx, nil, "get", "service", "-l", ours("proxy"), "-o", "jsonpath={.items[0].spec.clusterIP}:{.items[0].spec.ports[0].port}")
	if err != nil {
		return proxy, err
	}
	proxy.URL = "http://" + string(out)
	return proxy, p.awaitProxy(ctx, proxy)
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

// kill ends the first container of a role with SIGKILL, from outside.
func (p *kubePlatform) kill(ctx context.Context, role string) error {
	args := []string{"get", "pods", "-l", ours(role)}
	if role == "manager" {
		args = []string{"get", "pods", "--namespace", operatorNamespace}
	}
	args = append(args, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].metadata.name} {.items[0].status.containerStatuses[0].containerID}")
	out, err := p.kubectl(ctx, nil, args...)
	if err != nil {
		return err
	}
	pod, id, _ := strings.Cut(string(out), " ")
	id = strings.TrimPrefix(id, "containerd://")
	p.say("kill -9 %s (%s)", role, pod)
	_, err = p.command(ctx, nil, p.killWith, id)
	return err
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

// redisBytes asks the operator's Redis in its pod.
func (p *kubePlatform) redisBytes(ctx context.Context) (used, peak int64) {
	pod, err := p.kubectl(ctx, nil, "get", "pods", "-l", ours("redis"), "-o", "jsonpath={.items[0].metadata.name}")
	if err != nil {
		return 0, 0
	}
	out, _ := p.kubectl(ctx, nil, "exec", string(pod), "--", "sh", "-c",
		`read -r _ password </etc/redis/redis.conf; REDISCLI_AUTH=$password redis-cli info memory`)
	return memoryOf(string(out))
}

func (p *kubePlatform) kubectl(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	return p.command(ctx, stdin, "kubectl", append([]string{"--namespace", demoNamespace}, args...)...)
}

// command runs a tool of the checkout, or of the PATH.
func (p *kubePlatform) command(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	path := name
	for _, dir := range []string{"bin/kube", "bin"} {
		if found, err := exec.LookPath(filepath.Join(p.root, dir, name)); err == nil {
			path = found
			break
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, errors.Join(fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err), errors.New(strings.TrimSpace(stderr.String())))
	}
	return out, nil
}
