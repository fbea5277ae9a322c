package s3

import (
	"reflect"
	"unicode"
	"unicode/utf8"
)

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
	// Reachable: the store answered a request with these keys.
	Reachable Support
	// Writable: a scratch object could be written, read back and deleted.
	Writable Support
	// CreateBucket: a bucket could be created.
	CreateBucket Support
	// ListBuckets: buckets could be listed.
	ListBuckets Support
	// ListObjects: one page of a bucket could be listed.
	ListObjects Support

	// PutIfNoneMatch: PUT with If-None-Match:* refuses an existing object.
	PutIfNoneMatch Support
	// PutIfMatch: PUT with If-Match takes the right ETag and refuses another.
	PutIfMatch Support
	// DeleteIfMatch: DELETE with If-Match, likewise.
	DeleteIfMatch Support
	// CompleteIfNoneMatch: CompleteMultipartUpload with If-None-Match:*.
	CompleteIfNoneMatch Support
	// CompleteIfMatch: CompleteMultipartUpload with If-Match.
	CompleteIfMatch Support

	// StreamingTrailer: bodies sent as STREAMING-UNSIGNED-PAYLOAD-TRAILER.
	StreamingTrailer Support
	// ChecksumsStored: x-amz-checksum-* is kept and returned.
	ChecksumsStored Support
	// PartNumberGet: GET ?partNumber returns that part and the number of parts.
	PartNumberGet Support
	// AttributesParts: GetObjectAttributes lists the parts with their sizes.
	AttributesParts Support
	// ObjectTagging, ObjectACL: can be set and read.
	ObjectTagging Support
	ObjectACL     Support

	// Of buckets: set and read back on a scratch bucket, only read on a given one.
	BucketACL        Support
	BucketPolicy     Support
	BucketLifecycle  Support
	BucketCORS       Support
	BucketTagging    Support
	BucketVersioning Support
	BucketWebsite    Support
	// ObjectLock: a bucket with object lock could be created.
	ObjectLock Support
}

// Strings returns each capability by its name in lower camel case: Yes, No or
// Unknown.
func (c Capabilities) Strings() map[string]string {
	v := reflect.ValueOf(c)
	out := make(map[string]string, v.NumField())
	for i := range v.NumField() {
		value := v.Field(i).String()
		if value == string(NotKnown) {
			value = "Unknown"
		}
		out[lowerCamel(v.Type().Field(i).Name)] = value
	}
	return out
}

// lowerCamel lowers the first word of a Go name: BucketACL, bucketACL.
func lowerCamel(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(first)) + name[size:]
}
