package s3

import (
	"net/http"
	"strings"
)

// operations of one subresource, by method.
type operations struct{ get, put, post, delete Operation }

func (o operations) of(method string) Operation {
	switch method {
	case http.MethodGet:
		return o.get
	case http.MethodPut:
		return o.put
	case http.MethodPost:
		return o.post
	case http.MethodDelete:
		return o.delete
	}
	return ""
}

var bucketSubresources = map[string]operations{
	"abac":                  {get: "GetBucketAbac", put: "PutBucketAbac"},
	"accelerate":            {get: "GetBucketAccelerateConfiguration", put: "PutBucketAccelerateConfiguration"},
	"acl":                   {get: "GetBucketAcl", put: "PutBucketAcl"},
	"analytics":             {get: "GetBucketAnalyticsConfiguration", put: "PutBucketAnalyticsConfiguration", delete: "DeleteBucketAnalyticsConfiguration"},
	"cors":                  {get: "GetBucketCors", put: "PutBucketCors", delete: "DeleteBucketCors"},
	"delete":                {post: DeleteObjects},
	"encryption":            {get: "GetBucketEncryption", put: "PutBucketEncryption", delete: "DeleteBucketEncryption"},
	"intelligent-tiering":   {get: "GetBucketIntelligentTieringConfiguration", put: "PutBucketIntelligentTieringConfiguration", delete: "DeleteBucketIntelligentTieringConfiguration"},
	"inventory":             {get: "GetBucketInventoryConfiguration", put: "PutBucketInventoryConfiguration", delete: "DeleteBucketInventoryConfiguration"},
	"lifecycle":             {get: GetBucketLifecycle, put: PutBucketLifecycle, delete: "DeleteBucketLifecycle"},
	"location":              {get: GetBucketLocation},
	"logging":               {get: "GetBucketLogging", put: "PutBucketLogging"},
	"metadataConfiguration": {get: "GetBucketMetadataConfiguration", post: "CreateBucketMetadataConfiguration", delete: "DeleteBucketMetadataConfiguration"},
	"metadataTable":         {get: "GetBucketMetadataTableConfiguration", post: "CreateBucketMetadataTableConfiguration", delete: "DeleteBucketMetadataTableConfiguration"},
	"metrics":               {get: "GetBucketMetricsConfiguration", put: "PutBucketMetricsConfiguration", delete: "DeleteBucketMetricsConfiguration"},
	"notification":          {get: "GetBucketNotificationConfiguration", put: "PutBucketNotificationConfiguration", delete: "DeleteBucketNotificationConfiguration"},
	"object-lock":           {get: "GetObjectLockConfiguration", put: "PutObjectLockConfiguration"},
	"ownershipControls":     {get: "GetBucketOwnershipControls", put: "PutBucketOwnershipControls", delete: "DeleteBucketOwnershipControls"},
	"policy":                {get: "GetBucketPolicy", put: "PutBucketPolicy", delete: "DeleteBucketPolicy"},
	"policyStatus":          {get: "GetBucketPolicyStatus"},
	"publicAccessBlock":     {get: "GetPublicAccessBlock", put: "PutPublicAccessBlock", delete: "DeletePublicAccessBlock"},
	"replication":           {get: "GetBucketReplication", put: "PutBucketReplication", delete: "DeleteBucketReplication"},
	"requestPayment":        {get: "GetBucketRequestPayment", put: "PutBucketRequestPayment"},
	"session":               {get: "CreateSession"},
	"tagging":               {get: "GetBucketTagging", put: "PutBucketTagging", delete: "DeleteBucketTagging"},
	"uploads":               {get: ListMultipartUploads},
	"versioning":            {get: GetBucketVersioning, put: PutBucketVersioning},
	"versions":              {get: ListObjectVersions},
	"website":               {get: "GetBucketWebsite", put: "PutBucketWebsite", delete: "DeleteBucketWebsite"},
}

var objectSubresources = map[string]operations{
	"acl":          {get: GetObjectAcl, put: PutObjectAcl},
	"append":       {put: AppendObject}, // Ceph
	"attributes":   {get: GetObjectAttributes},
	"encryption":   {put: PutObjectEncryption},
	"legal-hold":   {get: GetObjectLegalHold, put: PutObjectLegalHold},
	"renameObject": {put: RenameObject},
	"restore":      {post: RestoreObject},
	"retention":    {get: GetObjectRetention, put: PutObjectRetention},
	"select":       {post: SelectObjectContent},
	"tagging":      {get: GetObjectTagging, put: PutObjectTagging, delete: DeleteObjectTagging},
	"torrent":      {get: GetObjectTorrent},
	"uploads":      {post: CreateMultipartUpload},
}

