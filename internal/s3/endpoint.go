package s3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultRegion is the region of an [Endpoint] that names none.
const DefaultRegion = "us-east-1"

// Addressing is how a bucket is named in a request.
type Addressing string

const (
	// Path puts the bucket into the path: https://host/bucket/key.
	Path Addressing = "Path"
	// VirtualHost puts the bucket into the host: https://bucket.host/key.
	VirtualHost Addressing = "VirtualHost"
)

// Endpoint is how one S3 store is reached. The zero Region is [DefaultRegion],
// the zero Addressing is [Path].
type Endpoint struct {
	// URL is scheme and host, with an optional port and base path.
	URL string
	// Region is the region that requests are signed for.
	Region string
	// Addressing is how buckets are named in requests.
	Addressing Addressing

	// AccessKeyID, SecretAccessKey and SessionToken sign requests, unless
	// Credentials is set.
	AccessKeyID     string
	SecretAccessKey string `json:"-"`
	SessionToken    string `json:"-"`
	// Credentials, when set, is asked for each request; see [CredentialsFromDir].
	Credentials CredentialsFunc `json:"-"`

	// CABundle holds PEM certificates to trust beside the system's.
	CABundle []byte
}

// String names the endpoint without its secrets, so that they can't be logged
// by accident.
func (e Endpoint) String() string { return e.URL }

// GoString hides the secrets from %#v.
func (e Endpoint) GoString() string { return e.URL }

// Validate reports what is wrong with the endpoint, in words for its author.
func (e Endpoint) Validate() error {
	_, err := e.parse()
	if err == nil && e.Addressing != "" && e.Addressing != Path && e.Addressing != VirtualHost {
		err = fmt.Errorf("addressing %q: must be Path or VirtualHost", e.Addressing)
	}
	return err
}

// CredentialsFunc returns Credentials, or a function that returns the
// endpoint's own keys.
func (e Endpoint) CredentialsFunc() CredentialsFunc {
	if e.Credentials != nil {
		return e.Credentials
	}
	c := Credentials{AccessKeyID: e.AccessKeyID, SecretAccessKey: e.SecretAccessKey, SessionToken: e.SessionToken}
	return func() Credentials { return c }
}

func (e Endpoint) region() string {
	if e.Region == "" {
		return DefaultRegion
	}
	return e.Region
}

func (e Endpoint) parse() (*url.URL, error) {
	u, err := url.Parse(e.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("endpoint: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("endpoint %q: must begin with http:// or https://", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("endpoint %q: has no host", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("endpoint %q: must not hold credentials", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("endpoint %q: must not hold a query or a fragment", u.Redacted())
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// NewTransport returns a transport for many concurrent requests to few hosts.
// It never decompresses, never looks at proxy variables, speaks HTTP/1.1 (one
// connection a request is what S3 servers are made for), and sets no limit on
// the time to the response header: callers bound requests with a context.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		DialContext:           patientDial(dialer),
		Protocols:             protocols,
		ExpectContinueTimeout: time.Second,
		// Shorter than what servers and balancers keep, so that a request
		// seldom meets a connection that is being closed.
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    1024,
		DisableCompression:     true,
		WriteBufferSize:        64 << 10,
		ReadBufferSize:         64 << 10,
		MaxResponseHeaderBytes: 1 << 20,
	}
	t.DialTLSContext = patientTLS(dialer, 10*time.Second, func() *tls.Config { return t.TLSClientConfig })
	return t
}

// NewTransport is [NewTransport] with the endpoint's CABundle trusted.
func (e Endpoint) NewTransport() (*http.Transport, error) {
	t := NewTransport()
	if len(e.CABundle) == 0 {
		return t, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(e.CABundle) {
		return nil, errors.New("CA bundle: holds no certificate in PEM form")
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}
