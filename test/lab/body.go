package lab

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Body returns the content that write number seq of key has: a line that names
// both, then noise, cut to size. Equal arguments give equal bytes.
func Body(key string, seq int, size int64) []byte {
	b := make([]byte, size)
	n := copy(b, fmt.Sprintf("seq=%d key=%q\n", seq, key))
	seed := sha256.Sum256(fmt.Appendf(nil, "%d/%s", seq, key))
	r := rand.NewChaCha8(seed)
	_, _ = r.Read(b[n:]) // never fails
	return b
}

// BodyName reads the key and number back from the start of a body.
func BodyName(head []byte) (key string, seq int, ok bool) {
	line, _, found := strings.Cut(string(head), "\n")
	if !found {
		return "", 0, false
	}
	num, quoted, found := strings.Cut(strings.TrimPrefix(line, "seq="), " key=")
	if !found {
		return "", 0, false
	}
	seq, err := strconv.Atoi(num)
	if err != nil {
		return "", 0, false
	}
	key, err = strconv.Unquote(quoted)
	return key, seq, err == nil
}

// ETag returns the ETag that S3 gives a body: of one piece for a partSize of
// 0, else of a multipart upload with parts of that size.
func ETag(body []byte, partSize int64) string {
	if partSize <= 0 {
		sum := md5.Sum(body)
		return hex.EncodeToString(sum[:])
	}
	all := md5.New()
	parts := 0
	for off := int64(0); off < int64(len(body)); off += partSize {
		sum := md5.Sum(body[off:min(off+partSize, int64(len(body)))])
		all.Write(sum[:])
		parts++
	}
	return fmt.Sprintf("%s-%d", hex.EncodeToString(all.Sum(nil)), parts)
}
