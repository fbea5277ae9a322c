package worker

import (
	"crypto/md5"
	"encoding/hex"
	"strconv"
	"strings"
)

const (
	mib         = int64(1) << 20
	minPartSize = 5 << 20
	maxPartSize = 5 << 30
	maxParts    = 10000
)

// partCount reads the number of parts off an ETag such as "…-12". It is 0 for
// an object that was written in one piece.
func partCount(etag string) int {
	etag = strings.Trim(etag, `"`)
	i := strings.LastIndexByte(etag, '-')
	if i < 0 {
		return 0
	}
	n, err := strconv.Atoi(etag[i+1:])
	if err != nil || n < 1 || n > maxParts {
		return 0
	}
	return n
}

// partSizes lists the part sizes that cut size bytes into exactly n parts, the
// likeliest first: what common clients use, then whole MiB, then the even cut.
func partSizes(size int64, n, limit int) []int64 {
	if n == 1 {
		return []int64{size}
	}
	var out []int64
	add := func(p int64) {
		if p < minPartSize || p > maxPartSize || len(out) == limit || (size+p-1)/p != int64(n) {
			return
		}
		for _, have := range out {
			if have == p {
				return
			}
		}
		out = append(out, p)
	}
	for _, m := range []int64{5, 8, 16, 32, 64, 100, 128, 250, 256, 512, 10, 15, 20, 24, 25, 50, 1024} {
		add(m * mib)
	}
	even := (size + int64(n) - 1) / int64(n)
	for m := (even + mib - 1) / mib; m <= (even+mib-1)/mib+int64(limit); m++ {
		add(m * mib)
	}
	add(even)
	return out
}

// joinedETag is the ETag that S3 gives to an object made of parts with these
// ETags, or "" when they are not MD5 sums.
func joinedETag(parts []string) string {
	h := md5.New()
	for _, p := range parts {
		sum, err := hex.DecodeString(strings.Trim(p, `"`))
		if err != nil || len(sum) != md5.Size {
			return ""
		}
		_, _ = h.Write(sum)
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}

func sameETag(a, b string) bool { return strings.Trim(a, `"`) == strings.Trim(b, `"`) }
