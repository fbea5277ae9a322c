package proxy

import (
	"bytes"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// S3's answers are read with a scanner of our own: it keeps every byte that is
// not replaced, and takes the control characters that stores put into keys,
// which encoding/xml refuses.

var errXML = errors.New("malformed XML")

// element is one XML element, as ranges of the bytes that it was found in.
type element struct {
	name       string // without namespace prefix
	start, end int    // the whole element
	from, to   int    // what is between its tags; from == to if it is empty
}

// elements returns the elements at the top level of b.
func elements(b []byte) ([]element, error) {
	var out []element
	var cur element
	depth := 0
	for i := 0; ; {
		j := bytes.IndexByte(b[i:], '<')
		if j < 0 {
			break
		}
		i += j
		if skip := skipMarkup(b[i:]); skip != 0 {
			if skip < 0 {
				return nil, errXML
			}
			i += skip
			continue
		}
		n := tagLength(b[i:])
		if n < 3 {
			return nil, errXML
		}
		tag := b[i : i+n]
		switch {
		case tag[1] == '/':
			if depth--; depth < 0 {
				return nil, errXML
			}
			if depth == 0 {
				if tagName(tag[2:]) != cur.name {
					return nil, errXML
				}
				cur.to, cur.end = i, i+n
				out = append(out, cur)
			}
		case tag[n-2] == '/':
			if depth == 0 {
				out = append(out, element{name: tagName(tag[1:]), start: i, end: i + n, from: i + n, to: i + n})
			}
		default:
			if depth == 0 {
				cur = element{name: tagName(tag[1:]), start: i, from: i + n}
			}
			depth++
		}
		i += n
	}
	if depth != 0 {
		return nil, errXML
	}
	return out, nil
}

// skipMarkup returns the length of a declaration, comment or CDATA section that
// b begins with, 0 if there is none, -1 if it does not end.
func skipMarkup(b []byte) int {
	for _, m := range [][2]string{{"<?", "?>"}, {"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<!", ">"}} {
		if bytes.HasPrefix(b, []byte(m[0])) {
			end := bytes.Index(b, []byte(m[1]))
			if end < 0 {
				return -1
			}
			return end + len(m[1])
		}
	}
	return 0
}

// tagLength returns the length of the tag that b begins with; quoted '>' don't end it.
func tagLength(b []byte) int {
	quote := byte(0)
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return 0
}

func tagName(b []byte) string {
	if i := bytes.IndexAny(b, " \t\r\n/>"); i >= 0 {
		b = b[:i]
	}
	if i := bytes.IndexByte(b, ':'); i >= 0 {
		b = b[i+1:]
	}
	return string(b)
}

// document is an XML document with one root.
type document struct {
	raw      []byte
	root     element
	children []element // of the root, with ranges of raw
}

func parseDocument(raw []byte) (document, error) {
	top, err := elements(raw)
	if err != nil {
		return document{}, err
	}
	if len(top) != 1 {
		return document{}, errXML
	}
	d := document{raw: raw, root: top[0]}
	d.children, err = below(raw, d.root)
	return d, err
}

// below returns the elements in e, with ranges of raw.
func below(raw []byte, e element) ([]element, error) {
	list, err := elements(raw[e.from:e.to])
	for i := range list {
		list[i].start += e.from
		list[i].end += e.from
		list[i].from += e.from
		list[i].to += e.from
	}
	return list, err
}

// text returns the text of the first element of a name.
func text(raw []byte, list []element, name string) (string, bool) {
	for _, e := range list {
		if e.name == name {
			return unescape(raw[e.from:e.to]), true
		}
	}
	return "", false
}

func (d document) text(name string) string {
	s, _ := text(d.raw, d.children, name)
	return s
}

var entities = map[string]rune{"lt": '<', "gt": '>', "amp": '&', "quot": '"', "apos": '\''}

// unescape returns the text that XML character data stands for.
func unescape(b []byte) string {
	if rest, ok := bytes.CutPrefix(b, []byte("<![CDATA[")); ok {
		return string(bytes.TrimSuffix(rest, []byte("]]>")))
	}
	s := string(b)
	if !strings.Contains(s, "&") {
		return s
	}
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "&")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		name, after, ok := strings.Cut(rest, ";")
		r, known := entities[name]
		if !known && ok && strings.HasPrefix(name, "#") {
			digits, base := name[1:], 10
			if hex := strings.TrimLeft(digits, "xX"); hex != digits {
				digits, base = hex, 16
			}
			if n, err := strconv.ParseUint(digits, base, 21); err == nil {
				r, known = rune(n), true
			}
		}
		if !known {
			out.WriteByte('&')
			s = rest
			continue
		}
		out.WriteRune(r)
		s = after
	}
}

// escape writes text as XML character data, control characters as S3 does.
func escape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '&':
			out.WriteString("&amp;")
		case r == '<':
			out.WriteString("&lt;")
		case r == '>':
			out.WriteString("&gt;")
		case r == '"':
			out.WriteString("&quot;")
		case r < ' ' && r != '\n' && r != '\t':
			out.WriteString("&#x" + strconv.FormatInt(int64(r), 16) + ";")
		default:
			out.WriteString(s[i : i+n])
		}
		i += n
	}
	return out.String()
}

// decodeKey returns the key that a listing shows, honouring encoding-type=url.
func decodeKey(s string, urlEncoded bool) string {
	if !urlEncoded {
		return s
	}
	if k, err := url.QueryUnescape(s); err == nil {
		return k
	}
	return s
}

// encodeKey is the inverse of decodeKey, escaped for XML.
func encodeKey(key string, urlEncoded bool) string {
	if !urlEncoded {
		return escape(key)
	}
	return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
}

// edit replaces a range of bytes.
type edit struct {
	from, to int
	with     string
}

// splice applies edits, which are in order and don't overlap.
func splice(b []byte, edits []edit) []byte {
	var out bytes.Buffer
	out.Grow(len(b) + 256)
	at := 0
	for _, e := range edits {
		out.Write(b[at:e.from])
		out.WriteString(e.with)
		at = e.to
	}
	out.Write(b[at:])
	return out.Bytes()
}
