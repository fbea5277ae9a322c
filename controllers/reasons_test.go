package controllers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources is the Go code of a package, without its tests.
func sources(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", dir, err)
	}
	var out strings.Builder
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	return out.String()
}

// What the phase engine says is documented in the API, and what the API documents is said.
func TestReasonsAreDocumentedAndUsed(t *testing.T) {
	engine, ours := sources(t, filepath.Join("..", "internal", "migration")), sources(t, ".")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t((?:Reason|Event|Action)\w+) += "(\w+)"$`).FindAllStringSubmatch(sources(t, filepath.Join("..", "api", "v1alpha1")), -1) {
		name, value := m[1], m[2]
		documented[value] = true
		if !strings.Contains(ours, "v1alpha1."+name) && !strings.Contains(engine, `"`+value+`"`) {
			t.Errorf("nobody says %s", name)
		}
	}
	said := regexp.MustCompile(`(?:cond|unknown)\(\w+, (?:true, |false, )?"(\w+)"|Reason: "(\w+)"|(?:return|reason =) "([A-Z]\w+)"`).FindAllStringSubmatch(engine, -1)
	if len(said) < 30 || len(documented) < 50 {
		t.Fatalf("%d reasons said, %d documented: does this test still read the code?", len(said), len(documented))
	}
	for _, m := range said {
		if reason := m[1] + m[2] + m[3]; !documented[reason] {
			t.Errorf("the phase engine says %q, which the API does not document", reason)
		}
	}
}
