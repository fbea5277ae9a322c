package ledger

import (
	"slices"
	"strings"
	"time"
)

// Seen is what a store says of an object.
type Seen struct {
	Found bool
	ETag  string
	Size  int64
	// Age since it was last modified, by the store's own clock, to the second. Look has it
	// as of one moment for both stores.
	Age time.Duration
}

// Look asks a store what it holds, and tells the age as of a moment before that. The store's answer is of some
// moment while it was asked: where that takes long it is asked again, and the quickest answer counts.
func Look(at time.Time, ask func() (Seen, error)) (seen Seen, err error) {
	least := time.Duration(-1)
	for range looks {
		sent := time.Now()
		s, err := ask()
		took := time.Since(sent)
		switch {
		case err != nil && least < 0:
			return Seen{}, err
		case err != nil:
			return seen, nil
		case !s.Found:
			return s, nil
		case least < 0 || took < least:
			seen, least = s, took
			// Stores tell whole seconds. Less than that would only blur which one is younger.
			seen.Age -= time.Since(at).Round(time.Second)
		}
		if took <= exact {
			break
		}
	}
	return seen, nil
}

// Same reports whether two stores hold the same content.
func (s Seen) Same(o Seen) bool {
	return s.Found == o.Found && s.Size == o.Size && bare(s.ETag) == bare(o.ETag)
}

// bare is an ETag without its quotes.
func bare(etag string) string { return strings.Trim(etag, `"`) }

const (
	// ageSlack is how exact Last-Modified and Date are, and the clocks of processes.
	ageSlack = 2 * time.Second
	// Backlog is how long before a switch an object may have been written that
	// was not copied when it began, unless the ledger was told that it was Behind.
	Backlog = 10 * time.Minute
	// exact is how long an answer may take for its age to be that of one moment, and looks
	// how often it is asked for.
	exact, looks = 500 * time.Millisecond, 3
)

// Newest says which store holds the newest content of an object that the ledger
// knows nothing certain of any more, and whether they differ at all. since is how long
// ago main changed. The evidence is asked in the order of how far it can be wrong:
//
//   - the ledger's word that main has it (Hint), unless the switch was turned back:
//     whoever did not tell what they did wrote main as well;
//   - what has not been touched since both stores held the same (Synced): the other store's
//     is later;
//   - what a copy has put on main (Copied) is not what a client wrote there; where the old
//     main has nothing, and the ledger has kept that it is the newest, it was deleted there;
//   - what a copy has put on the old main (CopiedBack) came from main, which has changed since;
//   - the ledger's word that the old main has it, unless main's is clearly younger: an
//     upload ended there. Where none did since main changed, and no copy can have put there
//     what main has, it is enough that main's is not clearly older: a client did, later. What
//     main got so long ago (Reach) that nobody would tell of a copy any more can't be lost;
//   - but for uploads only main has taken writes since it changed: what was written
//     there since is the newest, else what the old main holds, which took them all
//     before. Where main has nothing, its clients have deleted it since, unless the old
//     main's is so young that it may not have been copied, or main lacked more than that
//     when it changed (Behind): an acknowledged write that is lost is worse than a delete that is.
func (l Location) Newest(since time.Duration, seen [2]Seen) (Store, bool) {
	r := l.Route
	main, old := seen[r.Main], seen[r.Main.Other()]
	switch {
	case main.Same(old) && l.Hint && l.Store != r.Main && main.Found:
		return r.Main.Other(), true // its tags, or its metadata, may differ
	case main.Same(old):
		return r.Main, false
	case l.Hint && l.Store == r.Main && (!main.Found || r.Uploads != r.Main):
		return r.Main, true
	case l.untouched(old) && !l.untouched(main) && (main.Found || !l.Behind):
		return r.Main, true
	case old.Found && l.untouched(main) && !l.untouched(old):
		return r.Main.Other(), true
	case main.Found && (old.Found || l.Kept) && slices.Contains(l.Copied, bare(main.ETag)):
		return r.Main.Other(), true
	case old.Found && slices.Contains(l.CopiedBack, bare(old.ETag)):
		return r.Main, true
	case main.Found && old.Found && l.Hint && l.Store != r.Main && main.Age+ageSlack >= old.Age:
		if l.Over && r.Uploads != r.Main && main.Age <= min(old.Age, since)+ageSlack && main.Age+ageSlack < l.Reach {
			return r.Main, true
		}
		return r.Main.Other(), true
	case main.Found && main.Age <= since+ageSlack:
		return r.Main, true
	case !main.Found && old.Age > since+Backlog && !l.Behind:
		return r.Main, true
	case r.Uploads == r.Main && main.Found && (!old.Found || main.Age < old.Age):
		// The switch was turned back half-way: each has taken writes that the
		// other may lack, and the younger one is what there is to go by.
		return r.Main, true
	}
	return r.Main.Other(), true
}

// untouched says that a store holds what both did when they held the same.
func (l Location) untouched(s Seen) bool {
	return l.Synced > 0 && s.Found && s.Age > l.Synced+ageSlack
}

// NewestBucket says which store is right about whether a bucket exists, where the ledger
// knows nothing certain of it any more, and whether they differ at all. Only main makes and
// deletes buckets since the switch, so its word counts where the ledger knows of anything that
// it did; else the bucket exists: one that is gone too early is worse than one that is
// there for too long. That it was deleted on the old main may have been told by somebody
// who did not live to see it made again.
func (l Location) NewestBucket(found [2]bool) (Store, bool) {
	main := l.Route.Main
	switch {
	case found[main] == found[main.Other()]:
		return main, false
	case found[main], l.Hint && l.Store == main && l.Route.Uploads != main:
		return main, true
	}
	return main.Other(), true
}
