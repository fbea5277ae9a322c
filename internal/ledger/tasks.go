package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// MaxBatches bounds the copy queue: a lister waits beyond it, so that the
// ledger does not grow with the number of objects.
const MaxBatches = 64

// Progress counts objects and bytes.
type Progress struct{ Objects, Bytes int64 }

// Range is a part of a bucket's listing: the keys in (After, End]. End "" means
// to the last key.
type Range struct {
	ID, Bucket string
	After, End string
	// Cursor is the last key that was listed; "" means none.
	Cursor string
}

// Start returns the key after which listing goes on.
func (r Range) Start() string { return max(r.After, r.Cursor) }

// BatchItem is one listed object.
type BatchItem struct {
	Key  string
	Size int64
	ETag string
}

// Batch is a page of objects to copy.
type Batch struct {
	ID, Bucket string
	Items      []BatchItem
}

// The states of a bucket.
const (
	BucketPending = "Pending"
	BucketCopying = "Copying" // its configuration
	BucketListing = "Listing" // its objects are listed and copied
	BucketCopied  = "Copied"
	BucketFailed  = "Failed"
)

// BucketState is what is known of a bucket's initial copy.
type BucketState struct {
	Name, State, Error string
	Unsupported        []string
	// Listed counts what was found, Copied and Skipped what became of it:
	// skipped objects were there already, or are copied by an event.
	Listed, Copied, Skipped Progress
}

// AddBuckets queues buckets that are not known yet.
func (l *Ledger) AddBuckets(ctx context.Context, names ...string) error {
	return l.addBuckets(ctx, BucketPending, names)
}

// KnowBuckets makes buckets known that were copied before the ledger lost its data.
func (l *Ledger) KnowBuckets(ctx context.Context, names ...string) error {
	return l.addBuckets(ctx, BucketCopied, names)
}

func (l *Ledger) addBuckets(ctx context.Context, state string, names []string) error {
	args := []any{state}
	for _, n := range names {
		args = append(args, n)
	}
	_, err := l.run(ctx, l.call(addBucketsScript, l.global(), args...))
	return err
}

// Buckets returns every known bucket, by name. Two round trips.
func (l *Ledger) Buckets(ctx context.Context) ([]BucketState, error) {
	names, err := l.rdb.SMembers(ctx, l.global()+"buckets").Result()
	if err != nil {
		return nil, wrap("buckets", err)
	}
	slices.Sort(names)
	cmds := make([]*redis.MapStringStringCmd, len(names))
	pipe := l.rdb.Pipeline()
	for i, n := range names {
		cmds[i] = pipe.HGetAll(ctx, l.global()+"b:"+n)
	}
	if len(names) > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, wrap("buckets", err)
		}
	}
	out := make([]BucketState, len(names))
	for i, n := range names {
		h := cmds[i].Val()
		b := BucketState{Name: n, State: h["state"], Error: h["error"],
			Listed:  Progress{number(h["objects"]), number(h["bytes"])},
			Copied:  Progress{number(h["copied"]), number(h["copiedbytes"])},
			Skipped: Progress{number(h["skipped"]), number(h["skippedbytes"])}}
		if u := h["unsupported"]; u != "" {
			_ = json.Unmarshal([]byte(u), &b.Unsupported) // we wrote it
		}
		out[i] = b
	}
	return out, nil
}

func (l *Ledger) claimTask(ctx context.Context, session, kind string) ([]string, error) {
	ctx, cancel, err := claiming(ctx, session)
	if err != nil {
		return nil, err
	}
	defer cancel()
	v, err := l.run(ctx, l.callAs(claimTaskScript, ownSlot, session, kind, l.newID()))
	if err != nil {
		return nil, err
	}
	return claimedTask(v)
}

// claimedTask returns a claimed task's id and what it is.
func claimedTask(v any) ([]string, error) {
	list, _ := v.([]any)
	if len(list) == 0 {
		return nil, ErrNoWork
	}
	return strs(list[1:]), claimed(list)
}

// task runs a script that answers 0 when the task is not ours.
func (l *Ledger) task(ctx context.Context, s *script, session string, args ...any) error {
	v, err := l.run(ctx, l.callAs(s, ownSlot, session, args...))
	if err != nil {
		return err
	}
	if integer(v) == 0 {
		return ErrTaskLost
	}
	l.told.note(ownSlot, session, integer(v))
	return nil
}

// ClaimBucket takes a bucket whose configuration is to be copied, or ErrNoWork.
func (l *Ledger) ClaimBucket(ctx context.Context, session string) (string, error) {
	a, err := l.claimTask(ctx, session, "b")
	if err != nil {
		return "", err
	}
	return a[0], nil
}

