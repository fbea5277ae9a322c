package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// BeginOptions say what a client's write needs.
type BeginOptions struct {
	// Store is where the write must go; nil means the route's main. Requests on
	// a multipart upload go to the store that it lives on.
	Store *Store
	// InSync refuses with ErrNotInSync unless that store holds the newest
	// version and no write is under way on the other one: for conditional
	// writes, copies and metadata writes, which depend on what is there.
	InSync bool
	// Removes says that the write can leave nothing behind. It waits until a copy
	// that was being committed on its store can't land any more: the condition
	// "only if there is nothing", which keeps such a copy from overwriting what
	// clients write, would not keep it from bringing back what they delete.
	Removes bool
	// Compared says that the stores were found equal just now: with InSync, after
	// ErrUnknown.
	Compared bool
}

// Intent is a client's write that has begun and is not settled.
type Intent struct {
	ID      string
	Session string
	Object  Object
	// Store takes the write.
	Store Store
	// Newest says that Store held the newest version at Begin. Otherwise Commit must
	// succeed before the client is answered; see MayAnswer.
	Newest bool
	// Route was in force at Begin.
	Route Route
	// Began is the local time of Begin.
	Began time.Time

	seq   string
	moved string    // sequence at which the newest version had moved last
	sync  bool      // InSync was asked for
	again time.Time // when the ledger was told last that it is open
}

// seen is what Begin was told of which store was the newest: what the write does may be
// seen there before anybody has committed it.
func (in Intent) seen() told {
	if !in.Newest {
		return told{store: in.Store, late: in.late()}
	}
	return told{in.Store, number(in.seq), number(in.moved), in.late()}
}

// late says that its store was not main any more when it began: an upload ends there.
func (in Intent) late() bool { return in.Store != in.Route.Main }

// kind is what the ledger notes of it, see begin.lua.
func (in Intent) kind() string {
	switch {
	case in.sync && in.late():
		return "3"
	case in.late():
		return "2"
	}
	return flag(in.sync)
}

// Change is a write that was forwarded without an intent.
type Change struct {
	Object Object
	Store  Store
}

// newID tells the calls of one session apart.
func (l *Ledger) newID() string { return strconv.FormatUint(l.calls.Add(1), 36) }

// Begin stores the intent of one write and says where it goes. Errors:
// ErrUnavailable, ErrNoRoute, ErrFenced, ErrHeld, ErrLocked, ErrNotInSync, ErrMoved, ErrUnknown. With
// ErrUnavailable the intent may have been stored and only the answer lost: it is
// returned, fit for nothing but Abort, which the caller owes it.
func (l *Ledger) Begin(ctx context.Context, session string, o Object, opt BeginOptions) (Intent, error) {
	in, err := l.beginShard(ctx, session, o.Bucket, []string{o.Key}, opt)
	if len(in) == 0 {
		return Intent{}, err
	}
	return in[0], err
}

// BeginMany stores the intents of writes to many keys of a bucket: all, or none
// when it returns an error; what it could not take back, the caller must Abort. Shards may be at different epochs for a moment, so
// the intents may name different stores.
func (l *Ledger) BeginMany(ctx context.Context, session, bucket string, keys []string, opt BeginOptions) ([]Intent, error) {
	byShard := make([][]int, l.shards)
	for i, k := range keys {
		s := l.shardOf(Object{bucket, k})
		byShard[s] = append(byShard[s], i)
	}
	out := make([]Intent, len(keys))
	var begun []Intent
	for _, idx := range byShard {
		if len(idx) == 0 {
			continue
		}
		part := make([]string, len(idx))
		for j, i := range idx {
			part[j] = keys[i]
		}
		in, err := l.beginShard(ctx, session, bucket, part, opt)
		if err != nil {
			begun = append(begun, in...)
			if len(begun) > 0 && l.Abort(context.WithoutCancel(ctx), begun...) != nil {
				return begun, err
			}
			return nil, err
		}
		for j, i := range idx {
			out[i] = in[j]
		}
		begun = append(begun, in...)
	}
	return out, nil
}

