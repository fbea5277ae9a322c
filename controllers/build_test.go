package controllers

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

const sample = `
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: photos, namespace: media, uid: 11111111-2222-3333-4444-555555555555}
spec:
  source: {endpoint: "http://old:9000", credentialsRef: {name: old-s3}}
  target: {endpoint: "http://new:9000", credentialsRef: {name: new-s3}}
`

func load(t *testing.T, manifest string) *v1alpha1.Migration {
	t.Helper()
	c, err := config.Parse([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return c.Migration
}

func blueprintOf(m *v1alpha1.Migration) blueprint {
	b := blueprint{m: m, redis: m.Spec.Redis, images: Images{Crossfade: "crossfade:test", Redis: "valkey:test"},
		redisOptions: RedisOptions{StorageSize: resource.MustParse("2Gi")}}
	if b.redis == nil {
		b.redis = managedRedis(m)
	}
	return b
}

func TestChildrenMatchTheGoldenFiles(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		change   func(*blueprint)
	}{
		"defaults": {manifest: sample},
		"everything": {manifest: sample + `
  buckets: [{name: photos, targetName: pictures}]
  redis: {addresses: ["r1:26379", "r2:26379"], mode: Sentinel, masterName: main, credentialsRef: {name: my-redis}}
  proxy:
    autoscaling: {minReplicas: 3, maxReplicas: 9}
    clients: [{secretName: app-a, sourceCredentialsRef: {name: old-a}, targetCredentialsRef: {name: new-a}}, {secretName: app-b}]
    anonymous: Forward
    signatureV2: true
    regions: ["*"]
    domains: [s3.example.com]
    tls: {secretName: certificate}
    service: {type: LoadBalancer, port: 9000}
    resources: {requests: {cpu: "2"}}
  worker: {replicas: 5, concurrency: 64, limits: {bytesPerSecond: 200Mi, requestsPerSecond: 500}}
  paused: true
  switch: {danglingUploads: {policy: Abort, after: 10m}}
`, change: func(b *blueprint) {
			b.images.PullPolicy, b.images.PullSecrets = corev1.PullAlways, []string{"registry"}
			b.m.Status.Route = &v1alpha1.Route{Epoch: 3, Main: "Source", State: "Steady", Sync: true, Uploads: "Source", Run: true}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := blueprintOf(load(t, c.manifest))
			if c.change != nil {
				c.change(&b)
			}
			golden(t, name, b.all())
		})
	}
}

func golden(t *testing.T, name string, objs []client.Object) {
	t.Helper()
	var out strings.Builder
	for _, obj := range objs {
		gvk, err := apiutil.GVKForObject(obj, Scheme())
		if err != nil {
			t.Fatal(err)
		}
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		u, err := toApply(obj)
		if err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n" + string(y))
	}
	path := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Errorf("run go test ./controllers -run %s -update and read the difference:\n%s", t.Name(), d)
	}
}

func TestRolesCanReadTheManifestThatTheyAreGiven(t *testing.T) {
	m := load(t, sample+"  worker: {concurrency: 7}\n  switch: {danglingUploads: {policy: Abort}}\n")
	m.Status.Route = &v1alpha1.Route{Epoch: 9, Main: "Target", State: "Switched", Sync: true, Uploads: "Source"}
	b := blueprintOf(m)
	c, err := config.Parse([]byte(b.config().Data[manifestFile]))
	if err != nil {
		t.Fatal(err)
	}
	if config.LedgerName(c.Migration) != config.LedgerName(m) {
		t.Errorf("roles would use ledger %s, the manager %s", config.LedgerName(c.Migration), config.LedgerName(m))
	}
	if d := cmp.Diff(managedRedis(m), c.Migration.Spec.Redis); d != "" {
		t.Error(d)
	}
	if _, abort := config.AbortUploadsAfter(&c.Migration.Spec); !abort || c.Migration.Spec.Worker.Concurrency != 7 {
		t.Errorf("%+v", c.Migration.Spec)
	}
	if d := cmp.Diff(m.Status.Route, c.Migration.Status.Route); d != "" {
		t.Error(d)
	}
}

func podsOf(b blueprint) map[string]string {
	out := map[string]string{}
	for _, obj := range b.all() {
		if d, ok := obj.(*appsv1.Deployment); ok {
			out[d.Labels[labelComponent]] = fingerprint(d.Spec.Template)
		}
	}
	return out
}

func TestPodsAreReplacedOnlyWhenTheyMust(t *testing.T) {
	before := podsOf(blueprintOf(load(t, sample)))
	for name, c := range map[string]struct {
		change                func(*v1alpha1.Migration)
		wantProxy, wantWorker bool
	}{
		"switch asked for": {change: func(m *v1alpha1.Migration) { m.Spec.Switch = &v1alpha1.Switch{To: "Target"} }},
		"paused":           {change: func(m *v1alpha1.Migration) { m.Spec.Paused = true }},
		"more workers":     {change: func(m *v1alpha1.Migration) { m.Spec.Worker.Replicas = ptr.To[int32](9) }},
		"route changed": {change: func(m *v1alpha1.Migration) {
			m.Status.Route = &v1alpha1.Route{Epoch: 2, Main: "Source", State: "Preparing", Uploads: "Source"}
		}},
		"concurrency":    {change: func(m *v1alpha1.Migration) { m.Spec.Worker.Concurrency = 1 }, wantWorker: true},
		"another client": {change: func(m *v1alpha1.Migration) { m.Spec.Proxy.Clients = []v1alpha1.ProxyClient{{SecretName: "x"}} }, wantProxy: true},
		"other Secret":   {change: func(m *v1alpha1.Migration) { m.Spec.Source.CredentialsRef.Name = "x" }, wantProxy: true, wantWorker: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := load(t, sample)
			c.change(m)
			after := podsOf(blueprintOf(m))
			if got := after[componentProxy] != before[componentProxy]; got != c.wantProxy {
				t.Errorf("proxies replaced: %v", got)
			}
			if got := after[componentWorker] != before[componentWorker]; got != c.wantWorker {
				t.Errorf("workers replaced: %v", got)
			}
		})
	}
}

func TestNoSecretIsSpelledOutInAPod(t *testing.T) {
	b := blueprintOf(load(t, sample))
	for _, obj := range b.all() {
		var pod corev1.PodSpec
		switch o := obj.(type) {
		case *appsv1.Deployment:
			pod = o.Spec.Template.Spec
		case *appsv1.StatefulSet:
			pod = o.Spec.Template.Spec
		default:
			continue
		}
		for _, c := range pod.Containers {
			for _, e := range c.Env {
				if e.ValueFrom == nil || e.ValueFrom.FieldRef == nil {
					t.Errorf("%s: environment variable %s", obj.GetName(), e.Name)
				}
			}
			if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || *pod.AutomountServiceAccountToken {
				t.Errorf("%s: container %s may do more than it must", obj.GetName(), c.Name)
			}
		}
	}
}

func TestAnAutoscalersChoiceStands(t *testing.T) {
	m := load(t, sample+"  proxy: {autoscaling: {minReplicas: 3, maxReplicas: 9}}\n")
	for live, want := range map[int32]int32{1: 3, 5: 5, 12: 9} {
		b := blueprintOf(m)
		b.proxyReplicas = &live
		if got := *b.replicasOfProxy(); got != want {
			t.Errorf("%d replicas become %d, want %d", live, got, want)
		}
	}
}
