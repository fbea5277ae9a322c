package s3

import (
	"cmp"
	"net/http"
	"slices"
)

// OperationInfo is how an operation is asked for, and its class.
type OperationInfo struct {
	Operation Operation
	Class     Class
	Method    string
	// Of is Service, Bucket or Object.
	Of string
	// Subresource is the query parameter that chooses it, "" if there is none.
	Subresource string
}

// Operations returns every operation that [ParseRequest] knows, by what it is of
// and by name.
func Operations() []OperationInfo {
	out := []OperationInfo{
		{Operation: ListBuckets, Method: http.MethodGet, Of: "Service"},
		{Operation: ListObjects, Method: http.MethodGet, Of: "Bucket"},
		{Operation: ListObjectsV2, Method: http.MethodGet, Of: "Bucket", Subresource: "list-type=2"},
		{Operation: HeadBucket, Method: http.MethodHead, Of: "Bucket"},
		{Operation: CreateBucket, Method: http.MethodPut, Of: "Bucket"},
		{Operation: DeleteBucket, Method: http.MethodDelete, Of: "Bucket"},
		{Operation: PostObject, Method: http.MethodPost, Of: "Bucket"},
		{Operation: Preflight, Method: http.MethodOptions, Of: "Bucket"},
		{Operation: GetObject, Method: http.MethodGet, Of: "Object"},
		{Operation: HeadObject, Method: http.MethodHead, Of: "Object"},
		{Operation: PutObject, Method: http.MethodPut, Of: "Object"},
		{Operation: CopyObject, Method: http.MethodPut, Of: "Object"},
		{Operation: DeleteObject, Method: http.MethodDelete, Of: "Object"},
		{Operation: ListParts, Method: http.MethodGet, Of: "Object", Subresource: "uploadId"},
		{Operation: UploadPart, Method: http.MethodPut, Of: "Object", Subresource: "uploadId"},
		{Operation: UploadPartCopy, Method: http.MethodPut, Of: "Object", Subresource: "uploadId"},
		{Operation: CompleteMultipartUpload, Method: http.MethodPost, Of: "Object", Subresource: "uploadId"},
		{Operation: AbortMultipartUpload, Method: http.MethodDelete, Of: "Object", Subresource: "uploadId"},
	}
	for of, table := range map[string]map[string]operations{"Bucket": bucketSubresources, "Object": objectSubresources} {
		for name, ops := range table {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
				if op := ops.of(method); op != "" {
					out = append(out, OperationInfo{Operation: op, Method: method, Of: of, Subresource: name})
				}
			}
		}
	}
	for i := range out {
		out[i].Class = classOf(out[i].Operation, out[i].Method)
	}
	slices.SortFunc(out, func(a, b OperationInfo) int {
		// Service, Bucket, Object.
		return cmp.Or(cmp.Compare(rank(a.Of), rank(b.Of)), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Method, b.Method))
	})
	return out
}

func rank(of string) int { return slices.Index([]string{"Service", "Bucket", "Object"}, of) }
