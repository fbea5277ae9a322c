package traffic

import (
	"slices"
	"sort"
	"strings"
)

// keyspace is the set of all keys that the run knows, fixed before it starts.
type keyspace struct {
	buckets map[string][]*register // ordered by key
}

func newKeyspace(regs []*register) *keyspace {
	k := &keyspace{buckets: map[string][]*register{}}
	for _, r := range regs {
		k.buckets[r.bucket] = append(k.buckets[r.bucket], r)
	}
	for _, b := range k.buckets {
		slices.SortFunc(b, func(a, b *register) int { return strings.Compare(a.key, b.key) })
	}
	return k
}

// within returns the registers whose key has the prefix, ordered.
func (k *keyspace) within(bucket, prefix string) []*register {
	all := k.buckets[bucket]
	from := sort.Search(len(all), func(i int) bool { return all[i].key >= prefix })
	to := from
	for to < len(all) && strings.HasPrefix(all[to].key, prefix) {
		to++
	}
	return all[from:to]
}
