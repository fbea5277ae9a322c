package controllers

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
)

// documentOf is a valid Migration with some of its spec replaced: "key: value" lines.
func documentOf(t *testing.T, change string) map[string]any {
	t.Helper()
	spec := map[string]any{
		"source": map[string]any{"endpoint": "http://old:9000", "credentialsRef": map[string]any{"name": "old"}},
		"target": map[string]any{"endpoint": "http://new:9000", "credentialsRef": map[string]any{"name": "new"}},
	}
	over := map[string]any{}
	if err := yaml.Unmarshal([]byte(change), &over); err != nil {
		t.Fatal(err)
	}
	maps.Copy(spec, over)
	return map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.KindMigration,
		"metadata": map[string]any{"name": "photos"}, "spec": spec}
}

func manifestOf(t *testing.T, change string) *v1alpha1.Migration {
	t.Helper()
	b, err := json.Marshal(documentOf(t, change))
	if err != nil {
		t.Fatal(err)
	}
	m := &v1alpha1.Migration{}
	if err := json.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// targetAt is a target at an endpoint.
func targetAt(endpoint string) string {
	return `target: {endpoint: "` + endpoint + `", credentialsRef: {name: new}}` + "\n"
}

// sourceAt is a source at an endpoint.
func sourceAt(endpoint string) string {
	return `source: {endpoint: "` + endpoint + `", credentialsRef: {name: old}}` + "\n"
}

const sameStore = "spec.source and spec.target are the same store"

// specs are refused with these words, or accepted with none.
var specs = map[string]struct{ change, want string }{
	"minimal":                       {"", ""},
	"switch with nothing said":      {"switch: {}", ""},
	"all there is":                  {"buckets: [{name: abc, targetName: xyz}, {name: Old_Bucket.1}]\nredis: {addresses: ['r:6379']}\nversions: Latest\naudit: {mode: Checksum, onDifference: Report, trigger: now}\nretryFailed: x\nswitch: {to: Target, mode: PauseWrites, maxPause: 5m, reverse: false, danglingUploads: {policy: Abort, after: 1h}, maxLag: 1s, maxDirty: 0, overrides: [AuditClean, NothingFailed, CaughtUp], attempt: a}\nworker: {limits: {bytesPerSecond: 200Mi}}", ""},
	"same store":                    {targetAt("http://old:9000"), sameStore},
	"same store in upper case":      {targetAt("http://OLD:9000"), sameStore},
	"same store, trailing slash":    {targetAt("http://old:9000/"), sameStore},
	"same store, port said":         {sourceAt("https://old") + targetAt("https://old:443"), sameStore},
	"same store, http port said":    {sourceAt("http://old:80/") + targetAt("http://old"), sameStore},
	"same store, other scheme":      {sourceAt("http://old") + targetAt("https://old"), sameStore},
	"same host, other port":         {sourceAt("https://old") + targetAt("https://old:9443"), ""},
	"same store, same bucket names": {targetAt("http://old:9000") + "buckets: [{name: abc}]", sameStore},
	"same store, some other names":  {targetAt("http://old:9000") + "buckets: [{name: abc, targetName: xyz}, {name: def}]", sameStore},
	"same store, names swapped":     {targetAt("http://old:9000") + "buckets: [{name: abc, targetName: def}, {name: def, targetName: abc}]", "a targetName that is none of their names"},
	"same store, other names":       {targetAt("http://old:9000") + "buckets: [{name: abc, targetName: xyz}]", ""},
	"other store, names swapped":    {"buckets: [{name: abc, targetName: def}, {name: def, targetName: abc}]", ""},
	"same host, other region":       {`target: {endpoint: "http://old:9000", region: eu-west-1, credentialsRef: {name: new}}`, ""},
	"no scheme":                     {`target: {endpoint: "new.example.com", credentialsRef: {name: new}}`, "must be an http:// or https:// URL"},
	"other scheme":                  {`target: {endpoint: "ftp://new.example.com", credentialsRef: {name: new}}`, "must be an http:// or https:// URL"},
	"path":                          {`target: {endpoint: "https://new.example.com/s3", credentialsRef: {name: new}}`, "without path, query or credentials"},
	"credentials in the URL":        {`target: {endpoint: "https://a:b@new.example.com", credentialsRef: {name: new}}`, "without path, query or credentials"},
	"port out of range":             {targetAt("https://new:99999"), "the port must be from 1 to 65535"},
	"port 0":                        {targetAt("https://new:0"), "the port must be from 1 to 65535"},
	"port left empty":               {targetAt("https://old:"), "the port must be from 1 to 65535"},
	"port left empty, and a slash":  {targetAt("https://new:/"), "the port must be from 1 to 65535"},
	"largest port":                  {targetAt("https://new:65535/"), ""},
	"IPv6":                          {targetAt("https://[::1]") + sourceAt("https://[::1]:9000"), ""},
	"unknown addressing":            {`target: {endpoint: "https://new", addressing: Magic, credentialsRef: {name: new}}`, `supported values: "Path", "VirtualHost"`},
	"bad Secret name":               {`target: {endpoint: "https://new", credentialsRef: {name: "New!"}}`, "spec.target.credentialsRef.name"},
	"bad bucket name":               {"buckets: [{name: 'a/b'}]", "spec.buckets[0].name"},
	"short bucket name":             {"buckets: [{name: ab}]", "spec.buckets[0].name"},
	"bad target name":               {"buckets: [{name: abc, targetName: A_b}]", "spec.buckets[0].targetName"},
	"bucket twice":                  {"buckets: [{name: abc}, {name: abc, targetName: xyz}]", "Duplicate value"},
	"target name twice":             {"buckets: [{name: abc, targetName: xyz}, {name: def, targetName: xyz}]", "give each one its own targetName"},
	"target name of another":        {"buckets: [{name: abc}, {name: def, targetName: abc}]", "give each one its own targetName"},
	"unknown versions":              {"versions: Some", `supported values: "Latest", "All"`},
	"all versions":                  {"versions: All", "spec.versions: Invalid value: \"All\": All is not supported yet: only the newest version of each object moves"},
	"unknown audit":                 {"audit: {mode: Maybe}", `supported values: "ETag", "Checksum", "Off"`},
	"unknown audit action":          {"audit: {onDifference: Shrug}", `supported values: "Repair", "Report"`},
	"audit off, but triggered":      {"audit: {mode: 'Off', trigger: now}", "trigger asks for an audit, but mode is Off"},
	"audit off":                     {"audit: {mode: 'Off', trigger: ''}", ""},
	"audit trigger too long":        {"audit: {trigger: " + strings.Repeat("x", 254) + "}", "spec.audit.trigger"},
	"unknown store":                 {"switch: {to: Elsewhere}", `supported values: "Source", "Target"`},
	"unknown mode":                  {"switch: {mode: Slow}", `supported values: "Live", "PauseWrites"`},
	"maxPause without PauseWrites":  {"switch: {maxPause: 5s}", "maxPause is for mode PauseWrites"},
	"maxPause that is no duration":  {"switch: {mode: PauseWrites, maxPause: soon}", "must be a duration like 30s or 1m30s"},
	"maxPause in days":              {"switch: {mode: PauseWrites, maxPause: 1d}", "must be a duration like 30s or 1m30s"},
	"maxPause of nothing":           {"switch: {mode: PauseWrites, maxPause: 0s}", "more than 0s and at most 5m"},
	"a duration without end":        {"switch: {maxLag: 999999h999999h999999h}", "must be a duration like 30s or 1m30s"},
	"maxLag that is no duration":    {"switch: {maxLag: soon}", "must be a duration like 30s or 1m30s"},
	"after that is no duration":     {"switch: {danglingUploads: {policy: Abort, after: soon}}", "must be a duration like 30m or 12h"},
	"negative after":                {"switch: {danglingUploads: {policy: Abort, after: -1s}}", "and not negative"},
	"negative maxDirty":             {"switch: {maxDirty: -1}", "spec.switch.maxDirty"},
	"text for a number":             {"worker: {concurrency: many}", "spec.worker.concurrency"},
	"bytes that are no quantity":    {"worker: {limits: {bytesPerSecond: fast}}", "spec.worker.limits.bytesPerSecond"},
	"no endpoint":                   {"target: {credentialsRef: {name: new}}", "spec.target.endpoint: Required value"},
	"no credentials":                {`target: {endpoint: "http://new"}`, "spec.target.credentialsRef: Required value"},
	"maxPause too long":             {"switch: {mode: PauseWrites, maxPause: 10m}", "at most 5m"},
	"after without Abort":           {"switch: {danglingUploads: {after: 1h}}", "after is for policy Abort"},
	"unknown policy":                {"switch: {danglingUploads: {policy: Shrug}}", `supported values: "Wait", "Abort"`},
	"unknown guard":                 {"switch: {overrides: [StoresReachable]}", `supported values: "NothingFailed", "AuditClean", "CaughtUp"`},
	"no Redis address":              {"redis: {addresses: []}", "spec.redis.addresses"},
	"Redis URL":                     {"redis: {addresses: ['redis://r:6379']}", "must be host:port, like redis.example.com:6379"},
	"Redis without a port":          {"redis: {addresses: [redis]}", "must be host:port"},
	"Redis with a password":         {"redis: {addresses: ['pw@r:6379']}", "a password belongs into the Secret"},
	"Redis' port out of range":      {"redis: {addresses: ['r:65536']}", "must be host:port"},
	"Redis by IPv6":                 {"redis: {addresses: ['[::1]:6379']}", ""},
	"audit off without quotes":      {"audit: {mode: Off}", `spec.audit.mode: Unsupported value: false: supported values: "ETag", "Checksum", "Off"`},
	"two addresses of one Redis":    {"redis: {addresses: ['a:1', 'b:2']}", "mode Single takes exactly one address"},
	"Sentinel without master":       {"redis: {addresses: ['a:1'], mode: Sentinel}", "masterName must be given with mode Sentinel"},
	"master without Sentinel":       {"redis: {addresses: ['a:1'], masterName: x}", "masterName must be given with mode Sentinel"},
	"no proxy":                      {"proxy: {replicas: 0}", "spec.proxy.replicas"},
	"unknown Service type":          {"proxy: {service: {type: ExternalName}}", `supported values: "ClusterIP", "NodePort", "LoadBalancer"`},
	"autoscaling the wrong way":     {"proxy: {autoscaling: {minReplicas: 5, maxReplicas: 2}}", "minReplicas must not be larger than maxReplicas"},
	"autoscaling by no CPU":         {"proxy: {autoscaling: {maxReplicas: 4}, resources: {limits: {memory: 2Gi}}}", "autoscaling goes by the CPU that a pod requests"},
	"autoscaling by requests":       {"proxy: {autoscaling: {maxReplicas: 4}, resources: {requests: {cpu: 1}}}", ""},
	"autoscaling by limits":         {"proxy: {autoscaling: {maxReplicas: 4}, resources: {limits: {cpu: 500m}}}", ""},
	"autoscaling by the default":    {"proxy: {autoscaling: {maxReplicas: 4}}", ""},
	"resources, no autoscaling":     {"proxy: {resources: {limits: {memory: 2Gi}}}", ""},
	"client twice":                  {"proxy: {clients: [{secretName: a}, {secretName: a}]}", "Duplicate value"},
	"no bytes a second":             {"worker: {limits: {bytesPerSecond: 0}}", "leave it out for no limit"},
	"thousandths of a byte":         {"worker: {limits: {bytesPerSecond: 200m}}", "M is for millions, m for thousandths"},
	"too much concurrency":          {"worker: {concurrency: 5000}", "spec.worker.concurrency"},
}

func TestApplyRefusesBadSpecsInWordsThatHelp(t *testing.T) {
	w := newWorld(t)
	for name, c := range specs {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: documentOf(t, c.change)}
			u.SetNamespace(w.ns)
			checkRefusal(t, api.Create(w.ctx, u, client.DryRunAll), c.want)
		})
	}
	m := manifestOf(t, "")
	m.Namespace, m.Name = w.ns, "2-photos"
	checkRefusal(t, api.Create(w.ctx, m, client.DryRunAll), "metadata.name must be at most 40 lower-case letters")
}

