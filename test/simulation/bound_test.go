package simulation

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// watch looks at what the ledger holds, again and again while clients work.
func (w *world) watch() {
	for {
		select {
		case <-w.over:
			return
		case <-time.After(2 * time.Second):
		}
		w.mu.Lock()
		for s := range w.plan.shards {
			if why := w.unbounded(fmt.Sprintf("cf:{%s/%d}:", migrationName, s)); why != "" {
				w.problem("the ledger holds what it need not: %s", why)
			}
		}
		w.mu.Unlock()
	}
}

// unbounded says what a shard holds that no difference, write or claim is the reason
// for, and which of its counters are wrong. The caller holds the lock.
func (w *world) unbounded(shard string) string {
	ask := func(args ...any) any { return w.redis.do(args)[0] }
	list := func(args ...any) []string {
		l, _ := ask(args...).([]any)
		return texts(l)
	}
	fields := func(key string) map[string]string {
		l, m := list("HGETALL", key), map[string]string{}
		for i := 0; i+1 < len(l); i += 2 {
			m[l[i]] = l[i+1]
		}
		return m
	}
	number := func(s string) int64 {
		n, _ := strconv.ParseInt(s, 10, 64)
		return n
	}
	queued, shown := map[string]bool{}, map[string]bool{}
	for _, id := range list("ZRANGE", shard+"q", 0, -1) {
		queued[id] = true
	}
	for _, b := range list("SMEMBERS", shard+"xb") {
		for _, k := range list("ZRANGE", shard+"x:"+b, 0, -1) {
			shown[b+"\x00"+k] = true
		}
	}
	newest, open := map[string]int64{}, map[string]int64{}
	for _, key := range list("KEYS", shard+"o:*") {
		id := strings.TrimPrefix(key, shard+"o:")
		r := fields(key)
		dirty, writes := r["s"] != r["t"], number(r["is"])+number(r["it"])
		visible := dirty || writes > 0
		switch {
		case !visible && r["c"] == "" && r["l"] == "":
			return fmt.Sprintf("%q says nothing: %v", id, r)
		case visible != shown[id]:
			return fmt.Sprintf("%q is listed as dirty: %t, but is %v", id, shown[id], r)
		case queued[id] && !dirty:
			return fmt.Sprintf("%q is queued, but is %v", id, r)
		}
		if visible {
			newest[r["n"]]++
		}
		open["is"] += number(r["is"])
		open["it"] += number(r["it"])
		delete(queued, id)
		delete(shown, id)
	}
	intents := int64(0)
	for _, key := range list("KEYS", shard+"i:*") {
		intents += int64(len(fields(key)))
	}
	counted := fields(shard + "cnt")
	switch {
	case len(queued) > 0 || len(shown) > 0:
		return fmt.Sprintf("queued %v, listed %v, but without a record", queued, shown)
	case intents != open["is"]+open["it"]:
		return fmt.Sprintf("%d intents, but %v in records", intents, open)
	case number(counted["s"]) != newest["s"] || number(counted["t"]) != newest["t"] || number(counted["is"]) != open["is"] || number(counted["it"]) != open["it"]:
		return fmt.Sprintf("counted %v, but there are %v and %v", counted, newest, open)
	}
	for _, queue := range []string{"cq", "zq"} {
		if n := ask("LLEN", "cf:{"+migrationName+"}:"+queue); n.(int64) > 64 {
			return fmt.Sprintf("%v tasks in %s, of which there may be 64", n, queue)
		}
	}
	return ""
}
