package simulation

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	teethFor = flag.Duration("teeth-for", 0, "how long to look for a seed that catches each broken rule; 0: no teeth")
	toothNth = flag.Int("tooth-from", 0, "the first broken rule")
	toothBy  = flag.Int("tooth-by", 1, "from one broken rule to the next, to share them among processes")
	toothOf  = flag.String("tooth", "", "only broken rules whose name contains this")
)

// tooth breaks one rule of the protocol, on the way between a process and Redis
// or a store: what the product ships has no way to.
type tooth struct {
	rule  string
	at    []aim // what histories should aim at, in turn; none: anything
	edits []edit
	// answer changes what a process hears of Redis, store what it sends to a store.
	answer func(p *process, ctx context.Context, name string, args []any, answer any) any
	store  func(p *process, r *http.Request)
	// reply changes what it hears of a store.
	reply func(p *process, r *http.Request, got *answer)
	// versions: only histories whose bucket keeps versions.
	versions bool

	scripts map[string]string // sums of scripts to those of their broken versions
}

// edit replaces a part of the scripts.
type edit struct{ from, to string }

// sharpen loads the broken scripts into Redis.
func (b *tooth) sharpen(l *lab) *tooth {
	if b.scripts != nil {
		return b
	}
	b.scripts = map[string]string{}
	found := make([]bool, len(b.edits))
	for sum, s := range scripts {
		source := s.ordered()
		for i, e := range b.edits {
			if strings.Contains(source, e.from) {
				found[i] = true
				source = strings.ReplaceAll(source, e.from, e.to)
			}
		}
		if source != s.ordered() {
			b.scripts[sum] = text(l.server.do([]any{"SCRIPT", "LOAD", source})[0])
		}
	}
	if slices.Contains(found, false) {
		panic(fmt.Sprintf("the rule %q is written otherwise now: %v of %v are found", b.rule, found, b.edits))
	}
	return b
}

// hear changes the answers to a process.
func (b *tooth) hear(ctx context.Context, p *process, requests [][]any, answers []any) {
	if b == nil || b.answer == nil {
		return
	}
	for i, args := range requests {
		answers[i] = b.answer(p, ctx, p.w.scriptOf(args), args, answers[i])
	}
}

func (p *process) is(kind string) bool { return strings.HasPrefix(p.name, kind) }

// sessionsObey makes the manager believe that sessions of a role obey every route.
func sessionsObey(role string) func(*process, context.Context, string, []any, any) any {
	return func(p *process, _ context.Context, name string, args []any, answer any) any {
		fields, _ := answer.([]any)
		if !p.is("manager") || name != "hgetall" || !strings.Contains(text(args[1]), "}:s:") || !slices.Contains(texts(fields), role) {
			return answer
		}
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == "epoch" {
				fields[i+1] = "1000000"
			}
		}
		return fields
	}
}

// unconditional has copies write whatever is there.
func unconditional(p *process, r *http.Request) {
	if p.is("worker") && (r.Method == http.MethodPut || r.Method == http.MethodDelete || r.Method == http.MethodPost) {
		r.Header.Del("If-Match")
		r.Header.Del("If-None-Match")
	}
}

// looksAtVersion says that a proxy asks a store whether it has a version.
func looksAtVersion(p *process, r *http.Request) bool {
	return p.is("proxy") && r.Method == http.MethodHead && r.URL.Query().Has("versionId")
}

type firstLookup struct{ answer any }

type lookupKey struct{}

