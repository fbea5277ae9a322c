package proxy

import (
	"os"
	"path/filepath"
	"testing"
)

// What a process finds of an earlier one in its state directory is that one's journal only if
// it is the same directory, and nothing was lost of it.
func TestStateDirectoriesHaveNames(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	name := func(dir string) string {
		t.Helper()
		got, err := homeOf(dir)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	was := name(one)
	if was == "" || name(one) != was || name(two) == was {
		t.Errorf("%q, then %q; another one %q", was, name(one), name(two))
	}
	if err := os.Remove(filepath.Join(one, homeFile)); err != nil {
		t.Fatal(err)
	}
	if name(one) == was {
		t.Error("a directory that was emptied has the same name")
	}
	if err := os.WriteFile(filepath.Join(one, homeFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if name(one) == "" {
		t.Error("nothing is no name")
	}
	if got, err := homeOf(filepath.Join(one, homeFile, "no")); err == nil {
		t.Errorf("%q, where nothing can be written", got)
	}
}
