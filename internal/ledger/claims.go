package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Claim is one copier's right to copy one object, the only one at that time.
type Claim struct {
	Object  Object
	Session string
	// From holds the newest version, To receives it.
	From, To Store
	// Version is From's version when the claim was made. Read the object after.
	Version int64
	// Attempts counts the tries that failed before, Refusals those of them that
	// Refuse ended.
	Attempts, Refusals int
	// ETag of what the copy puts on To, "" while that is not known, or for nothing.
	// Set it before Lock, and to what To answered before Settle.
	ETag string
	// Fenced says that To refuses the copy once a client has written the object there.
	// Set it before Lock.
	Fenced bool
	// DirtySince is zero for an initial copy.
	DirtySince time.Time

	token string
}

// errAgain: go-redis, or the network, sent a claim twice, and the first answer,
// which named what was claimed, is lost.
var errAgain = fmt.Errorf("%w: a claim was repeated", ErrUnavailable)

// claimed returns the error that a claim's answer stands for.
func claimed(answer []any) error {
	switch status, _ := answer[0].(string); status {
	case "FENCED":
		return ErrFenced
	case "AGAIN":
		return errAgain
	case "WAIT":
		return ErrRecovering
	}
	return nil
}

// claiming returns the context of a call that claims something, which the end of ctx must not cut
// off: nobody would know what it has claimed, and a session that is given up for that is
// buried only a while after its process has ended. It ends by itself. ErrFenced: there is no session yet.
func claiming(ctx context.Context, session string) (context.Context, context.CancelFunc, error) {
	if session == "" {
		return nil, nil, ErrFenced
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err // not sent
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	return ctx, cancel, nil
}

// ClaimEvents takes at most max due dirty objects from every shard together,
// oldest first; empty when there are none. Errors: ErrFenced, ErrNoRoute, ErrUnavailable.
func (l *Ledger) ClaimEvents(ctx context.Context, session string, limit int) ([]Claim, error) {
	ctx, cancel, err := claiming(ctx, session)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var out []Claim
	first := 0
	if l.shards > 1 {
		first = int(l.calls.Add(1) % uint64(l.shards))
	}
	for i := range l.shards {
		if len(out) >= limit {
			break
		}
		v, err := l.run(ctx, l.callAs(claimEventsScript, (first+i)%l.shards, session, limit-len(out), l.newID()))
		if err != nil {
			return out, err
		}
		list, _ := v.([]any)
		if err := claimed(list); err != nil {
			return out, err
		}
		for _, e := range list[1:] {
			f := strs(e)
			l.told.note((first+i)%l.shards, session, number(f[4]))
			from := storeOf(f[2])
			out = append(out, Claim{Object: Object{f[0], f[1]}, Session: session, From: from, To: from.Other(),
				Version: number(f[3]), token: f[4], Attempts: int(number(f[5])), DirtySince: millis(number(f[6])), Refusals: int(number(f[7]))})
		}
	}
	return out, nil
}

// ClaimObjects claims the keys of an initial batch. Keys that are dirty, claimed
// or being written are left out: events copy them. One pipeline.
func (l *Ledger) ClaimObjects(ctx context.Context, session, bucket string, keys []string) ([]Claim, error) {
	if session == "" {
		return nil, ErrFenced
	}
	byShard := make([][]any, l.shards)
	for _, k := range keys {
		s := l.shardOf(Object{bucket, k})
		byShard[s] = append(byShard[s], k)
	}
	var calls []call
	var shards []int
	for i, ks := range byShard {
		if len(ks) > 0 {
			shards = append(shards, i)
			calls = append(calls, l.callAs(claimObjectsScript, i, session, append([]any{bucket, l.newID()}, ks...)...))
		}
	}
	ctx, cancel, err := claiming(ctx, session)
	if err != nil {
		return nil, err
	}
	defer cancel()
	vs, errs := l.runAll(ctx, calls)
	var out []Claim
	for i, v := range vs {
		list, _ := v.([]any)
		if errs[i] == nil {
			errs[i] = claimed(list)
		}
		if errs[i] != nil {
			continue
		}
		seq, _ := list[1].(string)
		l.told.note(shards[i], session, number(seq))
		for _, e := range list[2:] {
			f := strs(e)
			from := storeOf(f[1])
			out = append(out, Claim{Object: Object{bucket, f[0]}, Session: session, From: from, To: from.Other(),
				Version: number(f[2]), token: f[3]})
		}
	}
	if err := errors.Join(errs...); err != nil {
		// Nobody would end those that other shards have granted.
		return nil, errors.Join(err, l.Unclaim(context.WithoutCancel(ctx), out...))
	}
	return out, nil
}

// Lock keeps clients' writes off the follower for at most ttl. Call it before
// the final write of a copy (PUT, DELETE, CompleteMultipartUpload) whenever the
// route is not Steady. The write must have landed, or be given up for good,
// within ttl; where the store can, make it conditional on what it holds now.
// ErrClaimLost: a client was first; drop the copy.
func (l *Ledger) Lock(ctx context.Context, c Claim, ttl time.Duration) error {
	etag := l.putting(c)
	v, err := l.run(ctx, l.callAs(lockScript, l.shardOf(c.Object), c.Session, c.token, c.Object.Bucket, c.Object.Key, c.From.code(), ttl.Milliseconds(), etag, flag(c.Fenced)))
	if err != nil {
		return err
	}
	if integer(v) == 0 {
		return ErrClaimLost
	}
	l.told.note(l.shardOf(c.Object), c.Session, integer(v))
	return nil
}

// putting notes, to be told after a loss, that a copy has put its content on the follower, or may
// yet: whatever the ledger comes to say of it. It returns that content's ETag.
func (l *Ledger) putting(c Claim) string {
	etag := bare(c.ETag)
	if etag != "" {
		l.told.putting(c.Object, c.To, etag)
	}
	return etag
}

// Settle says that the follower now holds each claim's Version. Per claim: nil,
// ErrClaimLost (the object is copied again), ErrOverrun, or a ledger error. One pipeline.
func (l *Ledger) Settle(ctx context.Context, claims ...Claim) []error {
	calls := make([]call, len(claims))
	for i, c := range claims {
		calls[i] = l.callAs(settleScript, l.shardOf(c.Object), c.Session, c.token, c.Object.Bucket, c.Object.Key, c.From.code(), c.Version, l.putting(c))
	}
	vs, errs := l.runAll(ctx, calls)
	for i, c := range claims {
		if errs[i] != nil {
			continue
		}
		switch l.ended(c, vs[i]) {
		case "OK":
			l.told.put(c.Object, c.To, bare(c.ETag))
		case "LOST":
			errs[i] = ErrClaimLost
		case "OVERRUN":
			errs[i] = ErrOverrun
		}
	}
	return errs
}

func (l *Ledger) release(ctx context.Context, mode, cause string, delay time.Duration, claims ...Claim) error {
	calls := make([]call, len(claims))
	for i, c := range claims {
		calls[i] = l.callAs(releaseScript, l.shardOf(c.Object), c.Session, c.token, c.Object.Bucket, c.Object.Key, mode, delay.Milliseconds(), cause)
	}
	vs, errs := l.runAll(ctx, calls)
	for i, c := range claims {
		l.told.note(l.shardOf(c.Object), c.Session, integer(vs[i]))
	}
	return errors.Join(errs...)
}

// ended notes the answer to the end of a claim.
func (l *Ledger) ended(c Claim, v any) string {
	list, _ := v.([]any)
	said, _ := list[0].(string)
	l.told.note(l.shardOf(c.Object), c.Session, integer(list[1]))
	return said
}

// Unclaim gives claims back at once: nothing was written. The objects are
// copied by events from now on. One pipeline.
func (l *Ledger) Unclaim(ctx context.Context, claims ...Claim) error {
	return l.release(ctx, "unclaim", "", 0, claims...)
}

// Hold keeps a claim whose copy may still land, unknown to us. Its object is dirty
// until the claim has ended.
func (l *Ledger) Hold(ctx context.Context, c Claim) error {
	l.putting(c)
	return l.release(ctx, "hold", "", 0, c)
}

// Fail ends a try: the object stays dirty and is due again after a time. With a
// cause it is named in Failures until it is copied, or written anew.
func (l *Ledger) Fail(ctx context.Context, c Claim, cause string, retryAfter time.Duration) error {
	return l.release(ctx, "retry", cause, retryAfter, c)
}

// Refuse is Fail for a store that will not have the object as it is.
func (l *Ledger) Refuse(ctx context.Context, c Claim, cause string, retryAfter time.Duration) error {
	return l.release(ctx, "refused", cause, retryAfter, c)
}

// GiveUp ends the last try: the object stays dirty, is named in Failures, and is
// not tried again until it is written or RetryFailed is called.
func (l *Ledger) GiveUp(ctx context.Context, c Claim, cause string) error {
	return l.release(ctx, "giveup", cause, 0, c)
}

// RetryFailed queues everything that is named as failed or was given up, and returns how many objects
// and buckets that were. One call a shard and 1,000 objects.
func (l *Ledger) RetryFailed(ctx context.Context) (int, error) {
	v, err := l.run(ctx, l.call(retryBucketsScript, l.global()))
	if err != nil {
		return 0, err
	}
	total := int(integer(v))
	for i := range l.shards {
		for {
			v, err := l.run(ctx, l.call(retryFailedScript, l.shard(i), 1000))
			if err != nil {
				return total, err
			}
			total += int(integer(v))
			if integer(v) < 1000 {
				break
			}
		}
	}
	return total, nil
}

// SettleDoubts settles at most max in-doubt intents a shard that are due, and
// returns how many.
func (l *Ledger) SettleDoubts(ctx context.Context, limit int) (int, error) {
	calls := make([]call, l.shards)
	for i := range calls {
		calls[i] = l.call(settleDoubtsScript, l.shard(i), limit)
	}
	vs, errs := l.runAll(ctx, calls)
	total := 0
	for _, v := range vs {
		total += int(integer(v))
	}
	return total, errors.Join(errs...)
}
