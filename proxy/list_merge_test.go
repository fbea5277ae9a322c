package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// modelStore is a store in memory: versions by key (an object has one).
type modelStore map[string][]string

// list is what S3 answers, from its definition. Versions of a key are never split.
func (m modelStore) list(w window) page {
	var p page
	seen := map[string]bool{}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !strings.HasPrefix(k, w.prefix) || k <= w.after {
			continue
		}
		cp, ok := rollUp(k, w.prefix, w.delimiter)
		if ok && seen[cp] {
			continue
		}
		if len(p.items) >= w.max {
			p.truncated = true
			return p
		}
		if ok {
			seen[cp] = true
			p.items = append(p.items, item{key: cp, prefix: true})
			continue
		}
		for _, v := range m[k] {
			p.items = append(p.items, item{key: k, id: v})
		}
	}
	return p
}

// model is two stores and the keys that are newest on the one not listed.
type model struct {
	listed, other modelStore
	dirty         map[string]bool
	seen          map[string]bool // keys with a record that are newest on the listed store
	limit         int             // records that one ledger call looks at
	pages         int             // largest page of a store
	fetched       atomic.Int64
}

func (m *model) visible() modelStore {
	out := modelStore{}
	for k, v := range m.listed {
		if !m.dirty[k] {
			out[k] = v
		}
	}
	for k := range m.dirty {
		if v, ok := m.other[k]; ok {
			out[k] = v
		}
	}
	return out
}

func (m *model) dirtyRange(_ context.Context, prefix, after string, limit int) (ledger.DirtyPage, error) {
	var records []string
	for k := range m.dirty {
		records = append(records, k)
	}
	for k := range m.seen {
		records = append(records, k)
	}
	slices.Sort(records)
	var p ledger.DirtyPage
	n := 0
	for _, k := range records {
		if !strings.HasPrefix(k, prefix) || k <= after {
			continue
		}
		if m.dirty[k] {
			p.Keys = append(p.Keys, k)
		}
		if n++; n == min(limit, m.limit) {
			p.Horizon = k
			break
		}
	}
	return p, nil
}

func (m *model) overlay(delimiter string) *overlay {
	return &overlay{
		listed: ledger.Target, delimiter: delimiter, dirty: m.dirtyRange,
		fetch: func(_ context.Context, s ledger.Store, w window) (page, error) {
			m.fetched.Add(1)
			w.max = min(w.max, m.pages)
			if s == ledger.Target {
				return m.listed.list(w), nil
			}
			return m.other.list(w), nil
		},
	}
}

func randomKey(r *rand.Rand) string {
	parts := []string{"a", "b", "a/", "b/", "/", "c", "aa", "-", "a-", "é", "\x01", "~"}
	var b strings.Builder
	for range 1 + r.IntN(4) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()
}

func randomModel(r *rand.Rand) *model {
	m := &model{listed: modelStore{}, other: modelStore{}, dirty: map[string]bool{}, seen: map[string]bool{},
		limit: 1 + r.IntN(6), pages: 1 + r.IntN(8)}
	for i := range r.IntN(60) {
		k := randomKey(r)
		old, now := []string{fmt.Sprint("old", i)}, []string{fmt.Sprint("new", i)}
		switch r.IntN(7) {
		case 0, 1, 2: // in sync
			m.listed[k], m.other[k] = now, now
			delete(m.dirty, k)
		case 3: // changed on the other store
			m.listed[k], m.other[k], m.dirty[k] = old, now, true
		case 4: // created on the other store
			delete(m.listed, k)
			m.other[k], m.dirty[k] = now, true
		case 5: // deleted on the other store
			m.listed[k], m.dirty[k] = old, true
			delete(m.other, k)
		case 6: // changed on the listed store
			m.listed[k], m.other[k] = now, old
			delete(m.dirty, k)
		}
		delete(m.seen, k)
		if !m.dirty[k] && r.IntN(3) == 0 {
			m.seen[k] = true
		}
	}
	return m
}

func flat(items []item) []string {
	var out []string
	for _, it := range items {
		out = append(out, fmt.Sprintf("%q %v %s", it.key, it.prefix, it.id))
	}
	return out
}

