package docs

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every metric is described, and what is described exists.
func TestMetricsAreDescribed(t *testing.T) {
	code := map[string]bool{}
	for _, dir := range []string{"proxy", "worker"} {
		for _, m := range regexp.MustCompile(`Name: +"(crossfade_\w+)"`).FindAllStringSubmatch(read(t, filepath.Join("..", dir, "metrics.go")), -1) {
			code[m[1]] = true
		}
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`(crossfade_\\w+)`").FindAllStringSubmatch(read(t, "operations.md"), -1) {
		told[m[1]] = true
	}
	if len(code) < 15 {
		t.Fatalf("%d metrics found: is the pattern wrong?", len(code))
	}
	for _, name := range slices.Sorted(maps.Keys(code)) {
		if !told[name] {
			t.Errorf("operations.md does not describe %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if !code[name] {
			t.Errorf("operations.md describes %s, which does not exist", name)
		}
	}
}

// Every link to a file, and to a heading in it, leads somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	pages := []string{"../README.md", "../CONTRIBUTING.md"}
	for _, pattern := range []string{"*.md", "adr/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	n := 0
	for _, page := range pages {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, heading, _ := strings.Cut(m[1], "#")
			to := page
			if file != "" {
				to = filepath.Join(filepath.Dir(page), file)
			}
			if found, err := filepath.Glob(to); err != nil || len(found) == 0 {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
			} else if heading != "" && !headings(read(t, to))[heading] {
				t.Errorf("%s links to %s, and there is no such heading", page, m[1])
			}
		}
	}
	if n < 25 {
		t.Errorf("only %d links: is the pattern wrong?", n)
	}
}

// headings are the anchors of a page, as GitHub makes them.
func headings(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return out
}
