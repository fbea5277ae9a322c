package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// idleWait is the pause of a loop that found no work.
const idleWait = 250 * time.Millisecond

// takeTask is one loop's rhythm: wait until the route lets bucket, listing and
// copy tasks run, then take one; after nothing or an error, pause.
func (w *Worker) takeTask(take context.Context, one func(session string, r ledger.Route) error) {
	failed := 0
	for take.Err() == nil {
		session, r, ok := w.session()
		pause := idleWait
		if ok && r.Run {
			err := one(session, r)
			w.abandonIfLost(session, err)
			switch {
			case err == nil:
				failed = 0
				continue
			case errors.Is(err, ledger.ErrNoWork):
			case take.Err() != nil:
				return
			default:
				failed++
				pause = w.backoff(failed)
				w.log.V(1).Info("task failed", "error", err.Error(), "retryIn", pause.String())
			}
		}
		_ = sleep(take, pause)
	}
}

func (w *Worker) bucketLoop(take, work context.Context) {
	w.takeTask(take, func(session string, r ledger.Route) error {
		bucket, err := w.led.ClaimBucket(take, session)
		if err != nil {
			return err
		}
		err = w.copyBucket(work, session, r, bucket)
		if err == nil {
			w.forget("bucket " + bucket)
			return nil
		}
		// A store that is down is nobody's last try.
		final := !transient(err) && w.tried("bucket "+bucket) >= w.cfg.MaxAttempts
		if final {
			w.forget("bucket " + bucket)
			w.log.Info("bucket failed", "bucket", bucket, "error", err.Error())
		}
		return errors.Join(err, w.led.FailBucket(context.WithoutCancel(work), session, bucket, causeOf(err), final))
	})
}

func (w *Worker) copyBucket(ctx context.Context, session string, r ledger.Route, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	from, to := w.stores[r.Main], w.stores[r.Main.Other()]
	has, err := from.hasBucket(ctx, bucket)
	if err != nil {
		return err
	}
	if !has {
		// Deleted since it was listed: there is nothing to list, and its event
		// deletes it on the follower.
		return w.led.FinishBucket(ctx, session, bucket, nil, nil)
	}
	err = w.createBucket(ctx, from, to, bucket)
	if err != nil && !ended(err) {
		err = errors.Join(err, w.led.Recheck(ctx, session, ledger.Object{Bucket: bucket})) // it may land yet
	}
	if err != nil {
		return err
	}
	// This claims nothing: a delete may have been copied before the bucket was there.
	if has, err = from.hasBucket(ctx, bucket); err == nil && !has {
		err = w.led.Recheck(ctx, session, ledger.Object{Bucket: bucket})
	}
	if err != nil {
		return err
	}
	settings, err := compareSettings(ctx, from, to, bucket)
	if err != nil {
		return err
	}
	unsupported, err := settings.apply(ctx)
	if err != nil {
		return err
	}
	return w.led.FinishBucket(ctx, session, bucket, unsupported, []ledger.Range{{}})
}

// errForeignBucket: the name is taken on the follower by another account.
var errForeignBucket = errors.New("a bucket of this name belongs to somebody else, or the keys lack rights on it: choose another targetName, or grant them")

// createBucket makes the bucket on the follower, or adopts it.
func (w *Worker) createBucket(ctx context.Context, from, to *store, bucket string) error {
	has, err := to.hasBucket(ctx, bucket)
	if s3.Classify(err) == s3.Denied {
		return fmt.Errorf("%w (%w)", errForeignBucket, err)
	}
	if err != nil || has {
		return err
	}
	src, dst := from.bucket(bucket), to.bucket(bucket)
	in := &awss3.CreateBucketInput{Bucket: &dst}
	if to.region != "" && to.region != s3.DefaultRegion {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(to.region)}
	}
	if to.caps.ObjectLock != s3.No {
		out, err := from.api.GetObjectLockConfiguration(ctx, &awss3.GetObjectLockConfigurationInput{Bucket: &src})
		if err == nil && out.ObjectLockConfiguration != nil && out.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled {
			in.ObjectLockEnabledForBucket = aws.Bool(true)
		}
	}
	_, err = to.api.CreateBucket(ctx, in, once)
	if in.ObjectLockEnabledForBucket != nil && s3.Classify(err) == s3.Unsupported {
		in.ObjectLockEnabledForBucket = nil
		_, err = to.api.CreateBucket(ctx, in, once)
	}
	if isCode(err, "IllegalLocationConstraintException", "InvalidLocationConstraint", "MalformedXML") && in.CreateBucketConfiguration != nil {
		in.CreateBucketConfiguration = nil
		_, err = to.api.CreateBucket(ctx, in, once)
	}
	switch {
	case isCode(err, "BucketAlreadyOwnedByYou"):
		return nil
	case isCode(err, "BucketAlreadyExists"):
		// Some stores say this of one's own bucket too.
		if has, herr := to.hasBucket(ctx, bucket); herr == nil && has {
			return nil
		}
		return errForeignBucket
	}
	return to.wrap("create bucket", err)
}

// followBucket brings the follower's bucket to what the newest store has after
// a client created, deleted or configured it.
func (w *Worker) followBucket(ctx context.Context, c ledger.Claim) error {
	from, to := w.stores[c.From], w.stores[c.To]
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	bucket := c.Object.Bucket
	src, dst := from.bucket(bucket), to.bucket(bucket)
	_, err := from.api.GetBucketLocation(ctx, &awss3.GetBucketLocationInput{Bucket: &src})
	gone := isCode(err, "NoSuchBucket")
	if err != nil && !gone {
		has, herr := from.hasBucket(ctx, bucket)
		if herr != nil {
			return herr
		}
		if !has {
			return from.wrap("look for bucket", err)
		}
	}
	// What takes time comes before the lock, which clients wait for: if one of them
	// changes the bucket on the follower meanwhile, the lock is refused.
	var settings differences
	if !gone {
		if settings, err = compareSettings(ctx, from, to, bucket); err != nil {
			return err
		}
	}
	f, err := w.beginUnseen(ctx, c, w.cfg.LockTTL)
	if err != nil {
		return err
	}
	defer f.end()
	if !gone {
		if err := w.createBucket(f.ctx, from, to, bucket); err != nil {
			return w.unanswered(f, err)
		}
		unsupported, err := settings.apply(f.ctx)
		if err != nil {
			return w.unanswered(f, err)
		}
		if to.id == ledger.Target {
			err = w.led.ReportBucket(ctx, bucket, unsupported)
		}
		return err
	}
	_, err = to.api.DeleteBucket(f.ctx, &awss3.DeleteBucketInput{Bucket: &dst}, once)
	switch {
	case isCode(err, "NoSuchBucket"):
		return nil
	case isCode(err, "BucketNotEmpty"):
		return to.wrap("delete bucket", fmt.Errorf("it was deleted on the %s store but still holds objects here", from.id))
	}
	return w.unanswered(f, to.wrap("delete bucket", err))
}
