package worker

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// dropLeftovers aborts the uploads that copies of this object left on the follower
// when their worker was killed: whatever such a worker was at is copied again. Only
// the claim's holder copies an object, so none of them is under way. A failure is
// left to the next copy.
func (k *copying) dropLeftovers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := k.to.api.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &k.dst, Prefix: &k.key, MaxUploads: aws.Int32(100)})
	if err != nil {
		return
	}
	for _, u := range out.Uploads {
		if aws.ToString(u.Key) != k.key {
			continue
		}
		// A copy's upload was placed on the other store. One of which nothing was said
		// may be a client's whose proxy is just about to.
		at, known, err := k.led.RememberedUpload(ctx, k.c.Object, aws.ToString(u.UploadId))
		if err != nil || !known || at != k.c.From {
			continue
		}
		if _, err := k.to.api.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &k.dst, Key: &k.key, UploadId: u.UploadId}); err == nil {
			_ = k.led.DeleteUpload(ctx, k.c.Object, aws.ToString(u.UploadId)) // else forgotten when the switch is done
		}
	}
}
