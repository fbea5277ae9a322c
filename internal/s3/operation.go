package s3

// Operation is what a request asks for, named as in the S3 API.
type Operation string

// Class groups operations that are routed and recorded alike.
type Class string

const (
	// ClassService: the store as a whole (ListBuckets).
	ClassService Class = "Service"
	// ClassBucketRead: a bucket's existence or configuration is read.
	ClassBucketRead Class = "BucketRead"
	// ClassBucketWrite: a bucket is created, deleted or configured.
	ClassBucketWrite Class = "BucketWrite"
	// ClassListing: ListObjects, ListObjectsV2, ListObjectVersions,
	// ListMultipartUploads.
	ClassListing Class = "Listing"
	// ClassObjectRead: an object, or anything that belongs to it, is read.
	ClassObjectRead Class = "ObjectRead"
	// ClassObjectWrite: objects are created, overwritten or deleted.
	ClassObjectWrite Class = "ObjectWrite"
	// ClassObjectMetaWrite: what belongs to an object is written, not its
	// content: tags, ACL, retention, legal hold, restore.
	ClassObjectMetaWrite Class = "ObjectMetaWrite"
	// ClassMultipart: a request of one multipart upload, ListParts included.
	// Only CompleteMultipartUpload makes an object.
	ClassMultipart Class = "Multipart"
	// ClassUnknownRead: an operation that is not known, with GET, HEAD or OPTIONS.
	ClassUnknownRead Class = "UnknownRead"
	// ClassUnknownWrite: an operation that is not known, with another method.
	ClassUnknownWrite Class = "UnknownWrite"
)

// Operations of the service and of objects. Those that read and write a
// bucket's configuration are in the tables of parse_operation.go.
const (
	Unknown     Operation = "Unknown"
	ListBuckets Operation = "ListBuckets"

	HeadBucket   Operation = "HeadBucket"
	CreateBucket Operation = "CreateBucket"
	DeleteBucket Operation = "DeleteBucket"
	// Preflight is a CORS preflight request (OPTIONS).
	Preflight Operation = "Preflight"

	GetBucketLocation   Operation = "GetBucketLocation"
	GetBucketVersioning Operation = "GetBucketVersioning"
	PutBucketVersioning Operation = "PutBucketVersioning"
	GetBucketLifecycle  Operation = "GetBucketLifecycleConfiguration"
	PutBucketLifecycle  Operation = "PutBucketLifecycleConfiguration"

	ListObjects          Operation = "ListObjects"
	ListObjectsV2        Operation = "ListObjectsV2"
	ListObjectVersions   Operation = "ListObjectVersions"
	ListMultipartUploads Operation = "ListMultipartUploads"

	GetObject               Operation = "GetObject"
	HeadObject              Operation = "HeadObject"
	GetObjectAcl            Operation = "GetObjectAcl"
	GetObjectAttributes     Operation = "GetObjectAttributes"
	GetObjectLegalHold      Operation = "GetObjectLegalHold"
	GetObjectRetention      Operation = "GetObjectRetention"
	GetObjectTagging        Operation = "GetObjectTagging"
	GetObjectTorrent        Operation = "GetObjectTorrent"
	SelectObjectContent     Operation = "SelectObjectContent"
	PutObject               Operation = "PutObject"
	CopyObject              Operation = "CopyObject"
	AppendObject            Operation = "AppendObject"
	RenameObject            Operation = "RenameObject"
	PostObject              Operation = "PostObject"
	DeleteObject            Operation = "DeleteObject"
	DeleteObjects           Operation = "DeleteObjects"
	PutObjectAcl            Operation = "PutObjectAcl"
	PutObjectLegalHold      Operation = "PutObjectLegalHold"
	PutObjectRetention      Operation = "PutObjectRetention"
	PutObjectTagging        Operation = "PutObjectTagging"
	DeleteObjectTagging     Operation = "DeleteObjectTagging"
	RestoreObject           Operation = "RestoreObject"
	PutObjectEncryption     Operation = "UpdateObjectEncryption"
	CreateMultipartUpload   Operation = "CreateMultipartUpload"
	UploadPart              Operation = "UploadPart"
	UploadPartCopy          Operation = "UploadPartCopy"
	CompleteMultipartUpload Operation = "CompleteMultipartUpload"
	AbortMultipartUpload    Operation = "AbortMultipartUpload"
	ListParts               Operation = "ListParts"
)
