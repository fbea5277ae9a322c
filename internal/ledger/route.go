package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

func parseRoute(f []string) Route {
	return Route{Epoch: number(f[0]), Main: storeOf(f[1]), State: RouteState(f[2]), Hold: f[3] == "1",
		Sync: f[4] == "1", Uploads: storeOf(f[5]), Run: f[6] == "1"}
}

// LongestHold is more than any spec.switch.maxPause.
const LongestHold = 5*time.Minute + 30*time.Second

// SetRoute puts a route in force: on every shard, then for the sessions. It may
// be repeated after a crash half-way: a shard's flip is atomic, and a mix of two
// neighbouring epochs is safe once every session obeys the first of them.
// It returns ErrStaleEpoch when a newer route is in force. One call a shard.
func (l *Ledger) SetRoute(ctx context.Context, r Route) error {
	args := []any{r.Epoch, r.Main.code(), string(r.State), bit(r.Hold), bit(r.Sync), r.Uploads.code(), bit(r.Run)}
	hold := r.HoldFor
	if hold <= 0 {
		hold = LongestHold
	}
	calls := make([]call, 0, l.shards+1)
	for i := range l.shards {
		calls = append(calls, l.call(setRouteScript, l.shard(i), append(slices.Clone(args), hold.Milliseconds())...))
	}
	vs, errs := l.runAll(ctx, calls)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// Sessions hear of it only when it is in force everywhere.
	if err := inForce(r.Epoch, vs...); err != nil {
		return err
	}
	v, err := l.run(ctx, l.call(setGRouteScript, l.global(), args...))
	if err != nil {
		return err
	}
	return inForce(r.Epoch, v)
}

func inForce(epoch int64, answers ...any) error {
	for _, got := range answers {
		if integer(got) != epoch {
			return fmt.Errorf("%w: epoch %v, not %d", ErrStaleEpoch, got, epoch)
		}
	}
	return nil
}

// CloseOld has no write begin any more on the store that is not main, as long as the
// route has this epoch. It returns ErrStaleEpoch when a shard has another one.
func (l *Ledger) CloseOld(ctx context.Context, epoch int64) error {
	calls := make([]call, l.shards)
	for i := range calls {
		calls[i] = l.call(closeOldScript, l.shard(i), epoch)
	}
	vs, errs := l.runAll(ctx, calls)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return inForce(epoch, vs...)
}

// Furthest returns the route with the largest epoch of the sessions and all
// shards: the one that a SetRoute which was cut short was putting in force. It
// must be finished before another one is decided on. Of two with one epoch it is the
// switch. One pipeline.
func (l *Ledger) Furthest(ctx context.Context) (Route, error) {
	keys := []string{l.global() + "route"}
	for i := range l.shards {
		keys = append(keys, l.shard(i)+"route")
	}
	cmds := make([]*redis.SliceCmd, len(keys))
	pipe := l.rdb.Pipeline()
	for i, k := range keys {
		cmds[i] = pipe.HMGet(ctx, k, "epoch", "main", "state", "hold", "sync", "uploads", "run")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return Route{}, wrap("route", err)
	}
	var best Route
	for _, c := range cmds {
		f := strs(c.Val())
		if f[0] == "" {
			continue
		}
		if r := parseRoute(f); r.Epoch > best.Epoch || r.Epoch == best.Epoch && r.State == Switched && best.State != Switched {
			best = r
		}
	}
	if best.Epoch == 0 {
		return Route{}, ErrNoRoute
	}
	return best, nil
}

// Route returns the route that sessions must obey, or ErrNoRoute.
func (l *Ledger) Route(ctx context.Context) (Route, error) {
	vs, err := l.rdb.HMGet(ctx, l.global()+"route", "epoch", "main", "state", "hold", "sync", "uploads", "run").Result()
	if err != nil {
		return Route{}, wrap("route", err)
	}
	f := strs(vs)
	if f[0] == "" {
		return Route{}, ErrNoRoute
	}
	return parseRoute(f), nil
}
