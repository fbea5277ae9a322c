package ledger

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// witness is what this process was told by the ledger: what it can find missing
// there, and tell again.
type witness struct {
	mu   sync.Mutex
	last map[int]map[string]int64             // by shard and session: the largest sequence answered
	open map[int]map[string]map[string]Intent // by shard and session: intents that the ledger may hold open, by id
	// committed are writes of late, copied what copies have put on a store that
	// clients write, or may have.
	committed ring[told]
	copied    ring[copies]
	// uploads are those of copies that are not known to have ended, by their fields.
	uploads map[string]CopyUpload
	// places are where uploads live that this process has said it of, by their fields.
	places map[string]place
	again  time.Time // when it was told again last
}

// told is what a commit was answered, or, until it is, Begin; seq 0: the write is in doubt, or was recorded late.
type told struct {
	store Store
	seq   int64
	moved int64 // the sequence at which that store became the newest
	late  bool  // a write made it that which began when it was not main any more
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
		w.open = map[int]map[string]map[string]Intent{}
	}
	if w.open[shard] == nil {
		w.open[shard] = map[string]map[string]Intent{}
	}
	if w.open[shard][session] == nil {
		w.open[shard][session] = map[string]Intent{}
	}
	for _, id := range ids {
		w.open[shard][session][id] = Intent{ID: id}
	}
}

// began notes what Begin was answered.
func (w *witness) began(shard int, in Intent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if all := w.open[shard][in.Session]; all != nil {
		all[in.ID] = in
	}
}

// reopened says that the ledger was told that an intent is open while it was being ended, since began.
func (w *witness) reopened(shard int, in Intent, began time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.open[shard][in.Session][in.ID].again.Before(began)
}

// visible returns the open intents whose writes clients may see before they are committed.
func (w *witness) visible() (out []Intent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sessions := range w.open {
		for _, all := range sessions {
			for _, in := range all {
				if in.Newest {
					out = append(out, in)
				}
			}
		}
	}
	return byID(out)
}

// byID sorts intents, so that they are told alike each time.
func byID(all []Intent) []Intent {
	slices.SortFunc(all, func(a, b Intent) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// place is where an upload lives.
type place struct {
	object Object
	store  Store
}

// placesMost bounds what is remembered of where uploads live.
const placesMost = 1 << 16

func (w *witness) placed(o Object, uploadID string, s Store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places == nil {
		w.places = map[string]place{}
	}
	if len(w.places) < placesMost {
		w.places[uploadField(o, uploadID)] = place{o, s}
	}
}

func (w *witness) unplaced(o Object, uploadID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.places, uploadField(o, uploadID))
}

// forgetPlaces: the switch has ended, and with it what was said of uploads.
func (w *witness) forgetPlaces() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.places)
}

// allPlaces returns them by field.
func (w *witness) allPlaces() map[string]place {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.places)
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

// stillOpen returns the intents of a session that have not ended, which are to be told.
func (w *witness) stillOpen(shard int, session string) []Intent {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, in := range w.open[shard][session] {
		in.again = time.Now()
		w.open[shard][session][id] = in
	}
	return byID(slices.Collect(maps.Values(w.open[shard][session])))
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

// wrote notes a write that was committed, or with seq 0 one that is in doubt.
func (w *witness) wrote(o Object, now told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed.keep(o, func(was told) told {
		if was.seq > now.seq {
			was, now = now, was
		}
		now.late = now.late || was.late && was.store == now.store
		return now
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

// put notes that a copy has put it there: what others had put is gone.
func (w *witness) put(o Object, s Store, etag string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.copied.keep(o, func(copies) copies { return copies{s, []string{etag}} })
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
