package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// Keys of a Secret of type kubernetes.io/tls.
const (
	TLSCertKey = "tls.crt"
	TLSKeyKey  = "tls.key"
)

// tlsCheckEvery bounds how often the Secret is looked at.
const tlsCheckEvery = 3 * time.Second

// ServerTLS returns what the proxies serve HTTPS with: the certificate of
// spec.proxy.tls, which is read again when it is renewed; a renewed one that is of
// no use is not taken. It is nil when they serve HTTP.
func ServerTLS(m *v1alpha1.Migration, secrets Secrets) (*tls.Config, error) {
	if m.Spec.Proxy.TLS == nil {
		return nil, nil //nolint:nilnil // nil means HTTP
	}
	c := &certificate{secrets: secrets, secret: m.Spec.Proxy.TLS.SecretName, now: time.Now}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("spec.proxy.tls: %w", err)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}, nil
}

// certificate is one that follows its Secret.
type certificate struct {
	secrets Secrets
	secret  string
	now     func() time.Time

	mu      sync.Mutex
	pem     [2]string
	current *tls.Certificate
	checked time.Time
}

func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.checked) >= tlsCheckEvery {
		// Until the new one is good, clients are served with the old one.
		_ = c.load()
	}
	return c.current
}

func (c *certificate) load() error {
	c.checked = c.now()
	var pem [2]string
	for i, key := range []string{TLSCertKey, TLSKeyKey} {
		v, err := c.secrets.Get(c.secret, key)
		if err != nil {
			return err
		}
		if v == "" {
			return fmt.Errorf("secret %s: key %s is missing or empty", c.secret, key)
		}
		pem[i] = v
	}
	if c.current != nil && pem == c.pem {
		return nil
	}
	pair, err := tls.X509KeyPair([]byte(pem[0]), []byte(pem[1]))
	if err != nil {
		// Its error may quote the key's bytes.
		return errors.New("secret " + c.secret + ": tls.crt and tls.key are no pair in PEM form")
	}
	c.pem, c.current = pem, &pair
	return nil
}
