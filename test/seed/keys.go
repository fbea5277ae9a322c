package seed

import "strings"

// OddKey is a key that a mover may trip over.
type OddKey struct {
	Name  string
	Empty bool // a marker: has no content
	posix bool // stores on a file system take it
}

var oddKeys = []OddKey{
	{Name: "odd/with space and  two", posix: true},
	{Name: "odd/ leading and trailing ", posix: true},
	{Name: "odd/plus+plus", posix: true},
	{Name: "odd/percent%41%zz%", posix: true},
	{Name: "odd/eq=&?#;:@!$,", posix: true},
	{Name: `odd/quote"'back\slash`, posix: true},
	{Name: "odd/<xml>&amp;]]>", posix: true},
	{Name: "odd/~(*)[]{}|^`", posix: true},
	{Name: "odd/ünïcödé-日本語-🙂", posix: true},
	{Name: "odd/e\u0301 is not é", posix: true}, // the same letter, composed and not
	{Name: "odd/a/b/c", posix: true},
	{Name: "odd/..dots..", posix: true},
	{Name: "odd/UPPER", posix: true},
	{Name: "odd/upper", posix: true},
	{Name: "odd/marker/", Empty: true, posix: true},
	{Name: "odd/parent/", Empty: true, posix: true},
	{Name: "odd/parent/child", posix: true},
	{Name: "odd/long/" + strings.Repeat(strings.Repeat("n", 199)+"/", 5) + "z", posix: true}, // 1010 bytes
	{Name: "odd//double//slash"},
	{Name: "/odd/leading/slash"},
	{Name: "odd/./dot/../dots"},
	{Name: "odd/marker-with-data/"},
	{Name: "odd/p"},
	{Name: "odd/p/q"},
	{Name: "odd/" + strings.Repeat("w", 300)},
}

// OddKeys returns the set of odd keys; with posix only those that a store on a
// file system takes as well.
func OddKeys(posix bool) []OddKey {
	var keys []OddKey
	for _, k := range oddKeys {
		if k.posix || !posix {
			keys = append(keys, k)
		}
	}
	return keys
}
