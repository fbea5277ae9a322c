package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
)

// A Redis that was restarted, or that took over from another one, does not know
// our scripts: it keeps them in memory only. Each migration has its own text of
// those that tell or change which store is newest, so none of them runs there
// before the client that was told so has marked the ledger as suspect: no answer
// is given from data that may be older than what was answered before.

// own are the scripts that each migration has its own text of.
var own = []*script{beginScript, commitScript, recordScript, lookupScript, dirtyRangeScript, uploadScript,
	claimEventsScript, claimObjectsScript, lockScript, adoptScript, setRouteScript, vouchScript, replayScript}

// freshText is known to a Redis that was told of this migration since it runs.
const freshText = "return 1"

func textFor(s *script, name string) *script {
	src := "-- " + name + "\n" + s.src
	sum := sha1.Sum([]byte(src))
	return &script{name: s.name, src: src, sha: hex.EncodeToString(sum[:])}
}

func ownTexts(name string) map[*script]*script {
	out := make(map[*script]*script, len(own))
	label := hex.EncodeToString([]byte(name)) // a name may hold line breaks
	for _, s := range own {
		out[s] = textFor(s, label)
	}
	out[nil] = textFor(&script{name: "fresh", src: freshText}, label)
	return out
}

func (l *Ledger) ownOf(s *script) *script {
	if o := l.texts[s]; o != nil {
		return o
	}
	return s
}

// fresh is called when a Redis does not know a script. If it knows none of this
// migration's, every shard is suspect from now on.
func (l *Ledger) fresh(ctx context.Context, c call) error {
	if !l.isOwn(c.s) {
		return nil
	}
	mark := l.texts[nil]
	err := l.rdb.EvalSha(ctx, mark.sha, []string{c.key}).Err()
	if !isNoScript(err) {
		return err
	}
	if err := l.Suspect(ctx); err != nil {
		return err
	}
	return l.rdb.Eval(ctx, mark.src, []string{c.key}).Err()
}

// Ask marks every shard as suspect if a Redis was restarted or replaced since it was told of
// this migration last. One call a shard.
func (l *Ledger) Ask(ctx context.Context) error {
	var errs []error
	for i := range l.shards {
		errs = append(errs, l.fresh(ctx, call{s: l.texts[nil], key: l.shard(i)}))
	}
	return wrap("ask", errors.Join(errs...))
}

func (l *Ledger) isOwn(s *script) bool {
	for _, o := range l.texts {
		if o == s {
			return true
		}
	}
	return false
}

// Suspect says that Redis may have lost data. It is called by itself when Redis
// was restarted or replaced. One call a shard.
func (l *Ledger) Suspect(ctx context.Context) error {
	return l.mark(ctx, "suspect", "", "")
}

func (l *Ledger) mark(ctx context.Context, state, flip, force string) error {
	id := rand.Text()
	var errs []error
	for i := range l.shards {
		_, err := l.run(ctx, l.call(suspectScript, l.shard(i), id, state, flip, force))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
