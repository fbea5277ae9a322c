package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// input is what a client asked of one key.
type input struct {
	kind  string // read, write, ifAbsent, ifMatch
	key   string
	value string // "" is nothing: a delete
	etag  string
	op    string
	// version names the write whose version is deleted.
	version string
}

// reads says that it changes nothing.
func (i input) reads() bool {
	return slices.Contains([]string{"read", "getSpare", "headBucket", "listSpare", "getNull"}, i.kind)
}

// output is what it heard.
type output struct {
	unknown bool // nothing: it may take effect at any later time, or never
	ok      bool
	code    string // S3's code of a refusal, where it matters
	value   string
}

// model is an S3 object as a register.
func (w *world) model() porcupine.Model {
	holds := func(state, etag string) bool { return state != "" && slices.Contains(w.tagsOf[state], etag) }
	v := w.versionRules()
	return porcupine.Model{
		Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, o := range h {
				k := o.Input.(input).key
				by[k] = append(by[k], o)
			}
			var out [][]porcupine.Operation
			for _, k := range append(w.plan.keys(), spare) {
				out = append(out, by[k])
			}
			return out
		},
		Init: func() any { return "" },
		Step: func(state, in, out any) (bool, any) {
			s, i, o := state.(string), in.(input), out.(output)
			if i.key == spare {
				step := stepSpare
				if w.plan.spareVersioned {
					step = stepSpareVersions
				}
				fits, next := step(s, i, o)
				return fits, next
			}
			now, sure := v.current(s)
			switch i.kind {
			case "read":
				if !sure && v.older(s, o.value) {
					return true, seenOld + o.value
				}
				return sure && now == o.value, s
			case "write":
				return true, v.push(s, i)
			case "removeVersion":
				return true, v.drop(s, i)
			case "getNull", "removeNull":
				fits, next := v.stepNull(s, i, o)
				return fits, next
			}
			fits := now == ""
			if i.kind == "ifMatch" {
				fits = holds(now, i.etag)
			}
			switch {
			case !sure && o.unknown:
				return true, v.either(s, i)
			case !sure && o.ok:
				return true, v.push(s, i)
			case !sure:
				return true, s
			case o.unknown && fits:
				return true, v.push(s, i)
			case o.unknown:
				return true, s
			case o.ok:
				return fits, v.push(s, i)
			case i.kind == "ifMatch" && fits && len(w.tagsOf[now]) > 1:
				return true, s // the same content under another ETag
			}
			return !fits, s
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
}

// tick orders calls and answers.
func (w *world) tick() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	return w.clock
}

func (w *world) record(in input, out output, call, ret int64) {
	w.history = append(w.history, porcupine.Operation{ClientId: len(w.history), Input: in, Output: out, Call: call, Return: ret})
}

func (w *world) knowTag(etag, value string) {
	etag = strings.Trim(etag, `"`)
	w.tags[etag] = value
	if !slices.Contains(w.tagsOf[value], etag) {
		w.tagsOf[value] = append(w.tagsOf[value], etag)
	}
}

// strayCopy is a CopyObject without an answer: it may have written whatever its
// source held.
type strayCopy struct {
	from, to string
	call     int64
	op       string
}

// check looks for an order of all operations that explains what clients saw. It
// runs outside of the bubble.
func (w *world) check() {
	end := w.clock + 10
	for _, c := range w.stray {
		for _, v := range w.seenFrom(c) {
			w.record(input{kind: "write", key: c.to, value: v, op: c.op}, output{unknown: true}, c.call, end)
		}
	}
	for i := range w.history {
		if w.history[i].Output.(output).unknown {
			w.history[i].Return = end
		}
	}
	if w.lossy && !w.plan.untouched {
		w.dropDeleted()
		w.result.faults["lossy"]++
	}
	m := w.model()
	if got := porcupine.CheckOperationsTimeout(m, w.history, 20*time.Second); got == porcupine.Illegal && len(w.result.told) == 0 {
		w.problem("not linearizable: %s", w.culprit(m))
	} else if got == porcupine.Unknown {
		w.result.faults["unchecked"]++
	}
}

// dropDeleted leaves out the keys that a client deleted, or uploaded in parts, before
// something was lost last: a delete, or the end of an upload on the old store, that nobody knows
// of any more may be undone, see docs/protocol.md. So may that of a bucket, also where Redis was only restarted.
func (w *world) dropDeleted() {
	deleted := map[string]bool{}
	for _, o := range w.history {
		in := o.Input.(input)
		deleted[in.key] = deleted[in.key] || in.kind == "deleteBucket" && in.op != "" && o.Call <= w.shakenAt && (o.Output.(output).ok || o.Output.(output).unknown) || in.kind == "deleteSpare" && o.Call <= w.lostAt
		deleted[in.key] = deleted[in.key] || strings.HasPrefix(in.kind, "remove") && o.Call <= w.lostAt || in.kind == "write" && o.Call <= w.lostAt && (in.value == "" || strings.Contains(in.value, " part "))
	}
	w.history = slices.DeleteFunc(w.history, func(o porcupine.Operation) bool { return deleted[o.Input.(input).key] })
}

// seenFrom returns what the copy may have written, as far as anybody saw it: what
// was read at its destination and had been written to, or read at, its source, or
// where another such copy may have brought it from.
func (w *world) seenFrom(c strayCopy) []string {
	var out []string
	from := map[string]bool{c.from: true}
	for range w.stray { // as many steps as there can be
		for _, other := range w.stray {
			from[other.from] = from[other.from] || from[other.to]
		}
	}
	held := map[string]bool{}
	for _, o := range w.history {
		switch in := o.Input.(input); {
		case !from[in.key]:
		case in.kind == "read" || in.kind == "getNull":
			held[o.Output.(output).value] = true
		default:
			held[in.value] = true
		}
	}
	for _, o := range w.history {
		in, got := o.Input.(input), o.Output.(output)
		if in.key == c.to && (in.kind == "read" || in.kind == "getNull") && got.value != "" && held[got.value] && !slices.Contains(out, got.value) {
			out = append(out, got.value)
		}
	}
	return out
}

// culprit names the first answer that no order explains.
func (w *world) culprit(m porcupine.Model) string {
	for _, part := range m.Partition(w.history) {
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
		for i := range part {
			h := slices.Clone(part[:i+1])
			for _, o := range part[i+1:] {
				if o.Call < part[i].Return && !o.Input.(input).reads() {
					o.Output, o.Return = output{unknown: true}, part[i].Return+1
					h = append(h, o)
				}
			}
			if porcupine.CheckOperationsTimeout(m, h, 5*time.Second) == porcupine.Illegal {
				return m.DescribeOperation(part[i].Input, part[i].Output)
			}
		}
	}
	return "at the end"
}
