package simulation

import (
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// migrationName is the one migration's.
const migrationName = "sim"

var ownLabel = "-- " + hex.EncodeToString([]byte(migrationName)) + "\n"

// luaScript is one of the ledger's scripts as it is sent to Redis.
type luaScript struct{ name, source string }

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
			out[sha(source)] = luaScript{name, source}
			// Some are sent with a text of the migration's own, see internal/ledger/fresh.go.
			own := ownLabel + source
			out[sha(own)] = luaScript{name, own}
		}
	}
	fresh := ownLabel + "return 1"
	out[sha(fresh)] = luaScript{"fresh", fresh}
	return out, nil
}

func sha(source string) string {
	sum := sha1.Sum([]byte(source))
	return hex.EncodeToString(sum[:])
}
