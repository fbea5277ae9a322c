package ledger

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// LossState says how far a loss of data is dealt with on a shard.
type LossState string

// The states, in order.
const (
	// Healthy: nothing was lost.
	Healthy LossState = ""
	// Suspected: Redis came back; every session looks whether it misses something.
	Suspected LossState = "suspect"
	// Replaying: data was lost; every session tells what it did of late.
	Replaying LossState = "replay"
	// Lost: what could be told again was. What the ledger holds from before the
	// loss, and that it holds nothing of an object, means nothing while a switch
	// is under way: the stores themselves are compared.
	Lost LossState = "lost"
)

// Loss is a loss of data on one shard.
type Loss struct {
	Shard int
	// ID tells one loss from the next.
	ID    string
	State LossState
	At    time.Time
	// Behind: see FellBehind.
	Behind bool
	// Vouched and Replayed are the sessions that have.
	Vouched, Replayed map[string]bool
}

// Losses returns the shards that are not healthy. One pipeline.
func (l *Ledger) Losses(ctx context.Context) ([]Loss, error) {
	pipe := l.rdb.Pipeline()
	cmds := make([][3]*redis.MapStringStringCmd, l.shards)
	for i := range cmds {
		for j, k := range []string{"loss", "vouched", "replayed"} {
			cmds[i][j] = pipe.HGetAll(ctx, l.shard(i)+k)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, wrap("losses", err)
	}
	var out []Loss
	for i, c := range cmds {
		h := c[0].Val()
		if h["state"] == "" {
			continue
		}
		x := Loss{Shard: i, ID: h["id"], State: LossState(h["state"]), At: millis(number(h["at"])), Behind: h["behind"] == "1", Vouched: map[string]bool{}, Replayed: map[string]bool{}}
		for j, m := range []map[string]bool{x.Vouched, x.Replayed} {
			for session, id := range c[j+1].Val() {
				m[session] = id == x.ID
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// FellBehind says that when main changed last, it may have lacked what was older than Backlog: then
// what it lacks was not always deleted there.
func (l *Ledger) FellBehind(ctx context.Context, x Loss) error {
	return wrap("fell behind", l.rdb.HSet(ctx, l.shard(x.Shard)+"loss", "behind", "1").Err())
}

// MarkLost says that every shard has lost data, before a route is restored.
// flip is when main last changed.
func (l *Ledger) MarkLost(ctx context.Context, flip time.Time) error {
	at := "0"
	if !flip.IsZero() {
		at = msText(flip)
	}
	return l.mark(ctx, string(Replaying), at, "1")
}

// Gone says which processes ended around a loss that may have known more.
type Gone struct {
	// Proxy: nothing that was told of writes until now is sure.
	Proxy bool
	// Worker: copies may have put on a store what nobody has told of.
	Worker bool
}

// MoveLoss moves a shard's loss on, unless it has moved since it was looked at:
// from Suspected to Replaying or Healthy, to Lost, to Healthy. flip is when main
// last changed, gone who can't be asked.
func (l *Ledger) MoveLoss(ctx context.Context, x Loss, to LossState, flip time.Time, gone Gone) error {
	if to != Healthy && !flip.IsZero() {
		if err := l.rdb.HSet(ctx, l.shard(x.Shard)+"loss", "flip", msText(flip)).Err(); err != nil {
			return wrap("move loss", err)
		}
	}
	_, err := l.run(ctx, l.call(endLossScript, l.shard(x.Shard), x.ID, string(x.State), string(to), flag(gone.Proxy), flag(gone.Worker)))
	return err
}

// Adopt decides, after a loss, that a store holds the newest version of an object
// which the ledger knows nothing certain of, and returns the store that does by
// what the ledger knows then.
func (l *Ledger) Adopt(ctx context.Context, o Object, s Store) (Store, error) {
	v, err := l.run(ctx, l.call(adoptScript, l.prefix(o), s.code(), o.Bucket, o.Key))
	if err != nil {
		return s, err
	}
	code, _ := v.(string)
	return storeOf(code), nil
}

// vouch says for each shard whether what a session was told there last is still
// known, and returns the losses that there are.
func (l *Ledger) vouch(ctx context.Context, session string) ([]Loss, error) {
	calls := make([]call, l.shards)
	for i := range calls {
		calls[i] = l.callAs(vouchScript, i, session)
	}
	vs, errs := l.runAll(ctx, calls)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var out []Loss
	for i, v := range vs {
		a := strs(v)
		l.told.note(i, session, number(a[3]))
		if a[1] != "" {
			out = append(out, Loss{Shard: i, ID: a[0], State: LossState(a[1]), Replayed: map[string]bool{session: a[2] == "1"}})
		}
	}
	return out, nil
}

// inOrder returns a map's objects, sorted, so that what is told is told alike each time.
func inOrder[T any](m map[Object]T) []Object {
	return slices.SortedFunc(maps.Keys(m), func(a, b Object) int {
		return cmp.Or(strings.Compare(a.Bucket, b.Bucket), strings.Compare(a.Key, b.Key))
	})
}

// replayStep bounds one pipeline.
const replayStep = 500

// replay tells the ledger again what this process committed of late, and then
// that it has, for each loss. lands is how long a request can land whose intent
// came back with older data.
func (l *Ledger) replay(ctx context.Context, session string, losses []Loss, lands time.Duration) (int, error) {
	recent, copied, whole := l.told.recent()
	ids := map[int]string{}
	for _, x := range losses {
		ids[x.Shard] = x.ID
	}
	var calls []call
	n := 0
	flush := func() error {
		n += len(calls)
		err := l.runAllErr(ctx, calls)
		calls = calls[:0]
		return err
	}
	tell := func(s *script, o Object, args ...any) error {
		id, lost := ids[l.shardOf(o)]
		if !lost {
			return nil
		}
		calls = append(calls, l.call(s, l.prefix(o), append([]any{id}, args...)...))
		if len(calls) < replayStep {
			return nil
		}
		return flush()
	}
	for _, o := range inOrder(recent) {
		t := recent[o]
		if err := tell(replayScript, o, t.store.code(), t.seq, t.moved, o.Bucket, o.Key, flag(t.late)); err != nil {
			return n, err
		}
	}
	for _, in := range l.told.visible() {
		t := in.seen()
		if err := tell(replayScript, in.Object, t.store.code(), t.seq, t.moved, in.Object.Bucket, in.Object.Key, flag(t.late)); err != nil {
			return n, err
		}
	}
	for _, o := range inOrder(copied) {
		c := copied[o]
		if err := tell(replayCopyScript, o, c.store.code(), o.Bucket, o.Key, strings.Join(c.etags, " ")); err != nil {
			return n, err
		}
	}
	if err := flush(); err != nil {
		return n, err
	}
	pipe := l.rdb.Pipeline()
	for _, u := range l.told.notEnded() {
		if _, lost := ids[l.shardOf(u.Object)]; lost {
			pipe.HSetNX(ctx, l.prefix(u.Object)+"uc", u.field(), u.value())
		}
	}
	for field, p := range l.told.allPlaces() {
		if _, lost := ids[l.shardOf(p.object)]; lost {
			pipe.HSetNX(ctx, l.prefix(p.object)+"u", field, p.store.code())
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return n, wrap("tell of uploads", err)
	}
	if !whole {
		if err := l.MarkUnclean(ctx, "Redis lost data, and a process had committed more of late than it remembers"); err != nil {
			return n, err
		}
	}
	for _, x := range losses {
		args := []any{session, x.ID, lands.Milliseconds()}
		for _, in := range l.told.stillOpen(x.Shard, session) {
			store := ""
			if in.seq != "" {
				store = in.Store.code()
			}
			args = append(args, in.ID, store, in.seq, in.kind(), flag(in.Newest), in.Object.Bucket, in.Object.Key)
		}
		calls = append(calls, l.call(replayedScript, l.shard(x.Shard), args...))
	}
	vs, errs := l.runAll(ctx, calls)
	for i, v := range vs {
		l.told.note(losses[i].Shard, session, integer(v))
	}
	return n, errors.Join(errs...)
}
