package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// dirtier keeps a switch from ending, and its ledger busy: it begins multipart
// uploads before the switch and finishes one after the other during it. Each
// makes an object newest on the old store, until a worker has copied it. The
// last is never finished.
type dirtier struct {
	client *s3.Client
	ids    []string
	mu     sync.Mutex
	failed error
}

// uploads last for a run of a quarter of an hour.
const (
	uploads     = 900
	uploadEvery = time.Second
)

func uploadKey(i int) string { return fmt.Sprintf("upload-%04d", i) }

func newDirtier(ctx context.Context, c *s3.Client) (*dirtier, error) {
	d := &dirtier{client: c, ids: make([]string, uploads)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range d.ids {
		g.Go(func() error {
			bucket, key := heldBucket, uploadKey(i)
			out, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
			if err == nil {
				d.ids[i] = *out.UploadId
			}
			return err
		})
	}
	return d, g.Wait()
}

// start finishes uploads until the function it returns is called.
func (d *dirtier) start() func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(uploadEvery)
		defer tick.Stop()
		for i := range d.ids[:len(d.ids)-1] {
			if err := d.finish(ctx, i); err != nil && ctx.Err() == nil {
				d.mu.Lock()
				d.failed = fmt.Errorf("upload %d, begun before the switch: %w", i, err)
				d.mu.Unlock()
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}

// finish sends an upload's part and completes it, then reads the object back.
func (d *dirtier) finish(ctx context.Context, i int) error {
	bucket, key, id, one := heldBucket, uploadKey(i), d.ids[i], int32(1)
	part, err := d.client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: &id, PartNumber: &one, Body: strings.NewReader(key)})
	if err != nil {
		return err
	}
	_, err = d.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: &one, ETag: part.ETag}}}})
	if err != nil {
		return err
	}
	out, err := d.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	if out.ContentLength == nil || *out.ContentLength != int64(len(key)) {
		return fmt.Errorf("%s has another size than was written", key)
	}
	return nil
}

// err is what went wrong so far.
func (d *dirtier) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}
