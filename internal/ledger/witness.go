package ledger

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// witness is what this process was told by the ledger: what it can find missing
// there, and tell again.
type witness struct {
	mu   sync.Mutex
	last map[int]map[string]int64           // by shard and session: the largest sequence answered
	open map[int]map[string]map[string]bool // by shard and session: ids of intents that the ledger may hold open
	// committed are writes of late, copied what copies have put on a store that
	// clients write, or may have.
	committed ring[told]
	copied    ring[copies]
	// uploads are those of copies that are not known to have ended, by their fields.
	uploads map[string]CopyUpload
	again   time.Time // when it was told again last
	// claimed are tokens by session and task; ended those of claims that ended of late.
	claimed map[string]map[string]string
	ended   map[string][]endedTask
}

// endedTask is a claim of a task that the ledger was told the end of.
type endedTask struct{ task, token string }

// endedMost bounds what is remembered between two heartbeats.
const endedMost = 1000

// took notes that a session has claimed a task.
func (w *witness) took(session, task, token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.claimed == nil {
		w.claimed, w.ended = map[string]map[string]string{}, map[string][]endedTask{}
	}
	if w.claimed[session] == nil {
		w.claimed[session] = map[string]string{}
	}
	w.claimed[session][task] = token
}

// gave notes that its end was answered.
func (w *witness) gave(session, task string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	token, ok := w.claimed[session][task]
	if delete(w.claimed[session], task); ok && len(w.ended[session]) < endedMost {
		w.ended[session] = append(w.ended[session], endedTask{task, token})
	}
}

// given returns the ends that the session's heartbeats have not been answered since.
func (w *witness) given(session string) []endedTask {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.ended[session])
}

// found drops the first n of them, which the ledger was asked for.
func (w *witness) found(session string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > 0 {
		w.ended[session] = w.ended[session][min(n, len(w.ended[session])):]
	}
}

// told is what a commit was answered, or, until it is, Begin; seq 0: the write is in doubt, or was recorded late.
type told struct {
	store Store
	seq   int64
	moved int64 // the sequence at which that store became the newest
}

// copies are ETags, the last one first.
type copies struct {
	store Store
	etags []string
}

// copiesMost bounds what is remembered of copies of one object.
const copiesMost = 8

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

func (w *witness) creating(u CopyUpload) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.uploads == nil {
		w.uploads = map[string]CopyUpload{}
	}
	w.uploads[u.field()] = u
}

func (w *witness) endedUpload(u CopyUpload) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.uploads, u.field())
}

// notEnded returns the uploads of copies that are not known to have ended.
func (w *witness) notEnded() []CopyUpload {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.uploads))
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
	delete(w.claimed, session)
	delete(w.ended, session)
}

// wrote notes a write that was committed, or with seq 0 one that is in doubt.
func (w *witness) wrote(o Object, s Store, seq, moved int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed.keep(o, func(was told) told {
		if was.seq > seq {
			return was
		}
		return told{s, seq, moved}
	})
}

// putting notes what a copy is about to put on a store.
func (w *witness) putting(o Object, s Store, etag string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.copied.keep(o, func(was copies) copies {
		now := copies{s, []string{etag}}
		for _, e := range was.etags {
			if was.store == s && e != etag && len(now.etags) < copiesMost {
				now.etags = append(now.etags, e)
			}
		}
		return now
	})
}

// put notes that a copy has put it there: what others had put is gone. An initial
// copy is not worth it if it took no lock: that was long before a switch.
func (w *witness) put(o Object, s Store, etag string, initial bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, locked := w.copied.of[o]; locked || !initial {
		w.copied.keep(o, func(copies) copies { return copies{s, []string{etag}} })
	}
}

// toldAgain returns when recent was called last.
func (w *witness) toldAgain() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.again
}

// recent returns what was committed and copied of late, and whether that is all that was committed.
func (w *witness) recent() (map[Object]told, map[Object]copies, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.again = now
	return w.committed.all(now), w.copied.all(now), w.committed.cut.IsZero() || now.Sub(w.committed.cut) > ringFor
}
