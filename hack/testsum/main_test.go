package main

import (
	"strings"
	"testing"
)

func TestSummarizeCounts(t *testing.T) {
	tests := map[string]struct {
		input string
		want  counts
		shows string
	}{
		"subtests count, their parent does not": {
			input: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA/x"}
{"Action":"pass","Package":"p","Test":"TestA/y"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.5}`,
			want:  counts{passed: 2},
			shows: "ok    p 2 tests 1.5s",
		},
		"a failed subtest is one failure and its output is shown": {
			input: `{"Action":"output","Package":"p","Test":"TestA/x","Output":"boom\n"}
{"Action":"fail","Package":"p","Test":"TestA/x"}
{"Action":"pass","Package":"p","Test":"TestA/y"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			want:  counts{passed: 1, failed: 1},
			shows: "boom",
		},
		"a build failure is one failure": {
			input: `{"ImportPath":"p [p.test]","Action":"build-output","Output":"undefined: x\n"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
			want:  counts{failed: 1},
			shows: "undefined: x",
		},
		"a skip is told with its reason": {
			input: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no gateway: start one\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}`,
			want:  counts{skipped: 1},
			shows: "skip  p TestA: no gateway: start one",
		},
		"a test that never ended has failed": {
			input: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			want:  counts{failed: 1},
			shows: "FAIL  p TestA",
		},
		"an input that is cut off has failed": {
			input: `{"Action":"run","Package":"p","Test":"TestA"}`,
			want:  counts{failed: 1},
			shows: "FAIL  p TestA",
		},
		"two runs add up": {
			input: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
not json
{"Action":"pass","Package":"q","Test":"TestA"}
{"Action":"pass","Package":"q"}`,
			want:  counts{passed: 2},
			shows: "not json",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if got := summarize(strings.NewReader(tt.input), &out); got != tt.want {
				t.Errorf("counts = %+v, want %+v", got, tt.want)
			}
			if !strings.Contains(out.String(), tt.shows) {
				t.Errorf("output %q does not show %q", out.String(), tt.shows)
			}
		})
	}
}
