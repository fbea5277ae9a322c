package worker

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const (
	// suspectWait is the pause between two looks at a key that was set aside.
	suspectWait = 500 * time.Millisecond
	// proxySilence is how long a proxy may be silent before it is thought to hold
	// writes that it could not record yet.
	proxySilence = 3 * time.Second
	// repairs is how often one difference is repaired.
	repairs = 3
)

// The notes that a key set aside carries, besides the kind of the difference that is being
// repaired and a + for each further repair.
const (
	// unlisted stands before the store that was main: its listing did not have it, the follower's had.
	unlisted = "unlisted "
	// copiedMark stands before the version that its copy had when it was looked for, see repairing.
	copiedMark = "@"
)

// suspectLoop looks at keys that a walk has set aside.
func (w *Worker) suspectLoop(take, work context.Context) {
	w.takeTask(take, func(session string, r ledger.Route) error {
		s, err := w.led.ClaimSuspects(take, session)
		if err != nil {
			return err
		}
		err = w.auditSuspects(take, work, session, r, s)
		if err == nil || errors.Is(err, ledger.ErrTaskLost) {
			return nil
		}
		return errors.Join(err, w.led.ReleaseSuspects(context.WithoutCancel(work), session, s, problemOf(take, err)))
	})
}

// judging is one batch of keys that were set aside.
type judging struct {
	*Worker
	session string
	main    ledger.Store
	s       ledger.Suspects

	mu      sync.Mutex
	left    []ledger.Suspect
	counts  ledger.AuditCounts
	named   []ledger.Difference
	problem error

	asking sync.Mutex
	quiet  time.Time // until when no proxy held writes that it could not record
}

// auditSuspects looks at each key once. A key that is dirty, being written or
// claimed is left until that has settled. Every other one is claimed, so that
// nobody copies it, and compared; when no client touched it meanwhile, which the
// ledger says, a difference is one that the ledger did not know of.
func (w *Worker) auditSuspects(take, work context.Context, session string, r ledger.Route, s ledger.Suspects) error {
	j := &judging{Worker: w, session: session, main: r.Main, s: s}
	clean := context.WithoutCancel(work)
	if r.State != ledger.Steady { // during a switch nothing is written unrecorded
		j.quiet = always
	}
	if quiet, err := j.quietUntil(take, time.Time{}); err != nil {
		return err
	} else if !quiet {
		return w.led.FinishSuspects(clean, session, s, s.Items, suspectWait, j.counts, nil, "")
	}
	// No more is claimed ahead than soon has a slot: a claimed object's events wait.
	for todo := s.Items; len(todo) > 0; {
		n := min(len(todo), max(16, 2*w.cfg.Concurrency))
		if take.Err() != nil {
			j.left = append(j.left, todo...)
			break
		}
		if err := j.group(take, work, todo[:n]); err != nil {
			if len(j.left) == 0 && j.counts == (ledger.AuditCounts{}) {
				return err
			}
			j.problem = err
			j.left = append(j.left, todo[n:]...)
			break // what is known already must not get lost
		}
		todo = todo[n:]
	}
	for result, n := range map[string]int64{"missing": j.counts.Missing, "extra": j.counts.Extra, "different": j.counts.Different,
		"repaired": j.counts.Repaired, "bypassed": j.counts.Bypassed, "deferred": j.counts.Deferred} {
		w.metrics.audited.WithLabelValues(result).Add(float64(n))
	}
	wait, problem := suspectWait, ""
	if j.problem != nil {
		wait, problem = w.backoff(3), problemOf(take, j.problem)
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := w.led.FinishSuspects(clean, session, s, j.left, wait, j.counts, j.named, problem)
		if !errors.Is(err, ledger.ErrUnavailable) {
			return err
		}
		if !w.alive() || sleep(take, pause) != nil {
			// It may be counted already, or yet: given back, the batch would be counted twice.
			w.member.Abandon(session)
			return nil
		}
	}
}

// always is later than whatever is asked for.
var always = time.Unix(1<<40, 0)

