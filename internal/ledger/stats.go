package ledger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stats is what is open in the ledger, all shards together.
type Stats struct {
	// Dirty counts objects whose versions differ; Oldest is how long the oldest
	// one has been so; Queued counts those that wait for a copier.
	Dirty, Queued int64
	Oldest        time.Duration
	// Newest counts visible records by the store with the newest version.
	Newest [2]int64
	// Intents counts open intents by store; Doubts those that are in doubt.
	Intents [2]int64
	Doubts  int64
	// Failed counts objects that were given up.
	Failed int64
	// Uploads counts multipart uploads known to the ledger.
	Uploads int64
	// Epochs are the smallest and largest route epochs of the shards; 0: none.
	MinEpoch, MaxEpoch int64
	// Pending counts tasks in the queues: buckets, ranges, batches.
	PendingBuckets, PendingRanges, PendingBatches int64
	// Now is Redis' clock when it was counted.
	Now time.Time
	// Tick is the last heartbeat of any session, by Redis' clock; it only grows.
	Tick time.Time
}

// Stats counts. One pipeline.
func (l *Ledger) Stats(ctx context.Context) (Stats, error) {
	calls := make([]call, l.shards)
	for i := range calls {
		calls[i] = l.call(statsScript, l.shard(i))
	}
	vs, errs := l.runAll(ctx, calls)
	if err := errors.Join(errs...); err != nil {
		return Stats{}, err
	}
	var s Stats
	oldest := int64(0)
	now := int64(0)
	for i, v := range vs {
		a := strs(v)
		e := number(a[0])
		if i == 0 || e < s.MinEpoch {
			s.MinEpoch = e
		}
		s.MaxEpoch = max(s.MaxEpoch, e)
		s.Dirty += number(a[1])
		if o := number(a[2]); o > 0 && (oldest == 0 || o < oldest) {
			oldest = o
		}
		s.Queued += number(a[3])
		s.Newest[Source] += number(a[4])
		s.Newest[Target] += number(a[5])
		s.Intents[Source] += number(a[6])
		s.Intents[Target] += number(a[7])
		s.Doubts += number(a[8])
		s.Failed += number(a[9])
		s.Uploads += number(a[10])
		now = number(a[11])
	}
	s.Now = millis(now)
	if oldest > 0 {
		s.Oldest = time.Duration(now-oldest) * time.Millisecond
	}
	g := l.global()
	pipe := l.rdb.Pipeline()
	bq, rq, cq, tick := pipe.LLen(ctx, g+"bq"), pipe.LLen(ctx, g+"rq"), pipe.LLen(ctx, g+"cq"), pipe.Get(ctx, g+"tick")
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return Stats{}, wrap("stats", err)
	}
	s.PendingBuckets, s.PendingRanges, s.PendingBatches = bq.Val(), rq.Val(), cq.Val()
	s.Tick = millis(number(tick.Val()))
	return s, nil
}

// Failure is an object that was given up.
type Failure struct {
	Object Object
	Cause  string
}

// Failures names at most max of the objects that were given up.
func (l *Ledger) Failures(ctx context.Context, limit int) ([]Failure, error) {
	var out []Failure
	for i := range l.shards {
		cursor := uint64(0)
		for len(out) < limit {
			kv, next, err := l.rdb.HScan(ctx, l.shard(i)+"fail", cursor, "", int64(limit)).Result()
			if err != nil {
				return nil, wrap("failures", err)
			}
			for j := 0; j+1 < len(kv) && len(out) < limit; j += 2 {
				b, k, _ := strings.Cut(kv[j], "\x00")
				out = append(out, Failure{Object{b, k}, kv[j+1]})
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	slices.SortFunc(out, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(a.Object.Bucket, b.Object.Bucket), cmp.Compare(a.Object.Key, b.Object.Key))
	})
	return out, nil
}

// MarkUnclean notes an event after which the stores may differ in silence: only
// an audit that begins later, or somebody's word, heals it. It holds the switch
// until then. Of an event that comes again the last time counts.
func (l *Ledger) MarkUnclean(ctx context.Context, reason string) error {
	now, err := l.clock(ctx)
	if err != nil {
		return err
	}
	return wrap("mark unclean", l.rdb.HSet(ctx, l.global()+"unclean", reason, now.UnixMilli()).Err())
}

// UncleanEvent is an event that MarkUnclean noted.
type UncleanEvent struct {
	Reason string
	At     time.Time
}

// Unclean returns the noted events, oldest first.
func (l *Ledger) Unclean(ctx context.Context) ([]UncleanEvent, error) {
	h, err := l.rdb.HGetAll(ctx, l.global()+"unclean").Result()
	if err != nil {
		return nil, wrap("unclean", err)
	}
	out := make([]UncleanEvent, 0, len(h))
	for r, at := range h {
		out = append(out, UncleanEvent{r, millis(number(at))})
	}
	slices.SortFunc(out, func(a, b UncleanEvent) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Reason, b.Reason)) })
	return out, nil
}

