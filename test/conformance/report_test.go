package main

import (
	"strings"
	"testing"
)

func TestTableSaysWhatWasRunAndWhatWasNot(t *testing.T) {
	var rows []row
	for _, set := range allSetups(false) {
		for _, suite := range set.suites {
			for _, p := range allPhases(false) {
				rows = append(rows, row{Setup: set.name, Suite: suite, Phase: p.name, Build: "a", With: []string{"store 1.2"}})
			}
		}
	}
	for name, tt := range map[string]struct {
		rows []row
		want []string
	}{
		"all":  {rows, []string{"All rows are of one build of Crossfade. Run with:\n\n- store 1.2\n", "Every suite was run on its stores in every phase."}},
		"some": {append(rows[1:len(rows)-1:len(rows)-1], row{Setup: "rgw", Suite: "none", Phase: "Copying", Build: "b"}), []string{"of 2 builds", "## Not run\n\n- versitygw, versitygw: Copying\n- rgw, mc: SwitchedBack\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := (&report{rows: tt.rows}).markdown()
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in:\n%s", want, got)
				}
			}
		})
	}
}