var teeth = []*tooth{
	{rule: "an intent before the write", edits: []edit{
		{"if redis.call('HSETNX', P .. 'i:' .. session, id, x .. '|' .. seq .. '|' .. kind .. '|' .. r.id) == 1 then", "if false then"},
		{"if LOSS ~= '' and not gone and (r.n == ARGV[4] or b < BASE and (newest <= b or newest >= FIRST)) then", "if true then"},
	}},
	{rule: "in doubt: what is not newest is copied over", at: []aim{lateCompletes}, edits: []edit{
		{"'gone:' .. session, 86400)\n    touch(r)\n", "'gone:' .. session, 86400)\n if r.s == r.t then redis.call('INCR','bite') end "},
	}},
	{rule: "in doubt: what is not newest was never made", at: []aim{lostAtSwitch}, edits: []edit{{"elseif r.n == x then\n    wrote(r, x, b, false, late)", "elseif true then\n    wrote(r, x, b, false, late)"}}},
	{rule: "in doubt: what is newest was made", edits: []edit{{"elseif r.n == x then\n    wrote(r, x, b, false, late)", "elseif r.n == x then\n    save(r)"}}},
	{rule: "a claim: one copier an object", at: []aim{lateCopies}, edits: []edit{
		{"if wanted(r) and r.c == '' then\n    r.c,", "if wanted(r) then\n    r.c,"},
		{"if wanted(r) and r.c == '' then redis.call('ZADD'", "if wanted(r) then redis.call('ZADD'"},
	}},
	{rule: "the copy lock", at: []aim{lateCopies, sleepers}, edits: []edit{{"r.l = to .. ':' .. (NOW + tonumber(ARGV[7])) .. (ARGV[9] == '1' and '' or 'u')", ""}}},
	{rule: "a lock is refused when a client was first", edits: []edit{{"if not trusted(r) or r.n ~= from or r['i' .. to] > 0 or redis", "if redis"}}},
	{rule: "the conditional fence", at: []aim{lateCopies, sleepers}, store: unconditional},
	{rule: "hold: the claim of a copy without an answer is kept", at: []aim{lateCopies}, edits: []edit{{"local mode = ARGV[6]", "local mode = ARGV[6]\nif mode == 'hold' then mode = 'unclaim' end"}}},
	{rule: "removes wait for a copy that may land", at: []aim{lateCopies}, edits: []edit{{"if removes == '1' and r.c ~= ''", "if false and r.c ~= ''"}}},
	{rule: "settle by version", edits: []edit{{"r[to] = tonumber(ARGV[7])", "r[to] = r[from]"}}},
	{rule: "settle: not what a client has written since", at: []aim{nappers}, edits: []edit{{"if mine and r.n == from and (unlocked or r['i' .. to] == 0) then", "if mine and not(r.n == from and (unlocked or r['i' .. to] == 0)) then redis.call('INCR','bite') end if mine then"}}},
	{rule: "superseded: a write that began before n moved", at: []aim{lateWrites, lateBoth}, edits: []edit{{"if r.n ~= x and r.w <= b then", "if r.n ~= x then"}}},
	{rule: "superseded: nor a later one that it may have landed on", at: []aim{turnedBack, lateWrites}, edits: []edit{{"counts = r['b' .. x] <= b", "counts = true"}}},
	{rule: "superseded: its client is told", at: []aim{longSleep}, edits: []edit{
		{"if r.n ~= ARGV[4] or (ARGV[8] == '' and gone) then return answer(-1, r) end", "if r.n ~= ARGV[4] or (ARGV[8] == '' and gone) then redis.call('INCR','bite') end"},
	}},
	{rule: "a conditional write waits for the newest version", edits: []edit{{"if (sure and r.n ~= x and r.s ~= r.t) or r['i' .. y] > 0 then", "if false then"}}},
	{rule: "a conditional write is not overtaken", at: []aim{raced}, edits: []edit{{"if r['k' .. y] > 0 then return {'LOCKED', '0'} end", ""}}},
	{rule: "a Begin that comes after its Abort", edits: []edit{{"if redis.call('SISMEMBER', P .. 'gone:' .. session, ARGV[i]) == 1 then return {'FENCED'} end", ""}}},
	{rule: "the fence of a dead session", at: []aim{wakeAndDie}, edits: []edit{
		{"if redis.call('EXISTS', P .. 'dead:' .. session) == 1 then return {'FENCED'} end", ""},
		{" or redis.call('EXISTS', P .. 'dead:' .. ARGV[2]) == 1 then return 0 end", " then return 0 end"},
	}},
	{rule: "barrier one, proxies", at: []aim{cutOff}, answer: sessionsObey("proxy")},
	{rule: "barrier one, workers", at: []aim{sleepers}, answer: sessionsObey("worker")},
	{rule: "barrier two: nothing newest on the old store", at: []aim{lateCopies, sleepers}, answer: func(p *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && p.is("manager") && name == "stats" {
			list[4], list[5] = "0", "0"
		}
		return answer
	}},
	{rule: "barrier two: no write under way on the old store", at: []aim{lateCompletes}, answer: func(p *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && p.is("manager") && name == "stats" {
			list[6], list[7] = "0", "0"
		}
		return answer
	}},
	{rule: "barrier two: no upload on the old store", at: []aim{lateUploads}, answer: func(p *process, _ context.Context, name string, args []any, answer any) any {
		if p.is("manager") && name == "hgetall" && strings.HasSuffix(text(args[1]), "}:dangling") {
			return []any{"n", "0", "oldest", "0", "at", strconv.FormatInt(time.Now().UnixMilli(), 10), "epoch", "1000000"}
		}
		return answer
	}},
	{rule: "a dead session is settled only when its requests can't land", at: []aim{deaths}, answer: func(_ *process, _ context.Context, name string, _ []any, answer any) any {
		if name == "fence" {
			return int64(1e9)
		}
		return answer
	}},
	{rule: "what concerns a bucket's objects waits for the bucket", at: []aim{bucketMoves}, answer: func(_ *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && name == "standing" {
			list[0], list[1] = list[3], "" // on main, and nothing open
		}
		return answer
	}},
	{rule: "no record for what is in sync", edits: []edit{{"if r.found then redis.call('DEL', P .. 'o:' .. r.id) end", ""}}},
	{rule: "listings are overlaid", answer: func(_ *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && name == "dirtyrange" {
			return []any{"", list[1], list[2]}
		}
		return answer
	}},
	{rule: "reads look twice", at: []aim{slowReads}, answer: func(_ *process, ctx context.Context, name string, _ []any, answer any) any {
		seen, ok := ctx.Value(lookupKey{}).(*firstLookup)
		if !ok || name != "lookup" {
			return answer
		}
		if seen.answer == nil {
			seen.answer = answer
		}
		return seen.answer
	}},
	{rule: "reads look objects up", answer: func(p *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && name == "lookup" && p.is("proxy") && len(list) > 3 {
			list[0] = list[3] // main
		}
		return answer
	}},
	{rule: "a copy does not delete what is not there", versions: true, reply: func(p *process, r *http.Request, got *answer) {
		if p.is("worker") && r.Method == http.MethodHead && got.status == http.StatusNotFound && strings.HasPrefix(r.URL.Path, "/"+bucketName+"/") {
			*got = answer{http.StatusOK, http.Header{"Etag": {`"x"`}}, ""}
		}
	}},
	{rule: "a version is deleted where it lives", versions: true, reply: func(p *process, r *http.Request, got *answer) {
		if looksAtVersion(p, r) {
			*got = refusal(http.StatusNotFound, "NoSuchVersion")
		}
	}},
	{rule: "barrier two: nothing begins on the old store", at: []aim{closing}, versions: true, edits: []edit{{" or redis.call('HGET', P .. 'route', 'closed') == EPOCH", ""}}},
	{rule: "a bucket waits for a copy of what it was before", at: []aim{bucketGone}, edits: []edit{{" or r.n ~= MAIN and r.c ~= '' and tonumber(r.ct) < r[r.n]", ""}}},
	{rule: "listings leave out uploads of copies", at: []aim{uploadsSeen}, answer: func(p *process, _ context.Context, name string, args []any, answer any) any {
		if name == "hgetall" && p.is("proxy") && strings.HasSuffix(text(args[1]), "uc") {
			return []any{}
		}
		return answer
	}},
}

