package worker

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// The properties that a follower may not be able to hold.
const (
	propETag         = "etag"
	propACL          = "acl"
	propStorageClass = "storage_class"
	propChecksum     = "checksum"
	propTags         = "tags"
	propLock         = "object_lock"
	propRedirect     = "redirect"
)

// properties is all that belongs to an object besides its content.
type properties struct {
	size     int64
	etag     string
	modified time.Time
	now      time.Time // by the store's clock, when it answered; zero: it did not say

	cacheControl, contentDisposition, contentEncoding *string
	contentLanguage, contentType                      *string
	expires                                           string
	metadata                                          map[string]string
	storageClass                                      types.StorageClass
	tagging                                           *string // as x-amz-tagging; nil: none
	acl                                               types.ObjectCannedACL
	redirect                                          *string
	lockMode                                          types.ObjectLockMode
	retainUntil                                       *time.Time
	legalHold                                         types.ObjectLockLegalHoldStatus
	checksums                                         checksums
}

// checksums are those that the source stored.
type checksums struct {
	kind                               types.ChecksumType
	crc32, crc32c, crc64, sha1, sha256 *string
}

func (c checksums) algorithm() types.ChecksumAlgorithm {
	switch {
	case c.crc64 != nil:
		return types.ChecksumAlgorithmCrc64nvme
	case c.crc32c != nil:
		return types.ChecksumAlgorithmCrc32c
	case c.crc32 != nil:
		return types.ChecksumAlgorithmCrc32
	case c.sha256 != nil:
		return types.ChecksumAlgorithmSha256
	case c.sha1 != nil:
		return types.ChecksumAlgorithmSha1
	}
	return ""
}

func checksumsOf(o *awss3.GetObjectOutput) checksums {
	return checksums{kind: o.ChecksumType, crc32: o.ChecksumCRC32, crc32c: o.ChecksumCRC32C,
		crc64: o.ChecksumCRC64NVME, sha1: o.ChecksumSHA1, sha256: o.ChecksumSHA256}
}

func propertiesOf(o *awss3.GetObjectOutput) properties {
	p := properties{
		size: aws.ToInt64(o.ContentLength), etag: aws.ToString(o.ETag), modified: aws.ToTime(o.LastModified),
		cacheControl: o.CacheControl, contentDisposition: o.ContentDisposition, contentEncoding: contentEncoding(o.ContentEncoding),
		contentLanguage: o.ContentLanguage, contentType: o.ContentType, expires: aws.ToString(o.ExpiresString),
		metadata: o.Metadata, storageClass: o.StorageClass, redirect: o.WebsiteRedirectLocation,
		lockMode: o.ObjectLockMode, retainUntil: o.ObjectLockRetainUntilDate, legalHold: o.ObjectLockLegalHoldStatus,
		checksums: checksumsOf(o),
	}
	if p.storageClass == types.StorageClassStandard {
		p.storageClass = ""
	}
	if p.retainUntil != nil && p.retainUntil.Before(time.Now()) {
		p.lockMode, p.retainUntil = "", nil
	}
	return p
}

// contentEncoding drops aws-chunked, a transfer detail that some stores keep.
func contentEncoding(v *string) *string {
	if v == nil {
		return nil
	}
	var keep []string
	for e := range strings.SplitSeq(*v, ",") {
		if e = strings.TrimSpace(e); e != "" && !strings.EqualFold(e, "aws-chunked") {
			keep = append(keep, e)
		}
	}
	if len(keep) == 0 {
		return nil
	}
	return aws.String(strings.Join(keep, ","))
}

// complete reads the properties that the GET did not carry: tags and ACL.
func (w *Worker) complete(ctx context.Context, c ledger.Claim, o *awss3.GetObjectOutput, p *properties) error {
	from, to := w.stores[c.From], w.stores[c.To]
	bucket := from.bucket(c.Object.Bucket)
	if aws.ToInt32(o.TagCount) > 0 {
		if to.caps.ObjectTagging == s3.No {
			w.metrics.lost.WithLabelValues(propTags).Inc()
		} else if err := readTags(ctx, from, bucket, c.Object.Key, p); err != nil {
			return err
		}
	}
	if from.caps.ObjectACL == s3.No || from.refused.acl.Load() {
		return nil
	}
	out, err := from.api.GetObjectAcl(ctx, &awss3.GetObjectAclInput{Bucket: &bucket, Key: &c.Object.Key})
	if err != nil {
		if s3.Classify(err) == s3.Unsupported {
			from.refused.acl.Store(true)
			return nil
		}
		return from.wrap("read ACL", err)
	}
	acl, exact := cannedACL(out.Owner, out.Grants)
	if to.caps.ObjectACL == s3.No {
		exact = exact && acl == ""
		acl = ""
	}
	if !exact {
		w.metrics.lost.WithLabelValues(propACL).Inc()
	}
	p.acl = types.ObjectCannedACL(acl)
	return nil
}

func readTags(ctx context.Context, from *store, bucket, key string, p *properties) error {
	out, err := from.api.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return from.wrap("read tags", err)
	}
	if len(out.TagSet) > 0 {
		p.tagging = aws.String(encodeTags(out.TagSet))
	}
	return nil
}

// noTags reports an error by which some stores say that an object has no tags.
func noTags(err error) bool { return isCode(err, "NoSuchTagSet", "NoSuchTagSetError") }

// encodeTags writes tags as x-amz-tagging does, sorted.
func encodeTags(tags []types.Tag) string {
	q := url.Values{}
	for _, t := range tags {
		q.Set(aws.ToString(t.Key), aws.ToString(t.Value))
	}
	// Stores differ on whether + is a space in this header; %20 always is.
	return strings.ReplaceAll(q.Encode(), "+", "%20")
}

