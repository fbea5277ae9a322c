package controllers

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// An API server takes everything that the chart renders, with no unknown field.
func TestTheChartIsAccepted(t *testing.T) {
	w := newWorld(t)
	w.restrict()
	helm := helmOrSkip(t)
	strict := client.WithFieldValidation(api, "Strict")
	manager, leader := rulesIn(t, "role.yaml"), rulesIn(t, "leader_election.yaml")
	rules := map[string]func(name string) any{
		"ClusterRole": func(string) any { return manager },
		"Role": func(name string) any {
			if strings.HasSuffix(name, "-leader") {
				return leader
			}
			return manager
		},
	}
	for name, args := range map[string][]string{
		"defaults": nil,
		"other":    {"--set", "watchNamespaces={" + w.ns + "},manager.metrics.enabled=false,redis.storage.size=0,imagePullSecrets={a},redis.storage.className=fast"},
	} {
		t.Run(name, func(t *testing.T) {
			chart := filepath.Join("..", "charts", "crossfade")
			out, err := exec.CommandContext(w.ctx, helm, append([]string{"template", "x", chart, "-n", w.ns}, args...)...).Output()
			w.Expect(err).NotTo(gomega.HaveOccurred())
			docs := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096)
			kinds := map[string]int{}
			for {
				u := &unstructured.Unstructured{}
				err := docs.Decode(&u.Object)
				if errors.Is(err, io.EOF) {
					break
				}
				w.Expect(err).NotTo(gomega.HaveOccurred())
				if len(u.Object) == 0 {
					continue
				}
				kinds[u.GetKind()]++
				if u.GetKind() == "Deployment" {
					d := &appsv1.Deployment{}
					w.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, d)).To(gomega.Succeed())
					w.mayRun("the chart's manager", d.Spec.Template)
				}
				if role, ok := rules[u.GetKind()]; ok && !strings.HasSuffix(u.GetName(), "-edit") && !strings.HasSuffix(u.GetName(), "-view") && !strings.Contains(u.GetName(), "-metrics") {
					if d := cmp.Diff(role(u.GetName()), u.Object["rules"]); d != "" {
						t.Errorf("%s %s differs from config/rbac:\n%s", u.GetKind(), u.GetName(), d)
					}
				}
				// The definition is there already.
				if err := strict.Create(w.ctx, u, client.DryRunAll); err != nil && !apierrors.IsAlreadyExists(err) {
					t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
				}
			}
			for _, kind := range []string{"CustomResourceDefinition", "Deployment", "ServiceAccount"} {
				if kinds[kind] != 1 {
					t.Errorf("%d of kind %s", kinds[kind], kind)
				}
			}
		})
	}
}

// rulesIn are the rules of the first role in a file below config/rbac.
func rulesIn(t *testing.T, file string) any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "config", "rbac", file))
	if err != nil {
		t.Fatal(err)
	}
	u := map[string]any{}
	if err := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096).Decode(&u); err != nil {
		t.Fatal(err)
	}
	return u["rules"]
}

func TestTheChartRefusesValuesThatMakeNoSense(t *testing.T) {
	helm := helmOrSkip(t)
	for set, want := range map[string]string{
		"nosuch=1":                     "nosuch",
		"manager.replicas=-1":          "/manager/replicas",
		"manager.metrics.port=0":       "/manager/metrics/port",
		"redis.storage.size=lots":      "/redis/storage/size",
		"image.pullPolicy=Sometimes":   "/image/pullPolicy",
		"image.repository=":            "/image/repository",
		"watchNamespaces={Not A Name}": "/watchNamespaces",
		"imagePullSecrets={A_B}":       "/imagePullSecrets",
		"fullnameOverride=Foo_Bar":     "/fullnameOverride",
		"serviceAccount.name=a_b":      "/serviceAccount/name",
		"manager.workers=0":            "/manager/workers",
	} {
		out, err := exec.CommandContext(t.Context(), helm, "template", "x", filepath.Join("..", "charts", "crossfade"), "--set", set).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, want %q in\n%s", set, err, want, out)
		}
	}
}

func helmOrSkip(t *testing.T) string {
	t.Helper()
	helm := filepath.Join("..", "bin", "helm")
	if _, err := os.Stat(helm); err != nil {
		if helm, err = exec.LookPath("helm"); err != nil {
			t.Skip("needs helm: hack/tool.sh helm builds it")
		}
	}
	return helm
}