func checkRefusal(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("got %v, want %q", err, want)
	}
}

// What crossfade local refuses is what an API server refuses.
func TestTheSameIsRefusedWithoutAnAPIServer(t *testing.T) {
	for name, c := range specs {
		t.Run(name, func(t *testing.T) {
			b, err := yaml.Marshal(documentOf(t, c.change))
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Parse(b)
			checkRefusal(t, err, c.want)
		})
	}
}

func TestChangesAreRefusedOnceTheyWouldHarm(t *testing.T) {
	started := v1alpha1.MigrationStatus{Phase: v1alpha1.PhaseCopying}
	moved := v1alpha1.MigrationStatus{Phase: v1alpha1.PhaseSwitchDone, Route: &v1alpha1.Route{Epoch: 5, Main: "Target", State: "Steady", Sync: true, Uploads: "Target"}}
	noReturn := *moved.DeepCopy()
	noReturn.Route.Sync = false
	back := v1alpha1.MigrationStatus{Phase: v1alpha1.PhaseCatchingUp, Route: &v1alpha1.Route{Epoch: 8, Main: "Source", State: "Steady", Uploads: "Source"}}
	for name, c := range map[string]struct {
		before string
		status v1alpha1.MigrationStatus
		after  string
		want   string
	}{
		"target before the start":      {after: `target: {endpoint: "http://other", credentialsRef: {name: new}}`},
		"target after the start":       {status: started, after: `target: {endpoint: "http://other", credentialsRef: {name: new}}`, want: "spec.target: endpoint and region cannot change"},
		"source after the start":       {status: started, after: `source: {endpoint: "http://old:9000", region: other, credentialsRef: {name: old}}`, want: "spec.source: endpoint and region cannot change"},
		"keys after the start":         {status: started, after: `source: {endpoint: "http://old:9000", credentialsRef: {name: rotated}}`},
		"buckets after the start":      {before: "buckets: [{name: abc}]", status: started, after: "buckets: [{name: abc}, {name: def}]", want: "spec.buckets cannot change"},
		"no buckets after the start":   {before: "buckets: [{name: abc}]", status: started, want: "spec.buckets cannot change"},
		"own Redis after the start":    {status: started, after: "redis: {addresses: ['r:6379']}", want: "spec.redis: only credentialsRef can change"},
		"other Redis after the start":  {before: "redis: {addresses: ['r:6379']}", status: started, after: "redis: {addresses: ['s:6379']}", want: "spec.redis: only credentialsRef can change"},
		"Redis' keys after the start":  {before: "redis: {addresses: ['r:6379']}", status: started, after: "redis: {addresses: ['r:6379'], credentialsRef: {name: r}}"},
		"limits after the start":       {status: started, after: "worker: {concurrency: 1}"},
		"taking a switch back":         {before: "switch: {}", status: started},
		"taking a done switch back":    {before: "switch: {}", status: moved, want: "spec.switch cannot be taken away once clients write to the target"},
		"going back":                   {before: "switch: {}", status: moved, after: "switch: {to: Source}"},
		"going back without reverse":   {before: "switch: {reverse: false}", status: noReturn, after: "switch: {to: Source, reverse: false}", want: "spec.switch.to: cannot go back to Source, because reverse was off"},
		"reverse off after the switch": {before: "switch: {}", status: moved, after: "switch: {reverse: false}"},
		"reverse on after it was off":  {before: "switch: {reverse: false}", status: noReturn, after: "switch: {reverse: true}", want: "spec.switch.reverse cannot be turned on after the switch"},
		"to the target again":          {before: "switch: {to: Source, reverse: false}", status: back, after: "switch: {to: Target, reverse: false}", want: "spec.switch.to: cannot go to Target again, because reverse was off"},
		"reverse on after going back":  {before: "switch: {to: Source, reverse: false}", status: back, after: "switch: {to: Source}", want: "spec.switch.reverse cannot be turned on after the switch"},
		"switch off after going back":  {before: "switch: {to: Source, reverse: false}", status: back},
		"label without a way back":     {before: "switch: {reverse: false}", status: noReturn, after: "switch: {reverse: false}"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := manifestOf(t, c.before)
			m.Namespace = w.ns
			w.Expect(api.Create(w.ctx, m)).To(gomega.Succeed())
			w.Eventually(w.condition("Stalled")).Should(gomega.Equal("True SecretNotFound"))
			status, err := json.Marshal(map[string]any{"status": c.status})
			w.Expect(err).NotTo(gomega.HaveOccurred())
			w.Expect(api.Status().Patch(w.ctx, m, client.RawPatch("application/merge-patch+json", status))).To(gomega.Succeed())
			next := manifestOf(t, c.after)
			w.Eventually(func() error {
				now := w.read()
				next.ObjectMeta = *now.ObjectMeta.DeepCopy()
				next.Annotations = map[string]string{"changed": "yes"}
				err := api.Update(w.ctx, next.DeepCopy())
				if err != nil && strings.Contains(err.Error(), "the object has been modified") {
					return err
				}
				checkRefusal(t, err, c.want)
				return nil
			}).Should(gomega.Succeed())
		})
	}
}

