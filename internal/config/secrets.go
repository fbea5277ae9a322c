package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// Keys of the Secret with Redis' credentials.
const (
	RedisPasswordKey         = "password"
	RedisUsernameKey         = "username"
	RedisSentinelPasswordKey = "sentinelPassword"
)

// ErrNoSecret: there is no such Secret.
var ErrNoSecret = errors.New("not found")

func noSecret(name string) error { return fmt.Errorf("secret %s: %w", name, ErrNoSecret) }

// Secrets are the Secrets of the migration's namespace.
type Secrets interface {
	// Get returns the value of a key of a Secret. A missing key is "", a
	// missing Secret an error that names it.
	Get(secret, key string) (string, error)
	// Credentials returns the S3 keys that a Secret holds, as a function that
	// follows the Secret when it changes, where that can be seen.
	Credentials(secret string) (s3.CredentialsFunc, error)
	// Keys is Credentials with the key that is being replaced, if there is one.
	Keys(secret string) (s3.KeysFunc, error)
}

// DirSecrets reads mounted Secrets below a directory: <dir>/<secret>/<key>.
type DirSecrets string

// Get implements Secrets.
func (d DirSecrets) Get(secret, key string) (string, error) {
	dir, err := d.find(secret)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(dir, filepath.Base(key)))
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", secret, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// find returns the directory of a Secret.
func (d DirSecrets) find(secret string) (string, error) {
	dir := filepath.Join(string(d), filepath.Base(secret))
	_, err := os.Stat(dir)
	if os.IsNotExist(err) {
		return "", noSecret(secret)
	}
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", secret, err)
	}
	return dir, nil
}

// Credentials implements Secrets.
func (d DirSecrets) Credentials(secret string) (s3.CredentialsFunc, error) {
	dir, err := d.find(secret)
	if err != nil {
		return nil, err
	}
	f, err := s3.CredentialsFromDir(dir)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", secret, err)
	}
	return f, nil
}

// Keys implements Secrets.
func (d DirSecrets) Keys(secret string) (s3.KeysFunc, error) {
	dir, err := d.find(secret)
	if err != nil {
		return nil, err
	}
	f, err := s3.KeysFromDir(dir)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", secret, err)
	}
	return f, nil
}

// MemorySecrets are Secrets by name and key.
type MemorySecrets map[string]map[string]string

// Add takes in a Secret as it stands in a manifest or at an API server.
func (m MemorySecrets) Add(s *corev1.Secret) {
	data := map[string]string{}
	for k, v := range s.Data {
		data[k] = strings.TrimSpace(string(v))
	}
	for k, v := range s.StringData {
		data[k] = strings.TrimSpace(v)
	}
	m[s.Name] = data
}

// Get implements Secrets.
func (m MemorySecrets) Get(secret, key string) (string, error) {
	data, ok := m[secret]
	if !ok {
		return "", noSecret(secret)
	}
	return data[key], nil
}

// Credentials implements Secrets.
func (m MemorySecrets) Credentials(secret string) (s3.CredentialsFunc, error) {
	keys, err := m.Keys(secret)
	if err != nil {
		return nil, err
	}
	return func() s3.Credentials { return keys()[0] }, nil
}

// Keys implements Secrets.
func (m MemorySecrets) Keys(secret string) (s3.KeysFunc, error) {
	data, ok := m[secret]
	if !ok {
		return nil, noSecret(secret)
	}
	keys, err := s3.ReadKeys(func(name string) (string, error) { return data[name], nil })
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", secret, err)
	}
	return func() []s3.Credentials { return keys }, nil
}

// FollowSecrets are Secrets that may be replaced as a whole at any time.
type FollowSecrets func() Secrets

// Get implements Secrets.
func (f FollowSecrets) Get(secret, key string) (string, error) { return f().Get(secret, key) }

// Credentials implements Secrets.
func (f FollowSecrets) Credentials(secret string) (s3.CredentialsFunc, error) {
	keys, err := f.Keys(secret)
	if err != nil {
		return nil, err
	}
	return func() s3.Credentials { return keys()[0] }, nil
}

// Keys implements Secrets. While the Secret is missing or invalid, the last keys
// are returned.
func (f FollowSecrets) Keys(secret string) (s3.KeysFunc, error) {
	now, err := f().Keys(secret)
	if err != nil {
		return nil, err
	}
	var last atomic.Pointer[s3.KeysFunc]
	last.Store(&now)
	return func() []s3.Credentials {
		if now, err := f().Keys(secret); err == nil {
			last.Store(&now)
		}
		return (*last.Load())()
	}, nil
}

// Layered asks each of several Secrets in turn, and returns the first that has it.
// When none has, the error is of the first where the Secret is, but lacks a key.
type Layered []Secrets

// Get implements Secrets.
func (l Layered) Get(secret, key string) (string, error) {
	return firstOf(l, func(s Secrets) (string, error) { return s.Get(secret, key) })
}

// Credentials implements Secrets.
func (l Layered) Credentials(secret string) (s3.CredentialsFunc, error) {
	return firstOf(l, func(s Secrets) (s3.CredentialsFunc, error) { return s.Credentials(secret) })
}

// Keys implements Secrets.
func (l Layered) Keys(secret string) (s3.KeysFunc, error) {
	return firstOf(l, func(s Secrets) (s3.KeysFunc, error) { return s.Keys(secret) })
}

func firstOf[T any](l Layered, get func(Secrets) (T, error)) (v T, err error) {
	for _, s := range l {
		found, serr := get(s)
		if serr == nil {
			return found, nil
		}
		if err == nil || errors.Is(err, ErrNoSecret) {
			err = serr
		}
	}
	return v, err
}
