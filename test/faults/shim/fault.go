package shim

import (
	"fmt"
	"hash/fnv"
	"time"
)

// Kind says what a fault does to a connection.
type Kind string

// The kinds of faults. "Up" is towards the server, "down" towards the client.
const (
	Pass     Kind = ""          // nothing
	Delay    Kind = "delay"     // each chunk waits, both ways
	Throttle Kind = "throttle"  // so many bytes a second, both ways
	Hold     Kind = "hold"      // connections are taken and nothing is forwarded
	Mute     Kind = "mute"      // requests are forwarded, answers are held back
	Refuse   Kind = "refuse"    // connections are reset at once, those that exist too
	HalfUp   Kind = "half-up"   // so many bytes of what is sent are forwarded, then a reset
	HalfDown Kind = "half-down" // so many bytes of what is answered are forwarded, then a reset
	Answer   Kind = "answer"    // HTTP: a status of our own, the server sees nothing
	Late     Kind = "late"      // HTTP: the server does its work, its answer is replaced by a status of our own
)

// Fault is what a link does until it is told otherwise.
type Fault struct {
	Kind   Kind
	Share  float64       // of the connections that it hits; 0: all
	Delay  time.Duration // Delay: of each chunk
	Rate   int           // Throttle: bytes a second
	Bytes  int64         // HalfUp and HalfDown
	Status int           // Answer and Late
	Code   string        // Answer and Late: S3's error code
}

// String names the fault with its figures.
func (f Fault) String() string {
	s := string(f.Kind)
	switch f.Kind {
	case Delay:
		s += fmt.Sprintf(" %s", f.Delay)
	case Throttle:
		s += fmt.Sprintf(" %d B/s", f.Rate)
	case HalfUp, HalfDown:
		s += fmt.Sprintf(" %d B", f.Bytes)
	case Answer, Late:
		s += fmt.Sprintf(" %d %s", f.Status, f.Code)
	}
	if f.Share > 0 {
		s += fmt.Sprintf(" (%.0f %%)", 100*f.Share)
	}
	return s
}

// ends tells whether connections that exist already are cut when the fault comes on.
func (f Fault) ends() bool { return f.Kind == Refuse || f.Kind == Answer || f.Kind == Late }

// phase is a fault while it is on.
type phase struct {
	Fault
	id   uint64
	over chan struct{} // closed when it is not on any more
}

// hits tells whether the fault concerns a connection.
func (p *phase) hits(conn uint64) bool {
	if p.Kind == Pass {
		return false
	}
	if p.Share <= 0 || p.Share >= 1 {
		return true
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%d", p.id, conn)
	return float64(h.Sum64()%1000) < 1000*p.Share
}
