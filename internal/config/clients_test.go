package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
)

func keySecret(id string) map[string]string {
	return map[string]string{"accessKeyID": id, "secretAccessKey": id + "-secret"}
}

func TestClientsAreMappedToTheirStoreCredentials(t *testing.T) {
	m := &v1alpha1.Migration{}
	m.Spec.Proxy.Clients = []v1alpha1.ProxyClient{
		{SecretName: "app-a", SourceCredentialsRef: &v1alpha1.SecretReference{Name: "a-old"}, TargetCredentialsRef: &v1alpha1.SecretReference{Name: "a-new"}},
		{SecretName: "app-b"},
	}
	secrets := MemorySecrets{"app-a": keySecret("A"), "app-b": keySecret("B"), "a-old": keySecret("AO"), "a-new": keySecret("AN")}
	secrets["app-a"]["previousAccessKeyID"], secrets["app-a"]["previousSecretAccessKey"] = "A0", "x"
	clients, err := Clients(m, secrets)
	if err != nil || len(clients) != 2 {
		t.Fatalf("%d clients, %v", len(clients), err)
	}
	a, b := clients[0], clients[1]
	if k := a.Keys(); len(k) != 2 || k[0].AccessKeyID != "A" || k[1].AccessKeyID != "A0" {
		t.Errorf("keys of app-a: %v", k)
	}
	if got := a.Stores[ledger.Source]().AccessKeyID + " " + a.Stores[ledger.Target]().AccessKeyID; got != "AO AN" {
		t.Errorf("app-a is %s at the stores", got)
	}
	if b.Stores[0] != nil || b.Stores[1] != nil {
		t.Error("app-b has keys of its own at the stores")
	}
	delete(secrets, "a-new")
	if _, err := Clients(m, secrets); err == nil || !strings.Contains(err.Error(), "clients[0].targetCredentialsRef") {
		t.Errorf("a missing Secret: %v", err)
	}
}

func TestFollowedSecretsChange(t *testing.T) {
	current := MemorySecrets{"s": keySecret("old")}
	f := FollowSecrets(func() Secrets { return current })
	get, err := f.Credentials("s")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		secrets MemorySecrets
		want    string
	}{{current, "old"}, {MemorySecrets{"s": keySecret("new")}, "new"}, {MemorySecrets{}, "new"}, {MemorySecrets{"s": keySecret("newest")}, "newest"}} {
		current = step.secrets
		if got := get().AccessKeyID; got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
}

func TestRegionsOfClients(t *testing.T) {
	m := &v1alpha1.Migration{}
	m.Spec.Source.Region, m.Spec.Target.Region = "us-east-1", "eu-west-1"
	for name, tt := range map[string]struct{ given, want []string }{
		"left out": {nil, []string{"us-east-1", "eu-west-1"}},
		"given":    {[]string{"r"}, []string{"r"}},
		"any":      {[]string{"*"}, nil},
	} {
		m.Spec.Proxy.Regions = tt.given
		if diff := cmp.Diff(tt.want, Regions(m)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// pair is a self-signed certificate and its key.
func pair(t *testing.T, name string) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return map[string]string{TLSCertKey: encode("CERTIFICATE", der), TLSKeyKey: encode("PRIVATE KEY", raw)}
}

func TestServerTLSFollowsItsSecret(t *testing.T) {
	m := &v1alpha1.Migration{}
	if c, err := ServerTLS(m, MemorySecrets{}); c != nil || err != nil {
		t.Fatalf("without spec.proxy.tls: %v %v", c, err)
	}
	m.Spec.Proxy.TLS = &v1alpha1.ProxyTLS{SecretName: "tls"}
	if _, err := ServerTLS(m, MemorySecrets{}); err == nil {
		t.Error("a missing Secret was taken")
	}
	secrets := MemorySecrets{"tls": pair(t, "first")}
	if _, err := ServerTLS(m, secrets); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &certificate{secrets: secrets, secret: "tls", now: func() time.Time { return now }}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	name := func() string {
		now = now.Add(tlsCheckEvery)
		leaf, err := x509.ParseCertificate(c.get().Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	second := pair(t, "second")
	secrets["tls"] = map[string]string{TLSCertKey: second[TLSCertKey], TLSKeyKey: secrets["tls"][TLSKeyKey]}
	if got := name(); got != "first" {
		t.Errorf("half renewed: %s", got)
	}
	err := c.load()
	if err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("a pair that does not fit: %v", err)
	}
	secrets["tls"] = second
	if got := name(); got != "second" {
		t.Errorf("renewed: %s", got)
	}
}
