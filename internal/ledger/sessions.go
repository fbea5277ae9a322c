package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Role says what a session does.
type Role string

// The roles.
const (
	RoleProxy  Role = "proxy"
	RoleWorker Role = "worker"
)

// Session is one running proxy or worker process.
type Session struct {
	ID       string
	Role     Role
	Instance string
	// Home is what its process keeps between runs: a later session of the same instance and home
	// proves that this one has ended.
	Home string
	// Process is the first session of its process, Born when that began.
	Process string
	Born    time.Time
	// Epoch is the route that it obeys everywhere.
	Epoch int64
	// Unrecorded counts writes that it forwarded and has not recorded yet.
	Unrecorded int64
	Started    time.Time
	// Seen is when its last heartbeat came, by Redis' clock.
	Seen time.Time
	// Silent is the time since its last heartbeat, by Redis' clock.
	Silent time.Duration
	// Fenced says that it was declared dead.
	Fenced bool
	// Adopted says that a later session of the same instance and home replayed whatever
	// this one had not recorded.
	Adopted bool
}

// Sessions returns all sessions that have not left. Two round trips.
func (l *Ledger) Sessions(ctx context.Context) ([]Session, error) {
	g := l.global()
	ids, err := l.rdb.SMembers(ctx, g+"sess").Result()
	if err != nil {
		return nil, wrap("sessions", err)
	}
	now, err := l.clock(ctx)
	if err != nil {
		return nil, err
	}
	cmds := make([]*redis.MapStringStringCmd, len(ids))
	pipe := l.rdb.Pipeline()
	for i, id := range ids {
		cmds[i] = pipe.HGetAll(ctx, g+"s:"+id)
	}
	if len(ids) > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, wrap("sessions", err)
		}
	}
	out := make([]Session, 0, len(ids))
	for i, id := range ids {
		h := cmds[i].Val()
		out = append(out, Session{ID: id, Role: Role(h["role"]), Instance: h["instance"], Home: h["home"],
			Process: h["process"], Born: millis(number(h["born"])), Epoch: number(h["epoch"]),
			Unrecorded: number(h["unrecorded"]), Started: millis(number(h["started"])),
			Seen: millis(number(h["seen"])), Silent: now.Sub(millis(number(h["seen"]))), Fenced: h["fenced"] != "", Adopted: h["adopted"] == "1"})
	}
	return out, nil
}

// ServerVersion returns Redis' version, as "7.0.15"; "" if it does not say.
func (l *Ledger) ServerVersion(ctx context.Context) (string, error) {
	info, err := l.rdb.Info(ctx, "server").Result()
	if refused := redis.Error(nil); errors.As(err, &refused) {
		return "", nil // as an ACL may have it
	}
	if err != nil {
		return "", wrap("info", err)
	}
	_, after, _ := strings.Cut(info, "redis_version:")
	version, _, _ := strings.Cut(after, "\r\n")
	return version, nil
}

// Clock returns Redis' time, to the millisecond or better.
func (l *Ledger) Clock(ctx context.Context) (time.Time, error) { return l.clock(ctx) }

// local is this process' clock.
func (l *Ledger) local() time.Time {
	if l.now != nil {
		return l.now()
	}
	return time.Now()
}

func (l *Ledger) clock(ctx context.Context) (time.Time, error) {
	if l.now != nil {
		return l.now(), nil
	}
	t, err := l.rdb.Time(ctx).Result()
	return t, wrap("time", err)
}

// DeadSessions returns the sessions that were silent for longer than a time.
func (l *Ledger) DeadSessions(ctx context.Context, silence time.Duration) ([]Session, error) {
	all, err := l.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	var out []Session
	for _, s := range all {
		if s.Fenced || s.Silent > silence {
			out = append(out, s)
		}
	}
	return out, nil
}

// buryStep bounds what one script call settles.
const buryStep = 200

// Bury ends a dead session. It fences it at once, so that it can begin nothing
// more, and, once settleAfter has passed since then (the longest time that its
// requests can still land), settles its intents, breaks its claims, gives its
// tasks back, and returns true. A proxy that nobody adopted leaves an unclean
// event: it may have forwarded writes that it could not record. So does a worker
// whose copy may have landed on what a client wrote after its lock had run out.
func (l *Ledger) Bury(ctx context.Context, session string, settleAfter time.Duration) (bool, error) {
	v, err := l.run(ctx, l.call(fenceScript, l.global(), session))
	if err != nil {
		return false, err
	}
	settle := time.Duration(integer(v))*time.Millisecond >= settleAfter
	if settle {
		if err := l.noteOverruns(ctx, session); err != nil {
			return false, err
		}
	}
	left := int64(0)
	for i := range l.shards {
		for {
			v, err := l.run(ctx, l.call(buryScript, l.shard(i), session, flag(settle), buryStep))
			if err != nil {
				return false, err
			}
			if !settle || integer(v) == 0 {
				left += integer(v)
				break
			}
		}
	}
	if !settle || left > 0 {
		return false, nil
	}
	s, err := l.sessionAdopted(ctx, session)
	if err != nil {
		return false, err
	}
	if s.Role == RoleProxy && !s.Adopted {
		if err := l.MarkUnclean(ctx, "proxy "+s.Instance+" (session "+session+") gave no sign of life for so long that it counts as ended, or was paused: it did not say whether all its writes were recorded"); err != nil {
			return false, err
		}
	}
	_, err = l.run(ctx, l.call(leaveScript, l.global(), session, "1"))
	return err == nil, err
}