// After a loss of the ledger's data.
var lossTeeth = []*tooth{
	{rule: "an audit after a loss", edits: []edit{ // it is over when it begins
		{"for i = 10, #ARGV do addtask", "for i = 10, 9 do addtask"}, {"if #ARGV < 10 then", "if true then"},
	}},
	{rule: "a copy of an older version is no client's write", at: []aim{olderCopies}, answer: func(_ *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && name == "lookup" {
			list[12] = ""
		}
		return answer
	}},
	{rule: "what is open on main says that main has the newest", at: []aim{unsaid}, edits: []edit{
		{"or r.n == MAIN and tonumber(o[6] or 0) > 0) and", ") and"}, {"if r.n == x and x == MAIN then touch(r) end", ""},
	}},
	{rule: "who died, and could have told more, is missed", at: []aim{missed}, edits: []edit{{"if ARGV[5] == '1' then redis.call('HSET', P .. 'loss', 'forget', '1') end", ""}}},
	{rule: "the conditional fence of a lock that was lost", at: []aim{lostLocks}, store: unconditional},
	{rule: "a loss that only heartbeats show", at: []aim{briefLosses, losses}, answer: func(_ *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && name == "heartbeat" && len(list) > 10 {
			list[10] = ""
		}
		return answer
	}},
	{rule: "each call looks for what its session was told", at: []aim{briefLosses, losses}, edits: []edit{{"if WHO ~= '' and EPOCH and", "if false and"}}},
	{rule: "the end of a task that was lost is missed", at: []aim{briefLosses, losses}, edits: []edit{{"if known[1] and tonumber(TOLD)", "if false and tonumber(TOLD)"}}},
	{rule: "what was told before the switch was known again is told again", at: []aim{undone}, edits: []edit{{"if LOSS == 'replay' and ARGV[4] == 'Switched' and route[3] ~= 'Switched' then", "if false then"}}},
	{rule: "what the old main took before the switch comes before what a client put on the new one", at: []aim{justAfter}, edits: []edit{{"then over = '1' end", "then over = '' end"}}},
	{rule: "what both stores held until a loss is older than what changed since", at: []aim{longAgo}, edits: []edit{{"if not r.found and kept then synced =", "if false then synced ="}}},
	{rule: "what a copy has put on the old main came from main", at: []aim{copiedBack}, answer: func(_ *process, _ context.Context, name string, _ []any, answer any) any {
		if list, ok := answer.([]any); ok && name == "lookup" {
			list[16] = ""
		}
		return answer
	}},
	{rule: "what the ledger has kept is later than what is told of before", at: []aim{keptLater}, edits: []edit{
		{"if v > 0 and kept[1] and v <= tonumber(kept[1])", "if false"}, {"if r[r.n] < BASE and v < r[r.n] then later = false end", ""},
	}},
	{rule: "what the ledger has kept counts once it is told again", at: []aim{bucketKept}, edits: []edit{{"if r.found and r.was_dirty then", "if false then"}}},
	{rule: "records from before a loss do not count", at: []aim{missed, lostDirty, losses}, edits: []edit{{"return r.found and (FORGET and r.e or math.max(r.s, r.t)) >= BASE", "return true"}}},
	{rule: "what was committed of late is told again", edits: []edit{{"if later and v > r.e and route[3] == 'Switched' then", "if false then"}}},
	{rule: "intents that came back are settled", edits: []edit{{"if not open[id] then", "if false then"}}},
	{rule: "what a client wrote since a loss counts", at: []aim{deletedSince}, edits: []edit{{"if made and r.n == x and (LOSS == 'lost' or LOSS ~= '' and b >= BASE) then r.e = r[x] end", ""}}},
	{rule: "main counts from when it last changed", at: []aim{lostThenBack}, edits: []edit{{"if EPOCH and MAIN ~= ARGV[3] and LOSS ~= '' then", "if false then"}}},
	{rule: "a commit whose intent was lost counts", at: []aim{intentLost}, edits: []edit{{"if LOSS ~= '' and not gone and (r.n == ARGV[4] or b < BASE and (newest <= b or newest >= FIRST)) then", "if false then"}}},
	{rule: "intents that were lost are open again", at: []aim{intentLost}, edits: []edit{{"if had and x ~= '' and", "if false and"}}},
}

