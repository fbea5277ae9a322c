package ledger

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFS embed.FS

type script struct{ name, src, sha string }

func load(name string, preludes ...string) *script {
	var b strings.Builder
	for _, p := range append(preludes, name) {
		src, err := luaFS.ReadFile("lua/" + p + ".lua")
		if err != nil {
			panic(err)
		}
		b.Write(src)
		b.WriteByte('\n')
	}
	sum := sha1.Sum([]byte(b.String()))
	return &script{name: name, src: b.String(), sha: hex.EncodeToString(sum[:])}
}

// Scripts on an object's shard. All but the last group need a route.
var (
	beginScript        = load("begin", "prelude", "noroute")
	commitScript       = load("commit", "prelude", "noroute")
	abortScript        = load("abort", "prelude", "noroute")
	doubtScript        = load("doubt", "prelude", "noroute")
	recordScript       = load("record", "prelude", "noroute")
	lookupScript       = load("lookup", "prelude", "noroute")
	standingScript     = load("standing", "prelude", "noroute")
	dirtyRangeScript   = load("dirtyrange", "prelude", "noroute")
	claimEventsScript  = load("claimevents", "prelude", "noroute")
	claimObjectsScript = load("claimobjects", "prelude", "noroute")
	lockScript         = load("lock", "prelude", "noroute")
	settleScript       = load("settle", "prelude", "noroute")
	releaseScript      = load("release", "prelude", "noroute")
	judgeScript        = load("judge", "prelude", "noroute")
	retryFailedScript  = load("retryfailed", "prelude", "noroute")
	buryScript         = load("bury", "prelude", "noroute")
	overranScript      = load("overran", "prelude", "noroute")
	settleDoubtsScript = load("settledoubts", "prelude", "noroute")
	uploadScript       = load("upload", "prelude", "noroute")
	placeUploadScript  = load("placeupload", "prelude")
	creatingScript     = load("creatingupload", "prelude", "noroute")
	unplacedScript     = load("unplaced", "prelude", "noroute")
	setRouteScript     = load("setroute", "prelude")
	closeOldScript     = load("closeold", "prelude", "noroute")
	statsScript        = load("stats", "prelude")
	suspectScript      = load("suspect", "prelude")
	vouchScript        = load("vouch", "prelude")
	replayScript       = load("replay", "prelude", "noroute")
	replayCopyScript   = load("replaycopy", "prelude", "noroute")
	replayedScript     = load("replayed", "prelude")
	adoptScript        = load("adopt", "prelude", "noroute")
	endLossScript      = load("endloss", "prelude")
)

// Scripts on the migration's own slot.
var (
	heartbeatScript    = load("heartbeat", "gprelude")
	setGRouteScript    = load("setgroute", "gprelude")
	leaveScript        = load("leave", "gprelude")
	fenceScript        = load("fence", "gprelude")
	orphansScript      = load("orphans", "gprelude")
	addBucketsScript   = load("addbuckets", "gprelude")
	claimTaskScript    = load("claimtask", "gprelude")
	releaseTaskScript  = load("releasetask", "gprelude")
	finishBucketScript = load("finishbucket", "gprelude")
	failBucketScript   = load("failbucket", "gprelude")
	reportBucketScript = load("reportbucket", "gprelude")
	retryBucketsScript = load("retrybuckets", "gprelude")
	advanceScript      = load("advance", "gprelude")
	splitScript        = load("split", "gprelude")
	finishBatchScript  = load("finishbatch", "gprelude")
	electScript        = load("elect", "gprelude")
	clearUncleanScript = load("clearunclean", "gprelude")
	auditStartScript   = load("auditstart", "gprelude", "auditlib")
	auditClaimScript   = load("auditclaim", "gprelude", "auditlib")
	auditAdvanceScript = load("auditadvance", "gprelude", "auditlib")
	auditSplitScript   = load("auditsplit", "gprelude", "auditlib")
	auditReleaseScript = load("auditrelease", "gprelude", "auditlib")
	auditJudgedScript  = load("auditjudged", "gprelude", "auditlib")
	auditEndScript     = load("auditend", "gprelude", "auditlib")
)

type call struct {
	s    *script
	key  string
	args []any
}

func (l *Ledger) stamp() string {
	if l.now == nil {
		return ""
	}
	return strconv.FormatInt(l.now().UnixMilli(), 10)
}

func (l *Ledger) call(s *script, key string, args ...any) call {
	return call{s: s, key: key, args: append([]any{l.stamp()}, args...)}
}

// ownSlot stands, beside the numbers of shards, for the migration's own slot.
const ownSlot = -1

// callAs is call for a session's own: it says what the session was told here last,
// so that it is noticed if that was lost.
func (l *Ledger) callAs(s *script, shard int, session string, args ...any) call {
	stamp := l.stamp() + " " + session + " " + strconv.FormatInt(l.told.highest(shard, session), 10)
	key := l.global()
	if shard != ownSlot {
		key = l.shard(shard)
	}
	return call{s: s, key: key, args: append([]any{stamp, session}, args...)}
}

func wrap(name string, err error) error {
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return nil
	case strings.HasPrefix(err.Error(), "NOROUTE"):
		return ErrNoRoute
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, name, err)
}

func isNoScript(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT")
}

// run runs one script, in one round trip unless Redis does not know it yet.
func (l *Ledger) run(ctx context.Context, c call) (any, error) {
	c.s = l.ownOf(c.s)
	v, err := l.rdb.EvalSha(ctx, c.s.sha, []string{c.key}, c.args...).Result()
	if isNoScript(err) {
		if err := l.fresh(ctx, c); err != nil {
			return nil, wrap(c.s.name, err)
		}
		v, err = l.rdb.Eval(ctx, c.s.src, []string{c.key}, c.args...).Result()
	}
	return v, wrap(c.s.name, err)
}

// runAll runs scripts in one pipeline and returns each one's answer.
func (l *Ledger) runAll(ctx context.Context, calls []call) ([]any, []error) {
	out, errs := make([]any, len(calls)), make([]error, len(calls))
	if len(calls) == 1 {
		out[0], errs[0] = l.run(ctx, calls[0])
		return out, errs
	}
	if len(calls) == 0 {
		return out, errs
	}
	cmds := make([]*redis.Cmd, len(calls))
	pipe := l.rdb.Pipeline()
	for i, c := range calls {
		cmds[i] = pipe.EvalSha(ctx, l.ownOf(c.s).sha, []string{c.key}, c.args...)
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error
	for i, cmd := range cmds {
		if isNoScript(cmd.Err()) {
			out[i], errs[i] = l.run(ctx, calls[i])
			continue
		}
		out[i], errs[i] = cmd.Val(), wrap(calls[i].s.name, cmd.Err())
	}
	return out, errs
}

func (l *Ledger) runAllErr(ctx context.Context, calls []call) error {
	_, errs := l.runAll(ctx, calls)
	return errors.Join(errs...)
}

// Answers of scripts are lists of strings, or integers.

func strs(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, e := range list {
		out[i], _ = e.(string)
	}
	return out
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func integer(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case string:
		return number(n)
	}
	return 0
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func msText(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
