package ledger

import (
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// ringFor is how long a committed write is kept to be told again after a loss:
	// longer than what a Redis loses that is fsynced each second, or a failover.
	ringFor = 2 * time.Minute
	// ringMost bounds the ring, in objects.
	ringMost = 1 << 16
)

// witness is what this process was told by the ledger: what it can find missing
// there, and tell again.
type witness struct {
	mu   sync.Mutex
	last map[int]map[string]int64           // by shard and session: the largest sequence answered
	open map[int]map[string]map[string]bool // by shard and session: ids of intents that the ledger may hold open
	ring map[Object]told
	old  []aged // of the ring, oldest first from head on; an object may be in it more than once
	head int
	cut  time.Time // when something was dropped before its time
}

// told is what a commit was answered; seq 0: the write is in doubt, or was recorded late.
type told struct {
	store Store
	seq   int64
	at    time.Time
}

type aged struct {
	object Object
	at     time.Time
}

func (w *witness) note(shard int, session string, seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = map[int]map[string]int64{}
	}
	if w.last[shard] == nil {
		w.last[shard] = map[string]int64{}
	}
	w.last[shard][session] = max(seq, w.last[shard][session])
}

// opened notes intents that are about to be stored, closed those that are not open any more.
func (w *witness) opened(shard int, session string, ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[int]map[string]map[string]bool{}
	}
	if w.open[shard] == nil {
		w.open[shard] = map[string]map[string]bool{}
	}
	if w.open[shard][session] == nil {
		w.open[shard][session] = map[string]bool{}
	}
	for _, id := range ids {
		w.open[shard][session][id] = true
	}
}

func (w *witness) closed(shard int, session string, ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := w.open[shard][session]
	for _, id := range ids {
		delete(open, id)
	}
	if len(open) == 0 {
		delete(w.open[shard], session)
	}
}

// stillOpen returns the intents of a session that have not ended.
func (w *witness) stillOpen(shard int, session string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.open[shard][session]))
}

// highest returns the largest sequence that a session was answered by a shard.
func (w *witness) highest(shard int, session string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[shard][session]
}

// forget drops what a session was told that has ended.
func (w *witness) forget(session string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.last {
		delete(m, session)
	}
}

func (w *witness) committed(o Object, newest Store, seq int64) {
	w.keep(o, told{store: newest, seq: seq})
}

func (w *witness) doubted(o Object, s Store) { w.keep(o, told{store: s}) }

func (w *witness) keep(o Object, t told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ring == nil {
		w.ring = map[Object]told{}
	}
	t.at = time.Now()
	if was, ok := w.ring[o]; ok && was.seq > t.seq {
		t.store, t.seq = was.store, was.seq
	}
	w.ring[o] = t
	w.old = append(w.old, aged{o, t.at})
	w.trim(t.at)
}

func (w *witness) trim(now time.Time) {
	for ; w.head < len(w.old); w.head++ {
		first := w.old[w.head]
		full := len(w.old)-w.head > ringMost
		if !full && now.Sub(first.at) <= ringFor {
			break
		}
		// One that was written again since has a later place.
		if !w.ring[first.object].at.After(first.at) {
			if now.Sub(first.at) <= ringFor {
				w.cut = now
			}
			delete(w.ring, first.object)
		}
	}
	if w.head > 1024 && w.head > len(w.old)/2 {
		w.old, w.head = slices.Delete(w.old, 0, w.head), 0
	}
}

// recent returns what was committed of late, and whether that is all of it.
func (w *witness) recent() (map[Object]told, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.trim(now)
	out := make(map[Object]told, len(w.ring))
	for o, t := range w.ring {
		out[o] = t
	}
	return out, w.cut.IsZero() || now.Sub(w.cut) > ringFor
}