// ForgetUnclean drops events that were healed, unless they happened again since.
func (l *Ledger) ForgetUnclean(ctx context.Context, events ...UncleanEvent) error {
	for _, u := range events {
		k := l.global() + "unclean"
		at, err := l.rdb.HGet(ctx, k, u.Reason).Result()
		if err == nil && millis(number(at)).Equal(u.At) {
			err = l.rdb.HDel(ctx, k, u.Reason).Err()
		}
		if wrap("forget unclean", err) != nil {
			return wrap("forget unclean", err)
		}
	}
	return nil
}

// Dangling is what workers found of multipart uploads on the store that is not main.
type Dangling struct {
	Uploads int64
	Oldest  time.Time
	// At is when they began to look, by Redis' clock; Epoch is the route they
	// looked under; Reported is when they had looked everywhere.
	At, Reported time.Time
	Epoch        int64
}

// ReportDangling stores what a worker found while it obeyed a route's epoch;
// looked is the Clock from before it began to look.
func (l *Ledger) ReportDangling(ctx context.Context, looked time.Time, epoch, uploads int64, oldest time.Time) error {
	old := int64(0)
	if !oldest.IsZero() {
		old = oldest.UnixMilli()
	}
	now, err := l.clock(ctx)
	if err != nil {
		return err
	}
	return wrap("report dangling", l.rdb.HSet(ctx, l.global()+"dangling", "n", uploads, "oldest", old, "at", looked.UnixMilli(),
		"reported", now.UnixMilli(), "epoch", epoch).Err())
}

// Dangling returns the last report.
func (l *Ledger) Dangling(ctx context.Context) (Dangling, error) {
	h, err := l.rdb.HGetAll(ctx, l.global()+"dangling").Result()
	if err != nil {
		return Dangling{}, wrap("dangling", err)
	}
	return Dangling{Uploads: number(h["n"]), Oldest: millis(number(h["oldest"])), At: millis(number(h["at"])),
		Reported: millis(number(h["reported"])), Epoch: number(h["epoch"])}, nil
}

// Meta returns a value that the migration's owner keeps in the ledger; "" when missing.
func (l *Ledger) Meta(ctx context.Context, field string) (string, error) {
	v, err := l.rdb.HGet(ctx, l.global()+"meta", field).Result()
	return v, wrap("meta", err)
}

// SetMeta stores such a value.
func (l *Ledger) SetMeta(ctx context.Context, field, value string) error {
	return wrap("set meta", l.rdb.HSet(ctx, l.global()+"meta", field, value).Err())
}

// Destroy deletes every key of the migration. Many calls.
func (l *Ledger) Destroy(ctx context.Context) error {
	pattern := "cf:{" + escapeGlob(l.name)
	wipe := func(ctx context.Context, c redis.UniversalClient) error {
		for _, suffix := range []string{"}:*", "/*"} {
			it := c.Scan(ctx, 0, pattern+suffix, 1000).Iterator()
			for it.Next(ctx) {
				if err := c.Unlink(ctx, it.Val()).Err(); err != nil {
					return wrap("destroy", err)
				}
			}
			if err := it.Err(); err != nil {
				return wrap("destroy", err)
			}
		}
		return nil
	}
	if cc, ok := l.rdb.(*redis.ClusterClient); ok {
		return cc.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return wipe(ctx, c) })
	}
	return wipe(ctx, l.rdb)
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}
