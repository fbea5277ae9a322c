package proxy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScannerKeepsWhatStoresWrite(t *testing.T) {
	tests := map[string]struct {
		xml, want string
		wantErr   bool
	}{
		"plain":              {xml: "<R><Key>a</Key></R>", want: "a"},
		"declaration":        {xml: "<?xml version=\"1.0\"?>\n<!-- <Key>no</Key> -->\n<R xmlns=\"x>y\"> <Key>a</Key> </R>", want: "a"},
		"entities":           {xml: "<R><Key>&lt;&amp;&gt;&quot;&apos;&#10;&#x1;&unknown;&</Key></R>", want: "<&>\"'\n\x01&unknown;&"},
		"control characters": {xml: "<R><Key>a\x01b</Key></R>", want: "a\x01b"},
		"namespace prefix":   {xml: "<s:R><s:Key>a</s:Key></s:R>", want: "a"},
		"empty element":      {xml: "<R><Key/></R>", want: ""},
		"section":            {xml: "<R><Key><![CDATA[<a>]]></Key></R>", want: "<a>"},
		"cut short":          {xml: "<R><Key>a</Key>", wantErr: true},
		"crossed":            {xml: "<R><Key>a</R></Key>", wantErr: true},
		"two roots":          {xml: "<R/><R/>", wantErr: true},
		"nothing":            {xml: "", wantErr: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := parseDocument([]byte(tt.xml))
			if (err != nil) != tt.wantErr {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, d.text("Key")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEscapedTextComesBack(t *testing.T) {
	for _, s := range []string{"plain", "<&>\"'", "\x01\r\n\t", "é\U0010FFFF", "a&amp;b"} {
		if got := unescape([]byte(escape(s))); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
		for _, url := range []bool{false, true} {
			if got := decodeKey(unescape([]byte(encodeKey(s, url))), url); got != s {
				t.Errorf("%q came back as %q, url-encoded %v", s, got, url)
			}
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("<R a='>'><Key>&#x1;</Key><B/></R>"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if d, err := parseDocument(b); err == nil {
			for _, e := range d.children {
				_ = unescape(b[e.from:e.to])
			}
		}
	})
}