const (
	allUsers  = "http://acs.amazonaws.com/groups/global/AllUsers"
	authUsers = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
)

// cannedACL maps grants to the canned ACL that says the same on another store,
// where the owner is someone else: the owner's grant stays with the owner, the
// well-known groups keep theirs. exact is false when a grant has no counterpart.
func cannedACL(owner *types.Owner, grants []types.Grant) (acl string, exact bool) {
	var read, write, auth bool
	exact = true
	for _, g := range grants {
		switch uri := granteeURI(g.Grantee); {
		case uri == "" && g.Grantee != nil && owner != nil && aws.ToString(g.Grantee.ID) == aws.ToString(owner.ID):
		case uri == allUsers && g.Permission == types.PermissionRead:
			read = true
		case uri == allUsers && g.Permission == types.PermissionWrite:
			write = true
		case uri == authUsers && g.Permission == types.PermissionRead:
			auth = true
		default:
			exact = false
		}
	}
	switch {
	case read && write:
		return string(types.ObjectCannedACLPublicReadWrite), exact
	case read:
		return string(types.ObjectCannedACLPublicRead), exact
	case auth:
		return string(types.ObjectCannedACLAuthenticatedRead), exact && !write
	}
	return "", exact && !write
}

func granteeURI(g *types.Grantee) string {
	if g == nil {
		return ""
	}
	return aws.ToString(g.URI)
}

// refusals remembers what a store has refused, so that it is not asked again
// for each object.
type refusals struct {
	classes sync.Map // storage class
	lock    sync.Map // bucket without object lock
	acls    sync.Map // bucket whose owner owns every object, without ACLs
	acl     atomic.Bool
}

// fit drops what the follower cannot hold, and counts it.
func (w *Worker) fit(to *store, bucket string, p *properties) {
	drop := func(property string) { w.metrics.lost.WithLabelValues(property).Inc() }
	if p.storageClass != "" {
		if _, no := to.refused.classes.Load(p.storageClass); no {
			p.storageClass = ""
			drop(propStorageClass)
		}
	}
	if p.acl != "" {
		if _, no := to.refused.acls.Load(bucket); no {
			p.acl = ""
			drop(propACL)
		}
	}
	if p.lockMode != "" || p.legalHold != "" {
		_, no := to.refused.lock.Load(bucket)
		if no || to.caps.ObjectLock == s3.No {
			if p.lockMode != "" || p.legalHold == types.ObjectLockLegalHoldStatusOn {
				drop(propLock)
			}
			p.lockMode, p.retainUntil, p.legalHold = "", nil, ""
		}
	}
	if p.checksums.algorithm() != "" && to.caps.ChecksumsStored == s3.No {
		p.checksums = checksums{}
		drop(propChecksum)
	}
}

// refusedProperty learns from a refused write. It returns true when the write
// is worth trying again without the property that the store refused.
func (w *Worker) refusedProperty(to *store, bucket string, p properties, err error) bool {
	code, _ := s3.ErrorCode(err)
	switch {
	case p.acl != "" && code == "AccessControlListNotSupported":
		_, known := to.refused.acls.LoadOrStore(bucket, true)
		return !known
	case p.storageClass != "" && (code == "InvalidStorageClass" || code == "NotImplemented" || code == "InvalidArgument"):
		_, known := to.refused.classes.LoadOrStore(p.storageClass, true)
		return !known
	case p.lockMode != "" || p.legalHold != "":
		if code == "InvalidRequest" || code == "NotImplemented" || code == "ObjectLockConfigurationNotFoundError" {
			_, known := to.refused.lock.LoadOrStore(bucket, true)
			return !known
		}
	}
	return false
}

func (p properties) put(bucket, key string) *awss3.PutObjectInput {
	in := &awss3.PutObjectInput{
		Bucket: &bucket, Key: &key, ContentLength: &p.size,
		CacheControl: p.cacheControl, ContentDisposition: p.contentDisposition, ContentEncoding: p.contentEncoding,
		ContentLanguage: p.contentLanguage, ContentType: p.contentType, Metadata: p.metadata,
		StorageClass: p.storageClass, Tagging: p.tagging, ACL: p.acl, WebsiteRedirectLocation: p.redirect,
		ObjectLockMode: p.lockMode, ObjectLockRetainUntilDate: p.retainUntil, ObjectLockLegalHoldStatus: p.legalHold,
	}
	if p.checksums.kind != types.ChecksumTypeComposite {
		c := p.checksums
		in.ChecksumCRC32, in.ChecksumCRC32C, in.ChecksumCRC64NVME = c.crc32, c.crc32c, c.crc64
		in.ChecksumSHA1, in.ChecksumSHA256 = c.sha1, c.sha256
	}
	return in
}

func (p properties) create(bucket, key string) *awss3.CreateMultipartUploadInput {
	return &awss3.CreateMultipartUploadInput{
		Bucket: &bucket, Key: &key,
		CacheControl: p.cacheControl, ContentDisposition: p.contentDisposition, ContentEncoding: p.contentEncoding,
		ContentLanguage: p.contentLanguage, ContentType: p.contentType, Metadata: p.metadata,
		StorageClass: p.storageClass, Tagging: p.tagging, ACL: p.acl, WebsiteRedirectLocation: p.redirect,
		ObjectLockMode: p.lockMode, ObjectLockRetainUntilDate: p.retainUntil, ObjectLockLegalHoldStatus: p.legalHold,
		ChecksumAlgorithm: p.checksums.algorithm(), ChecksumType: p.checksums.kind,
	}
}

// options carries the headers that the SDK would reformat.
func (p properties) options(o *awss3.Options) {
	if p.expires != "" {
		o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("Expires", p.expires))
	}
}
