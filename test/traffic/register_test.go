package traffic

import (
	"testing"
	"time"
)

// history plays a register's life; names are of writes.
func TestRegisterAllowsWhatLinearizabilityAllows(t *testing.T) {
	type w struct {
		start, end time.Duration
		doubtUntil time.Duration // no answer; end is ignored
		seen       time.Duration
	}
	type r struct {
		from, to time.Duration
		want     []int // numbers of the writes that may be read; 0 is the state before
	}
	tests := map[string]struct {
		writes []w
		reads  []r
	}{
		"read after write sees it": {
			[]w{{start: 10, end: 20}}, []r{{21, 22, []int{1}}, {1, 5, []int{0}}},
		},
		"read during write sees either": {
			[]w{{start: 10, end: 20}}, []r{{15, 16, []int{0, 1}}, {15, 25, []int{0, 1}}, {5, 12, []int{0, 1}}},
		},
		"once seen, a write stays": {
			[]w{{start: 10, end: 50, seen: 20}}, []r{{21, 22, []int{1}}, {19, 22, []int{0, 1}}},
		},
		"concurrent writes end in any order": {
			[]w{{start: 10, end: 30}, {start: 12, end: 20}}, []r{{40, 41, []int{1, 2}}},
		},
		"a later write replaces both": {
			[]w{{start: 10, end: 30}, {start: 12, end: 20}, {start: 31, end: 35}}, []r{{40, 41, []int{3}}, {33, 34, []int{1, 2, 3}}},
		},
		"in doubt: either": {
			[]w{{start: 10, end: 20}, {start: 30, doubtUntil: 50}}, []r{{60, 61, []int{1, 2}}},
		},
		"in doubt but seen: new one only": {
			[]w{{start: 10, end: 20}, {start: 30, doubtUntil: 50, seen: 55}}, []r{{60, 61, []int{2}}, {54, 56, []int{1, 2}}},
		},
		"in doubt and replaced": {
			[]w{{start: 10, end: 20}, {start: 30, doubtUntil: 50}, {start: 51, end: 52}}, []r{{60, 61, []int{3}}},
		},
		"in doubt and overtaken": {
			[]w{{start: 10, end: 20}, {start: 30, doubtUntil: 50}, {start: 40, end: 45}}, []r{{60, 61, []int{2, 3}}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, read := range tc.reads {
				reg := newRegister("b", "k", content{absent: true})
				for i, x := range tc.writes {
					rec := reg.begin(i+1, content{bodySeq: i + 1}, x.start)
					if x.doubtUntil > 0 {
						reg.inDoubt(rec, x.doubtUntil)
					} else {
						reg.ack(rec, x.end)
					}
					if x.seen > 0 {
						rec.seen = x.seen
					}
				}
				allowed := map[int]bool{}
				for _, n := range read.want {
					allowed[n] = true
				}
				for n := 0; n <= len(tc.writes); n++ {
					got := reg.possible(read.from, read.to, func(c *content) bool { return c.bodySeq == n })
					if got != allowed[n] {
						t.Errorf("read %d-%d of write %d: allowed = %v, want %v", read.from, read.to, n, got, allowed[n])
					}
				}
			}
		})
	}
}

func TestRefusedWriteIsForgotten(t *testing.T) {
	reg := newRegister("b", "k", content{absent: true})
	reg.refused(reg.begin(1, content{bodySeq: 1}, 10))
	if v := reg.observe(20, 21, isPresent); v.ok {
		t.Error("a refused write may be read")
	}
	if w := reg.settled(30); w == nil || !w.c.absent {
		t.Errorf("settled = %+v, want the state before", w)
	}
}
