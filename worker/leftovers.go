package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const (
	// leftoversEvery is how often it is looked for uploads of copies that have ended
	// without saying so.
	leftoversEvery = 10 * time.Second
	leftoversLease = "leftovers"
	// clockSkew is how far the clocks of workers may be apart.
	clockSkew = time.Minute
	// storeSkew is what signatures allow a store's clock to be off.
	storeSkew = 15 * time.Minute
)

// dropLeftovers aborts the uploads that copies of an object left on a store when their
// worker was killed. whole is false when one may be left that it could not look at, or not
// yet. The caller holds the object's claim: nobody else copies it, so none of them is under
// way. A worker that was killed before it heard of its upload has said that it was about to
// create it. others are what it found of those that may be clients', if that is all of them.
func (w *Worker) dropLeftovers(ctx context.Context, o ledger.Object, on ledger.Store) (whole bool, others *ledger.OtherUploads) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// Asked first: what begins from now on places what it creates.
	creating, err := w.led.Unplaced(ctx, o, on)
	if err != nil {
		return false, nil
	}
	s := w.stores[on]
	bucket := s.bucket(o.Bucket)
	out, err := s.api.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: &o.Key,
		MaxUploads: aws.Int32(100), EncodingType: types.EncodingTypeUrl})
	if err != nil && !isCode(err, "NoSuchBucket") {
		return false, nil
	}
	var all []types.MultipartUpload // of the object: the first of those of its prefix
	cut := false
	if err == nil {
		listed := len(out.Uploads)
		all = slices.DeleteFunc(out.Uploads, func(u types.MultipartUpload) bool {
			key, err := plainKey(out.EncodingType, u.Key)
			return err != nil || key != o.Key
		})
		cut = aws.ToBool(out.IsTruncated) && len(all) == listed
	}
	r, _ := w.member.Route()
	if !creating && !cut && r.State == ledger.Switched && r.Uploads == on {
		others = &ledger.OtherUploads{}
	}
	if len(all) == 0 {
		return true, others
	}
	noted, err := w.led.CopyUploads(ctx)
	if err != nil {
		return false, nil
	}
	noted = slices.DeleteFunc(noted, func(u ledger.CopyUpload) bool { return u.Object != o || u.Store != on })
	var began time.Time // of the first copy that has not said how it ended
	for _, u := range noted {
		if began.IsZero() || u.Began.Before(began) {
			began = u.Began
		}
	}
	interrupted := len(noted) > 0
	// In Steady only copies write the follower.
	alone := interrupted && w.gate.enter(on.Other())
	if alone {
		defer w.gate.leave()
	}
	// Clients' uploads are placed before what created them has ended.
	busy, err := w.led.Open(ctx, o, on)
	if err != nil {
		return false, nil
	}
	whole = true
	for _, u := range all {
		id := aws.ToString(u.UploadId)
		at, err := w.led.Upload(ctx, o, id)
		copys := slices.ContainsFunc(noted, func(n ledger.CopyUpload) bool { return n.IsCopys(id, at.Sure) })
		switch {
		case err != nil:
			whole, others = false, nil
			continue
		// A copy's upload was placed on the other store. One of which nothing was said is a
		// client's where such uploads live, or its proxy is just about to place it.
		case at.Store == on && (at.Known || !copys):
			if !at.Known && others != nil {
				others.IDs = append(others.IDs, id)
			}
			continue
		case interrupted && aws.ToTime(u.Initiated).Before(began.Add(-storeSkew)):
			continue
		case !at.Known && !alone && (!interrupted || !at.Sure):
			continue
		case !at.Known && !alone && busy:
			whole = false
			continue
		}
		_, err = s.api.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &bucket, Key: &o.Key, UploadId: &id})
		if err != nil {
			whole = false
			continue
		}
		_ = w.led.DeleteUpload(ctx, o, id) // else forgotten when the switch is done
	}
	return whole, others
}

// leftoversLoop has one worker at a time look for uploads that copies have left.
func (w *Worker) leftoversLoop(take, work context.Context) {
	for take.Err() == nil {
		if session, ok := w.elected(work, leftoversLease, 3*leftoversEvery); ok {
			if err := w.sweepUploads(work, session); err != nil {
				w.log.V(1).Info("leftover uploads not looked at", "error", err.Error())
			}
		}
		_ = sleep(take, leftoversEvery)
	}
}

// sweepUploads looks at the uploads of copies that have ended without saying so: their
// object may never be copied in parts again. Clients would see them once the store is
// main, and a switch back would wait for them.
func (w *Worker) sweepUploads(ctx context.Context, session string) error {
	if r, ok := w.member.Route(); !ok || !r.Run && r.State != ledger.Switched { // such a one goes on
		return nil
	}
	all, err := w.led.CopyUploads(ctx)
	if err != nil {
		return err
	}
	for _, u := range all {
		if time.Since(u.Began) < w.cfg.MaxInFlight+clockSkew {
			continue // it may yet be created
		}
		claims, err := w.led.ClaimObjects(ctx, session, u.Object.Bucket, []string{u.Object.Key})
		w.abandonIfLost(session, err)
		if err != nil {
			return err
		}
		for _, c := range claims { // none while it is copied
			if whole, _ := w.dropLeftovers(ctx, u.Object, u.Store); whole {
				err = w.led.EndedUpload(ctx, u)
			}
			_, jerr := w.led.Judge(ctx, c, false)
			w.abandonIfLost(session, jerr)
			if err != nil || jerr != nil {
				return errors.Join(err, jerr)
			}
		}
	}
	return nil
}
