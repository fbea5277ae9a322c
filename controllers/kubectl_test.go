package controllers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
)

// kubectl runs in the world's namespace; it returns all that it prints.
func (w *world) kubectl(stdin string, args ...string) (string, error) {
	w.t.Helper()
	config := filepath.Join(w.t.TempDir(), "kubeconfig")
	w.Expect(os.WriteFile(config, kubeconfig, 0o600)).To(gomega.Succeed())
	cmd := exec.CommandContext(w.ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"),
		append([]string{"--kubeconfig", config, "--cache-dir", w.t.TempDir(), "--namespace", w.ns}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) must(stdin string, args ...string) string {
	w.t.Helper()
	out, err := w.kubectl(stdin, args...)
	if err != nil {
		w.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// The README's commands, as they stand there.
func TestKubectlDoesWhatTheReadmeSays(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"old", "new"} {
		w.must("", "create", "secret", "generic", name, "--from-literal=accessKeyID=a", "--from-literal=secretAccessKey=s")
	}
	manifest, err := yaml.Marshal(documentOf(t, ""))
	w.Expect(err).NotTo(gomega.HaveOccurred())
	w.must(string(manifest), "apply", "-f", "-")
	yes := true
	w.e.set(func(e *fakeEngine) {
		e.out.Phase, e.out.Progress.Percent = migration.CatchingUp, 100
		e.out.State.Route = ledger.Route{Epoch: 1, Main: ledger.Source, State: ledger.Steady, Sync: true}
		e.out.Conditions = []migration.Condition{{Type: migration.CondSwitchReady, Status: &yes, Reason: "Ready", Message: "It is."}}
	})
	w.must("", "wait", "migration", "photos", "--for=condition=SwitchReady", "--timeout=60s")
	out := w.must("", "get", "mig", "photos", "-o", "wide")
	for _, want := range []string{"PHASE", "MAIN", "COPIED%", "LAG", "READY", "AGE", "RATE", "ETA", "PROXY", "CatchingUp", "Source", "100", "http://photos-proxy." + w.ns + ".svc"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	w.must("", "patch", "migration", "photos", "--type", "merge", "-p", `{"spec":{"switch":{}}}`)
	w.Eventually(func() bool { return w.e.get(func(e *fakeEngine) bool { return e.in.Spec.Switch != nil }) }).Should(gomega.BeTrue())
	w.e.set(func(e *fakeEngine) {
		e.out.Phase = migration.SwitchDone
		e.out.State.Route = ledger.Route{Epoch: 5, Main: ledger.Target, State: ledger.Steady, Sync: true}
	})
	w.must("", "wait", "migration", "photos", "--for=jsonpath={.status.phase}=SwitchDone", "--timeout=60s")
	w.must("", "patch", "migration", "photos", "--type", "merge", "-p", `{"spec":{"switch":{"to":"Source"}}}`)
	if out := w.must("", "explain", "migration.spec.switch.maxPause"); !strings.Contains(out, "maxPause is how long writes may be held in mode PauseWrites") {
		t.Error(out)
	}

	// What kubectl says of mistakes.
	for name, c := range map[string]struct{ change, want string }{
		"a typo":         {"sorce: {}", `unknown field "spec.sorce"`},
		"the same store": {targetAt("http://old:9000"), sameStore},
		"other stores":   {targetAt("http://other"), "spec.target: endpoint and region cannot change once the migration has started"},
	} {
		bad, err := yaml.Marshal(documentOf(t, c.change))
		w.Expect(err).NotTo(gomega.HaveOccurred())
		if out, err := w.kubectl(string(bad), "apply", "-f", "-"); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, want %q in\n%s", name, err, c.want, out)
		}
	}
}
