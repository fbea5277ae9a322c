package worker

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// dropLeftovers aborts the uploads that copies of this object left on the follower
// when their worker was killed: whatever such a worker was at is copied again. Only
// the claim's holder copies an object, so none of them is under way. One that was
// killed before it heard of its upload has said that it was about to create it. A
// failure is left to the next copy.
func (k *copying) dropLeftovers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := k.to.api.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &k.dst, Prefix: &k.key, MaxUploads: aws.Int32(100)})
	if err != nil || len(out.Uploads) == 0 {
		return
	}
	began, interrupted, err := k.led.UnknownUpload(ctx, k.c.Object)
	if err != nil {
		return
	}
	// In Steady only copies write the follower.
	alone := interrupted && k.gate.enter(k.c.From)
	if alone {
		defer k.gate.leave()
	}
	// Clients' uploads are placed before what created them has ended.
	busy, err := k.led.Open(ctx, k.c.Object, k.c.To)
	if err != nil {
		return
	}
	for _, u := range out.Uploads {
		// A store's clock is within what signatures allow.
		if aws.ToString(u.Key) != k.key || interrupted && aws.ToTime(u.Initiated).Before(began.Add(-15*time.Minute)) {
			continue
		}
		// A copy's upload was placed on the other store. One of which nothing was said is a
		// client's where such uploads live, or its proxy is just about to place it.
		at, sure, known, err := k.led.RememberedUpload(ctx, k.c.Object, aws.ToString(u.UploadId))
		if err != nil || at != k.c.From || !known && !alone && (!interrupted || busy || !sure) {
			continue
		}
		if _, err := k.to.api.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &k.dst, Key: &k.key, UploadId: u.UploadId}); err == nil {
			_ = k.led.DeleteUpload(ctx, k.c.Object, aws.ToString(u.UploadId)) // else forgotten when the switch is done
		}
	}
}
