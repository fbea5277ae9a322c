package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestEveryTestThatIsNamedExists keeps the documentation honest.
func TestEveryTestThatIsNamedExists(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9/]+)/(Test[A-Za-z0-9]+)`")
	target := regexp.MustCompile("`make ([a-z0-9-]+)")
	makefile := read(t, "../Makefile")
	n := 0
	for _, page := range pages {
		text := read(t, page)
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			n++
			if !strings.Contains(testsIn(t, m[1]), "\nfunc "+m[2]+"(") {
				t.Errorf("%s names %s, which %s does not have", page, m[2], m[1])
			}
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names make %s, which does not exist", page, m[1])
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d tests are named: is the pattern wrong?", n)
	}
}

func testsIn(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		all.WriteString(read(t, f))
	}
	return all.String()
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEveryHoleHasItsRow: each of the 22 that are known.
func TestEveryHoleHasItsRow(t *testing.T) {
	text := read(t, "holes.md")
	for i := 1; i <= 22; i++ {
		row := regexp.MustCompile(`(?m)^\| ` + strconv.Itoa(i) + ` \|.*Test[A-Z]`)
		if !row.MatchString(text) {
			t.Errorf("no test for hole %d", i)
		}
	}
}
