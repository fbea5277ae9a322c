package proxy

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// A listing of two stores is what one store with the newest of both would show,
// page by page.
func FuzzListOverlay(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed, "a", "a/", "/", uint8(seed))
	}
	f.Add(uint64(1), "", "", "", uint8(1))
	f.Add(uint64(2), "\xff", "\xf4\x8f\xbf\xbf", "\x00", uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, prefix, after, delimiter string, size uint8) {
		m := randomModel(rand.New(rand.NewPCG(seed, 2)))
		w := window{prefix: prefix, after: after, max: 1 + int(size%8)}
		want := m.visible()
		for range 200 {
			got, more, err := m.overlay(delimiter).collect(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			x := w
			x.delimiter = delimiter
			expect := want.list(x)
			if diff := cmp.Diff(flat(expect.items), flat(got)); diff != "" || more != expect.truncated {
				t.Fatalf("%+v by %q: more %v, want %v\n%s", w, delimiter, more, expect.truncated, diff)
			}
			if !more {
				return
			}
			w.after = got[len(got)-1].position()
		}
		t.Fatal("the listing does not end")
	})
}

// What a client sends as a listing's query is understood or refused.
func FuzzListQuery(f *testing.F) {
	for _, q := range []string{"", "list-type=2&prefix=a&delimiter=/&max-keys=3", "list-type=2&continuation-token=Y2Y", "key-marker=k&version-id-marker=v", "max-keys=-1", "max-keys=99999999999999999999", "a=%zz", "encoding-type=url&marker=%00"} {
		for kind := range uint8(4) {
			f.Add(kind, q)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, query string) {
		ops := []s3.Operation{s3.ListObjects, s3.ListObjectsV2, s3.ListObjectVersions, s3.ListMultipartUploads}
		l, err := parseListQuery(ops[int(kind)%len(ops)], query)
		if err == nil && (l.max < 0 || l.max > 1000) {
			t.Errorf("%q: %d keys a page", query, l.max)
		}
	})
}
