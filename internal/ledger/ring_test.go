package ledger

import (
	"strconv"
	"testing"
)

// A write is noted when its client is answered, and when it is committed; a copy up to three times.
func TestRingHoldsAsManyObjectsAsItIsMeantTo(t *testing.T) {
	var r ring[int]
	for i := range ringMost {
		for range 3 {
			r.keep(Object{"b", strconv.Itoa(i)}, func(n int) int { return n + 1 })
		}
	}
	all := r.all(r.old[len(r.old)-1].at)
	if len(all) != ringMost || all[Object{"b", "0"}] != 3 || !r.cut.IsZero() {
		t.Errorf("%d of %d objects, %v", len(all), ringMost, r.cut)
	}
}
