package worker

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
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
	if err != nil {
		return
	}
	began, interrupted, err := k.led.UnknownUpload(ctx, k.c.Object)
	if err != nil {
		return
	}
	// Only copies write the follower then. A store's clock is within what signatures allow.
	unknown := func(u types.MultipartUpload) bool {
		return interrupted && k.gate.isOpen(k.c.From) && aws.ToTime(u.Initiated).After(began.Add(-15*time.Minute))
	}
	if interrupted {
		defer func() { _ = k.led.CreatedUpload(ctx, k.c.Object) }()
	}
	for _, u := range out.Uploads {
		if aws.ToString(u.Key) != k.key {
			continue
		}
		// A copy's upload was placed on the other store. One of which nothing was said
		// may be a client's whose proxy is just about to.
		at, known, err := k.led.RememberedUpload(ctx, k.c.Object, aws.ToString(u.UploadId))
		if err != nil || known && at != k.c.From || !known && !unknown(u) {
			continue
		}
		if _, err := k.to.api.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &k.dst, Key: &k.key, UploadId: u.UploadId}); err == nil {
			_ = k.led.DeleteUpload(ctx, k.c.Object, aws.ToString(u.UploadId)) // else forgotten when the switch is done
		}
	}
}
