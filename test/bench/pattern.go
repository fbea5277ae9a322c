package main

import (
	"bytes"
	"math/rand/v2"
)

// block is what every body consists of, over and over: bodies are known by
// their length, so that nobody has to keep or make large ones.
var block = func() []byte {
	b := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

// at returns the part of a body that begins at an offset, at most n bytes.
func at(off, n int64) []byte {
	from := off % int64(len(block))
	return block[from:min(from+n, int64(len(block)))]
}

// follows reports whether p is what a body holds at an offset.
func follows(p []byte, off int64) bool {
	for len(p) > 0 {
		want := at(off, int64(len(p)))
		if !bytes.Equal(p[:len(want)], want) {
			return false
		}
		p, off = p[len(want):], off+int64(len(want))
	}
	return true
}