// quietUntil waits until every proxy has been heard of since a time, and reports whether none may
// have held writes by then that it could not record.
func (j *judging) quietUntil(ctx context.Context, t time.Time) (bool, error) {
	j.asking.Lock() // one asks for all
	defer j.asking.Unlock()
	for !j.quiet.After(t) {
		asked := time.Now()
		all, err := j.led.Sessions(ctx)
		if err != nil {
			return false, err
		}
		heard := asked
		for _, s := range all {
			switch {
			case s.Role != ledger.RoleProxy:
			case s.Unrecorded > 0 || s.Fenced || s.Silent > proxySilence:
				return false, nil
			case asked.Add(-s.Silent).Before(heard):
				heard = asked.Add(-s.Silent)
			}
		}
		j.quiet = heard
		if heard.After(t) {
			break
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (j *judging) group(take, work context.Context, items []ledger.Suspect) error {
	items, err := j.afterLoss(take, work, items)
	if err != nil || len(items) == 0 {
		return err
	}
	keys := make([]string, len(items))
	for i, it := range items {
		keys[i] = it.Key
	}
	claims, err := j.led.ClaimObjects(take, j.session, j.s.Bucket, keys)
	j.abandonIfLost(j.session, err)
	if err != nil {
		j.left = append(j.left, items...)
		return err
	}
	byKey := make(map[string]ledger.Claim, len(claims))
	for _, c := range claims {
		byKey[c.Object.Key] = c
	}
	var g sync.WaitGroup
	defer g.Wait()
	for _, it := range items {
		c, ok := byKey[it.Key]
		if !ok {
			j.busy(work, it)
			continue
		}
		if j.slots.acquire(work, forBatches) != nil {
			j.end(work, c, false)
			j.keep(it)
			continue
		}
		g.Go(func() {
			free := sync.OnceFunc(func() { j.slots.release(forBatches, 1) })
			defer free()
			j.one(work, it, c, free)
		})
	}
	return nil
}

func (j *judging) keep(it ledger.Suspect) {
	j.mu.Lock()
	j.left = append(j.left, it)
	j.mu.Unlock()
}

func (j *judging) count(f func(*ledger.AuditCounts)) {
	j.mu.Lock()
	f(&j.counts)
	j.mu.Unlock()
}

// busy deals with a key that the event path owns. One that clients never leave
// alone is made dirty: whatever its follower holds is copied over.
func (j *judging) busy(ctx context.Context, it ledger.Suspect) {
	switch {
	case time.Since(it.Since) < j.cfg.AuditPatience:
		j.keep(it)
	case j.tries(it) > 0:
		j.repairing(ctx, it)
	default:
		err := j.led.Record(ctx, j.session, ledger.Change{Object: ledger.Object{Bucket: j.s.Bucket, Key: it.Key}, Store: j.main})
		if err != nil {
			j.keep(it)
			return
		}
		j.count(func(c *ledger.AuditCounts) { c.Deferred++ })
	}
}

// repairing deals with a key that is copied because of a difference, or that clients write since
// then. It may have to wait for others, and be large. Once it has been copied it counts as
// repaired, though it can't be compared; while that fails, as not repaired.
func (j *judging) repairing(ctx context.Context, it ledger.Suspect) {
	version, failing, err := j.led.Copying(ctx, ledger.Object{Bucket: j.s.Bucket, Key: it.Key})
	note, seen, looked := strings.Cut(it.Note, copiedMark)
	switch now := strconv.FormatInt(version, 10); {
	case err != nil:
		j.keep(it)
	case failing:
	case !looked:
		it.Note = note + copiedMark + now
		j.keep(it)
	case seen == now:
		j.keep(it)
	default:
		j.count(func(c *ledger.AuditCounts) { c.Repaired++; c.Deferred++ })
	}
}

// end gives a claim back, and reports whether what was seen under it is true.
func (j *judging) end(ctx context.Context, c ledger.Claim, repair bool) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	quiet, err := j.led.Judge(ctx, c, repair)
	j.abandonIfLost(c.Session, err)
	return err == nil && quiet
}

// one looks at a key under a claim. It frees its slot once both stores have answered.
func (j *judging) one(ctx context.Context, it ledger.Suspect, c ledger.Claim, free func()) {
	from, to := j.stores[c.From], j.stores[c.To]
	f, err := j.look(ctx, from, to, j.s.Bucket, it.Key, j.s.Mode)
	looked := time.Now()
	tried := j.tries(it)
	if err != nil {
		j.end(ctx, c, false)
		down := transient(err) && !j.storesUp(ctx, j.s.Bucket)
		if down {
			it.Since = time.Now() // it has all its time again once they are back
		}
		if down || ctx.Err() != nil || time.Since(it.Since) < j.cfg.AuditPatience {
			j.keep(it)
			j.mu.Lock()
			if !errors.Is(err, errAppeared) {
				j.problem = err
			}
			j.mu.Unlock()
			return
		}
		if tried == 0 {
			j.found(it.Key, finding{kind: kindDifferent, detail: "cannot be compared: " + causeOf(err)}, false)
		}
		return
	}
	if it.Note == unlisted+from.id.String() && !f.main.IsZero() && f.main.Before(j.s.Began.Add(-auditSkew)) {
		// It was there when main's listing did not have it: nothing that follows
		// from that listing can be trusted.
		j.end(ctx, c, false)
		_ = j.led.EndAudit(ctx, j.s.Audit, from.wrap("list", errListing).Error()+": it left out "+j.s.Bucket+"/"+it.Key)
		return
	}
	if f.kind != "" {
		free()
		if quiet, err := j.quietUntil(ctx, looked); !quiet || err != nil {
			j.end(ctx, c, false)
			j.keep(it)
			return
		}
	}
	foreign := f.kind == kindExtra && c.To == ledger.Target && f.follower.Before(j.s.Foreign)
	kept := f.metadata && tried > 0 // the copy has all that the follower can hold
	repair := f.kind != "" && !kept && j.s.Repair && !foreign && tried < repairs
	if !j.end(ctx, c, repair) {
		j.keep(it)
		return
	}
	switch {
	case tried > 0 && (f.kind == "" || kept):
		j.count(func(n *ledger.AuditCounts) {
			n.Repaired++
			if kept {
				n.NotKept++
			}
		})
	case f.kind == "":
	default:
		if foreign {
			f.detail = "older than the migration"
		}
		if tried == 0 {
			j.found(it.Key, f, !foreign && bypassed(j.s.AuditTask, f))
		}
		if repair {
			it.Since, it.Note = time.Now(), f.kind+strings.Repeat("+", tried)
			j.keep(it)
		}
	}
}

// found counts a difference, and names it.
func (j *judging) found(key string, f finding, past bool) {
	j.log.V(1).Info("difference", "bucket", j.s.Bucket, "key", key, "kind", f.kind, "detail", f.detail, "bypassed", past)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch f.kind {
	case kindMissing:
		j.counts.Missing++
	case kindExtra:
		j.counts.Extra++
	default:
		j.counts.Different++
	}
	if past {
		j.counts.Bypassed++
	}
	j.named = append(j.named, ledger.Difference{Bucket: j.s.Bucket, Key: key, Kind: f.kind, Detail: f.detail, Bypassed: past})
}
