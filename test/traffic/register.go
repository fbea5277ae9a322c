package traffic

import (
	"crypto/md5"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/test/seed"
)

// never is an instant after everything.
const never = time.Duration(math.MaxInt64)

// content is what a write leaves behind.
type content struct {
	absent  bool
	bodyKey string // with bodySeq names the body: see lab.Body
	bodySeq int
	size    int64
	etag    string
	sum     [md5.Size]byte
	header  seed.Header
	meta    map[string]string
	tags    map[string]string
}

// write is one write in a key's history. Instants are durations since the run
// began.
type write struct {
	seq   int
	c     content
	start time.Duration
	acked time.Duration // answered with success; never while under way or in doubt
	lands time.Duration // latest instant at which it can take effect
	seen  time.Duration // end of the first read that returned it
	doubt bool          // failed without a definite answer
}

// known is the instant since which the write is known to have taken effect.
func (w *write) known() time.Duration { return min(w.acked, w.seen) }

// register is the history of one key. It allows what a linearizable register
// allows: a read returns a write that began before the read ended, and that no
// later write had replaced for certain before the read began. Write b replaces
// write a for certain when b began after a could last take effect, and b was
// acknowledged or seen.
type register struct {
	bucket, key string

	mu      sync.Mutex
	writes  []*write
	lastSeq int
}

// newRegister returns the register of a key that is c before the run.
func newRegister(bucket, key string, c content) *register {
	first := &write{c: c, start: -2, acked: -1, lands: -1, seen: never}
	return &register{bucket: bucket, key: key, writes: []*write{first}}
}

// nextSeq reserves the number of the next write.
func (r *register) nextSeq() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastSeq++
	return r.lastSeq
}

// begin records that a write is under way.
func (r *register) begin(seq int, c content, now time.Duration) *write {
	w := &write{seq: seq, c: c, start: now, acked: never, lands: never, seen: never}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prune(now)
	r.writes = append(r.writes, w)
	return w
}

// ack records that a write was answered with success.
func (r *register) ack(w *write, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.acked, w.lands = now, now
}

// inDoubt records that a write failed without a definite answer: it may have
// taken effect, or may do so until lands.
func (r *register) inDoubt(w *write, lands time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.doubt, w.lands = true, lands
}

// refused forgets a write that the store declined.
func (r *register) refused(w *write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range r.writes {
		if x == w {
			r.writes = append(r.writes[:i:i], r.writes[i+1:]...)
			return
		}
	}
}

// legal tells whether a read that began at start and ended at end may return w.
// Callers hold mu.
func (r *register) legal(w *write, start, end time.Duration) bool {
	if w.start > end {
		return false
	}
	for _, later := range r.writes {
		if w.lands < later.start && later.known() < start {
			return false
		}
	}
	return true
}

// verdict says how an observation fits a register.
type verdict struct {
	ok      bool
	matched *write // the newest write that fits the observation, if any
	want    *write // the newest write that the observation was allowed to return
}

// observe judges a read between start and end that fits the writes for which
// match holds.
func (r *register) observe(start, end time.Duration, match func(*content) bool) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	var v verdict
	var fits []*write
	for _, w := range r.writes {
		legal := r.legal(w, start, end)
		if legal {
			v.want = w
		}
		if !match(&w.c) {
			continue
		}
		if legal {
			fits = append(fits, w)
		}
		v.matched = w
	}
	v.ok = len(fits) > 0
	if len(fits) == 1 && end < fits[0].seen {
		fits[0].seen = end
	}
	return v
}

// possible tells whether some write for which match holds may be there between
// start and end. Unlike observe it learns nothing from the answer.
func (r *register) possible(start, end time.Duration, match func(*content) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.writes {
		if match(&w.c) && r.legal(w, start, end) {
			return true
		}
	}
	return false
}

// settled returns the one write that must be there now; nil when a write is
// under way or in doubt.
func (r *register) settled(now time.Duration) *write {
	r.mu.Lock()
	defer r.mu.Unlock()
	var one *write
	for _, w := range r.writes {
		if w.lands == never {
			return nil
		}
		if r.legal(w, now, now) {
			if one != nil {
				return nil
			}
			one = w
		}
	}
	return one
}

// unsafeUntil returns the instant until which a write in doubt may still land.
func (r *register) unsafeUntil() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var t time.Duration
	for _, w := range r.writes {
		if w.doubt {
			t = max(t, w.lands)
		}
	}
	return t
}

// prune forgets writes that were replaced long ago, beyond the reach of any
// request that may still be under way. Callers hold mu.
func (r *register) prune(now time.Duration) {
	const reach = 5 * time.Minute
	if len(r.writes) < 64 || now < reach {
		return
	}
	var kept []*write
	for _, w := range r.writes {
		if r.legal(w, now-reach, now) {
			kept = append(kept, w)
		}
	}
	r.writes = kept
}

func sameTags(a, b map[string]string) bool { return len(a) == len(b) && maps.Equal(a, b) }

func isAbsent(c *content) bool  { return c.absent }
func isPresent(c *content) bool { return !c.absent }
