package worker

import (
	"context"
	"fmt"
	"sort"
	"testing"
)

func TestMiddleCutsRangesInTwo(t *testing.T) {
	number := func(format string, n int) (keys []string) {
		for i := range n {
			keys = append(keys, fmt.Sprintf(format, i))
		}
		return keys
	}
	for name, c := range map[string]struct {
		keys       []string
		start, end string
		least      float64 // share of the smaller part
	}{
		"numbers below one prefix": {number("photos/2024/%06d.jpg", 9000), "photos/2024/000999.jpg", "", 0.2},
		"from the very start":      {number("%04d", 5000), "", "", 0.2},
		"two prefixes":             {append(number("a/%03d", 500), number("b/%03d", 500)...), "a/010", "", 0.4},
		"bounded":                  {number("k%05d", 10000), "k01000", "k05000", 0.2},
		"not ASCII":                {append(number("ä/%03d", 300), number("日本/%03d", 300)...), "ä/001", "", 0.4},
	} {
		t.Run(name, func(t *testing.T) {
			sort.Strings(c.keys)
			calls := 0
			first := func(_ context.Context, after string) (string, error) {
				calls++
				if i := sort.Search(len(c.keys), func(i int) bool { return c.keys[i] > after }); i < len(c.keys) {
					return c.keys[i], nil
				}
				return "", nil
			}
			mid, err := middle(t.Context(), c.start, c.end, first)
			if err != nil || mid == "" {
				t.Fatalf("middle = %q, %v", mid, err)
			}
			var low, high int
			for _, k := range c.keys {
				switch {
				case k <= c.start || c.end != "" && k > c.end:
				case k <= mid:
					low++
				default:
					high++
				}
			}
			if share := float64(min(low, high)) / float64(low+high); share < c.least {
				t.Errorf("cut at %q leaves %d and %d", mid, low, high)
			}
			if calls > 30 {
				t.Errorf("took %d requests", calls)
			}
		})
	}
}

func TestMiddleOfNothing(t *testing.T) {
	none := func(context.Context, string) (string, error) { return "", nil }
	for _, start := range []string{"", "a", "a/b/c"} {
		if mid, err := middle(t.Context(), start, "", none); mid != "" || err != nil {
			t.Errorf("middle(%q) = %q, %v", start, mid, err)
		}
	}
}
