package simulation

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// redisHook stands where a process' go-redis client would use the network.
type redisHook struct{ p *process }

func (redisHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h redisHook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return h.run(ctx, cmd) }
}

func (h redisHook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return h.runAll
}

func (h redisHook) runAll(ctx context.Context, cmds []redis.Cmder) error { return h.run(ctx, cmds...) }

// redisPatience is how long go-redis waits for an answer.
const redisPatience = 3 * time.Second

func (h redisHook) run(ctx context.Context, cmds ...redis.Cmder) error {
	w := h.p.w
	if answer, ok := w.memo.known(h.p, cmds); ok {
		return deliver(cmds[0], answer)
	}
	requests := make([][]any, len(cmds))
	for i, c := range cmds {
		requests[i] = c.Args()
	}
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	var answers []any
	var at time.Time
	_, err := h.p.call(ctx, redisPeer, w.labelOf(requests), w.plan.maxInFlight, func() {
		answers, at = w.execute(h.p, requests), time.Now()
	})
	if err != nil {
		err = &net.OpError{Op: "read", Net: "tcp", Err: err}
		for _, c := range cmds {
			c.SetErr(err)
		}
		return err
	}
	w.heard(h.p, requests, answers, at)
	w.teeth.hear(ctx, h.p, requests, answers)
	var first error
	for i, c := range cmds {
		if err := deliver(c, answers[i]); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// ledgerOf returns a process' own view of the ledger.
func (w *world) ledgerOf(p *process) *ledger.Ledger {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { panic("the simulation dials nobody") }})
	rdb.AddHook(redisHook{p})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closers = append(w.closers, func() { _ = rdb.Close() })
	known := int64(0)
	if w.manager != nil && (p.is("proxy") || p.is("worker")) {
		known = w.manager.state.Route.Epoch
	}
	return ledger.New(ledger.Options{Redis: rdb, Migration: migrationName, Shards: w.plan.shards, Epoch: known, Now: time.Now})
}

// sumOf returns the script that a request runs, "" for other commands.
func sumOf(args []any) string {
	switch text(args[0]) {
	case "evalsha":
		return text(args[1])
	case "eval":
		return sha(text(args[1]))
	}
	return ""
}

// scriptOf names a request.
func (w *world) scriptOf(args []any) string {
	if s, ok := scripts[sumOf(args)]; ok {
		return s.name
	}
	return strings.ToLower(text(args[0]))
}

// labelOf tells calls apart that are made at the same instant, by what does not
// depend on their order.
func (w *world) labelOf(requests [][]any) string {
	parts := make([]string, len(requests))
	for i, args := range requests {
		name := w.scriptOf(args)
		var b strings.Builder
		b.WriteString(name)
		if name == "claimtask" || name == "auditclaim" || name == "elect" {
			b.WriteString(" " + text(args[6]))
		}
		for _, a := range args[1:] {
			if s, ok := a.(string); ok && slices.Contains(w.plan.keys(), s) {
				b.WriteString(" " + s)
			}
		}
		parts[i] = b.String()
	}
	slices.Sort(parts) // some pipelines come from a map
	return strings.Join(parts, "")
}

// execute runs requests on the real Redis.
func (w *world) execute(p *process, requests [][]any) []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.redisLost {
		return w.refuse(requests)
	}
	answers := make([]any, len(requests))
	var send [][]any
	var at []int // of send: whose answer it is; -1: nobody's
	for i, args := range requests {
		name := w.scriptOf(args)
		if name == "closeold" {
			w.clock++
			w.left[w.manager.state.Route.Main.Other()] = w.clock
		}
		if sum := sumOf(args); sum != "" {
			script, ok := scripts[sum]
			if !ok {
				w.problem("unknown to the simulation: %.80s", text(args[1]))
			}
			if w.forgot != nil && text(args[0]) == "eval" {
				delete(w.forgot, sum)
			}
			if w.forgot[sum] {
				answers[i] = redisError("NOSCRIPT No matching script. Please use EVAL.")
				continue
			}
			args = append([]any(nil), args...)
			args[0], args[1] = "evalsha", script.sum
			if w.teeth != nil && w.teeth.scripts[sum] != "" {
				args[1] = w.teeth.scripts[sum]
			}
		}
		if name == "elect" {
			// Redis' own clock does not move with ours, so leases end by our hand.
			lease, now := text(args[6]), time.Now()
			if until, ok := w.leases[lease]; ok && !now.Before(until) {
				send, at = append(send, []any{"DEL", text(args[3]) + "lease:" + lease}), append(at, -1)
			}
			args[7] = 1_000_000_000
		}
		send, at = append(send, args), append(at, i)
		if name == "heartbeat" && len(w.losses) == 0 {
			for s := range w.plan.shards {
				send, at = append(send, []any{"EXISTS", fmt.Sprintf("cf:{%s/%d}:loss", migrationName, s)}), append(at, -2)
			}
		}
	}
	for i, v := range w.redis.do(send...) {
		if at[i] >= 0 {
			answers[at[i]] = tidied(w.scriptOf(requests[at[i]]), v)
		}
		if at[i] == -2 && v == int64(1) && !w.memo.loss {
			w.memo.loss = true
			w.problem("a loss was found, and nothing was lost")
		}
	}
	for i, args := range requests {
		name := w.scriptOf(args)
		if name == "elect" && answers[i] == int64(1) {
			ttl, _ := strconv.ParseInt(text(args[7]), 10, 64)
			w.leases[text(args[6])] = time.Now().Add(time.Duration(ttl) * time.Millisecond)
		}
		w.memo.executed(w, name, args, answers[i])
		if e, ok := answers[i].(redisError); ok && strings.HasPrefix(string(e), "ERR") {
			w.problem("a script failed: %s: %s", name, e)
		}
		if w.tracing && (*everything || !dull[name]) {
			w.write(p, "%s %s = %s", name, brief(args), brief(answers[i]))
		}
	}
	return answers
}