func TestKubectlGetShowsWhatMatters(t *testing.T) {
	w := newWorld(t)
	w.start()
	cfg := rest.CopyConfig(restConfig)
	hc, err := rest.HTTPClientFor(cfg)
	w.Expect(err).NotTo(gomega.HaveOccurred())
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, strings.TrimSuffix(cfg.Host, "/")+"/apis/crossfade.io/v1alpha1/namespaces/"+w.ns+"/migrations", nil)
	w.Expect(err).NotTo(gomega.HaveOccurred())
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	resp, err := hc.Do(req)
	w.Expect(err).NotTo(gomega.HaveOccurred())
	defer func() { _ = resp.Body.Close() }()
	var table metav1.Table
	w.Expect(json.NewDecoder(resp.Body).Decode(&table)).To(gomega.Succeed())
	var narrow, wide []string
	for _, c := range table.ColumnDefinitions {
		if c.Priority == 0 {
			narrow = append(narrow, c.Name)
		} else {
			wide = append(wide, c.Name)
		}
	}
	if d := cmp.Diff([]string{"Name", "Phase", "Main", "Copied%", "Lag", "Ready", "Age"}, narrow); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"Rate", "ETA", "Proxy"} {
		if !slices.Contains(wide, name) {
			t.Errorf("-o wide lacks %s", name)
		}
	}
}
