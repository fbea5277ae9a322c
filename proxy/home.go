package proxy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// homeFile holds the state directory's own name.
const homeFile = "id"

// homeOf returns the name of a state directory, which it is given when it is used first. It
// tells a process that goes on with what an earlier one has written down there from another of
// the same instance, which knows nothing of that.
func homeOf(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	path := filepath.Join(dir, homeFile)
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return string(b), err
	}
	name := rand.Text()
	if err := errors.Join(os.WriteFile(path+".new", []byte(name), 0o600), os.Rename(path+".new", path)); err != nil {
		return "", fmt.Errorf("name the state directory: %w", err)
	}
	return name, nil
}