// refuse is how Redis answers while it loads its data or has no memory.
func (w *world) refuse(requests [][]any) []any {
	out := make([]any, len(requests))
	for i := range out {
		out[i] = redisError("LOADING Redis is loading the dataset in memory")
	}
	return out
}

// dull are calls that a trace is better without.
var dull = map[string]bool{"heartbeat": true, "elect": true, "stats": true, "hgetall": true, "smembers": true, "hmget": true,
	"llen": true, "settledoubts": true, "hget": true, "claimtask": true, "vouch": true, "auditclaim": true, "lrange": true, "hkeys": true}

func brief(v any) string {
	s := strings.ReplaceAll(fmt.Sprint(v), "\x00", "/")
	if list, ok := v.([]any); ok && len(list) > 3 && len(text(list[1])) == 40 {
		s = strings.ReplaceAll(fmt.Sprint(list[min(5, len(list)):]), "\x00", "/")
	}
	if len(s) > 160 {
		s = s[:160] + "…"
	}
	return s
}

// memo answers polls for work without Redis while nothing can have changed:
// idle workers ask a hundred times a second.
type memo struct {
	objects, tasks int64 // versions of what the polls look at
	polls          map[string]poll
	fenced         map[string]bool
	loss           bool // a shard knows of one
}

func newMemo() memo { return memo{polls: map[string]poll{}, fenced: map[string]bool{}} }

type poll struct {
	version int64
	answer  any
	due     int64 // ms; the poll finds something then
}

func pollKey(args []any) string {
	key := text(args[1]) + text(args[3]) + text(args[5])
	if len(args) > 6 && len(text(args[6])) == 1 {
		key += text(args[6]) // the task's kind; a number of objects does not matter
	}
	return key
}

func (m *memo) known(p *process, cmds []redis.Cmder) (any, bool) {
	w := p.w
	if len(cmds) != 1 || len(cmds[0].Args()) < 6 {
		return nil, false
	}
	args := cmds[0].Args()
	w.mu.Lock()
	defer w.mu.Unlock()
	name := w.scriptOf(args)
	select {
	case <-p.awake:
	default:
		return nil, false
	}
	if p.cut[redisPeer] || w.down[redisPeer] || w.redisLost || !p.alive() {
		return nil, false
	}
	switch name {
	case "vouch":
		return []any{"", "", "", ""}, len(w.losses) == 0 && !m.loss
	case "claimevents", "claimtask", "auditclaim":
		got, ok := m.polls[pollKey(args)]
		return got.answer, ok && got.version == m.version(name) && (got.due == 0 || time.Now().UnixMilli() < got.due)
	}
	return nil, false
}

func (m *memo) version(name string) int64 {
	if name == "claimevents" {
		return m.objects
	}
	return m.tasks
}

// executed notes what a call changed. The caller holds the world's lock.
func (m *memo) executed(w *world, name string, args []any, answer any) {
	list, _ := answer.([]any)
	switch name {
	case "claimtask", "auditclaim":
		// Keys that an audit has set aside become due as time goes by.
		if len(list) == 0 && (name == "claimtask" || w.redis.do([]any{"LLEN", text(args[3]) + "zq"})[0] == int64(0)) {
			m.polls[pollKey(args)] = poll{m.tasks, answer, 0}
			return
		}
		m.tasks++
	case "claimevents":
		if len(list) == 1 && text(list[0]) == "OK" {
			due := int64(0)
			first, _ := w.redis.do([]any{"ZRANGE", text(args[3]) + "q", 0, 0, "WITHSCORES"})[0].([]any)
			if len(first) == 2 {
				f, _ := strconv.ParseFloat(text(first[1]), 64)
				due = max(1, int64(f))
			}
			m.polls[pollKey(args)] = poll{m.objects, answer, due}
			return
		}
		m.objects++
	case "begin":
		if len(list) == 0 || text(list[0]) != "OK" {
			m.objects++ // a refusal may put the object at the head of the queue
		}
	case "fence", "bury":
		// Repeated each second while a session is being buried.
		if id := name + text(args[3]) + text(args[5]) + text(args[min(6, len(args)-1)]); !m.fenced[id] || text(args[min(6, len(args)-1)]) == "1" {
			m.fenced[id] = true
			m.objects++
			m.tasks++
		}
	case "settledoubts":
		if answer != int64(0) {
			m.objects++
		}
	case "addbuckets", "finishbucket", "failbucket", "retrybuckets", "advance", "split", "finishbatch", "releasetask", "leave", "setgroute",
		"auditstart", "auditadvance", "auditjudged", "auditrelease", "auditsplit", "auditend":
		m.tasks++
	case "commit", "abort", "doubt", "record", "claimobjects", "settle", "release", "retryfailed", "setroute",
		"suspect", "replay", "adopt", "endloss", "judge":
		m.objects++
	case "vouch":
		if len(list) == 2 && text(list[1]) != "" {
			m.objects++
		}
	}
}
