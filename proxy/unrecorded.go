package proxy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// entry is an object that was written, or is being written, without an intent.
type entry struct {
	change ledger.Change
	open   int       // requests under way
	due    time.Time // not to be recorded before: an upstream request may still land
	writes int       // grows with each write, so that a flush sees newer ones
	inFile bool
}

// unrecorded holds the writes that were forwarded while the ledger was out of
// reach, one entry an object however often it was written, until they are
// recorded. A journal on disk keeps them for the next process.
type unrecorded struct {
	maxInFlight time.Duration
	log         logr.Logger

	mu      sync.Mutex
	entries map[ledger.Change]*entry
	failing bool     // the journal lacks an entry
	journal *journal // nil: memory only
	holes   bool     // a process before us forwarded more than it wrote down; not in the ledger yet
	n       atomic.Int64
}

func openUnrecorded(dir string, maxInFlight time.Duration, log logr.Logger) (*unrecorded, error) {
	u := &unrecorded{maxInFlight: maxInFlight, log: log, entries: map[ledger.Change]*entry{}}
	if dir == "" {
		return u, nil
	}
	j, was, err := openJournal(dir)
	if err != nil {
		return nil, err
	}
	u.journal, u.holes = j, was.holes
	changes := was.changes
	// The process that wrote them may have died with requests under way.
	due := time.Now().Add(maxInFlight)
	for _, c := range changes {
		u.entries[c] = &entry{change: c, due: due, writes: 1, inFile: true}
	}
	u.counted()
	if was.holes {
		log.Info("an earlier process forwarded writes that it could not write down; an audit is due")
	}
	if len(changes) > 0 {
		log.Info("found writes that an earlier process could not record", "objects", len(u.entries))
	}
	return u, nil
}

// count is the number of objects written and not recorded.
func (u *unrecorded) count() int64 { return u.n.Load() }

// add notes writes that are about to be forwarded.
func (u *unrecorded) add(store ledger.Store, bucket string, keys []string) []*entry {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]*entry, len(keys))
	for i, k := range keys {
		c := ledger.Change{Object: ledger.Object{Bucket: bucket, Key: k}, Store: store}
		e := u.entries[c]
		if e == nil {
			e = &entry{change: c}
			u.entries[c] = e
		}
		e.open++
		e.writes++
		out[i] = e
	}
	u.counted()
	u.write(out)
	return out
}

// write writes down the entries that are not yet. While the journal can't take
// them it says that it has holes, and every entry is tried again.
func (u *unrecorded) write(entries []*entry) {
	if u.journal == nil {
		return
	}
	if u.journal.holes && !u.holes {
		entries = slices.Collect(maps.Values(u.entries))
	}
	var lines []ledger.Change
	var todo []*entry
	for _, e := range entries {
		if !e.inFile {
			lines, todo = append(lines, e.change), append(todo, e)
		}
	}
	if len(lines) == 0 {
		return
	}
	err := u.journal.append(lines)
	if err == nil {
		for _, e := range todo {
			e.inFile = true
		}
		err = u.journal.setHoles(u.holes)
	} else {
		// Clients go before the journal: the next process must know that it lacks these.
		err = errors.Join(err, u.journal.setHoles(true))
	}
	switch {
	case err != nil && !u.failing:
		u.log.Error(err, "journal can't be written; keeping changes in memory, and trying on")
	case err == nil && u.failing:
		u.log.Info("the journal holds every change again")
	}
	u.failing = err != nil
}

// rewrite tries again to write down what the journal lacks.
func (u *unrecorded) rewrite() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failing {
		u.write(slices.Collect(maps.Values(u.entries)))
	}
}

// counted counts what is not recorded; holes that the ledger has not heard of count too.
func (u *unrecorded) counted() {
	n := int64(len(u.entries))
	if u.holes {
		n++
	}
	u.n.Store(n)
}

// told says that the ledger knows of an earlier process' holes.
func (u *unrecorded) told() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.holes = false
	u.tidy()
}

