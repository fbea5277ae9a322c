package worker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// errNoAge: without it nobody can tell whether a change came before the switch.
var errNoAge = errors.New("the answer has no Date or no Last-Modified")

// tries is how often a key was copied because of a difference.
func (j *judging) tries(it ledger.Suspect) int {
	if strings.HasPrefix(it.Note, unlisted) || it.Note == "" {
		return 0
	}
	return 1 + strings.Count(it.Note, "+")
}

// afterLoss deals with the keys of which the ledger, which lost data during a
// switch, can't know which store holds the newest version: as for a read, the
// stores decide, and what they say is written into the ledger for everybody and
// copied from there. It returns the other keys.
func (j *judging) afterLoss(take, work context.Context, items []ledger.Suspect) (rest []ledger.Suspect, err error) {
	if r, ok := j.member.Route(); !ok || r.State != ledger.Switched {
		return items, nil
	}
	var g sync.WaitGroup
	defer g.Wait()
	for i, it := range items {
		loc, err := j.led.Lookup(take, ledger.Object{Bucket: j.s.Bucket, Key: it.Key})
		asked := time.Now()
		if err != nil {
			for _, it := range append(rest, items[i:]...) {
				j.keep(it)
			}
			return nil, err
		}
		switch {
		case loc.Loss == ledger.Healthy || it.Key == "":
			rest = append(rest, it)
		case loc.Loss != ledger.Lost || loc.Route.State != ledger.Switched:
			j.keep(it)
		case j.slots.acquire(work, forBatches) != nil:
			j.keep(it)
		default:
			g.Go(func() {
				defer j.slots.release(forBatches, 1)
				j.decide(work, it, loc, asked)
			})
		}
	}
	return rest, nil
}

// decide compares an object on both stores and has the ledger know the newer one.
func (j *judging) decide(ctx context.Context, it ledger.Suspect, loc ledger.Location, asked time.Time) {
	var seen [2]ledger.Seen
	for i, s := range j.stores {
		var err error
		seen[i], err = ledger.Look(asked, func() (ledger.Seen, error) { return s.seen(ctx, j.s.Bucket, it.Key) })
		if err != nil {
			j.keep(it)
			j.mu.Lock()
			j.problem = err
			j.mu.Unlock()
			return
		}
	}
	newest, differ := loc.Newest(loc.Since, seen)
	tried := j.tries(it)
	if differ && tried > 0 {
		// What was copied since may have another ETag, as in parts it may.
		f, err := j.look(ctx, j.stores[newest], j.stores[newest.Other()], j.s.Bucket, it.Key, j.s.Mode)
		differ = err != nil || f.kind != "" && !f.metadata
	}
	switch {
	case !differ && tried > 0:
		j.count(func(c *ledger.AuditCounts) { c.Repaired++ })
		return
	case !differ, tried > repairs:
		return
	}
	if _, err := j.led.Adopt(ctx, ledger.Object{Bucket: j.s.Bucket, Key: it.Key}, newest); err != nil {
		j.keep(it)
		return
	}
	if tried > 0 {
		note, _, _ := strings.Cut(it.Note, copiedMark)
		it.Note = note + "+"
	} else {
		f := finding{kind: kindDifferent, detail: "content; " + newest.String() + " has the newest"}
		switch {
		case !seen[newest].Found:
			f = finding{kind: kindExtra, detail: "deleted on " + newest.String()}
		case !seen[newest.Other()].Found:
			f = finding{kind: kindMissing, detail: "on " + newest.Other().String()}
		}
		j.found(it.Key, f, false)
		it.Note = f.kind
	}
	j.keep(it)
}

// seen is what a store says of an object, its age by the store's own clock.
func (s *store) seen(ctx context.Context, bucket, key string) (ledger.Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p, err := s.head(ctx, bucket, key)
	if err != nil || p == nil {
		return ledger.Seen{}, err
	}
	if p.now.IsZero() || p.modified.IsZero() {
		return ledger.Seen{}, s.wrap("look at object", errNoAge)
	}
	return ledger.Seen{Found: true, ETag: p.etag, Size: p.size, Age: p.now.Sub(p.modified)}, nil
}