// FinishBucket says that the bucket stands on the follower, names what could
// not be copied, and queues its listing.
func (l *Ledger) FinishBucket(ctx context.Context, session, bucket string, unsupported []string, ranges []Range) error {
	u, err := json.Marshal(unsupported)
	if err != nil {
		return err
	}
	args := []any{bucket, string(u), ""}
	for _, r := range ranges {
		args = append(args, r.After, r.End)
	}
	return l.task(ctx, finishBucketScript, session, args...)
}

// FailBucket ends a try; the last one leaves the bucket failed.
func (l *Ledger) FailBucket(ctx context.Context, session, bucket, cause string, final bool) error {
	if final {
		return l.task(ctx, finishBucketScript, session, bucket, "", cause)
	}
	return l.task(ctx, failBucketScript, session, bucket, cause)
}

// ReportBucket replaces what FinishBucket said could not be copied. A bucket that
// is not known is left alone.
func (l *Ledger) ReportBucket(ctx context.Context, bucket string, unsupported []string) error {
	u, err := json.Marshal(unsupported)
	if err != nil {
		return err
	}
	_, err = l.run(ctx, l.call(reportBucketScript, l.global(), bucket, string(u)))
	return err
}

// ClaimRange takes a part of a listing, or ErrNoWork.
func (l *Ledger) ClaimRange(ctx context.Context, session string) (Range, error) {
	a, err := l.claimTask(ctx, session, "r")
	if err != nil {
		return Range{}, err
	}
	return Range{ID: a[0], Bucket: a[1], After: a[2], End: a[3], Cursor: a[4]}, nil
}

// Advance queues a listed page's objects as one batch, counts those that need no
// copy, and moves the cursor, in one step. done ends the range. r follows: its
// End may have shrunk because the range was split. Errors: ErrQueueFull (wait,
// then call again), ErrTaskLost.
func (l *Ledger) Advance(ctx context.Context, session string, r *Range, cursor string, batch []BatchItem, skipped Progress, done bool) error {
	items, n := "", Progress{}
	if len(batch) > 0 {
		items = encodeItems(batch)
		for _, it := range batch {
			n.Objects++
			n.Bytes += it.Size
		}
	}
	v, err := l.run(ctx, l.callAs(advanceScript, ownSlot, session, r.ID, cursor, flag(done), MaxBatches, items,
		n.Objects, n.Bytes, skipped.Objects, skipped.Bytes))
	if err != nil {
		return err
	}
	return l.advanced(session, r, v, cursor)
}

// advanced takes over what a script that moves a range's cursor has answered.
func (l *Ledger) advanced(session string, r *Range, answer any, cursor string) error {
	switch a := strs(answer); a[0] {
	case "FULL":
		return ErrQueueFull
	case "LOST":
		return ErrTaskLost
	default:
		l.told.note(ownSlot, session, number(a[2]))
		r.Cursor, r.End = cursor, a[1]
		return nil
	}
}

// WantSplit says that a worker lately found no range to list.
func (l *Ledger) WantSplit(ctx context.Context) (bool, error) {
	n, err := l.rdb.Exists(ctx, l.global()+"hungry").Result()
	return n == 1, wrap("want split", err)
}

// Split keeps (Cursor, mid] and makes (mid, End] a range of its own.
func (l *Ledger) Split(ctx context.Context, session string, r *Range, mid string) error {
	return l.split(ctx, splitScript, session, r, mid)
}

func (l *Ledger) split(ctx context.Context, by *script, session string, r *Range, mid string) error {
	if mid <= r.Start() || r.End != "" && mid >= r.End {
		return fmt.Errorf("split at %q lies outside of (%q, %q)", mid, r.Start(), r.End)
	}
	if err := l.task(ctx, by, session, r.ID, mid); err != nil {
		return err
	}
	r.End = mid
	return nil
}

// ReleaseRange gives a range back; its cursor stays.
func (l *Ledger) ReleaseRange(ctx context.Context, session string, r Range) error {
	return l.task(ctx, releaseTaskScript, session, "r:"+r.ID)
}

// ClaimBatch takes objects to copy, or ErrNoWork.
func (l *Ledger) ClaimBatch(ctx context.Context, session string) (Batch, error) {
	a, err := l.claimTask(ctx, session, "c")
	if err != nil {
		return Batch{}, err
	}
	b := Batch{ID: a[0], Bucket: a[1]}
	b.Items, err = decodeItems(a[2])
	return b, err
}

// FinishBatch ends a batch: every object of it was copied, skipped, or is dirty.
func (l *Ledger) FinishBatch(ctx context.Context, session string, b Batch, copied, skipped Progress) error {
	return l.task(ctx, finishBatchScript, session, b.ID, b.Bucket, copied.Objects, copied.Bytes, skipped.Objects, skipped.Bytes)
}

// ReleaseBatch gives a batch back; it is copied from its start again.
func (l *Ledger) ReleaseBatch(ctx context.Context, session string, b Batch) error {
	return l.task(ctx, releaseTaskScript, session, "c:"+b.ID)
}
