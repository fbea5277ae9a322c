package controllers

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// An API server takes everything that the chart renders, with no unknown field.
func TestTheChartIsAccepted(t *testing.T) {
	w := newWorld(t)
	helm := filepath.Join("..", "bin", "helm")
	if _, err := os.Stat(helm); err != nil {
		if helm, err = exec.LookPath("helm"); err != nil {
			t.Skip("needs helm: hack/tool.sh helm builds it")
		}
	}
	strict := client.WithFieldValidation(api, "Strict")
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
