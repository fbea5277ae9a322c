package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Location says where a read must go.
type Location struct {
	// Store holds the newest version.
	Store Store
	// Known says that a record exists: the object is dirty, in flight or claimed.
	Known bool
	// Route is in force on the object's shard.
	Route Route
	// Loss: the ledger lost data and can't know. Healthy means that it does.
	Loss LossState
	// Since is how long ago main changed, where Loss says that the ledger can't know.
	Since time.Duration
	// Hint: where the ledger can't know, what it still knows says that Store holds the
	// newest version, and is no older than a moment before the loss.
	Hint bool
	// Kept: so it says that the old main does, and only what came last can be lost.
	Kept bool
	// Over: and that it took what it has before main changed; and Copied is complete, as
	// far as what copies did within Reach.
	Over  bool
	Reach time.Duration
	// Synced is how long ago both stores held the same, at the latest, where the ledger
	// has kept nothing of the object: only what came last can be lost. 0: that is not known.
	Synced time.Duration
	// Behind: main may have lacked what was older than Backlog when it changed.
	Behind bool
	// Copied are the ETags of what copies have put on main, or may have, where the
	// ledger can't know; CopiedBack of what they have put on the old main.
	Copied, CopiedBack []string
}

// Lookup says which store holds the newest version of an object. One round trip.
func (l *Ledger) Lookup(ctx context.Context, o Object) (Location, error) {
	v, err := l.run(ctx, l.call(lookupScript, l.prefix(o), o.Bucket, o.Key))
	if err != nil {
		return Location{}, err
	}
	a := strs(v)
	loc := Location{Store: storeOf(a[0]), Known: a[1] == "1", Route: parseRoute(a[2:9]), Loss: LossState(a[9]),
		Since: time.Duration(number(a[10])) * time.Millisecond, Hint: a[11] != "", Kept: a[11] == "k", Copied: strings.Fields(a[12]), CopiedBack: strings.Fields(a[16]), Over: a[13] == "1", Behind: a[17] == "1",
		Reach: ringFor + time.Duration(number(a[15]))*time.Millisecond}
	if a[14] != "" {
		loc.Synced = time.Duration(number(a[14]))*time.Millisecond + ringFor
	}
	if loc.Route.Epoch < l.seen.Load() {
		return Location{}, fmt.Errorf("%w: %w", ErrUnavailable, errOlder)
	}
	return loc, nil
}

// Standing says how an object stands between the stores.
type Standing struct {
	// Newest is the store with the newest version.
	Newest Store
	// Moving: a write is under way on the store that is not main, or a copy of what was
	// there before the newest version.
	Moving bool
	// Route is in force on the object's shard.
	Route Route
	// Loss: the ledger lost data and can't know. Healthy means that it does.
	Loss LossState
}

// Standing says how an object stands, and puts it at the head of the queue if its
// newest version is not on main. One round trip.
func (l *Ledger) Standing(ctx context.Context, o Object) (Standing, error) {
	v, err := l.run(ctx, l.call(standingScript, l.prefix(o), o.Bucket, o.Key))
	if err != nil {
		return Standing{}, err
	}
	a := strs(v)
	s := Standing{Newest: storeOf(a[0]), Moving: a[1] == "1", Route: parseRoute(a[2:9]), Loss: LossState(a[9])}
	if s.Route.Epoch < l.seen.Load() {
		return Standing{}, fmt.Errorf("%w: %w", ErrUnavailable, errOlder)
	}
	return s, nil
}

// DirtyPage is a part of a bucket's dirty keys, in order.
type DirtyPage struct {
	// Keys are sorted; their newest version is not on the listed store.
	Keys []string
	// Horizon is the last key that was looked at; nothing after it is known.
	// Empty: the whole range was looked at.
	Horizon string
	// Loss: keys may be missing, for the ledger lost data.
	Loss LossState
}

// DirtyRange returns the keys after a key and below a prefix whose newest
// version is not on the listed store. It looks at no more than limit records a
// shard. Fetch it before the store's own listing: then a key that is not in it
// was in sync at that moment.
func (l *Ledger) DirtyRange(ctx context.Context, listed Store, bucket, prefix, after string, limit int) (DirtyPage, error) {
	return l.dirtyRange(ctx, listed, bucket, prefix, after, limit, false)
}

// DirtyOrOpenRange is DirtyRange; keys that are being written on the other store are
// among them, for they may be newest there soon.
func (l *Ledger) DirtyOrOpenRange(ctx context.Context, listed Store, bucket, prefix, after string, limit int) (DirtyPage, error) {
	return l.dirtyRange(ctx, listed, bucket, prefix, after, limit, true)
}