// untold reports holes that the ledger has not heard of.
func (u *unrecorded) untold() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.holes
}

// finish notes how requests ended.
func (u *unrecorded) finish(entries []*entry, how outcome) {
	if len(entries) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range entries {
		e.open--
		if how == undone {
			e.writes--
			if e.writes == 0 && e.open == 0 && u.entries[e.change] == e {
				delete(u.entries, e.change)
			}
		}
		if how == doubtful {
			e.due = time.Now().Add(u.maxInFlight)
		}
	}
	u.tidy()
}

// tidy empties the journal once nothing is left.
func (u *unrecorded) tidy() {
	u.counted()
	if len(u.entries) > 0 || u.holes || u.journal == nil {
		return
	}
	u.failing = false
	if err := u.journal.clear(); err != nil {
		u.log.Error(err, "journal can't be cleared; it will be replayed again")
	}
}

// ready returns entries to record now, and how many writes each stands for.
func (u *unrecorded) ready(limit int) (list []*entry, writes []int) {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range u.entries {
		if e.open == 0 && !now.Before(e.due) {
			list, writes = append(list, e), append(writes, e.writes)
			if len(list) == limit {
				break
			}
		}
	}
	return list, writes
}

// recorded removes entries that were not written again meanwhile.
func (u *unrecorded) recorded(list []*entry, writes []int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, e := range list {
		if e.open == 0 && e.writes == writes[i] {
			delete(u.entries, e.change)
		}
	}
	u.tidy()
}

// drained waits until nothing is left; false when ctx ended first.
func (u *unrecorded) drained(ctx context.Context) bool {
	for u.count() > 0 {
		if pause(ctx, 10*time.Millisecond) != nil {
			return false
		}
	}
	return true
}

func (u *unrecorded) close() {
	if u.journal != nil {
		u.journal.close()
	}
}

const (
	flushEvery = 100 * time.Millisecond
	flushBatch = 500
)

// flushUnrecorded records what was written without intents as soon as the
// ledger is back.
func (p *Proxy) flushUnrecorded(ctx context.Context) {
	told := false
	for pause(ctx, flushEvery) == nil {
		if p.unrecorded.count() == 0 {
			told = false
			continue
		}
		p.unrecorded.rewrite()
		if p.unrecorded.untold() && p.tellHoles(ctx) == nil {
			p.unrecorded.told()
		}
		list, writes := p.unrecorded.ready(flushBatch)
		if len(list) == 0 {
			continue
		}
		if err := p.record(ctx, list); err != nil {
			if !told {
				told = true
				p.log.Info("writes are not recorded; trying on", "objects", p.unrecorded.count(), "error", err.Error())
			}
			continue
		}
		p.unrecorded.recorded(list, writes)
		if p.unrecorded.count() == 0 {
			p.log.Info("all writes are recorded again")
		}
	}
}

// tellHoles notes that an earlier process may have forwarded writes that nobody
// will record.
func (p *Proxy) tellHoles(ctx context.Context) error {
	c, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return p.ledger.MarkUnclean(c, "proxy "+p.cfg.Instance+" forwarded writes while Redis was away and ended before it could record them or write them down")
}

// record replays entries. Those on a store that is not main any more came from
// a process that did not know of the switch: an audit has to look at them.
func (p *Proxy) record(ctx context.Context, list []*entry) error {
	c, cancel := context.WithTimeout(ctx, 5*callTimeout)
	defer cancel()
	r, err := p.ledger.Route(c)
	if err != nil {
		return err
	}
	changes := make([]ledger.Change, len(list))
	for i, e := range list {
		changes[i] = e.change
		if e.change.Store != r.Main {
			err = errWrongStore
		}
	}
	if err != nil {
		if err := p.ledger.MarkUnclean(c, "a proxy wrote to the store that is not main while the ledger was out of reach"); err != nil {
			return err
		}
	}
	return p.ledger.Record(c, p.member.ID(), changes...)
}
