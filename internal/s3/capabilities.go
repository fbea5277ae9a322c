package s3

import "context"

// Support is whether a store does something.
type Support string

const (
	// NotKnown: the probe could not tell.
	NotKnown Support = ""
	// Yes: seen working.
	Yes Support = "Yes"
	// No: refused, ignored or wrong.
	No Support = "No"
)

// Known reports whether s is Yes or No.
func (s Support) Known() bool { return s != NotKnown }

// Capabilities is what a store was seen to do.
type Capabilities struct {
	// Reachable: the store answered with an S3 response.
	Reachable Support
	// Writable: a scratch object could be written, read and deleted.
	Writable Support
	// CreateBucket: a bucket could be created (NotKnown when one was given).
	CreateBucket Support
	ListBuckets  Support
	ListObjects  Support

	PutIfNoneMatch      Support // PUT If-None-Match:* refuses an existing object
	PutIfMatch          Support // PUT If-Match accepts the right ETag, refuses another
	DeleteIfMatch       Support
	CompleteIfNoneMatch Support // CompleteMultipartUpload If-None-Match:*
	CompleteIfMatch     Support

	StreamingTrailer Support // STREAMING-UNSIGNED-PAYLOAD-TRAILER bodies
	ChecksumsStored  Support // x-amz-checksum-* is kept and returned
	PartNumberGet    Support // GET ?partNumber returns that part and the count
	AttributesParts  Support // GetObjectAttributes lists parts
	ObjectTagging    Support
	ObjectACL        Support
	BucketACL        Support
	BucketPolicy     Support
	BucketLifecycle  Support
	BucketCORS       Support
	BucketTagging    Support
	BucketVersioning Support
	BucketWebsite    Support
	ObjectLock       Support
}

// Strings returns each capability by its name in lower camel case, as Yes, No or Unknown.
func (c Capabilities) Strings() map[string]string { return nil }

// Probe finds out what the store of c does, by trying it on scratch objects
// named crossfade-probe-…, which it removes. With a bucket, objects are put
// into it and its configuration is only read; without, Probe creates a scratch
// bucket, and removes it. A capability whose probe fails for another reason
// stays NotKnown. The error is non-nil only when the store can't be reached,
// refuses the keys, or no scratch object can be written; Capabilities then
// hold what was learnt. It takes at most a minute.
func Probe(ctx context.Context, c *Client, bucket string) (Capabilities, error) {
	return Capabilities{}, nil
}

// ProbeReadOnly checks that the store of c can be reached and read, changing
// nothing: lists buckets, or heads the one given and lists one page of it.
func ProbeReadOnly(ctx context.Context, c *Client, bucket string) (Capabilities, error) {
	return Capabilities{}, nil
}
