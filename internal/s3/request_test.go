package s3

import (
	"bufio"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// received parses a request line and headers the way that a server does.
func received(t testing.TB, line string, headers ...string) *http.Request {
	t.Helper()
	text := line + " HTTP/1.1\r\n"
	host := "s3.example.com"
	for _, h := range headers {
		if v, ok := strings.CutPrefix(h, "Host: "); ok {
			host = v
			continue
		}
		text += h + "\r\n"
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "Host: " + host + "\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// nastyKeys are keys that proxies and path cleaners like to damage, as they
// appear in a request line.
var nastyKeys = map[string]string{
	"a":                       "a",
	"a/b":                     "a/b",
	"a//b":                    "a//b",
	"/lead":                   "/lead",
	"//":                      "//",
	"a/":                      "a/",
	".":                       ".",
	"..":                      "..",
	"./x":                     "./x",
	"x/../y":                  "x/../y",
	"x/.":                     "x/.",
	"%2E%2E/x":                "../x",
	"a%2Fb":                   "a/b",
	"%2Fa":                    "/a",
	"a%252Fb":                 "a%2Fb",
	"100%25":                  "100%",
	"a+b":                     "a+b",
	"a%2Bb":                   "a+b",
	"a%20b":                   "a b",
	"%20":                     " ",
	"a%0Ab%00c":               "a\nb\x00c",
	"%7F":                     "\x7f",
	"a?b":                     "a",
	"a%3Fb":                   "a?b",
	"a%23b":                   "a#b",
	"a;b=c&d":                 "a;b=c&d",
	"!$'()*,:@[]~":            "!$'()*,:@[]~",
	"%C3%A4":                  "ä",
	"%E6%97%A5%E6%9C%AC":      "日本",
	"%FF%FE":                  "\xff\xfe",
	`a\b`:                     `a\b`,
	"a|b^c{d}":                "a|b^c{d}",
	"http://x/y":              "http://x/y",
	"a=b":                     "a=b",
	strings.Repeat("k", 1024): strings.Repeat("k", 1024),
}

func TestParseRequestKeepsKeys(t *testing.T) {
	for sent, want := range nastyKeys {
		for style, r := range map[Addressing]*http.Request{
			Path:        received(t, "GET /photos/"+sent),
			VirtualHost: received(t, "GET /"+sent, "Host: photos.s3.example.com:8080"),
		} {
			got, err := ParseRequest(r, []string{"s3.example.com"})
			if err != nil {
				t.Errorf("%s %q: %v", style, sent, err)
				continue
			}
			if got.Bucket != "photos" || got.Key != want || got.Addressing != style {
				t.Errorf("%s %q: got bucket %q, key %q, %s; want key %q", style, sent, got.Bucket, got.Key, got.Addressing, want)
			}
		}
	}
}

func TestParseRequestOperation(t *testing.T) {
	const copySource = "X-Amz-Copy-Source: /src/dir/a%2Bb%20c?versionId=v1"
	source := CopySource{Bucket: "src", Key: "dir/a+b c", VersionID: "v1"}
	tests := map[string]struct {
		line    string
		headers []string
		want    Request // without bucket, key and addressing
	}{
		"list buckets":                {"GET /", nil, Request{Operation: ListBuckets, Class: ClassService}},
		"list buckets, SDK":           {"GET /?x-id=ListBuckets", nil, Request{Operation: ListBuckets, Class: ClassService}},
		"head bucket":                 {"HEAD /b", nil, Request{Operation: HeadBucket, Class: ClassBucketRead}},
		"create bucket":               {"PUT /b/", nil, Request{Operation: CreateBucket, Class: ClassBucketWrite}},
		"delete bucket":               {"DELETE /b", nil, Request{Operation: DeleteBucket, Class: ClassBucketWrite}},
		"list":                        {"GET /b?prefix=&delimiter=/", nil, Request{Operation: ListObjects, Class: ClassListing}},
		"list v2":                     {"GET /b/?list-type=2&prefix=a", nil, Request{Operation: ListObjectsV2, Class: ClassListing}},
		"list versions":               {"GET /b?versions&prefix=a", nil, Request{Operation: ListObjectVersions, Class: ClassListing}},
		"list uploads":                {"GET /b?uploads=", nil, Request{Operation: ListMultipartUploads, Class: ClassListing}},
		"presigned list":              {"GET /b?X-Amz-Algorithm=a&X-Amz-Signature=", nil, Request{Operation: ListObjects, Class: ClassListing}},
		"get acl":                     {"GET /b?acl", nil, Request{Operation: "GetBucketAcl", Class: ClassBucketRead}},
		"location":                    {"GET /b?location", nil, Request{Operation: GetBucketLocation, Class: ClassBucketRead}},
		"put lifecycle":               {"PUT /b?lifecycle", nil, Request{Operation: PutBucketLifecycle, Class: ClassBucketWrite}},
		"delete policy":               {"DELETE /b?policy", nil, Request{Operation: "DeleteBucketPolicy", Class: ClassBucketWrite}},
		"put versioning":              {"PUT /b?versioning=", nil, Request{Operation: PutBucketVersioning, Class: ClassBucketWrite}},
		"delete objects":              {"POST /b?delete", nil, Request{Operation: DeleteObjects, Class: ClassObjectWrite}},
		"post form":                   {"POST /b", []string{"Content-Type: multipart/form-data; boundary=x"}, Request{Operation: PostObject, Class: ClassObjectWrite}},
		"post without form":           {"POST /b", nil, Request{Operation: Unknown, Class: ClassUnknownWrite}},
		"preflight":                   {"OPTIONS /b/k", nil, Request{Operation: Preflight, Class: ClassBucketRead}},
		"get":                         {"GET /b/k?versionId=v&response-content-type=a", nil, Request{Operation: GetObject, Class: ClassObjectRead, VersionID: "v"}},
		"get part":                    {"GET /b/k?partNumber=3", nil, Request{Operation: GetObject, Class: ClassObjectRead, PartNumber: 3}},
		"head":                        {"HEAD /b/k", []string{"If-None-Match: x"}, Request{Operation: HeadObject, Class: ClassObjectRead}},
		"put":                         {"PUT /b/k?x-id=PutObject", nil, Request{Operation: PutObject, Class: ClassObjectWrite}},
		"put if none match":           {"PUT /b/k", []string{"If-None-Match: *"}, Request{Operation: PutObject, Class: ClassObjectWrite, Conditional: true}},
		"put at an offset":            {"PUT /b/k", []string{"x-amz-write-offset-bytes: 5"}, Request{Operation: PutObject, Class: ClassObjectWrite, Conditional: true}},
		"put at an offset, presigned": {"PUT /b/k?X-Amz-Write-Offset-Bytes=5&X-Amz-Signature=s", nil, Request{Operation: PutObject, Class: ClassObjectWrite, Conditional: true}},
		"delete if size, presigned":   {"DELETE /b/k?X-Amz-If-Match-Size=5&X-Amz-Signature=s", nil, Request{Operation: DeleteObject, Class: ClassObjectWrite, Conditional: true}},
		"append":                      {"PUT /b/k?append&position=0", nil, Request{Operation: AppendObject, Class: ClassObjectWrite, Conditional: true}},
		"copy":                        {"PUT /b/k", []string{copySource}, Request{Operation: CopyObject, Class: ClassObjectWrite, CopySource: source}},
		"copy, access point":          {"PUT /b/k", []string{"X-Amz-Copy-Source: arn:aws:s3:r:1:accesspoint/a/object/k"}, Request{Operation: CopyObject, Class: ClassObjectWrite, CopySource: CopySource{Opaque: "arn:aws:s3:r:1:accesspoint/a/object/k"}}},
		"copy of a bucket":            {"PUT /b/k", []string{"X-Amz-Copy-Source: bucket"}, Request{Operation: CopyObject, Class: ClassObjectWrite, CopySource: CopySource{Opaque: "bucket"}}},
		"part not a number":           {"PUT /b/k?uploadId=u&partNumber=one", nil, Request{Operation: UploadPart, Class: ClassMultipart, UploadID: "u"}},
		"copy, presigned":             {"PUT /b/k?X-Amz-Copy-Source=src%2Fdir%2Fa%252Bb%2520c%3FversionId%3Dv1&X-Amz-Signature=s", nil, Request{Operation: CopyObject, Class: ClassObjectWrite, CopySource: source}},
		"delete":                      {"DELETE /b/k?versionId=null", nil, Request{Operation: DeleteObject, Class: ClassObjectWrite, VersionID: "null"}},
		"delete if match size":        {"DELETE /b/k", []string{"x-amz-if-match-size: 4"}, Request{Operation: DeleteObject, Class: ClassObjectWrite, Conditional: true}},
		"create upload":               {"POST /b/k?uploads", nil, Request{Operation: CreateMultipartUpload, Class: ClassMultipart}},
		"upload part":                 {"PUT /b/k?partNumber=2&uploadId=u", nil, Request{Operation: UploadPart, Class: ClassMultipart, UploadID: "u", PartNumber: 2}},
		"upload part copy":            {"PUT /b/k?uploadId=u&partNumber=2", []string{copySource}, Request{Operation: UploadPartCopy, Class: ClassMultipart, UploadID: "u", PartNumber: 2, CopySource: source}},
		"complete":                    {"POST /b/k?uploadId=u", []string{"If-Match: e"}, Request{Operation: CompleteMultipartUpload, Class: ClassMultipart, UploadID: "u", Conditional: true}},
		"abort":                       {"DELETE /b/k?uploadId=u", nil, Request{Operation: AbortMultipartUpload, Class: ClassMultipart, UploadID: "u"}},
		"list parts":                  {"GET /b/k?uploadId=u&max-parts=2", nil, Request{Operation: ListParts, Class: ClassMultipart, UploadID: "u"}},
		"part without upload":         {"PUT /b/k?partNumber=1", nil, Request{Operation: Unknown, Class: ClassUnknownWrite, PartNumber: 1}},
		"put tagging":                 {"PUT /b/k?tagging&versionId=v", nil, Request{Operation: PutObjectTagging, Class: ClassObjectMetaWrite, VersionID: "v"}},
		"delete tagging":              {"DELETE /b/k?tagging", nil, Request{Operation: DeleteObjectTagging, Class: ClassObjectMetaWrite}},
		"put acl":                     {"PUT /b/k?acl", nil, Request{Operation: PutObjectAcl, Class: ClassObjectMetaWrite}},
		"put retention":               {"PUT /b/k?retention", nil, Request{Operation: PutObjectRetention, Class: ClassObjectMetaWrite}},
		"put legal hold":              {"PUT /b/k?legal-hold", nil, Request{Operation: PutObjectLegalHold, Class: ClassObjectMetaWrite}},
		"restore":                     {"POST /b/k?restore", nil, Request{Operation: RestoreObject, Class: ClassObjectMetaWrite}},
		"select":                      {"POST /b/k?select&select-type=2", nil, Request{Operation: SelectObjectContent, Class: ClassObjectRead}},
		"attributes":                  {"GET /b/k?attributes", nil, Request{Operation: GetObjectAttributes, Class: ClassObjectRead}},
		"key like a subresource":      {"GET /b/acl", nil, Request{Operation: GetObject, Class: ClassObjectRead}},
		"own parameter":               {"GET /b/k?user=me", nil, Request{Operation: GetObject, Class: ClassObjectRead}},
		"two subresources":            {"PUT /b/k?acl&tagging", nil, Request{Operation: Unknown, Class: ClassUnknownWrite}},
		"upload's subresource":        {"PUT /b/k?tagging&uploadId=u&partNumber=1", nil, Request{Operation: Unknown, Class: ClassUnknownWrite, UploadID: "u", PartNumber: 1}},
		"not known yet":               {"PUT /b/k?newfeature", nil, Request{Operation: Unknown, Class: ClassUnknownWrite}},
		"not known yet, read":         {"GET /b?newfeature", nil, Request{Operation: Unknown, Class: ClassUnknownRead}},
		"method without meaning":      {"PATCH /b/k", nil, Request{Operation: Unknown, Class: ClassUnknownWrite}},
		"write to the service":        {"POST /", nil, Request{Operation: Unknown, Class: ClassUnknownWrite}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseRequest(received(t, tt.line, tt.headers...), nil)
			if err != nil {
				t.Fatal(err)
			}
			got.Bucket, got.Key, got.Addressing = "", "", ""
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	tests := map[string]struct {
		line    string
		headers []string
		want    error
	}{
		"no bucket":            {"GET //key", nil, ErrInvalidBucketName},
		"bucket of dots":       {"GET /../key", nil, ErrInvalidBucketName},
		"slash in the bucket":  {"GET /a%2Fb/key", nil, ErrInvalidBucketName},
		"control in bucket":    {"GET /a%00/key", nil, ErrInvalidBucketName},
		"two versions":         {"GET /b/k?versionId=a&versionId=b", nil, ErrInvalidArgument},
		"two uploads":          {"PUT /b/k?uploadId=a&uploadId=a&partNumber=1", nil, ErrInvalidArgument},
		"query not decodable":  {"GET /b/k?versionId=%zz", nil, ErrInvalidURI},
		"copy of nothing":      {"PUT /b/k", []string{"X-Amz-Copy-Source: "}, ErrInvalidArgument},
		"copy not decodable":   {"PUT /b/k", []string{"X-Amz-Copy-Source: bucket/%zz"}, ErrInvalidArgument},
		"header of a presign":  {"PUT /b/k?X-Amz-Signature=s&x-amz-meta-%C3%A9=a", nil, ErrInvalidArgument},
		"line in a presign":    {"PUT /b/k?X-Amz-Signature=s&x-amz-meta-a=b%0D%0AHost:%20c", nil, ErrInvalidArgument},
		"twice in a presign":   {"PUT /b/k?X-Amz-Signature=s&x-amz-acl=private&X-Amz-Acl=public-read", nil, ErrInvalidArgument},
		"copy of two, presign": {"PUT /b/k?X-Amz-Signature=s&x-amz-copy-source=b/a&x-amz-copy-source=b/c", nil, ErrInvalidArgument},
		"copy of two sources":  {"PUT /b/k", []string{"X-Amz-Copy-Source: b/a", "X-Amz-Copy-Source: b/c"}, ErrInvalidArgument},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseRequest(received(t, tt.line, tt.headers...), nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestParseRequestVirtualHost(t *testing.T) {
	domains := []string{"s3.example.com", "example.com"}
	tests := map[string]struct {
		host, wantBucket string
		wantStyle        Addressing
	}{
		"domain itself":    {"s3.example.com", "path", Path},
		"bucket":           {"photos.s3.example.com", "photos", VirtualHost},
		"bucket with dots": {"a.b.s3.example.com:443", "a.b", VirtualHost},
		"other case":       {"Photos.S3.Example.com", "photos", VirtualHost},
		"shorter domain":   {"photos.example.com", "photos", VirtualHost},
		"another domain":   {"photos.example.org", "path", Path},
		"suffix only":      {"evils3.example.org", "path", Path},
		"IPv6":             {"[::1]:9000", "path", Path},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseRequest(received(t, "GET /path/k", "Host: "+tt.host), domains)
			if err != nil || got.Bucket != tt.wantBucket || got.Addressing != tt.wantStyle {
				t.Errorf("got %q %s, %v", got.Bucket, got.Addressing, err)
			}
		})
	}
}

func TestRewriteKeepsKeys(t *testing.T) {
	endpoints := map[string]Endpoint{
		"path":           {URL: "http://store:9000"},
		"path with base": {URL: "http://store:9000/s3/"},
		"virtual host":   {URL: "https://store", Addressing: VirtualHost},
	}
	for name, e := range endpoints {
		w, err := NewRewriter(e)
		if err != nil {
			t.Fatal(err)
		}
		for sent, want := range nastyKeys {
			in, err := ParseRequest(received(t, "GET /photos/"+sent), nil)
			if err != nil {
				t.Fatal(err)
			}
			out := httptest.NewRequest("GET", "/", nil)
			w.Rewrite(in, out)
			// As it arrives.
			line := "GET " + strings.TrimPrefix(out.URL.RequestURI(), "/s3")
			got, err := ParseRequest(received(t, line, "Host: "+out.Host), []string{"store"})
			if err != nil || got.Bucket != "photos" || got.Key != want {
				t.Errorf("%s, %q: sent as %q, got bucket %q, key %q, %v; want %q", name, sent, line, got.Bucket, got.Key, err, want)
			}
		}
	}
}

func TestRewriteRemovesTheClientsSignature(t *testing.T) {
	w, err := NewRewriter(Endpoint{URL: "http://store"})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		line       string
		headers    []string
		wantURI    string
		wantHeader http.Header
	}{
		"header": {
			"PUT /b/k?x-id=PutObject", []string{"Authorization: AWS4-HMAC-SHA256 x", "X-Amz-Date: d", "X-Amz-Security-Token: t", "X-Amz-Meta-A: b", "X-Amz-Content-Sha256: " + UnsignedPayload},
			"/b/k?x-id=PutObject", http.Header{"X-Amz-Meta-A": {"b"}},
		},
		"presigned": {
			"GET /b/k?X-Amz-Algorithm=A&X-Amz-Credential=C&versionId=v&X-Amz-Date=D&X-Amz-Expires=E&X-Amz-SignedHeaders=host&X-Amz-Signature=S&x-amz-checksum-mode=ENABLED&X-Amz-Security-Token=T", nil,
			"/b/k?versionId=v", http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}},
		},
		"chunked": {
			"PUT /b/k", []string{"X-Amz-Content-Sha256: " + StreamingPayloadTrailer, "X-Amz-Decoded-Content-Length: 5", "X-Amz-Trailer: x-amz-checksum-crc32", "Content-Encoding: aws-chunked"},
			"/b/k", http.Header{},
		},
		"chunked and compressed": {
			"PUT /b/k", []string{"X-Amz-Content-Sha256: " + StreamingPayload, "X-Amz-Decoded-Content-Length: 5", "Content-Encoding: aws-chunked, gzip"},
			"/b/k", http.Header{"Content-Encoding": {"gzip"}},
		},
		"copy": {
			"PUT /b/k", []string{"X-Amz-Copy-Source: /src/a b+c%2F?versionId=v"},
			"/b/k", http.Header{"X-Amz-Copy-Source": {"src/a%20b%2Bc/?versionId=v"}},
		},
		"query spelt in odd ways": {
			"GET /b?list-type=2&prefix=a+b%2fc&delimiter=/&acl", nil,
			"/b?list-type=2&prefix=a%20b%2Fc&delimiter=%2F&acl", http.Header{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := received(t, tt.line, tt.headers...)
			in, err := ParseRequest(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.Rewrite(in, r)
			if got := r.URL.RequestURI(); got != tt.wantURI || r.Host != "store" {
				t.Errorf("got %s %s, want %s", r.Host, got, tt.wantURI)
			}
			if diff := cmp.Diff(tt.wantHeader, r.Header); diff != "" {
				t.Error(diff)
			}
		})
	}
}