func (l *Ledger) dirtyRange(ctx context.Context, listed Store, bucket, prefix, after string, limit int, open bool) (DirtyPage, error) {
	lo, hi := "["+prefix, "+"
	if after >= prefix && after != "" {
		lo = "(" + after
	}
	if end, ok := prefixEnd(prefix); ok {
		hi = "(" + end
	}
	if prefix == "" && after == "" {
		lo = "-"
	}
	calls := make([]call, l.shards)
	for i := range calls {
		calls[i] = l.call(dirtyRangeScript, l.shard(i), listed.code(), bucket, lo, hi, limit, flag(open))
	}
	vs, errs := l.runAll(ctx, calls)
	if err := errors.Join(errs...); err != nil {
		return DirtyPage{}, err
	}
	var p DirtyPage
	for _, v := range vs {
		a := strs(v)
		if a[0] != "" && (p.Horizon == "" || a[0] < p.Horizon) {
			p.Horizon = a[0]
		}
		if number(a[1]) < l.seen.Load() {
			return p, fmt.Errorf("%w: %w", ErrUnavailable, errOlder)
		}
		if a[2] != "" && p.Loss != Suspected && p.Loss != Replaying {
			p.Loss = LossState(a[2])
		}
		p.Keys = append(p.Keys, a[3:]...)
	}
	slices.Sort(p.Keys)
	if p.Horizon != "" {
		n, found := slices.BinarySearch(p.Keys, p.Horizon)
		if found {
			n++
		}
		p.Keys = p.Keys[:n]
	}
	return p, nil
}

// prefixEnd returns the smallest string above every string with the prefix.
func prefixEnd(prefix string) (string, bool) {
	b := []byte(prefix)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return "", false
	}
	b[len(b)-1]++
	return string(b), true
}

func objectField(o Object) string { return o.Bucket + "\x00" + o.Key }

func uploadField(o Object, id string) string { return objectField(o) + "\x00" + id }

// PutUpload remembers that a multipart upload lives on a store.
func (l *Ledger) PutUpload(ctx context.Context, o Object, uploadID string, s Store) error {
	l.told.placed(o, uploadID, s)
	return wrap("put upload", l.rdb.HSet(ctx, l.prefix(o)+"u", uploadField(o, uploadID), s.code()).Err())
}

// PlaceUpload is PutUpload of a client's upload, which the session has created on a store. Without say
// nothing is remembered: it is where the route says that uploads live. ErrFenced: the session was
// declared dead, and a switch may have ended without this upload; abort it.
func (l *Ledger) PlaceUpload(ctx context.Context, session string, o Object, uploadID string, s Store, say bool) error {
	code := ""
	if say {
		code = s.code()
		l.told.placed(o, uploadID, s)
	}
	v, err := l.run(ctx, l.call(placeUploadScript, l.prefix(o), session, uploadField(o, uploadID), code))
	if err == nil && integer(v) == 0 {
		err = ErrFenced
	}
	return err
}

// UploadPlace is where a multipart upload lives.
type UploadPlace struct {
	// Store is the one that was remembered, or the route's Uploads.
	Store Store
	// Known says that it was remembered.
	Known bool
	// Sure is false when it may have been remembered, and lost; Recovering says that
	// somebody may still tell.
	Sure, Recovering bool
}

// Upload says which store a multipart upload lives on.
func (l *Ledger) Upload(ctx context.Context, o Object, uploadID string) (UploadPlace, error) {
	v, err := l.run(ctx, l.call(uploadScript, l.prefix(o), uploadField(o, uploadID)))
	if err != nil {
		return UploadPlace{}, err
	}
	a := strs(v)
	if number(a[2]) < l.seen.Load() {
		return UploadPlace{}, fmt.Errorf("%w: %w", ErrUnavailable, errOlder)
	}
	return UploadPlace{Store: storeOf(a[0]), Sure: a[1] == "1", Known: a[3] == "1", Recovering: a[4] == "1"}, nil
}

// Open says whether a client's request is under way on a store that may change an object.
func (l *Ledger) Open(ctx context.Context, o Object, s Store) (bool, error) {
	n, err := l.rdb.HGet(ctx, l.prefix(o)+"o:"+objectField(o), "i"+s.code()).Int64()
	return n > 0, wrap("open writes", err)
}

// Copying says how the copying of an object stands: which version the store has that does not
// have the newest one, and whether people were told that it fails. Each copy changes that version,
// and so does a write of an object that was in sync meanwhile, but for its first one.
func (l *Ledger) Copying(ctx context.Context, o Object) (version int64, failing bool, err error) {
	p := l.rdb.Pipeline()
	record := p.HMGet(ctx, l.prefix(o)+"o:"+objectField(o), "n", "s", "t")
	fails := p.HExists(ctx, l.prefix(o)+"fail", objectField(o))
	if _, err := p.Exec(ctx); err != nil {
		return 0, false, wrap("copying", err)
	}
	a := strs(record.Val())
	return number(a[1+storeOf(a[0]).Other()]), fails.Val(), nil
}

// Unplaced says whether a request is under way on a store that may create an upload of an
// object which nobody will place: one that began before the switch.
func (l *Ledger) Unplaced(ctx context.Context, o Object, s Store) (bool, error) {
	v, err := l.run(ctx, l.call(unplacedScript, l.prefix(o), s.code(), o.Bucket, o.Key))
	return integer(v) == 1, err
}

