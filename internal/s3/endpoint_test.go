package s3

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEndpointValidate(t *testing.T) {
	for url, want := range map[string]string{
		"https://s3.example.com":      "",
		"http://127.0.0.1:9000/":      "",
		"https://s3.example.com/base": "",
		"s3.example.com":              "must begin with http",
		"ftp://s3.example.com":        "must begin with http",
		"https://":                    "has no host",
		"https://key:secret@host":     "must not hold credentials",
		"https://host?x=y":            "must not hold a query",
		"":                            "must begin with http",
	} {
		err := Endpoint{URL: url}.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error tells the secret: %v", url, err)
		}
	}
	if err := (Endpoint{URL: "http://host", Addressing: "Hosted"}).Validate(); err == nil {
		t.Error("unknown addressing was taken")
	}
}

func TestEndpointTrustsItsCABundle(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake
	server.StartTLS()
	t.Cleanup(server.Close)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, tt := range map[string]struct {
		bundle []byte
		want   bool
	}{"with": {bundle, true}, "without": {nil, false}} {
		transport, err := Endpoint{URL: server.URL, CABundle: tt.bundle}.NewTransport()
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Get(server.URL)
		if (err == nil) != tt.want {
			t.Errorf("%s bundle: %v", name, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		} else if Classify(err) != Fatal {
			t.Errorf("%s bundle: %v is %s", name, err, Classify(err))
		}
		transport.CloseIdleConnections()
	}
	if _, err := (Endpoint{CABundle: []byte("none")}).NewTransport(); err == nil {
		t.Error("a bundle without certificates was taken")
	}
	if NewTransport().Proxy != nil || NewTransport().TLSClientConfig != (*tls.Config)(nil) {
		t.Error("the transport looks at the environment")
	}
}

// writeSecret swaps a directory's content the way that the kubelet does.
func writeSecret(t *testing.T, dir, version string, files map[string]string) {
	t.Helper()
	data := filepath.Join(dir, version)
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range files {
		if err := os.WriteFile(filepath.Join(data, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "..data")
	if err := os.Symlink(version, link+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".tmp", link); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}

func TestCredentialsFollowTheMountedSecret(t *testing.T) {
	dir := t.TempDir()
	writeSecret(t, dir, "1", map[string]string{"accessKeyID": "old\n", "secretAccessKey": "s1"})
	now := time.Now()
	get, err := credentialsFromDir(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	want := Credentials{AccessKeyID: "old", SecretAccessKey: "s1"}
	if got := get(); got != want {
		t.Errorf("at first: %s", got.AccessKeyID)
	}
	writeSecret(t, dir, "2", map[string]string{"accessKeyID": "new", "secretAccessKey": "s2", "sessionToken": "t"})
	if got := get(); got != want {
		t.Error("the directory is read on each call")
	}
	now = now.Add(credentialsCheckEvery)
	want = Credentials{AccessKeyID: "new", SecretAccessKey: "s2", SessionToken: "t"}
	if got := get(); got != want {
		t.Errorf("after the change: %s", got.AccessKeyID)
	}
	if err := os.RemoveAll(filepath.Join(dir, "2")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(credentialsCheckEvery)
	if got := get(); got != want {
		t.Errorf("while it can't be read: %s", got.AccessKeyID)
	}
	writeSecret(t, dir, "3", map[string]string{"accessKeyID": "newest", "secretAccessKey": "s3"})
	now = now.Add(credentialsCheckEvery)
	if got := get(); got.AccessKeyID != "newest" {
		t.Errorf("once it is back: %s", got.AccessKeyID)
	}
}

func TestCredentialsFromDirWithout(t *testing.T) {
	dir := t.TempDir()
	if _, err := CredentialsFromDir(dir); err == nil {
		t.Error("an empty directory was taken")
	}
	writeSecret(t, dir, "1", map[string]string{"accessKeyID": "a", "secretAccessKey": " "})
	if _, err := CredentialsFromDir(dir); err == nil {
		t.Error("an empty secret was taken")
	}
}

func TestCredentialsDoNotShowInLogs(t *testing.T) {
	c := Credentials{AccessKeyID: "id", SecretAccessKey: "hidden", SessionToken: "hidden"}
	e := Endpoint{URL: "http://h", AccessKeyID: "id", SecretAccessKey: "hidden", SessionToken: "hidden"}
	for _, v := range []any{c, &c, e, &e} {
		if b, err := json.Marshal(v); err != nil || strings.Contains(string(b), "hidden") {
			t.Errorf("JSON of %T: %s %v", v, b, err)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, "hidden") {
				t.Errorf("%s of %T: %s", format, v, s)
			}
		}
	}
}

func TestKeysOfAMountedSecretIncludeThePrevious(t *testing.T) {
	dir := t.TempDir()
	writeSecret(t, dir, "1", map[string]string{"accessKeyID": "old", "secretAccessKey": "s1"})
	now := time.Now()
	get, err := keysFromDir(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	ids := func() string {
		var out []string
		for _, k := range get() {
			out = append(out, k.AccessKeyID)
		}
		return strings.Join(out, " ")
	}
	for i, step := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{"accessKeyID": "new", "secretAccessKey": "s2", "previousAccessKeyID": "old", "previousSecretAccessKey": "s1"}, "new old"},
		{map[string]string{"accessKeyID": "new", "secretAccessKey": "s2", "previousAccessKeyID": "half", "previousSecretAccessKey": ""}, "new"},
	} {
		writeSecret(t, dir, fmt.Sprint(i+2), step.files)
		now = now.Add(credentialsCheckEvery)
		if got := ids(); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}
