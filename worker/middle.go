package worker

import (
	"context"
	"unicode/utf8"
)

// above sorts after every character of a key that S3 allows.
const above = string(rune(utf8.MaxRune))

// middle finds a key that cuts (start, end] into two parts, both with keys in
// them, in about 15 requests; "" when there is none worth it. first returns
// the first key after a given one, "" for none. Nothing is known of how keys
// are spread, so it looks for the first character at which they differ, and
// cuts the characters found there in two.
func middle(ctx context.Context, start, end string, first func(context.Context, string) (string, error)) (string, error) {
	beyond := func(after string) (string, error) {
		k, err := first(ctx, after)
		if err != nil || end != "" && k > end {
			return "", err
		}
		return k, nil
	}
	// A key that is a prefix of all that follow says nothing; look a bit further.
	var here []rune
	at, lo := start, 0
	for range 4 {
		k, err := beyond(at)
		if err != nil || k == "" {
			return "", err
		}
		at, here = k, []rune(k)
		if lo, err = sharedPrefix(here, beyond); err != nil {
			return "", err
		}
		if lo < len(here) {
			break
		}
	}
	if lo == len(here) {
		return "", nil
	}
	prefix, low := string(here[:lo]), here[lo]
	// The last character in use after the prefix.
	top := rune('~')
	if k, err := beyond(prefix + string(top) + above); err != nil {
		return "", err
	} else if k != "" {
		top = 0xffff
	}
	last := low
	for l, h := low, top; l < h; {
		m := l + (h-l)/2
		k, err := beyond(prefix + char(m) + above)
		if err != nil {
			return "", err
		}
		if k == "" {
			h = m
		} else {
			l = m + 1
		}
		last = l
	}
	// The range ends at the last key of the lower half, so that the first key of
	// the upper half, whatever follows it, is the other range's.
	mid := prefix + char(low+(last-low-1)/2) + above
	k, err := beyond(mid)
	if err != nil || k == "" || mid <= start || end != "" && mid >= end {
		return "", err
	}
	return mid, nil
}

// sharedPrefix returns how many characters of a key all keys after it share:
// the keys beyond a prefix are the more the longer it is.
func sharedPrefix(key []rune, beyond func(string) (string, error)) (int, error) {
	lo, hi := 0, len(key)
	for lo < hi {
		n := (lo + hi + 1) / 2
		k, err := beyond(string(key[:n]) + above)
		if err != nil {
			return 0, err
		}
		if k == "" {
			lo = n
		} else {
			hi = n - 1
		}
	}
	return lo, nil
}

// char is a character as text; surrogates, which no key holds, round up.
func char(r rune) string {
	if r >= 0xd800 && r <= 0xdfff {
		r = 0xe000
	}
	return string(r)
}
