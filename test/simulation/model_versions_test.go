package simulation

import (
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// versionRules are how a key's register becomes a stack where the bucket keeps
// versions. A state is what lies at the bottom, then the versions above it that
// somebody deletes at some time: what lies below one that nobody deletes never
// comes back. What lies at the bottom may be any older content: see loose.
type versionRules struct {
	// taken are the writes whose version somebody deletes.
	taken map[string]bool
	// near are deletes of a version which may leave its content, for a copy may lie above it.
	near map[string]bool
	// loose are deletes after which any content that the key had before may be there.
	loose map[string]bool
	// before are the contents that were written before each delete was answered.
	before map[string][]string
	// exact are deletes of a null version that ended before traffic first moved.
	exact map[string]bool
}

const (
	above  = "\x00" // begins a version: what made it, named, and its content
	named  = "\x01"
	anyOld = "\x02" // begins a bottom that is not known: the delete, and what else it may be
	other  = "\x03"
	// begins a bottom that was not known until somebody saw it: what lies below it is not.
	seenOld = "\x04"
)

func removalOf(i input) string { return i.op + "/" + i.key }

// versionRules looks at the whole history.
func (w *world) versionRules() *versionRules {
	v := &versionRules{taken: map[string]bool{}, near: map[string]bool{}, loose: map[string]bool{}, before: map[string][]string{}, exact: map[string]bool{}}
	by := map[string][]porcupine.Operation{}
	for _, o := range w.history {
		in := o.Input.(input)
		if by[in.key] = append(by[in.key], o); in.kind == "removeVersion" && in.version != "" {
			v.taken[in.version] = true
		}
	}
	for _, o := range w.history {
		in := o.Input.(input)
		if in.kind == "removeNull" {
			v.exact[in.op] = w.moved == 0 || o.Return < w.moved
			w.result.faults["nullVersionsDeleted"]++
		}
		if in.kind != "removeVersion" {
			continue
		}
		name := removalOf(in)
		switch {
		case in.version == "": // a copy made it, or nobody knows
			v.loose[name] = true
		case w.moved == 0 || o.Return < w.moved || o.Output.(output).unknown && o.Call < w.moved:
			w.result.faults["versionsDeleted"]++
		case w.near(by[in.key], o):
			w.result.faults["versionsDeletedNearly"]++
			v.near[name] = true
		default:
			w.result.faults["versionsDeletedLoosely"]++
			v.loose[name] = true
		}
		v.before[name] = []string{""}
		for _, earlier := range by[in.key] {
			if i := earlier.Input.(input); !i.reads() && i.kind != "removeVersion" && earlier.Call < o.Return && !slices.Contains(v.before[name], i.value) {
				v.before[name] = append(v.before[name], i.value)
			}
		}
	}
	return v
}

// near says that one store holds each version of a key that clients made before a
// delete of one of them was answered, in their order: none of those writes can have
// gone elsewhere. If an intent of one of them was left behind, that content may have been
// copied back onto it.
func (w *world) near(of []porcupine.Operation, removal porcupine.Operation) bool {
	for _, o := range of {
		if o != removal && !o.Input.(input).reads() && o.Call < removal.Return && (o.Output.(output).unknown || o.Return > w.moved) {
			return false
		}
	}
	return !removal.Output.(output).unknown
}

// current returns what is newest; sure is false if that is not known.
func (v *versionRules) current(s string) (value string, sure bool) {
	if _, last, found := cutLast(s, above); found {
		_, value, _ = strings.Cut(last, named)
		return value, true
	}
	return strings.TrimPrefix(s, seenOld), !strings.HasPrefix(s, anyOld)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// older says that a bottom which is not known may be this.
func (v *versionRules) older(s, value string) bool {
	if !strings.HasPrefix(s, anyOld) {
		return false
	}
	all := strings.Split(s[len(anyOld):], other)
	return slices.Contains(v.before[all[0]], value) || slices.Contains(all[1:], value)
}

// either is a write that happened or not, on a bottom which is not known.
func (v *versionRules) either(s string, i input) string {
	if v.older(s, i.value) {
		return s
	}
	return s + other + i.value
}

// push adds the version that a write makes.
func (v *versionRules) push(s string, i input) string {
	if name := madeBy(i.op, i.key); v.taken[name] {
		return s + above + name + named + i.value
	}
	return i.value
}

// drop deletes one.
func (v *versionRules) drop(s string, i input) string {
	head, rest, found := strings.Cut(s, above+i.version+named)
	if v.loose[removalOf(i)] || !found && (strings.HasPrefix(s, seenOld) || strings.HasPrefix(s, anyOld)) {
		return anyOld + removalOf(i)
	}
	if !found {
		return s
	}
	next := head
	if n := strings.Index(rest, above); n >= 0 {
		next += rest[n:]
	}
	if !v.near[removalOf(i)] {
		return next
	}
	was, _ := v.current(s)
	now, sure := v.current(next)
	if !sure || was == now {
		return next
	}
	return anyOld + other + was + other + now
}
