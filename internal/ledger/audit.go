package ledger

import (
	"context"
	"encoding/json"
	"time"
)

const (
	// maxSuspects bounds the batches of keys that an audit has set aside.
	maxSuspects = 64
	// maxDifferences bounds the differences that are kept by name.
	maxDifferences = 20
)

// The results of an audit.
const (
	AuditRunning  = ""
	AuditComplete = "Complete"
	AuditFailed   = "Failed"
)

// AuditSpec says what an audit is to do.
type AuditSpec struct {
	// ID tells one audit from the next.
	ID string
	// Mode is how contents are compared; workers know what it means.
	Mode string
	// Repair copies what differs from main to the follower.
	Repair bool
	// Trigger is the user's word that asked for it.
	Trigger string
	// Since is the unclean event that made it due; "" for none.
	Since string
	// Explained is until when a write on main may have gone unrecorded, because
	// an unclean event says so. Zero: there was none.
	Explained time.Time
	// Foreign is the time before which nothing on the target is ours: what main
	// lacks and is older there is reported, and never deleted.
	Foreign time.Time
	// Switch says that a switch under way waits for it, so that it goes on meanwhile.
	Switch  bool
	Buckets []string
}

// AuditCounts is what an audit has found.
type AuditCounts struct {
	// Compared counts keys; Missing those that only main has, Extra those that
	// only the follower has, Different those whose content or metadata differ.
	Compared, Missing, Extra, Different int64
	// Repaired counts those of them that were seen to be equal later.
	Repaired int64
	// Bypassed counts those of them that no unclean event explains: somebody
	// wrote to a store past the proxies.
	Bypassed int64
	// Deferred counts keys that clients never left alone; they were copied once
	// more instead of being compared.
	Deferred int64
	// NotKept counts repaired objects with metadata that the follower cannot hold.
	NotKept int64
}

// Left is how many differences were found and not repaired.
func (c AuditCounts) Left() int64 { return c.Missing + c.Extra + c.Different - c.Repaired }

// Audit is how an audit stands.
type Audit struct {
	AuditSpec // without its Buckets
	AuditCounts
	Began, Finished time.Time
	// Result is one of the constants above.
	Result string
	// Problem is why it failed, or what it is held up by just now.
	Problem string
	// Differences are the first that were found.
	Differences []Difference
}

// Difference names an object that was not the same on both stores.
type Difference struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"` // "" names the bucket itself
	// Kind is Missing, Extra or Different, of the follower.
	Kind string `json:"kind"`
	// Detail says in what they differ.
	Detail string `json:"detail,omitempty"`
	// Bypassed: no unclean event explains it.
	Bypassed bool `json:"bypassed,omitempty"`
}

// AuditTask is what a worker must know of the audit that its task belongs to.
type AuditTask struct {
	Audit, Mode               string
	Repair, Switch            bool
	Began, Explained, Foreign time.Time
}

// AuditRange is a part of both stores' listings of a bucket.
type AuditRange struct {
	Range
	AuditTask
}

// Suspect is a key that looked different and waits to be looked at more closely.
type Suspect struct {
	Key string
	// Since is when it was set aside.
	Since time.Time
	// Note is the worker's own.
	Note string
}

// Suspects are keys of one bucket that were set aside.
type Suspects struct {
	ID, Bucket string
	AuditTask
	Items []Suspect

	token string
}

// StartAudit begins an audit. Another one that goes on is dropped; the same one
// is left alone.
func (l *Ledger) StartAudit(ctx context.Context, a AuditSpec) error {
	args := []any{a.ID, a.Mode, flag(a.Repair), a.Trigger, a.Since, unixMilli(a.Explained), unixMilli(a.Foreign), flag(a.Switch)}
	for _, b := range a.Buckets {
		args = append(args, b)
	}
	_, err := l.run(ctx, l.call(auditStartScript, l.global(), args...))
	return err
}