// CopyUpload says that a copy may have an upload of an object on a store, of which no
// client knows.
type CopyUpload struct {
	Object Object
	Store  Store
	// Began is when it was about to be created, by its worker's clock, to the ms.
	Began time.Time
	// Others says which uploads were there before it that clients may have, and that
	// nobody has placed; nil: that is not known.
	Others *OtherUploads

	id string // tells copies of one object apart
}

// OtherUploads are all the uploads of an object on the store where the route says that uploads
// live, that nobody has placed: from before the switch. No more can come, for in Switched each
// of a client is placed; not even late, for no request that could create one was open.
type OtherUploads struct{ IDs []string }

func (u CopyUpload) field() string {
	return objectField(u.Object) + "\x00" + u.Store.code() + "\x00" + u.id
}

func (u CopyUpload) value() string {
	v := strconv.FormatInt(u.Began.UnixMilli(), 10)
	if u.Others != nil {
		v = strings.Join(append([]string{v}, u.Others.IDs...), "\x00") + "\x00"
	}
	return v
}

func parseCopyUpload(field, value string) (CopyUpload, bool) {
	f, v := strings.Split(field, "\x00"), strings.Split(value, "\x00")
	n := len(f)
	if n < 4 {
		return CopyUpload{}, false
	}
	key := strings.Join(f[1:n-2], "\x00") // which may hold one itself
	u := CopyUpload{Object: Object{f[0], key}, Store: storeOf(f[n-2]), Began: millis(number(v[0])), id: f[n-1]}
	if len(v) > 1 {
		u.Others = &OtherUploads{IDs: v[1 : len(v)-1]}
	}
	return u, true
}

// IsCopys says that an upload of the object on the store, which nobody has placed, can't
// be a client's. sure is UploadPlace.Sure: the ledger has lost nothing that it knew.
func (u CopyUpload) IsCopys(uploadID string, sure bool) bool {
	return sure && u.Others != nil && !slices.Contains(u.Others.IDs, uploadID)
}

// CreatingUpload notes, before a copy creates a multipart upload, that there will be one.
// The note stays until EndedUpload: a worker that is killed leaves it. ErrClaimLost: a client
// was first, and there must be none.
func (l *Ledger) CreatingUpload(ctx context.Context, o Object, on Store, began time.Time, others *OtherUploads) (CopyUpload, error) {
	u := CopyUpload{Object: o, Store: on, Began: began, Others: others, id: rand.Text()[:10]}
	l.told.creating(u)
	v, err := l.run(ctx, l.call(creatingScript, l.prefix(o), on.code(), o.Bucket, o.Key, u.field(), u.value()))
	if err == nil && integer(v) == 0 {
		l.told.endedUpload(u)
		err = ErrClaimLost
	}
	return u, err
}

// CopyUploads returns all of them. One call a shard.
func (l *Ledger) CopyUploads(ctx context.Context) ([]CopyUpload, error) {
	var out []CopyUpload
	for i := range l.shards {
		all, err := l.rdb.HGetAll(ctx, l.shard(i)+"uc").Result()
		if err != nil {
			return nil, wrap("copies' uploads", err)
		}
		for _, field := range slices.Sorted(maps.Keys(all)) {
			if u, ok := parseCopyUpload(field, all[field]); ok {
				out = append(out, u)
			}
		}
	}
	return out, nil
}

// EndedUpload says that nothing is left of it.
func (l *Ledger) EndedUpload(ctx context.Context, u CopyUpload) error {
	err := l.rdb.HDel(ctx, l.prefix(u.Object)+"uc", u.field()).Err()
	if err == nil {
		l.told.endedUpload(u)
	}
	return wrap("ended upload", err)
}

// DeleteUpload forgets a finished multipart upload.
func (l *Ledger) DeleteUpload(ctx context.Context, o Object, uploadID string) error {
	l.told.unplaced(o, uploadID)
	return wrap("delete upload", l.rdb.HDel(ctx, l.prefix(o)+"u", uploadField(o, uploadID)).Err())
}

// ClearUploads forgets where uploads live: on the route's Uploads store, all of them.
// One call a shard.
func (l *Ledger) ClearUploads(ctx context.Context) error {
	for i := range l.shards {
		if err := wrap("clear uploads", l.rdb.Del(ctx, l.shard(i)+"u").Err()); err != nil {
			return err
		}
	}
	return nil
}

// Cut returns the page up to a horizon; "" cuts nothing.
func (p DirtyPage) Cut(horizon string) DirtyPage {
	if horizon == "" || p.Horizon != "" && p.Horizon <= horizon {
		return p
	}
	n, found := slices.BinarySearch(p.Keys, horizon)
	if found {
		n++
	}
	return DirtyPage{Keys: p.Keys[:n], Horizon: horizon, Loss: p.Loss}
}
