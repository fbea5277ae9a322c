package s3

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Credentials are the keys of one S3 user.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string `json:"-"`
	// SessionToken is set for temporary keys only.
	SessionToken string `json:"-"`
}

// String hides the secret, so that credentials can't be logged by accident.
func (c Credentials) String() string { return "credentials of " + c.AccessKeyID }

// GoString hides the secret from %#v.
func (c Credentials) GoString() string { return c.String() }

// CredentialsFunc returns the credentials to use now. It is called for each
// request, from many goroutines, and must be fast.
type CredentialsFunc func() Credentials

// KeysFunc returns the keys that are valid now, the newest first: more than one
// while they are rotated. It is called from many goroutines, and must be fast;
// the result is not changed by anyone.
type KeysFunc func() []Credentials

// Names of the files in a mounted Secret, also its data keys.
const (
	AccessKeyIDFile     = "accessKeyID"
	SecretAccessKeyFile = "secretAccessKey"
	SessionTokenFile    = "sessionToken"

	// The key that is being replaced.
	PreviousAccessKeyIDFile     = "previousAccessKeyID"
	PreviousSecretAccessKeyFile = "previousSecretAccessKey"
	PreviousSessionTokenFile    = "previousSessionToken"
)

// KeyFiles are all names of files that hold keys.
var KeyFiles = []string{
	AccessKeyIDFile, SecretAccessKeyFile, SessionTokenFile,
	PreviousAccessKeyIDFile, PreviousSecretAccessKeyFile, PreviousSessionTokenFile,
}

// credentialsCheckEvery bounds how often the directory is looked at.
const credentialsCheckEvery = 3 * time.Second

// CredentialsFromDir reads credentials from the files accessKeyID,
// secretAccessKey and, optionally, sessionToken in dir (a mounted Secret), and
// returns a function that reads them again once they change. While they can't
// be read, the function goes on to return the last ones.
func CredentialsFromDir(dir string) (CredentialsFunc, error) {
	return credentialsFromDir(dir, time.Now)
}

func credentialsFromDir(dir string, now func() time.Time) (CredentialsFunc, error) {
	keys, err := keysFromDir(dir, now)
	if err != nil {
		return nil, err
	}
	return func() Credentials { return keys()[0] }, nil
}

// KeysFromDir is [CredentialsFromDir] with the previous key, if there is one.
func KeysFromDir(dir string) (KeysFunc, error) { return keysFromDir(dir, time.Now) }

func keysFromDir(dir string, now func() time.Time) (KeysFunc, error) {
	d := &credentialsDir{dir: dir, now: now}
	d.stamp = d.stat()
	keys, err := readKeysDir(dir)
	if err != nil {
		return nil, err
	}
	d.current, d.checked = keys, now()
	return d.get, nil
}

func readKeysDir(dir string) ([]Credentials, error) {
	return ReadKeys(func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return string(b), err
	})
}

// ReadKeys reads the keys of a Secret. read returns the value of a data key, ""
// if there is none. A previous key of which only a part is there does not count.
func ReadKeys(read func(name string) (string, error)) ([]Credentials, error) {
	values := make(map[string]string, len(KeyFiles))
	for _, name := range KeyFiles {
		v, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		values[name] = strings.TrimSpace(v)
	}
	for _, name := range []string{AccessKeyIDFile, SecretAccessKeyFile} {
		if values[name] == "" {
			return nil, fmt.Errorf("credentials: key %s is missing or empty", name)
		}
	}
	keys := []Credentials{{
		AccessKeyID: values[AccessKeyIDFile], SecretAccessKey: values[SecretAccessKeyFile], SessionToken: values[SessionTokenFile],
	}}
	previous := Credentials{
		AccessKeyID: values[PreviousAccessKeyIDFile], SecretAccessKey: values[PreviousSecretAccessKeyFile], SessionToken: values[PreviousSessionTokenFile],
	}
	if previous.AccessKeyID != "" && previous.SecretAccessKey != "" {
		keys = append(keys, previous)
	}
	return keys, nil
}

type credentialsDir struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	current []Credentials
	stamp   string
	checked time.Time
}

func (d *credentialsDir) get() []Credentials {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.checked) < credentialsCheckEvery {
		return d.current
	}
	d.checked = now
	stamp := d.stat()
	if stamp == d.stamp {
		return d.current
	}
	// The stamp is taken before reading: a change in between is seen next time.
	if keys, err := readKeysDir(d.dir); err == nil {
		d.current, d.stamp = keys, stamp
	}
	return d.current
}

// stat sums up times, sizes and inodes; os.Stat follows the symbolic link that the
// kubelet swaps to update a Secret.
func (d *credentialsDir) stat() string {
	var b strings.Builder
	for _, name := range KeyFiles {
		path := filepath.Join(d.dir, name)
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%s: none;", name)
			continue
		}
		real, _ := filepath.EvalSymlinks(path)
		fmt.Fprintf(&b, "%s %d %d;", real, info.ModTime().UnixNano(), info.Size())
	}
	return b.String()
}