// Audit returns the audit that the ledger knows, and whether there is one. Two round trips.
func (l *Ledger) Audit(ctx context.Context) (Audit, bool, error) {
	h, err := l.rdb.HGetAll(ctx, l.global()+"audit").Result()
	if err != nil {
		return Audit{}, false, wrap("audit", err)
	}
	if h["id"] == "" {
		return Audit{}, false, nil
	}
	names, err := l.rdb.LRange(ctx, l.global()+"anames", 0, maxDifferences-1).Result()
	if err != nil {
		return Audit{}, false, wrap("audit", err)
	}
	a := Audit{
		AuditSpec: AuditSpec{ID: h["id"], Mode: h["mode"], Repair: h["repair"] == "1", Trigger: h["trigger"], Since: h["since"],
			Explained: millis(number(h["explained"])), Foreign: millis(number(h["foreign"])), Switch: h["switch"] == "1"},
		AuditCounts: AuditCounts{Compared: number(h["compared"]), Missing: number(h["missing"]), Extra: number(h["extra"]),
			Different: number(h["different"]), Repaired: number(h["repaired"]), Bypassed: number(h["bypassed"]),
			Deferred: number(h["deferred"]), NotKept: number(h["notkept"])},
		Began: millis(number(h["began"])), Finished: millis(number(h["finished"])), Result: h["result"], Problem: h["problem"],
	}
	for _, n := range names {
		var d Difference
		if json.Unmarshal([]byte(n), &d) == nil { // we wrote it
			a.Differences = append(a.Differences, d)
		}
	}
	return a, true, nil
}

// EndAudit ends an audit before its time, or, with no cause, forgets it. Another
// one is left alone.
func (l *Ledger) EndAudit(ctx context.Context, id, cause string) error {
	_, err := l.run(ctx, l.call(auditEndScript, l.global(), id, cause))
	return err
}

// ClearUnclean forgets the unclean events from before a time: an audit that
// began then found the stores equal.
func (l *Ledger) ClearUnclean(ctx context.Context, before time.Time) error {
	_, err := l.run(ctx, l.call(clearUncleanScript, l.global(), before.UnixMilli()))
	return err
}

func (l *Ledger) claimAudit(ctx context.Context, session, kind string) (id string, t AuditTask, token string, payload []string, err error) {
	ctx, cancel, err := claiming(ctx, session)
	if err != nil {
		return "", t, "", nil, err
	}
	defer cancel()
	v, err := l.run(ctx, l.callAs(auditClaimScript, ownSlot, session, kind, l.newID()))
	if err != nil {
		return "", t, "", nil, err
	}
	a, err := claimedTask(v)
	if err != nil {
		return "", t, "", nil, err
	}
	t = AuditTask{Audit: a[1], Mode: a[2], Repair: a[3] == "1", Began: millis(number(a[4])),
		Explained: millis(number(a[5])), Foreign: millis(number(a[6])), Switch: a[7] == "1"}
	return a[0], t, a[8], a[9:], nil
}

// ClaimAuditRange takes a part of the listings to compare, or ErrNoWork: also
// while a switch is under way that does not wait for the audit.
func (l *Ledger) ClaimAuditRange(ctx context.Context, session string) (AuditRange, error) {
	id, t, _, p, err := l.claimAudit(ctx, session, "a")
	if err != nil {
		return AuditRange{}, err
	}
	return AuditRange{Range{ID: id, Bucket: p[0], After: p[1], End: p[2], Cursor: p[3]}, t}, nil
}

// AdvanceAudit moves a range's cursor, counts the keys that were compared, and
// sets aside those that look different, in one step. done ends the range. r
// follows, see Advance. Errors: ErrQueueFull (wait, then call again), ErrTaskLost.
func (l *Ledger) AdvanceAudit(ctx context.Context, session string, r *AuditRange, cursor string, compared int64, suspects []Suspect, done bool) error {
	v, err := l.run(ctx, l.callAs(auditAdvanceScript, ownSlot, session, r.ID, cursor, flag(done), compared, encodeSuspects(suspects), maxSuspects))
	if err != nil {
		return err
	}
	return l.advanced(session, &r.Range, v, cursor)
}

