package proxy

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/s3"
)

var update = flag.Bool("update", false, "write docs/s3.md anew")

// told is what the table says of operations.
type told struct{ routed, recorded, copied string }

const (
	toMain    = "main"
	toNewest  = "the store with the newest version"
	toUpload  = "the store that the upload lives on"
	asObject  = "its object"
	asBucket  = "its bucket"
	objectYes = "the object"
	settings  = "the setting"
)

var toldOfClass = map[s3.Class]told{
	s3.ClassService:         {toMain, "no", "–"},
	s3.ClassBucketRead:      {toNewest + " of the bucket", "no", "–"},
	s3.ClassBucketWrite:     {toMain, asBucket, "no: it stays on that store"},
	s3.ClassListing:         {"main's pages, overlaid with what is newer on the other store", "no", "–"},
	s3.ClassObjectRead:      {toNewest, "no", "–"},
	s3.ClassObjectWrite:     {toMain, asObject, objectYes},
	s3.ClassObjectMetaWrite: {toMain + ", once the object is in sync", asObject, "with the object"},
	s3.ClassMultipart:       {toUpload, "no", "once completed"},
}

var toldOf = map[s3.Operation]told{
	s3.ListBuckets:             {"both stores: each bucket where it is newest; the source, if it is not migrated", "no", "–"},
	s3.Preflight:               {toMain + ", unsigned", "no", "–"},
	s3.PostObject:              {toMain + ", as a PUT: the policy is checked here", asObject, objectYes},
	s3.CopyObject:              {toMain + ", once source and destination are in sync", asObject, objectYes},
	s3.RenameObject:            {toMain + ", once both objects are in sync", "both objects", "both objects"},
	s3.AppendObject:            {toMain + ", once the object is in sync", asObject, objectYes},
	s3.DeleteObject:            {toMain + "; a version: the store that has it", asObject, "the delete"},
	s3.DeleteObjects:           {toMain + "; a version: the store that has it", "each object", "the deletes"},
	s3.CreateMultipartUpload:   {toMain, "the upload, while a switch is under way", "once completed"},
	s3.CompleteMultipartUpload: {toUpload, asObject, objectYes + ", with the same parts"},
	s3.UploadPartCopy:          {toUpload + ", once the source is there", "no", "once completed"},
	s3.CreateBucket:            {toMain, asBucket, "the bucket with its settings"},
	s3.DeleteBucket:            {toMain + ", once its objects are in sync", asBucket, "the delete, if the bucket is empty"},
}

// copiedSettings are the subresources of buckets that workers carry over.
var copiedSettings = map[string]string{
	"acl": settings, "cors": settings, "encryption": settings, "lifecycle": settings + ", with the switch", "logging": settings,
	"notification": "no: reported per bucket", "object-lock": settings, "ownershipControls": settings, "policy": settings, "publicAccessBlock": settings,
	"replication": "no: reported per bucket", "tagging": settings, "versioning": settings, "website": settings,
}

func operationTable() string {
	var b strings.Builder
	b.WriteString("| operation | request | goes to | recorded as a change of | copied |\n| --- | --- | --- | --- | --- |\n")
	for _, o := range s3.Operations() {
		row, known := toldOf[o.Operation]
		if !known {
			row = toldOfClass[o.Class]
			if what, ok := copiedSettings[o.Subresource]; ok && o.Class == s3.ClassBucketWrite {
				row.copied = what
			}
		}
		path := map[string]string{"Service": "/", "Bucket": "/b", "Object": "/b/k"}[o.Of]
		if o.Subresource != "" {
			path += "?" + o.Subresource
		}
		fmt.Fprintf(&b, "| %s | `%s %s` | %s | %s | %s |\n", o.Operation, o.Method, path, row.routed, row.recorded, row.copied)
	}
	return b.String()
}

// The table in docs/s3.md is written by this test, with -update.
func TestOperationTableInTheDocsIsCurrent(t *testing.T) {
	const path, from, to = "../docs/s3.md", "<!-- operations -->\n", "<!-- /operations -->\n"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), from)
	old, tail, ends := strings.Cut(rest, to)
	if !ok || !ends {
		t.Fatalf("%s has no %s", path, strings.TrimSpace(from))
	}
	want := operationTable()
	if *update {
		if err := os.WriteFile(path, []byte(head+from+want+to+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, old); diff != "" {
		t.Errorf("run go test ./proxy -run %s -update:\n%s", t.Name(), diff)
	}
}

// Every operation is told of by its class or on its own.
func TestEveryOperationIsDescribed(t *testing.T) {
	known := map[s3.Operation]bool{}
	for _, o := range s3.Operations() {
		known[o.Operation] = true
		if _, own := toldOf[o.Operation]; !own && toldOfClass[o.Class] == (told{}) {
			t.Errorf("%s: nothing is said of class %s", o.Operation, o.Class)
		}
	}
	for op := range toldOf {
		if !known[op] {
			t.Errorf("%s is not an operation that the parser knows", op)
		}
	}
}