func (l *Ledger) beginShard(ctx context.Context, session, bucket string, keys []string, opt BeginOptions) ([]Intent, error) {
	if session == "" {
		return nil, ErrFenced // not registered yet
	}
	want := ""
	if opt.Store != nil {
		want = opt.Store.code()
	}
	args := make([]any, 0, 5+2*len(keys))
	args = append(args, want, flag(opt.InSync), bucket, flag(opt.Removes), flag(opt.Compared))
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = l.newID()
		args = append(args, ids[i], k)
	}
	began, shard := time.Now(), l.shardOf(Object{bucket, keys[0]})
	l.told.opened(shard, session, ids)
	v, err := l.run(ctx, l.callAs(beginScript, shard, session, args...))
	if errors.Is(err, ErrUnavailable) {
		lost := make([]Intent, len(keys))
		for i, k := range keys {
			lost[i] = Intent{ID: ids[i], Session: session, Object: Object{bucket, k}, Began: began}
		}
		return lost, err
	}
	var a []string
	if err == nil {
		a = strs(v)
	}
	if err != nil || a[0] != "OK" {
		l.told.closed(shard, session, ids...)
	}
	if err != nil {
		return nil, err
	}
	switch a[0] {
	case "OK":
	case "FENCED":
		return nil, ErrFenced
	case "HELD":
		return nil, ErrHeld
	case "LOCKED":
		return nil, ErrLocked
	case "DIRTY":
		if a[1] == "1" {
			return nil, ErrBeingCopied
		}
		return nil, ErrNotInSync
	case "MOVED":
		if number(a[1]) < l.seen.Load() {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, errOlder) // from before a route that we obey
		}
		return nil, ErrMoved
	case "UNKNOWN":
		return nil, ErrUnknown
	default:
		return nil, fmt.Errorf("begin: unexpected answer %q", a[0])
	}
	route := parseRoute(a[1:8])
	out := make([]Intent, len(keys))
	for i, k := range keys {
		f := a[8+4*i:]
		out[i] = Intent{ID: ids[i], Session: session, Object: Object{bucket, k}, Store: storeOf(f[0]),
			Newest: f[1] == "1", Route: route, Began: began, seq: f[2], moved: f[3], sync: opt.InSync}
		l.told.began(shard, out[i])
	}
	l.told.note(l.shardOf(out[0].Object), session, number(out[0].seq))
	if route.Epoch < l.seen.Load() {
		// It came back from before a route that we obey. What was begun is taken back.
		return out, fmt.Errorf("%w: %w", ErrUnavailable, errOlder)
	}
	return out, nil
}

// MayAnswer says whether a client may be told that its write took place before it is
// committed: an intent left behind is settled as done, and if it is lost, this process tells
// the ledger again that the write was made. One that began before everything was told again
// must be committed first: nobody would tell of it.
func (l *Ledger) MayAnswer(in Intent) bool {
	if !in.Newest {
		return false
	}
	l.told.wrote(in.Object, told{in.Store, number(in.seq), number(in.seq), in.late()}) // what began on the other store before comes before it
	return in.Began.After(l.told.toldAgain())
}

// Commit settles writes that took place (2xx), see CommitEach.
func (l *Ledger) Commit(ctx context.Context, intents ...Intent) error {
	return errors.Join(l.CommitEach(ctx, intents...)...)
}

// CommitEach settles writes that took place (2xx) and returns each one's error.
// It may be repeated. ErrSettled: somebody settled the intent meanwhile as never
// made, or the newest version moved on since; the client must not be told that it
// was. That cannot happen while the session that began it lives. One pipeline.
func (l *Ledger) CommitEach(ctx context.Context, intents ...Intent) []error {
	calls := make([]call, len(intents))
	for i, in := range intents {
		calls[i] = l.callAs(commitScript, l.shardOf(in.Object), in.Session, in.ID, in.Store.code(), in.seq, in.Object.Bucket, in.Object.Key, flag(in.Newest), flag(in.late()))
	}
	vs, errs := l.end(ctx, calls, intents)
	for i, v := range vs {
		if errs[i] != nil {
			continue
		}
		a := strs(v)
		in := intents[i]
		l.settled(in, number(a[2]))
		l.told.wrote(in.Object, told{storeOf(a[1]), number(a[2]), number(a[3]), a[4] == "1"})
		if a[0] == "-1" {
			errs[i] = ErrSettled
		}
	}
	return errs
}