// WantAuditSplit says that a worker lately found no range to compare.
func (l *Ledger) WantAuditSplit(ctx context.Context) (bool, error) {
	n, err := l.rdb.Exists(ctx, l.global()+"hungrya").Result()
	return n == 1, wrap("want split", err)
}

// SplitAudit keeps (Cursor, mid] and makes (mid, End] a range of its own.
func (l *Ledger) SplitAudit(ctx context.Context, session string, r *AuditRange, mid string) error {
	return l.split(ctx, auditSplitScript, session, &r.Range, mid)
}

// ReleaseAuditRange gives a range back; its cursor stays. The problem is shown
// until a range gets on.
func (l *Ledger) ReleaseAuditRange(ctx context.Context, session string, r AuditRange, problem string) error {
	return l.task(ctx, auditReleaseScript, session, "a:"+r.ID, problem)
}

// ClaimSuspects takes keys that were set aside, or ErrNoWork.
func (l *Ledger) ClaimSuspects(ctx context.Context, session string) (Suspects, error) {
	id, t, token, p, err := l.claimAudit(ctx, session, "z")
	if err != nil {
		return Suspects{}, err
	}
	s := Suspects{ID: id, Bucket: p[0], AuditTask: t, token: token}
	s.Items, err = decodeSuspects(p[1])
	return s, err
}

// FinishSuspects counts what became of keys that were set aside, and names the
// differences. What is left is handed out again after a time. A problem ("": none)
// is shown until a range gets on. It may be repeated when its answer is lost:
// ErrTaskLost says then that it was done.
func (l *Ledger) FinishSuspects(ctx context.Context, session string, s Suspects, left []Suspect, after time.Duration, c AuditCounts, named []Difference, problem string) error {
	counts := []any{"missing", c.Missing, "extra", c.Extra, "different", c.Different, "repaired", c.Repaired,
		"bypassed", c.Bypassed, "deferred", c.Deferred, "notkept", c.NotKept}
	args := append([]any{s.ID, s.token, encodeSuspects(left), after.Milliseconds(), problem, maxDifferences, len(counts) / 2}, counts...)
	for _, d := range named {
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		args = append(args, string(b))
	}
	return l.task(ctx, auditJudgedScript, session, args...)
}

// ReleaseSuspects gives a batch of keys back as it was.
func (l *Ledger) ReleaseSuspects(ctx context.Context, session string, s Suspects, problem string) error {
	return l.task(ctx, auditReleaseScript, session, "z:"+s.ID, problem)
}

// Judge ends a claim under which both stores' objects were compared, and nothing
// was written. It returns false when a client wrote the object, or began to,
// since it was claimed: then what was seen means nothing. Otherwise nothing but
// what the ledger does not know of explains a difference; with repair, the object
// is dirty from now on, so that it is copied. ErrClaimLost: look again.
func (l *Ledger) Judge(ctx context.Context, c Claim, repair bool) (bool, error) {
	v, err := l.run(ctx, l.callAs(judgeScript, l.shardOf(c.Object), c.Session, c.token, c.Object.Bucket, c.Object.Key, c.From.code(), c.Version, flag(repair)))
	if err != nil {
		return false, err
	}
	said := l.ended(c, v)
	if said == "LOST" {
		return false, ErrClaimLost
	}
	return said == "OK", nil
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func encodeSuspects(list []Suspect) string {
	items := make([]BatchItem, len(list))
	for i, s := range list {
		items[i] = BatchItem{Key: s.Key, Size: unixMilli(s.Since), ETag: s.Note}
	}
	return encodeItems(items)
}

func decodeSuspects(s string) ([]Suspect, error) {
	items, err := decodeItems(s)
	out := make([]Suspect, len(items))
	for i, it := range items {
		out[i] = Suspect{Key: it.Key, Since: millis(it.Size), Note: it.ETag}
	}
	return out, err
}
