package simulation

import (
	"math/rand/v2"
	"time"
)

// roll returns the dice of one named decision: they depend on the seed and the
// name alone, not on what else was decided before, so that a seed replays.
func roll(seed uint64, name string) *rand.Rand {
	h := seed ^ 0xcbf29ce484222325
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return rand.New(rand.NewPCG(mix(h), mix(h^seed)))
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// between is a duration in [from, to); nanoseconds count, so that two calls
// hardly ever fall on the same instant.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }
