package worker

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// summedPart is the largest part that is held in memory to be summed where the
// source does not tell the checksums of its parts.
const summedPart = 16 * mib

// sumOf returns the checksum of a part; all nil for an algorithm that has no
// checksums by part.
func sumOf(algorithm types.ChecksumAlgorithm, content []byte) checksums {
	sum := func(h hash.Hash) *string {
		_, _ = h.Write(content)
		s := base64.StdEncoding.EncodeToString(h.Sum(nil))
		return &s
	}
	switch algorithm {
	case types.ChecksumAlgorithmCrc32:
		return checksums{crc32: sum(crc32.NewIEEE())}
	case types.ChecksumAlgorithmCrc32c:
		return checksums{crc32c: sum(crc32.New(crc32.MakeTable(crc32.Castagnoli)))}
	case types.ChecksumAlgorithmSha1:
		return checksums{sha1: sum(sha1.New())}
	case types.ChecksumAlgorithmSha256:
		return checksums{sha256: sum(sha256.New())}
	}
	return checksums{}
}