// noteOverruns leaves an unclean event for what the copies of a dead session may have
// overwritten.
func (l *Ledger) noteOverruns(ctx context.Context, session string) error {
	calls := make([]call, l.shards)
	for i := range calls {
		calls[i] = l.call(overranScript, l.shard(i), session)
	}
	vs, errs := l.runAll(ctx, calls)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, s := range []Store{Source, Target} {
		if !slices.ContainsFunc(vs, func(v any) bool { on, _ := v.(string); return strings.Contains(on, s.code()) }) {
			continue
		}
		if err := l.MarkUnclean(ctx, "a worker ended with a copy on its way to the "+s.String()+" store, which can't refuse it, and a client wrote the object since"); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) sessionAdopted(ctx context.Context, id string) (Session, error) {
	h, err := l.rdb.HGetAll(ctx, l.global()+"s:"+id).Result()
	return Session{ID: id, Role: Role(h["role"]), Instance: h["instance"], Adopted: h["adopted"] == "1"}, wrap("session", err)
}

// Elect gives one session at a time a named lease; true means that it is ours
// for ttl from now.
func (l *Ledger) Elect(ctx context.Context, session, name string, ttl time.Duration) (bool, error) {
	v, err := l.run(ctx, l.call(electScript, l.global(), session, name, ttl.Milliseconds()))
	return integer(v) == 1, err
}

// Orphans has sessions buried that left something on a shard and are registered no
// more: after a loss of data a shard may hold again what they had given back.
// Returns how many there were. Three round trips.
func (l *Ledger) Orphans(ctx context.Context) (int, error) {
	// In this order: whoever registers between the two is known to the script.
	known, err := l.rdb.SMembers(ctx, l.global()+"sess").Result()
	if err != nil {
		return 0, wrap("orphans", err)
	}
	pipe := l.rdb.Pipeline()
	cmds := make([]*redis.StringSliceCmd, l.shards)
	for i := range cmds {
		cmds[i] = pipe.HKeys(ctx, l.shard(i)+"wit")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, wrap("orphans", err)
	}
	var args []any
	for _, c := range cmds {
		for _, s := range c.Val() {
			if !slices.Contains(known, s) {
				args = append(args, s)
			}
		}
	}
	if len(args) == 0 {
		return 0, nil
	}
	v, err := l.run(ctx, l.call(orphansScript, l.global(), args...))
	return int(integer(v)), err
}

type heartbeat struct {
	role       Role
	instance   string
	home       string
	epoch      int64
	unrecorded int64
	adopts     bool
	// beat is the number of the last one that was answered.
	beat int64
	// process is the first session of this process, age the time since it began.
	process string
	age     time.Duration
}

// answer to a heartbeat.
type answer struct {
	route Route
	beat  int64
	// lost: the last one that was answered is not known any more.
	lost bool
}

// lostOf says that what a session was told on the migration's own slot is not known any
// more: its last heartbeat, or a change of a task. Nothing is lost of one that is not known.
func (l *Ledger) lostOf(ctx context.Context, session string, beat int64) (bool, error) {
	told := l.told.highest(ownSlot, session) // before it is asked: it may end a task meanwhile
	v, err := l.rdb.HMGet(ctx, l.global()+"s:"+session, "beat", "told", "lost").Result()
	if err != nil {
		return false, wrap("heartbeat", err)
	}
	known, lost := strs(v), v[2] != nil
	return known[0] != "" && (number(known[0]) < beat || number(known[1]) < told || lost && number(known[2]) >= beat), nil
}

// heartbeat returns, with ErrNoRoute too, what was answered.
func (l *Ledger) heartbeat(ctx context.Context, session string, h heartbeat) (answer, error) {
	v, err := l.run(ctx, l.callAs(heartbeatScript, ownSlot, session, string(h.role), h.instance, h.epoch, h.unrecorded, flag(h.adopts), h.beat, h.process, h.age.Milliseconds(), h.home))
	if err != nil {
		return answer{}, err
	}
	a := strs(v)
	if a[0] == "FENCED" {
		return answer{}, ErrFenced
	}
	out := answer{beat: number(a[9]), lost: a[10] == "1"}
	if a[2] == "" {
		return out, ErrNoRoute
	}
	out.route = parseRoute(a[2:9])
	return out, nil
}

// leave ends a session cleanly: what it held goes back to the queues. It must
// have no request under way.
func (l *Ledger) leave(ctx context.Context, session string) error {
	var errs []error
	for i := range l.shards {
		for {
			v, err := l.run(ctx, l.call(buryScript, l.shard(i), session, "1", buryStep))
			if err != nil {
				errs = append(errs, err)
			}
			if err != nil || integer(v) == 0 {
				break
			}
		}
	}
	if err := errors.Join(errs...); err != nil && !errors.Is(err, ErrNoRoute) {
		return err
	}
	_, err := l.run(ctx, l.call(leaveScript, l.global(), session, "0"))
	return err
}