func init() {
	for _, b := range lossTeeth {
		if b.at == nil {
			b.at = []aim{losses, lostDirty}
		}
	}
	teeth = append(teeth, lossTeeth...)
}

// A rule that can't be broken any more would never be noticed.
func TestTeethFit(t *testing.T) {
	l := newLab(t)
	for _, b := range teeth {
		b.sharpen(l)
	}
}

// TestTeeth breaks one rule after the other, and prints the seed that notices.
func TestTeeth(t *testing.T) {
	if *teethFor == 0 {
		t.Skip("asked for by make sim-teeth")
	}
	l := newLab(t)
	fmt.Println("| rule that is broken | seed | histories | what was seen |")
	fmt.Println("| --- | --- | --- | --- |")
	for i, b := range teeth {
		if i%*toothBy != *toothNth || !strings.Contains(b.rule, *toothOf) {
			continue
		}
		began, n, caught := time.Now(), 0, false
		for seed := *first; time.Since(began) < *teethFor && !caught; seed += *stride {
			at := anything
			if len(b.at) > 0 {
				at = b.at[n%len(b.at)]
			}
			if *aimed != int(anything) {
				at = aim(*aimed)
			}
			if b.versions && !newPlan(seed, at).versioned {
				continue
			}
			n++
			if r := l.play(t, seed, newPlan(seed, at), b, false); r.problem != "" {
				if whole := l.play(t, seed, newPlan(seed, at), nil, false); whole.problem != "" {
					t.Errorf("seed %d %v fails with every rule in force: %s", seed, at, whole.problem)
					continue
				}
				caught = true
				fmt.Printf("| %s | %d %v | %d | %s |\n", b.rule, seed, at, n, strings.ReplaceAll(brief(r.problem), "|", "/"))
			}
		}
		if !caught {
			fmt.Printf("| %s | **none** %v | %d | |\n", b.rule, b.at, n)
			t.Errorf("nothing notices that this rule is broken: %s", b.rule)
		}
	}
}
