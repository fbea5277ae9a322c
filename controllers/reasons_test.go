package controllers

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
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

// fine are the reasons with which nothing has to be done.
var fine = map[string]bool{
	"Serving": true, "Progressing": true, "Deleting": true, "Pending": true, "Reachable": true, "Healthy": true, "Copying": true, "Copied": true,
	"CaughtUp": true, "Verified": true, "Ready": true, "InProgress": true, "NotAsked": true, "Switched": true,
}

// The page that says what to do when a condition is false knows every reason, and no other.
func TestWhatToDoIsToldForEveryReason(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\tReason\w+ += "(\w+)"$`).FindAllStringSubmatch(sources(t, filepath.Join("..", "api", "v1alpha1")), -1) {
		reasons[m[1]] = true
	}
	told := map[string]bool{}
	quoted := regexp.MustCompile("`(\\w+)`")
	_, table, _ := strings.Cut(string(page), "| condition | reason | do |")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, row := range strings.Split(table, "\n") {
		cells := strings.Split(row, " | ")
		if len(cells) != 3 {
			continue
		}
		for _, c := range quoted.FindAllStringSubmatch(cells[0], -1) {
			if !slices.Contains(v1alpha1.ConditionTypes, c[1]) {
				t.Errorf("there is no condition %s", c[1])
			}
		}
		for _, r := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if told[r[1]] = true; !reasons[r[1]] {
				t.Errorf("there is no reason %s", r[1])
			}
		}
	}
	if len(told) < 20 {
		t.Fatalf("%d reasons in the table: does this test still read it?", len(told))
	}
	for r := range reasons {
		if !fine[r] && !told[r] {
			t.Errorf("what to do is not told for %s", r)
		}
	}
}
