package worker

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPartCount(t *testing.T) {
	for etag, want := range map[string]int{
		`"d41d8cd98f00b204e9800998ecf8427e"`: 0, `"abc-1"`: 1, "abc-12": 12, `"abc-0"`: 0, `"abc-x"`: 0, `"abc-10001"`: 0, "": 0,
	} {
		if got := partCount(etag); got != want {
			t.Errorf("partCount(%s) = %d, want %d", etag, got, want)
		}
	}
}

func TestPartSizesCutIntoThatManyParts(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		n    int
		want []int64
	}{
		"common client":   {20 * mib, 3, []int64{8 * mib, 7 * mib, 9 * mib}},
		"one part":        {3, 1, []int64{3}},
		"a byte over":     {5*mib*9 + 1, 10, []int64{5 * mib}},
		"parts too small": {10 * mib, 4, nil},
		"5 or 6 MiB":      {11 * mib, 2, []int64{8 * mib, 10 * mib, 6 * mib}},
		"no such cut":     {10, 11, nil},
		"large, 100 MiB":  {250 * mib, 3, []int64{100 * mib, 84 * mib, 85 * mib}},
	} {
		t.Run(name, func(t *testing.T) {
			got := partSizes(c.size, c.n, 3)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			for _, p := range got {
				if len(cut(c.size, p)) != c.n {
					t.Errorf("%d cuts %d into %d parts, want %d", p, c.size, len(cut(c.size, p)), c.n)
				}
			}
		})
	}
}

func TestJoinedETag(t *testing.T) {
	got := joinedETag([]string{`"9e107d9d372bb6826bd81d3542a419d6"`, "e4d909c290d0fb1ca068ffaddf22cbd0"})
	if want := "6ec3a7ba1b8ab0ac53bd3ca5b4cc6e2d-2"; len(got) != len(want) || got[32:] != "-2" {
		t.Errorf("got %s", got)
	}
	if joinedETag([]string{"not an md5"}) != "" {
		t.Error("an ETag that is no MD5 cannot be joined")
	}
}
