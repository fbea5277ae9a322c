package traffic

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Kind says what went wrong.
type Kind string

// The kinds of violations.
const (
	KindError   Kind = "error"         // a 5xx, no answer, or a 4xx that nothing explains
	KindStale   Kind = "stale read"    // an answer from before an acknowledged write
	KindLost    Kind = "lost write"    // an acknowledged write is not there at the end
	KindListing Kind = "wrong listing" // a listing that no moment of the bucket explains
	KindCorrupt Kind = "wrong content" // bytes, ETag, metadata or tags that no write explains
)

// Violation is one thing that went wrong.
type Violation struct {
	Kind   Kind          `json:"kind"`
	Op     Op            `json:"op"`
	Bucket string        `json:"bucket"`
	Key    string        `json:"key"` // or the prefix listed
	Period string        `json:"period"`
	At     time.Duration `json:"at"` // since the run began
	Detail string        `json:"detail"`
}

// String renders a violation in a line.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s %s/%q at %s (%s): %s", v.Kind, v.Op, v.Bucket, v.Key, v.At.Round(time.Millisecond), v.Period, v.Detail)
}

// maxNamed is how many violations of a kind a report names; all are counted.
const maxNamed = 20

type stats struct {
	mu      sync.Mutex
	period  string
	periods []string // in order of appearance
	ops     map[string]map[Op]*opStats
	kinds   map[Kind]int64
	broken  int64
	excused int64
	named   []Violation
	bytes   int64
}

type opStats struct {
	count, errors int64
	lat           histogram
}

func newStats(period string) *stats {
	return &stats{period: period, periods: []string{period}, ops: map[string]map[Op]*opStats{}, kinds: map[Kind]int64{}}
}

func (s *stats) setPeriod(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.period = name
	if !slices.Contains(s.periods, name) {
		s.periods = append(s.periods, name)
	}
}

func (s *stats) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.period
}

// done counts one request of the period in which it began.
func (s *stats) done(period string, op Op, took time.Duration, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ops[period] == nil {
		s.ops[period] = map[Op]*opStats{}
	}
	o := s.ops[period][op]
	if o == nil {
		o = &opStats{}
		s.ops[period][op] = o
	}
	o.count++
	if failed {
		o.errors++
	}
	o.lat.add(took)
}

// failed makes a request that was counted as fine a failed one.
func (s *stats) failed(period string, op Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops[period][op].errors++
}

func (s *stats) moved(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += n
}

func (s *stats) noAnswer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken++
}

func (s *stats) excuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.excused++
}

func (s *stats) violate(v Violation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Period == "" {
		v.Period = s.period
	}
	if s.kinds[v.Kind] < maxNamed {
		s.named = append(s.named, v)
	}
	s.kinds[v.Kind]++
}

// histogram counts durations in buckets that grow by a twentieth, from 20 µs
// to some minutes.
type histogram struct {
	counts [340]int64
	n      int64
	max    time.Duration
}

const (
	histFloor = 20 * time.Microsecond
	histStep  = 1.05
)

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > histFloor {
		i = int(math.Log(float64(d)/float64(histFloor)) / math.Log(histStep))
	}
	h.counts[min(i, len(h.counts)-1)]++
	h.n++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile returns an upper bound of the q-th share of all durations.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.n)))
	var seen int64
	for i, c := range h.counts {
		seen += c
		if c > 0 && seen >= rank {
			return min(h.max, time.Duration(float64(histFloor)*math.Pow(histStep, float64(i+1))))
		}
	}
	return h.max
}
