package simulation

import (
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// migrationName is the one migration's.
const migrationName = "sim"

var ownLabel = "-- " + hex.EncodeToString([]byte(migrationName)) + "\n"

// luaScript is one of the ledger's scripts as it is sent to Redis.
type luaScript struct {
	name, source string
	sum          string // of what the simulation runs
}

// inOrder has what Redis keeps in no order, or in another one each time that it is started,
// come sorted: else a seed would not play the same history again.
const inOrder = `local redis = {error_reply = redis.error_reply, call = function(c, ...)
  if c == 'SRANDMEMBER' then
    local key, most = ...
    local all = redis.call('SMEMBERS', key)
    table.sort(all)
    return {unpack(all, 1, math.min(#all, tonumber(most)))}
  end
  local v = redis.call(c, ...)
  if c == 'SMEMBERS' or c == 'HKEYS' then table.sort(v) end
  return v
end}
`

// ordered is the script as the simulation runs it.
func (s luaScript) ordered() string { return inOrder + s.source }

func newScript(name, source string) luaScript {
	s := luaScript{name: name, source: source}
	s.sum = sha(s.ordered())
	return s
}

// tidied puts an answer of Redis' in order, see inOrder.
func tidied(name string, answer any) any {
	list, ok := answer.([]any)
	if !ok {
		return answer
	}
	width := map[string]int{"smembers": 1, "hkeys": 1, "hgetall": 2}[name]
	if width == 0 {
		return answer
	}
	rows := slices.Collect(slices.Chunk(list, width))
	slices.SortFunc(rows, func(a, b []any) int { return strings.Compare(text(a[0]), text(b[0])) })
	return slices.Concat(rows...)
}

// luaScripts reads the ledger's scripts and returns them by their SHA-1 sum, with
// whatever prelude they may be sent.
func luaScripts() (map[string]luaScript, error) {
	dir := filepath.Join("..", "..", "internal", "ledger", "lua")
	read := func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(dir, name+".lua"))
		return string(b) + "\n", err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.lua"))
	if err != nil {
		return nil, err
	}
	out := map[string]luaScript{}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".lua")
		for _, parts := range [][]string{{"prelude", "noroute", name}, {"prelude", name}, {"gprelude", name}, {"gprelude", "auditlib", name}} {
			source := ""
			for _, p := range parts {
				text, err := read(p)
				if err != nil {
					return nil, err
				}
				source += text
			}
			out[sha(source)] = newScript(name, source)
			// Some are sent with a text of the migration's own, see internal/ledger/fresh.go.
			own := ownLabel + source
			out[sha(own)] = newScript(name, own)
		}
	}
	fresh := ownLabel + "return 1"
	out[sha(fresh)] = newScript("fresh", fresh)
	return out, nil
}

func sha(source string) string {
	sum := sha1.Sum([]byte(source))
	return hex.EncodeToString(sum[:])
}
