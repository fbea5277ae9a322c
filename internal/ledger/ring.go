package ledger

import (
	"slices"
	"time"
)

const (
	// ringFor is how long a committed write is kept to be told again after a loss:
	// longer than what a Redis loses that is fsynced each second, or a failover.
	ringFor = 2 * time.Minute
	// ringMost bounds a ring, in objects.
	ringMost = 1 << 16
)

// ring keeps what happened to objects of late.
type ring[T any] struct {
	of   map[Object]kept[T]
	old  []aged // oldest first from head on; an object may be in it more than once
	head int
	cut  time.Time // when something was dropped before its time
}

type kept[T any] struct {
	what T
	at   time.Time
}

type aged struct {
	object Object
	at     time.Time
}

// keep replaces what is known of an object, or its zero value.
func (r *ring[T]) keep(o Object, with func(T) T) {
	if r.of == nil {
		r.of = map[Object]kept[T]{}
	}
	now, was := time.Now(), r.of[o]
	if now.Sub(was.at) < time.Second { // one place is enough for what is begun, then done, or done again and again
		r.of[o] = kept[T]{with(was.what), was.at}
		return
	}
	r.of[o] = kept[T]{with(was.what), now}
	r.old = append(r.old, aged{o, now})
	r.trim(now)
}

func (r *ring[T]) trim(now time.Time) {
	for ; r.head < len(r.old); r.head++ {
		first := r.old[r.head]
		full := len(r.old)-r.head > ringMost
		if !full && now.Sub(first.at) <= ringFor {
			break
		}
		// One that was written again since has a later place.
		if !r.of[first.object].at.After(first.at) {
			if now.Sub(first.at) <= ringFor {
				r.cut = now
			}
			delete(r.of, first.object)
		}
	}
	if r.head > 1024 && r.head > len(r.old)/2 {
		r.old, r.head = slices.Delete(r.old, 0, r.head), 0
	}
}

func (r *ring[T]) all(now time.Time) map[Object]T {
	r.trim(now)
	out := make(map[Object]T, len(r.of))
	for o, k := range r.of {
		out[o] = k.what
	}
	return out
}
