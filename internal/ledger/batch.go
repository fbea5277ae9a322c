package ledger

import (
	"encoding/binary"
	"errors"
)

// Batches are stored as length-prefixed bytes: keys need not be UTF-8.

var errBadBatch = errors.New("batch is damaged")

func encodeItems(items []BatchItem) string {
	var b []byte
	for _, it := range items {
		b = binary.AppendUvarint(b, uint64(len(it.Key)))
		b = append(b, it.Key...)
		b = binary.AppendVarint(b, it.Size)
		b = binary.AppendUvarint(b, uint64(len(it.ETag)))
		b = append(b, it.ETag...)
	}
	return string(b)
}

func decodeItems(s string) ([]BatchItem, error) {
	b := []byte(s)
	text := func() (string, bool) {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return "", false
		}
		t := string(b[w : w+int(n)])
		b = b[w+int(n):]
		return t, true
	}
	var out []BatchItem
	for len(b) > 0 {
		var it BatchItem
		var ok bool
		if it.Key, ok = text(); !ok {
			return nil, errBadBatch
		}
		size, w := binary.Varint(b)
		if w <= 0 {
			return nil, errBadBatch
		}
		it.Size, b = size, b[w:]
		if it.ETag, ok = text(); !ok {
			return nil, errBadBatch
		}
		out = append(out, it)
	}
	return out, nil
}