// Abort drops intents whose writes did not take place (a definite 4xx). One pipeline.
func (l *Ledger) Abort(ctx context.Context, intents ...Intent) error {
	calls := make([]call, len(intents))
	for i, in := range intents {
		calls[i] = l.callAs(abortScript, l.shardOf(in.Object), in.Session, in.ID, in.Store.code(), in.Object.Bucket, in.Object.Key)
	}
	return l.settle(ctx, calls, intents)
}

// end ends intents. The answer may come from before a loss, after which the ledger was told
// that they are open: then they are ended once more.
func (l *Ledger) end(ctx context.Context, calls []call, intents []Intent) ([]any, []error) {
	began := time.Now()
	vs, errs := l.runAll(ctx, calls)
	for i, in := range intents {
		if errs[i] == nil && l.told.reopened(l.shardOf(in.Object), in, began) {
			vs[i], errs[i] = l.run(ctx, calls[i])
		}
	}
	return vs, errs
}

func (l *Ledger) settle(ctx context.Context, calls []call, intents []Intent) error {
	vs, errs := l.end(ctx, calls, intents)
	for i, v := range vs {
		if errs[i] == nil {
			l.settled(intents[i], integer(v))
		}
	}
	return errors.Join(errs...)
}

// settled notes that the ledger knows how an intent ended.
func (l *Ledger) settled(in Intent, seq int64) {
	l.told.note(l.shardOf(in.Object), in.Session, seq)
	l.told.closed(l.shardOf(in.Object), in.Session, in.ID)
}

// Doubt leaves intents open whose outcome is unknown; after the longest time
// that such a request can still reach its store, a worker settles them. One pipeline.
func (l *Ledger) Doubt(ctx context.Context, after time.Duration, intents ...Intent) error {
	for _, in := range intents {
		l.told.wrote(in.Object, in.seen())
	}
	calls := make([]call, len(intents))
	for i, in := range intents {
		calls[i] = l.callAs(doubtScript, l.shardOf(in.Object), in.Session, in.ID, after.Milliseconds(), in.Object.Bucket, in.Object.Key, in.Store.code())
	}
	return l.settle(ctx, calls, intents)
}

// Recheck has an object copied, though nobody has written it: the follower may hold
// what it should not.
func (l *Ledger) Recheck(ctx context.Context, session string, o Object) error {
	_, errs := l.record(ctx, session, Change{Object: o})
	return errs[0]
}

// Record replays writes that were forwarded while the ledger was out of reach.
// It may be repeated. A write that the other store has overtaken since leaves an
// unclean event. One pipeline.
func (l *Ledger) Record(ctx context.Context, session string, changes ...Change) error {
	overtaken, errs := l.record(ctx, session, changes...)
	for i, c := range changes {
		if i < len(errs) && errs[i] == nil {
			l.told.wrote(c.Object, told{store: c.Store})
		}
	}
	if overtaken {
		errs = append(errs, l.MarkUnclean(ctx, "a write that was made while Redis was away was recorded after the switch"))
	}
	return errors.Join(errs...)
}

func (l *Ledger) record(ctx context.Context, session string, changes ...Change) (overtaken bool, errs []error) {
	if session == "" {
		return false, []error{ErrFenced} // not registered yet: nobody would miss it, if it was lost
	}
	calls := make([]call, len(changes))
	for i, c := range changes {
		calls[i] = l.callAs(recordScript, l.shardOf(c.Object), session, c.Store.code(), c.Object.Bucket, c.Object.Key)
	}
	vs, errs := l.runAll(ctx, calls)
	for i, c := range changes {
		if errs[i] != nil {
			continue
		}
		a := strs(vs[i])
		if a[0] == "FENCED" {
			errs[i] = ErrFenced
			continue
		}
		overtaken = overtaken || a[0] == "OVERTAKEN"
		l.told.note(l.shardOf(c.Object), session, number(a[1]))
	}
	return overtaken, errs
}
