package worker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// DanglingPolicy says what to do about multipart uploads that clients began
// before the switch and never ended.
type DanglingPolicy string

// The policies.
const (
	// Wait leaves them to their clients; the switch is done when they are.
	Wait DanglingPolicy = "Wait"
	// Abort ends them once clients have written to the new main for Dangling.After.
	Abort DanglingPolicy = "Abort"
)

// Dangling configures the drain of multipart uploads. The zero value waits.
type Dangling struct {
	Policy DanglingPolicy
	After  time.Duration
}

const (
	danglingEvery = 3 * time.Second
	danglingLease = "dangling"
	// drainers is how many buckets are looked at at a time.
	drainers = 16
)

// danglingLoop watches, while a switch is under way, the multipart uploads on
// the old main, and puts the lifecycle rules into place on the new one.
func (w *Worker) danglingLoop(take, work context.Context) {
	for take.Err() == nil {
		if r, ok := w.member.Route(); ok && r.State == ledger.Switched {
			if _, ok := w.elected(work, danglingLease, 5*danglingEvery); ok {
				if err := w.drain(work, r); err != nil {
					w.log.Info("drain failed; it is tried again", "error", causeOf(err))
				}
			}
		}
		_ = sleep(take, danglingEvery)
	}
}

func (w *Worker) drain(ctx context.Context, r ledger.Route) error {
	old := r.Main.Other()
	before, err := w.leftBefore(ctx, r)
	if err != nil {
		return err
	}
	policy := Dangling{Policy: Wait}
	if w.cfg.Dangling != nil {
		policy = w.cfg.Dangling()
	}
	looked, err := w.led.Clock(ctx)
	if err != nil {
		return err
	}
	buckets, err := w.bucketsOn(ctx, old)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var total int64
	var oldest time.Time
	moved := time.Since(before.Add(-switchSkew))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(drainers)
	for _, b := range buckets {
		g.Go(func() error {
			if policy.Policy == Abort && moved >= policy.After {
				if err := w.abortDangling(gctx, old, b.Name, policy.After, before); err != nil {
					return err
				}
			}
			n, first, err := w.dangling(gctx, old, b.Name, before)
			if err != nil {
				return err
			}
			mu.Lock()
			total += n
			if n > 0 && (oldest.IsZero() || first.Before(oldest)) {
				oldest = first
			}
			mu.Unlock()
			return w.finishLifecycle(gctx, r, b)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return w.led.ReportDangling(ctx, looked, r.Epoch, total, oldest)
}

// bucketsOn returns the buckets in which clients may have uploads on the old main: those
// that the ledger knows, which are named by the spec or were listed on the source, and
// those that clients have made since, there or on the target.
func (w *Worker) bucketsOn(ctx context.Context, old ledger.Store) ([]ledger.BucketState, error) {
	buckets, err := w.led.Buckets(ctx)
	if err != nil || w.cfg.Named {
		return buckets, err
	}
	there, err := w.stores[old].listBuckets(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, b := range buckets {
		known[b.Name] = true
	}
	var doubtful []string
	for _, name := range there {
		switch {
		case known[name]:
		case old == ledger.Source: // all of its buckets are migrated
			buckets = append(buckets, ledger.BucketState{Name: name})
		default:
			// It is a client's if it is copied, or will be; else somebody else's. In this order,
			// for it may be copied just now.
			loc, err := w.led.Lookup(ctx, ledger.Object{Bucket: name})
			if err != nil {
				return nil, err
			}
			if loc.Known {
				buckets = append(buckets, ledger.BucketState{Name: name})
			} else {
				doubtful = append(doubtful, name)
			}
		}
	}
	if len(doubtful) == 0 {
		return buckets, nil
	}
	both, err := w.stores[old.Other()].listBuckets(ctx)
	for _, name := range doubtful {
		if slices.Contains(both, name) {
			buckets = append(buckets, ledger.BucketState{Name: name})
		}
	}
	return buckets, err
}

// listBuckets names a store's buckets; none, where the store says that it does not list them.
func (s *store) listBuckets(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	names, err = s3.BucketNames(ctx, s.api)
	if errors.Is(err, s3.ErrNoListing) {
		return nil, s.wrap("list buckets", err)
	}
	switch c := s3.Classify(err); {
	case c == s3.Denied, c == s3.Unsupported, (c == s3.NotFound || c == s3.Fatal) && !nameless(err):
		return nil, nil
	case err != nil:
		return nil, s.wrap("list buckets", err)
	}
	return names, nil
}

// switchSkew is how far the clocks of workers may be apart.
const switchSkew = time.Minute

// leftBefore returns the time before which an upload on the old main must have
// begun to be a client's: later ones are copies that workers make there.
func (w *Worker) leftBefore(ctx context.Context, r ledger.Route) (time.Time, error) {
	field := fmt.Sprintf("switched:%d", r.Epoch)
	v, err := w.led.Meta(ctx, field)
	if err != nil {
		return time.Time{}, err
	}
	if at, err := time.Parse(time.RFC3339, v); err == nil {
		return at.Add(switchSkew), nil
	}
	now := time.Now()
	return now.Add(switchSkew), w.led.SetMeta(ctx, field, now.UTC().Format(time.RFC3339))
}

// finishLifecycle applies a bucket's rules once per role of main: what clients
// change afterwards is theirs.
func (w *Worker) finishLifecycle(ctx context.Context, r ledger.Route, b ledger.BucketState) error {
	field := "lifecycle:" + r.Main.String() + ":" + b.Name
	if done, err := w.led.Meta(ctx, field); err != nil || done != "" {
		return err
	}
	note, err := w.ApplyLifecycle(ctx, b.Name)
	if isCode(err, "NoSuchBucket") {
		return nil // a client has deleted it, on one of the stores so far; or it comes, and the next look finds it
	}
	if err != nil {
		return err
	}
	if note != "" {
		w.log.Info("lifecycle rules could not be put into place", "bucket", b.Name, "cause", note)
	}
	if r.Main == ledger.Target {
		if err := w.led.ReportBucket(ctx, b.Name, lifecycle.noted(b.Unsupported, note)); err != nil {
			return err
		}
	}
	return w.led.SetMeta(ctx, field, "done")
}

// Dangling counts a bucket's multipart uploads on a store and returns when the
// oldest one began.
func (w *Worker) Dangling(ctx context.Context, on ledger.Store, bucket string) (count int64, oldest time.Time, err error) {
	return w.dangling(ctx, on, bucket, time.Time{})
}

// dangling counts what began before a time; zero means all. Uploads that the
// ledger places on the other store are copies, not clients'.
func (w *Worker) dangling(ctx context.Context, on ledger.Store, bucket string, before time.Time) (count int64, oldest time.Time, err error) {
	err = w.eachUpload(ctx, on, bucket, func(key, id string, began time.Time) error {
		if !before.IsZero() && began.After(before) {
			return nil
		}
		at, err := w.led.Upload(ctx, ledger.Object{Bucket: bucket, Key: key}, id)
		if err != nil || at.Store != on {
			return err
		}
		count++
		if oldest.IsZero() || began.Before(oldest) {
			oldest = began
		}
		return nil
	})
	return count, oldest, err
}

// AbortDangling ends all multipart uploads on a store that are older than a time.
func (w *Worker) AbortDangling(ctx context.Context, on ledger.Store, olderThan time.Duration) error {
	buckets, err := w.led.Buckets(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range buckets {
		errs = append(errs, w.abortDangling(ctx, on, b.Name, olderThan, time.Time{}))
	}
	return errors.Join(errs...)
}

func (w *Worker) abortDangling(ctx context.Context, on ledger.Store, bucket string, olderThan time.Duration, before time.Time) error {
	s := w.stores[on]
	name := s.bucket(bucket)
	return w.eachUpload(ctx, on, bucket, func(key, id string, began time.Time) error {
		if time.Since(began) < olderThan || !before.IsZero() && began.After(before) {
			return nil
		}
		_, err := s.api.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &name, Key: &key, UploadId: &id})
		if s3.Classify(err) == s3.NotFound {
			return nil
		}
		return s.wrap("abort multipart upload", err)
	})
}

// eachUpload calls f for each of a bucket's uploads on a store, with when it began by this
// process' clock.
func (w *Worker) eachUpload(ctx context.Context, on ledger.Store, bucket string, f func(key, id string, began time.Time) error) error {
	s := w.stores[on]
	name := s.bucket(bucket)
	in := &awss3.ListMultipartUploadsInput{Bucket: &name, EncodingType: types.EncodingTypeUrl}
	for {
		lctx, cancel := context.WithTimeout(ctx, callTimeout)
		out, err := s.api.ListMultipartUploads(lctx, in)
		cancel()
		if isCode(err, "NoSuchBucket") || s3.Classify(err) == s3.Unsupported {
			return nil
		}
		if err != nil {
			return s.wrap("list multipart uploads", err)
		}
		if out.IsTruncated == nil {
			return s.wrap("list multipart uploads", s3.ErrNoListing)
		}
		var ahead time.Duration // of this process, as the store's clock has it
		if now, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
			ahead = time.Since(now)
		}
		for _, u := range out.Uploads {
			key, err := plainKey(out.EncodingType, u.Key)
			if err != nil {
				return s.wrap("list multipart uploads", err)
			}
			if err := f(key, aws.ToString(u.UploadId), aws.ToTime(u.Initiated).Add(ahead)); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return nil
		}
		next, err := plainKey(out.EncodingType, out.NextKeyMarker)
		if err != nil {
			return s.wrap("list multipart uploads", err)
		}
		if next == aws.ToString(in.KeyMarker) && aws.ToString(out.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker) {
			return s.wrap("list multipart uploads", fmt.Errorf("%w: it does not advance", errListing))
		}
		in.KeyMarker, in.UploadIdMarker = &next, out.NextUploadIdMarker
	}
}

// plainKey is a key of a listing that was asked for with URL-encoded keys, for they may
// hold what XML can't. Not every store encodes them.
func plainKey(encoding types.EncodingType, key *string) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return aws.ToString(key), nil
	}
	plain, err := url.QueryUnescape(aws.ToString(key))
	if err != nil {
		return "", fmt.Errorf("%w: key %q: %w", errListing, aws.ToString(key), err)
	}
	return plain, nil
}
