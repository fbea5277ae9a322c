package s3

import (
	"net/url"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// unreserved are the bytes that Signature Version 4 leaves as they are.
var unreserved = func() (t [256]bool) {
	for c := range 256 {
		b := byte(c)
		t[c] = 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
			b == '-' || b == '.' || b == '_' || b == '~'
	}
	return t
}()

// appendEscaped appends s as AWS's UriEncode writes it.
func appendEscaped(dst []byte, s string, keepSlash bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved[c] || keepSlash && c == '/' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// EscapeKey percent-encodes a key for a path: every byte but unreserved ones
// and the slash, which is the form that all signature checks agree on.
func EscapeKey(key string) string { return escape(key, true) }

func escape(s string, keepSlash bool) string {
	for i := 0; i < len(s); i++ {
		if !unreserved[s[i]] && (!keepSlash || s[i] != '/') {
			return string(appendEscaped(make([]byte, 0, len(s)+len(s)/2+8), s, keepSlash))
		}
	}
	return s
}

// param is one query parameter, decoded. bare: it was sent without "=".
type param struct {
	name, value string
	bare        bool
}

// parseQuery splits a raw query in order, duplicates kept. Unlike url.ParseQuery
// it takes a semicolon as what it is in S3: part of a value.
func parseQuery(raw string) ([]param, error) {
	if raw == "" {
		return nil, nil
	}
	params := make([]param, 0, strings.Count(raw, "&")+1)
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, found := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, ErrInvalidURI
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, ErrInvalidURI
		}
		params = append(params, param{name: name, value: value, bare: !found})
	}
	return params, nil
}

func encodeQuery(params []param) string {
	var b []byte
	for i, p := range params {
		if i > 0 {
			b = append(b, '&')
		}
		b = appendEscaped(b, p.name, false)
		if !p.bare {
			b = appendEscaped(append(b, '='), p.value, false)
		}
	}
	return string(b)
}

func queryValue(params []param, name string) (value string, count int) {
	for _, p := range params {
		if p.name == name {
			if count == 0 {
				value = p.value
			}
			count++
		}
	}
	return value, count
}
