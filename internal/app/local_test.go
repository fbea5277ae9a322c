package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	goredis "github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
)

const sample = `# what moves
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: photos}
spec:
  source: {endpoint: "http://old:9000", credentialsRef: {name: old}} # for now
  target: {endpoint: "http://new:9000", credentialsRef: {name: new}}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "migration.yaml")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

// run is crossfade local with a manifest, and what it ends with.
func run(t *testing.T, args ...string) error {
	t.Helper()
	cmd := Command()
	cmd.SetArgs(append([]string{"local"}, args...))
	cmd.SetOut(io.Discard)
	return cmd.ExecuteContext(t.Context())
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestLocalSaysWhatIsWrongWithAManifest(t *testing.T) {
	for name, c := range map[string]struct{ manifest, want string }{
		"nothing":       {"", "holds no Migration: add a document"},
		"unknown field": {sample + "  sorce: {}\n", `unknown field "spec.sorce"`},
		"bad value":     {sample + "  switch: {maxLag: soon}\n", "spec.switch.maxLag: Invalid value: \"soon\": must be a duration"},
		"same store":    {strings.ReplaceAll(sample, "new:9000", "old:9000"), "are the same store: give spec.target another endpoint"},
		"no Secret":     {sample, "spec.source.credentialsRef: secret old: not found: add it to"},
		"no key":        {sample + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: old}\nstringData: {accessKeyID: a}\n", "secretAccessKey"},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, run(t, "-f", write(t, c.manifest), "--listen", "127.0.0.1:0", "--redis", "127.0.0.1:1"), c.want)
		})
	}
	wantError(t, run(t, "-f", filepath.Join(t.TempDir(), "none.yaml")), "no such file")
	wantError(t, run(t), `required flag(s) "file" not set`)
	wantError(t, run(t, "--fiel", "x"), "unknown flag: --fiel (crossfade local --help lists the flags)")
	for _, redis := range []string{"nohost", "redis://127.0.0.1:6379"} {
		wantError(t, run(t, "-f", write(t, sample), "--redis", redis), "--redis is host:port")
	}
}

// A Secret is looked for in two places; what is said is what helps.
func TestAMissingSecretIsToldWithItsPlace(t *testing.T) {
	dir := t.TempDir()
	file := write(t, sample)
	wantError(t, run(t, "-f", file), "secret old: not found: add it to "+file+", or to a directory that --secrets-dir names")
	wantError(t, run(t, "-f", file, "--secrets-dir", dir), "secret old: not found: add it to "+file+", or to the directory "+dir)
	wantError(t, run(t, "-f", file, "--secrets-dir", dir+"/none"), "or to the directory "+dir+"/none, which does not exist")
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "old", "accessKeyID"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, run(t, "-f", file, "--secrets-dir", dir), "secret old: credentials: key secretAccessKey is missing or empty")
	both := sample + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: old}\nstringData: {accessKeyID: a, secretAccessKey: s}\n" +
		"---\napiVersion: v1\nkind: Secret\nmetadata: {name: new}\nstringData: {accessKeyID: a, secretAccessKey: s}\n"
	file = write(t, strings.Replace(both, "spec:\n", "spec:\n  proxy: {clients: [{secretName: app}]}\n  redis: {addresses: [\"127.0.0.1:1\"]}\n", 1))
	for _, role := range []string{"proxy", "worker"} {
		cmd := Command()
		cmd.SetArgs([]string{role, "--config", write(t, sample+"  redis: {addresses: [\"127.0.0.1:1\"]}\n"), "--secrets-dir", dir + "/none", "--metrics", "127.0.0.1:0"})
		wantError(t, cmd.ExecuteContext(t.Context()), "secret old: not found: add it to")
	}
	cmd := Command()
	cmd.SetArgs([]string{"proxy", "--config", file, "--secrets-dir", dir, "--state-dir", t.TempDir(), "--metrics", "127.0.0.1:0"})
	wantError(t, cmd.ExecuteContext(t.Context()), "spec.proxy.clients[0]: secret app: not found: add it to "+file)
}

func TestSwitchIsWrittenIntoTheManifest(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		args     []string
		want     v1alpha1.Switch
		wantErr  string
	}{
		"first":           {manifest: sample, want: v1alpha1.Switch{To: "Target", Mode: "Live"}},
		"with a mode":     {manifest: sample, args: []string{"--mode", "PauseWrites"}, want: v1alpha1.Switch{To: "Target", Mode: "PauseWrites"}},
		"back":            {manifest: sample + "  switch: {to: Target}\n", args: []string{"--to", "Source"}, want: v1alpha1.Switch{To: "Source", Mode: "Live"}},
		"the rest stays":  {manifest: sample + "  switch:\n    mode: PauseWrites # strict\n    attempt: two\n  paused: false\n", want: v1alpha1.Switch{To: "Target", Mode: "PauseWrites", Attempt: "two"}},
		"a second Secret": {manifest: "apiVersion: v1\nkind: Secret\nmetadata: {name: old}\n---\n" + sample, want: v1alpha1.Switch{To: "Target", Mode: "Live"}},
		"no store":        {manifest: sample, args: []string{"--to", "Elsewhere"}, wantErr: "--to is Target or Source"},
		"other indent":    {manifest: strings.ReplaceAll(sample+"  switch: {to: Source}\n", "\n  ", "\n    "), want: v1alpha1.Switch{To: "Target", Mode: "Live"}},
		"no last newline": {manifest: sample + "  switch: {attempt: two}", want: v1alpha1.Switch{To: "Target", Mode: "Live", Attempt: "two"}},
		"comment first":   {manifest: strings.Replace(sample, "spec:\n", "spec:\n\n# two stores\n", 1), want: v1alpha1.Switch{To: "Target", Mode: "Live"}},
		"flow":            {manifest: strings.Replace(sample, "spec:\n", "spec: # all\n", 1), wantErr: "add it by hand"},
		"makes no sense":  {manifest: sample + "  switch: {mode: PauseWrites, maxPause: 5s}\n", args: []string{"--mode", "Live"}, wantErr: "maxPause is for mode PauseWrites"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.manifest)
			err := run(t, append([]string{"switch", "-f", path}, c.args...)...)
			after, rerr := os.ReadFile(path)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if c.wantErr != "" {
				wantError(t, err, c.wantErr)
				if string(after) != c.manifest {
					t.Errorf("the manifest was changed:\n%s", after)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Parse(after)
			if err != nil {
				t.Fatal(err)
			}
			if s := got.Migration.Spec.Switch; s.To != c.want.To || s.Mode != c.want.Mode || s.Attempt != c.want.Attempt {
				t.Errorf("%+v", s)
			}
			if !strings.Contains(string(after), "# for now") {
				t.Errorf("comments are gone:\n%s", after)
			}
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}
		})
	}
}

func TestAManifestThatIsOfNoUseIsToldOnce(t *testing.T) {
	path := write(t, sample)
	m, err := openManifest(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	_, err = m.reload()
	wantError(t, err, "no such file")
	if _, err := m.reload(); err != nil {
		t.Errorf("told again: %v", err)
	}
	if err := os.WriteFile(path, []byte(sample+"  paused: maybe\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = m.reload()
	wantError(t, err, "spec.paused")
	if _, err := m.reload(); err != nil || m.config().Migration.Spec.Paused {
		t.Errorf("told again: %v, or used", err)
	}
	if err := os.WriteFile(path, []byte(sample+"  paused: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := m.reload(); !changed || err != nil || !m.config().Migration.Spec.Paused {
		t.Errorf("changed %v, %v", changed, err)
	}
}

func TestWhatIsNotFollowedIsTold(t *testing.T) {
	parsed := func(text string) *v1alpha1.Migration {
		c, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c.Migration
	}
	before := parsed(sample)
	for change, want := range map[string]bool{
		"switch: {}": false, "paused: true": false, "retryFailed: now": false, "audit: {mode: Checksum}": false,
		"worker: {concurrency: 8}": true, "proxy: {anonymous: Forward}": true, "buckets: [{name: abc}]": true, "redis: {addresses: ['r:1']}": true,
	} {
		if got := wantsRestart(before, parsed(sample+"  "+change+"\n")); got != want {
			t.Errorf("%s: %v", change, got)
		}
	}
}

func TestAStoppedMigrationGoesOnWithItsOwnStoresOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	began, err := config.Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	s, err := openState(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.continues(began.Migration); err != nil {
		t.Fatalf("nothing has been kept: %v", err)
	}
	s.spec, s.status.Phase = &began.Migration.Spec, v1alpha1.PhaseCatchingUp
	if err := s.save(""); err != nil {
		t.Fatal(err)
	}
	if s, err = openState(path); err != nil {
		t.Fatal(err)
	}
	if err := s.continues(began.Migration); err != nil {
		t.Errorf("the same manifest: %v", err)
	}
	other, err := config.Parse([]byte(strings.ReplaceAll(sample, "new:9000", "newer:9000")))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.continues(other.Migration), "spec.target: endpoint and region cannot change once the migration has started")
}

func TestAStateDirectoryServesOneProcess(t *testing.T) {
	dir := t.TempDir()
	first, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockState(dir)
	wantError(t, err, "another crossfade process runs with the state directory "+dir)
	// Two proxies would each replace the journal of the other.
	proxy := proxyCommand(logr.Discard)
	proxy.SetArgs([]string{"--state-dir", dir, "--config", filepath.Join(dir, "missing.yaml")})
	proxy.SilenceErrors, proxy.SilenceUsage = true, true
	wantError(t, proxy.Execute(), "another crossfade process runs with the state directory "+dir)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockState(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	_ = again.Close()
}

// A redis-server that outlived kill -9 would go on with files that the next one uses.
func TestRedisEndsWithAProcessThatIsKilled(t *testing.T) {
	if dir := os.Getenv("CROSSFADE_TEST_REDIS_DIR"); dir != "" {
		rdb, _, err := startRedis(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		info := rdb.Info(t.Context(), "server").Val()
		_, rest, _ := strings.Cut(info, "process_id:")
		pid, _, _ := strings.Cut(rest, "\r\n")
		_, _ = os.Stdout.WriteString("pid " + pid + "\n")
		<-t.Context().Done()
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "CROSSFADE_TEST_REDIS_DIR="+dir, "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if s, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			if pid, err = strconv.Atoi(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if pid == 0 {
		t.Fatal("no redis-server was started")
	}
	for deadline := time.Now().Add(20 * time.Second); !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("redis-server lives on")
		}
	}
}

// Two migrations of one name, one after the other: the second would be served from
// the first one's main.
func TestAMigrationDoesNotBeginWithAnothersLedger(t *testing.T) {
	redis := ledgertest.Redis(t)
	client := goredis.NewClient(&goredis.Options{Addr: redis})
	t.Cleanup(func() { _ = client.Close() })
	l := ledger.New(ledger.Options{Redis: client, Migration: "default/photos"})
	if err := l.SetRoute(t.Context(), ledger.Route{Epoch: 5, Main: ledger.Target, State: ledger.Steady, Sync: true, Uploads: ledger.Target}); err != nil {
		t.Fatal(err)
	}
	const keys = "stringData: {accessKeyID: a, secretAccessKey: s}\n"
	file, state := write(t, sample+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: old}\n"+keys+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: new}\n"+keys), t.TempDir()
	args := []string{"-f", file, "--state-dir", state, "--listen", "127.0.0.1:0", "--plain", "--redis"}
	wantError(t, run(t, append(args, redis)...), "this Redis holds the ledger of a migration default/photos already, and "+state+" has no state of it: name the --state-dir")
	wantError(t, run(t, append(args, "127.0.0.1:1")...), "a migration cannot begin before its Redis answers (connect: connection refused): start it, or name another one")

	// One that has begun goes on, whether Redis answers or not.
	if err := os.WriteFile(filepath.Join(state, "status.json"), []byte(`{"spec": {}, "status": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openState(filepath.Join(state, "status.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := (&local{state: s, ledger: l}).begins(t.Context()); err != nil {
		t.Error(err)
	}
}

// The proxy of crossfade local is the clients' endpoint: that a status can't be written is no
// reason to end it.
func TestLocalGoesOnServingWhenItsStatusCantBeWritten(t *testing.T) {
	const keys = "stringData: {accessKeyID: a, secretAccessKey: s}\n"
	stores := strings.NewReplacer("old:9000", "127.0.0.1:1", "new:9000", "127.0.0.1:2").Replace(sample)
	file := write(t, stores+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: old}\n"+keys+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: new}\n"+keys)
	dir := filepath.Join(t.TempDir(), "status")
	status := filepath.Join(dir, "status.json")
	written := func() bool { _, err := os.Stat(status); return err == nil }
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		cmd := Command()
		cmd.SetArgs([]string{"local", "-f", file, "--state-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--plain", "--redis", ledgertest.Redis(t), "--status-file", status})
		cmd.SetOut(io.Discard)
		ended <- cmd.ExecuteContext(ctx)
	}()
	await := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
			select {
			case err := <-ended:
				t.Fatalf("%s: it ended: %v", what, err)
			default:
			}
			if time.Now().After(deadline) {
				t.Fatal("never: " + what)
			}
		}
	}
	await("the first status", written)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	await("it goes on", func() bool { return time.Since(gone) > 3*time.Second })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	await("a status again", written)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
