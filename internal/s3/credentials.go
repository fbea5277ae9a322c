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

// Names of the files in a mounted Secret, also its data keys.
const (
	AccessKeyIDFile     = "accessKeyID"
	SecretAccessKeyFile = "secretAccessKey"
	SessionTokenFile    = "sessionToken"
)

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
	d := &credentialsDir{dir: dir, now: now}
	d.stamp = d.stat()
	c, err := ReadCredentials(dir)
	if err != nil {
		return nil, err
	}
	d.current, d.checked = c, now()
	return d.get, nil
}

// ReadCredentials reads the files of a mounted Secret once.
func ReadCredentials(dir string) (Credentials, error) {
	read := func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(b)), err
	}
	var c Credentials
	var err error
	if c.AccessKeyID, err = read(AccessKeyIDFile); err != nil {
		return Credentials{}, fmt.Errorf("credentials: %w", err)
	}
	if c.SecretAccessKey, err = read(SecretAccessKeyFile); err != nil {
		return Credentials{}, fmt.Errorf("credentials: %w", err)
	}
	if c.SessionToken, err = read(SessionTokenFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Credentials{}, fmt.Errorf("credentials: %w", err)
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return Credentials{}, fmt.Errorf("credentials: %s or %s in %s is empty", AccessKeyIDFile, SecretAccessKeyFile, dir)
	}
	return c, nil
}

type credentialsDir struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	current Credentials
	stamp   string
	checked time.Time
}

func (d *credentialsDir) get() Credentials {
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
	if c, err := ReadCredentials(d.dir); err == nil {
		d.current, d.stamp = c, stamp
	}
	return d.current
}

// stat sums up times, sizes and inodes; os.Stat follows the symbolic link that the
// kubelet swaps to update a Secret.
func (d *credentialsDir) stat() string {
	var b strings.Builder
	for _, name := range []string{AccessKeyIDFile, SecretAccessKeyFile, SessionTokenFile} {
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