// plainParams never choose the operation.
var plainParams = set(
	// Listings.
	"allow-unordered", "bucket-region", "continuation-token", "delimiter", "encoding-type",
	"fetch-owner", "format", "id", "key-marker", "list-type", "marker", "max-buckets", "max-keys",
	"max-parts", "max-uploads", "metadata", "part-number-marker", "prefix", "start-after",
	"upload-id-marker", "version-id-marker",
	// Objects.
	"partNumber", "position", "select-type", "uploadId", "versionId", "x-id",
	// Signature Version 2.
	"AWSAccessKeyId", "Expires", "Signature",
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// subresource returns the one that the query names. unknown is set when there
// is something else that looks like one, or more than one: a store might carry
// out another operation than the one guessed here.
func subresource(query []param, table map[string]operations) (name string, unknown bool) {
	for _, p := range query {
		_, found := table[p.name]
		switch {
		case found && name != "" && name != p.name:
			return "", true
		case found:
			name = p.name
		case plainParams[p.name], strings.HasPrefix(p.name, "response-"), len(p.name) > 6 && strings.EqualFold(p.name[:6], "x-amz-"):
		case p.value == "":
			return "", true
		}
	}
	return name, false
}

// classify sets Operation and Class.
func (q *Request) classify(r *http.Request, query []param) {
	var op Operation
	switch {
	case r.Method == http.MethodOptions:
		op = Preflight
	case q.Bucket == "":
		if r.Method == http.MethodGet {
			op = ListBuckets
		}
	case q.Key == "":
		op = bucketOperation(r, query)
	default:
		op = q.objectOperation(r, query)
	}
	q.Operation, q.Class = op, classOf(op, r.Method)
	if op == "" {
		q.Operation = Unknown
	}
}

func bucketOperation(r *http.Request, query []param) Operation {
	sub, unknown := subresource(query, bucketSubresources)
	switch {
	case unknown:
		return ""
	case r.Method == http.MethodHead && sub == "":
		return HeadBucket
	case sub != "":
		return bucketSubresources[sub].of(r.Method)
	}
	switch r.Method {
	case http.MethodGet:
		if v, _ := queryValue(query, "list-type"); v == "2" {
			return ListObjectsV2
		}
		return ListObjects
	case http.MethodPut:
		return CreateBucket
	case http.MethodDelete:
		return DeleteBucket
	case http.MethodPost:
		if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/form-data") {
			return PostObject
		}
	}
	return ""
}

func (q *Request) objectOperation(r *http.Request, query []param) Operation {
	sub, unknown := subresource(query, objectSubresources)
	_, uploads := queryValue(query, "uploadId")
	_, parts := queryValue(query, "partNumber")
	copies := q.CopySource != CopySource{}
	switch {
	case unknown, sub != "" && uploads > 0:
		return ""
	case sub != "":
		return objectSubresources[sub].of(r.Method)
	case uploads > 0:
		switch r.Method {
		case http.MethodGet:
			return ListParts
		case http.MethodPost:
			return CompleteMultipartUpload
		case http.MethodDelete:
			return AbortMultipartUpload
		case http.MethodPut:
			if parts > 0 && copies {
				return UploadPartCopy
			} else if parts > 0 {
				return UploadPart
			}
		}
		return ""
	}
	switch r.Method {
	case http.MethodGet:
		return GetObject
	case http.MethodHead:
		return HeadObject
	case http.MethodDelete:
		return DeleteObject
	case http.MethodPut:
		switch {
		case parts > 0:
			return ""
		case copies:
			return CopyObject
		}
		return PutObject
	}
	return ""
}

// IsWrite reports whether requests of this class may change the store.
// ClassMultipart counts as one, although ListParts does not.
func (c Class) IsWrite() bool {
	switch c {
	case ClassBucketWrite, ClassObjectWrite, ClassObjectMetaWrite, ClassMultipart, ClassUnknownWrite:
		return true
	}
	return false
}

func classOf(op Operation, method string) Class {
	switch op {
	case "":
		if method == http.MethodGet || method == http.MethodHead {
			return ClassUnknownRead
		}
		return ClassUnknownWrite
	case ListBuckets:
		return ClassService
	case ListObjects, ListObjectsV2, ListObjectVersions, ListMultipartUploads:
		return ClassListing
	case GetObject, HeadObject, GetObjectAcl, GetObjectAttributes, GetObjectLegalHold,
		GetObjectRetention, GetObjectTagging, GetObjectTorrent, SelectObjectContent:
		return ClassObjectRead
	case PutObject, CopyObject, AppendObject, RenameObject, PostObject, DeleteObject, DeleteObjects:
		return ClassObjectWrite
	case PutObjectAcl, PutObjectLegalHold, PutObjectRetention, PutObjectTagging,
		DeleteObjectTagging, RestoreObject, PutObjectEncryption:
		return ClassObjectMetaWrite
	case CreateMultipartUpload, UploadPart, UploadPartCopy, CompleteMultipartUpload,
		AbortMultipartUpload, ListParts:
		return ClassMultipart
	case HeadBucket, Preflight, "CreateSession":
		return ClassBucketRead
	}
	if method == http.MethodGet {
		return ClassBucketRead
	}
	return ClassBucketWrite
}