func TestMergedListingIsWhatOneStoreWouldShow(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := randomModel(r)
		if seed%50 == 0 {
			m.limit, m.pages = 1000, 1000
		}
		w := window{max: 1 + r.IntN(6)}
		delimiter := []string{"", "/", "/", "a", "a/"}[r.IntN(5)]
		if r.IntN(2) == 0 {
			w.prefix = randomKey(r)[:1]
		}
		if r.IntN(3) == 0 {
			w.after = randomKey(r)
		}
		want := m.visible()
		for page := 0; ; page++ {
			got, more, err := m.overlay(delimiter).collect(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			x := w
			x.delimiter = delimiter
			expect := want.list(x)
			if diff := cmp.Diff(flat(expect.items), flat(got)); diff != "" || more != expect.truncated {
				t.Fatalf("seed %d, page %d of %+v by %q: more %v, want %v\nlisted %v\nother %v\ndirty %v\n%s",
					seed, page, w, delimiter, more, expect.truncated, m.listed, m.other, m.dirty, diff)
			}
			if !more {
				break
			}
			w.after = got[len(got)-1].position()
		}
	}
}

func TestMergedListingNeverSplitsVersions(t *testing.T) {
	m := &model{
		listed: modelStore{"a": {"1", "2"}, "b": {"x"}, "c": {"5"}},
		other:  modelStore{"b": {"7", "8", "9"}, "d": {"3"}},
		dirty:  map[string]bool{"b": true, "d": true}, limit: 10, pages: 10,
	}
	got, more, err := m.overlay("").collect(t.Context(), window{max: 100})
	if err != nil || more {
		t.Fatal(err, more)
	}
	want := []string{`"a" false 1`, `"a" false 2`, `"b" false 7`, `"b" false 8`, `"b" false 9`, `"c" false 5`, `"d" false 3`}
	if diff := cmp.Diff(want, flat(got)); diff != "" {
		t.Error(diff)
	}
}

func TestListingWithoutDirtyKeysCostsOnePage(t *testing.T) {
	m := &model{listed: modelStore{}, other: modelStore{}, dirty: map[string]bool{}, limit: 1000, pages: 1000}
	for i := range 5000 {
		m.listed[fmt.Sprintf("%05d", i)] = []string{"v"}
	}
	items, more, err := m.overlay("").collect(t.Context(), window{max: 1000})
	if err != nil || !more || len(items) != 1000 {
		t.Fatal(len(items), more, err)
	}
	if m.fetched.Load() != 1 {
		t.Errorf("%d pages were fetched", m.fetched.Load())
	}
}

func TestManyDirtyKeysAreFoundByRange(t *testing.T) {
	m := &model{listed: modelStore{}, other: modelStore{}, dirty: map[string]bool{}, limit: 1000, pages: 1000}
	for i := range 900 {
		k := fmt.Sprintf("%05d", i)
		m.other[k], m.dirty[k] = []string{"new"}, true
	}
	items, more, err := m.overlay("").collect(t.Context(), window{max: 1000})
	if err != nil || more || len(items) != 900 {
		t.Fatal(len(items), more, err)
	}
	if m.fetched.Load() > 3 {
		t.Errorf("%d pages were fetched", m.fetched.Load())
	}
}

// The other store may have got an older copy since, which a listing must not show.
func TestKeyThatBecomesNewestOnMainWhileItIsListedIsMains(t *testing.T) {
	for _, delimiter := range []string{"", "/"} {
		dirty := []string{"a/k"}
		look := func(context.Context, string, string, int) (ledger.DirtyPage, error) {
			return ledger.DirtyPage{Keys: dirty}, nil
		}
		o := overlay{listed: ledger.Source, delimiter: delimiter, dirty: look, again: look,
			fetch: func(_ context.Context, s ledger.Store, w window) (page, error) {
				switch {
				case s == ledger.Target:
					dirty = nil // a client has written it on main, and a copy of what was there before has landed here
					return page{}, nil
				case w.delimiter != "":
					return page{items: []item{{key: "a/", prefix: true}}}, nil
				}
				return page{items: []item{{key: "a/k"}}}, nil
			}}
		items, _, err := o.collect(t.Context(), window{max: 10})
		if err != nil || len(items) != 1 {
			t.Errorf("delimiter %q: %v %v", delimiter, items, err)
		}
	}
}
