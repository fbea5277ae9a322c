package config

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
	"github.com/crossfade-io/crossfade/internal/migration"
)

const minimal = `
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: photos, namespace: media}
spec:
  source: {endpoint: "http://old:9000", credentialsRef: {name: old}}
  target: {endpoint: "http://new:9000", credentialsRef: {name: new}}
`

func parse(t *testing.T, manifest string) *Config {
	t.Helper()
	c, err := Parse([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseAppliesTheDefaultsOfTheCRD(t *testing.T) {
	m := parse(t, minimal+"  switch: {}\n").Migration
	two, yes := int32(2), true
	want := v1alpha1.MigrationSpec{
		Source: v1alpha1.Store{Endpoint: "http://old:9000", Region: "us-east-1", Addressing: "Path", CredentialsRef: v1alpha1.SecretReference{Name: "old"}},
		Target: v1alpha1.Store{Endpoint: "http://new:9000", Region: "us-east-1", Addressing: "Path", CredentialsRef: v1alpha1.SecretReference{Name: "new"}},
		Proxy:  v1alpha1.Proxy{Replicas: &two, Anonymous: v1alpha1.AnonymousRefuse, Service: v1alpha1.ProxyService{Type: "ClusterIP", Port: 80}},
		Worker: v1alpha1.Worker{Replicas: &two, Concurrency: 32},

		Versions: "Latest", Audit: v1alpha1.Audit{Mode: "ETag", OnDifference: "Repair"},
		Switch: &v1alpha1.Switch{To: "Target", Mode: "Live", Reverse: &yes, DanglingUploads: v1alpha1.DanglingUploads{Policy: "Wait"}},
	}
	if d := cmp.Diff(want, m.Spec); d != "" {
		t.Error(d)
	}
	if m.Name != "photos" || m.Namespace != "media" {
		t.Errorf("metadata %v", m.ObjectMeta)
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ manifest, want string }{
		"no migration":   {"# nothing\n", "holds no Migration"},
		"two migrations": {minimal + "---" + minimal, "a second Migration"},
		"other kind":     {"apiVersion: v1\nkind: Pod\n", `kind "Pod"`},
		"unknown field":  {minimal + "  sorce: {}\n", `unknown field "spec.sorce"`},
		"not YAML":       {"a: [", "not YAML"},
		"unknown enum":   {minimal + "  versions: Some\n", `spec.versions: Unsupported value: "Some"`},
		"same store": {strings.Replace(minimal, "http://new:9000", "http://OLD:9000", 1),
			"spec.source and spec.target are the same store"},
		"no URL":                       {strings.Replace(minimal, "http://new:9000", "new:9000:1", 1), "spec.target.endpoint: Invalid value"},
		"too many":                     {minimal + "  worker: {concurrency: 100000}\n", "spec.worker.concurrency"},
		"maxPause without PauseWrites": {minimal + "  switch: {maxPause: 5s}\n", "maxPause is for mode PauseWrites"},
		"duplicate bucket":             {minimal + "  buckets: [{name: abc}, {name: abc}]\n", "Duplicate value"},
		"where":                        {minimal + "  switch: {maxLag: soon}\n", "invalid Migration:\n  spec.switch.maxLag: Invalid value"},
		"root":                         {strings.Replace(minimal, "photos", "2-photos", 1), "invalid Migration:\n  Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.manifest))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// What people copy is accepted.
func TestSamplesAreAccepted(t *testing.T) {
	root := filepath.Join("..", "..")
	c, err := Load(filepath.Join(root, "config", "samples", "migration.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Stores(c.Migration, c.Secrets); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"README.md", filepath.Join("charts", "crossfade", "templates", "NOTES.txt")} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "kubectl apply -f - <<")
		_, rest, _ = strings.Cut(rest, "\n")
		text, _, ok := strings.Cut(rest, "EOF")
		if !ok {
			t.Fatalf("%s shows no manifest", file)
		}
		indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
		if _, err := Parse([]byte(strings.ReplaceAll("\n"+text, "\n"+indent, "\n"))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(root, "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok || !strings.HasPrefix(text, "switch:\n") {
		t.Fatal("docs/api.md shows no switch")
	}
	if _, err := Parse([]byte(minimal + "  " + strings.ReplaceAll(text, "\n", "\n  "))); err != nil {
		t.Errorf("docs/api.md: %v", err)
	}
}

func TestCheckChangeKeepsAStartedMigrationsStores(t *testing.T) {
	old := parse(t, minimal).Migration
	moved := parse(t, strings.Replace(minimal, "http://new", "http://newer", 1)).Migration
	if err := CheckChange(old, moved); err != nil {
		t.Errorf("before the start: %v", err)
	}
	old.Status.Phase = v1alpha1.PhaseCopying
	if err := CheckChange(old, moved); err == nil || !strings.Contains(err.Error(), "spec.target: endpoint and region cannot change") {
		t.Errorf("after the start: %v", err)
	}
	asked := parse(t, minimal+"  switch: {}\n").Migration
	if err := CheckChange(old, asked); err != nil {
		t.Errorf("asking for a switch: %v", err)
	}
}

func TestSecretsStandInTheManifestOrInADirectory(t *testing.T) {
	c := parse(t, minimal+`---
apiVersion: v1
kind: Secret
metadata: {name: old}
stringData: {accessKeyID: AKIA, secretAccessKey: s3cr3t}
---
apiVersion: v1
kind: Secret
metadata: {name: new}
data: {accessKeyID: bmV3, secretAccessKey: c2VjcmV0}
`)
	dir := t.TempDir()
	for k, v := range map[string]string{"accessKeyID": "AKIA\n", "secretAccessKey": "s3cr3t\n"} {
		_ = os.MkdirAll(filepath.Join(dir, "old"), 0o700)
		if err := os.WriteFile(filepath.Join(dir, "old", k), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range map[string]Secrets{"manifest": c.Secrets, "directory": DirSecrets(dir), "both": Layered{MemorySecrets{}, DirSecrets(dir)}} {
		f, err := s.Credentials("old")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := f(); got.AccessKeyID != "AKIA" || got.SecretAccessKey != "s3cr3t" || got.SessionToken != "" {
			t.Errorf("%s: %s", name, got)
		}
		if _, err := s.Credentials("none"); err == nil || !strings.Contains(err.Error(), "none") {
			t.Errorf("%s: missing Secret: %v", name, err)
		}
	}
	stores, err := Stores(c.Migration, c.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	if got := stores[ledger.Target].CredentialsFunc()(); got.AccessKeyID != "new" || got.SecretAccessKey != "secret" {
		t.Errorf("target: %s", got)
	}
	clients, err := Clients(c.Migration, c.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	if len(clients) != 1 || len(clients[0].Keys()) != 1 || clients[0].Keys()[0].AccessKeyID != "AKIA" {
		t.Error("without spec.proxy.clients, the source's own keys, and no others, are the clients'")
	}
}

func TestEngineSpecCarriesTheSwitch(t *testing.T) {
	m := parse(t, minimal+`  buckets: [{name: abc, targetName: xyz}, {name: def}]
  paused: true
  retryFailed: again
  audit: {mode: Checksum, onDifference: Report, trigger: now}
  switch: {to: Source, mode: PauseWrites, maxPause: 5s, reverse: false, maxLag: 2s, maxDirty: 3, overrides: [AuditClean], attempt: two}
`).Migration
	want := migration.Spec{
		Buckets: []string{"abc", "def"}, Paused: true, RetryFailed: "again",
		Audit: migration.AuditRequest{Mode: "Checksum", Trigger: "now"},
		Switch: &migration.SwitchRequest{To: ledger.Source, PauseWrites: true, MaxPause: 5 * time.Second, MaxLag: 2 * time.Second, MaxDirty: 3,
			Overrides: map[migration.Guard]bool{migration.GuardAuditClean: true}, Attempt: "two"},
	}
	if d := cmp.Diff(want, EngineSpec(&m.Spec)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"abc": "xyz"}, TargetNames(m)); d != "" {
		t.Error(d)
	}
	m.Spec.Switch = &v1alpha1.Switch{DanglingUploads: v1alpha1.DanglingUploads{Policy: v1alpha1.UploadsAbort, After: &metav1.Duration{Duration: time.Minute}}}
	if after, abort := AbortUploadsAfter(&m.Spec); !abort || after != time.Minute {
		t.Errorf("dangling uploads: %v %v", after, abort)
	}
}

func TestLedgerNameTellsMigrationsApart(t *testing.T) {
	m := parse(t, minimal).Migration
	if got := LedgerName(m); got != "media/photos" {
		t.Error(got)
	}
	m.UID = "1-2-3"
	if got := LedgerName(m); got != "media/photos/1-2-3" {
		t.Error(got)
	}
}

// Who mends the Secret, or rotates the password, restarts nothing.
func TestRedisPasswordIsFollowed(t *testing.T) {
	addr := ledgertest.Redis(t)
	admin := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = admin.Close() }()
	var current atomic.Pointer[MemorySecrets]
	hold := func(s MemorySecrets) { current.Store(&s) }
	hold(MemorySecrets{"redis": {"password": "wrong"}})
	rdb, err := OpenRedis(&v1alpha1.Redis{Addresses: []string{addr}, CredentialsRef: &v1alpha1.SecretReference{Name: "redis"}},
		FollowSecrets(func() Secrets { return *current.Load() }))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rdb.Close() }()
	set := func(password string) {
		t.Helper()
		if err := admin.ConfigSet(t.Context(), "requirepass", password).Err(); err != nil {
			t.Fatal(err)
		}
		if err := admin.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("one")
	if err := rdb.Ping(t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
		t.Fatalf("a wrong password: %v", err)
	}
	hold(MemorySecrets{"redis": {"password": "one"}})
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the Secret was mended: %v", err)
	}
	hold(MemorySecrets{})
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the Secret is away: %v", err)
	}
	set("two")
	hold(MemorySecrets{"redis": {"password": "two"}})
	for tries := 0; ; tries++ { // the pool finds out one by one which connections are gone
		err := rdb.Ping(t.Context()).Err()
		if err == nil {
			break
		}
		if tries == 5 {
			t.Fatalf("the password was rotated: %v", err)
		}
	}
}

func TestOpenRedisFollowsTheMode(t *testing.T) {
	secrets := MemorySecrets{"redis": {"password": "pw", "username": "u"}}
	ref := &v1alpha1.SecretReference{Name: "redis"}
	single, err := OpenRedis(&v1alpha1.Redis{Addresses: []string{"a:1"}, CredentialsRef: ref}, secrets)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = single.Close() }()
	c, ok := single.(*redis.Client)
	if !ok || c.Options().Addr != "a:1" || c.Options().Password != "pw" || c.Options().Username != "u" {
		t.Errorf("single: %T", single)
	}
	cluster, err := OpenRedis(&v1alpha1.Redis{Addresses: []string{"a:1"}, Mode: v1alpha1.RedisCluster}, secrets)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cluster.Close() }()
	if _, ok := cluster.(*redis.ClusterClient); !ok {
		t.Errorf("cluster: %T", cluster)
	}
	if _, err := OpenRedis(nil, secrets); err == nil {
		t.Error("no Redis: want an error")
	}
	if _, err := OpenRedis(&v1alpha1.Redis{Addresses: []string{"a:1"}, CredentialsRef: &v1alpha1.SecretReference{Name: "x"}}, secrets); err == nil {
		t.Error("missing Secret: want an error")
	}
}
