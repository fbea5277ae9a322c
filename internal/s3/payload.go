package s3

import "strings"

// PayloadMode is how a request's body is protected (x-amz-content-sha256).
type PayloadMode int

const (
	// PayloadUnsigned: UNSIGNED-PAYLOAD; the body is plain.
	PayloadUnsigned PayloadMode = iota
	// PayloadSigned: the exact SHA-256 of the plain body is signed.
	PayloadSigned
	// PayloadChunked: STREAMING-AWS4-HMAC-SHA256-PAYLOAD.
	PayloadChunked
	// PayloadChunkedTrailer: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER.
	PayloadChunkedTrailer
	// PayloadUnsignedTrailer: STREAMING-UNSIGNED-PAYLOAD-TRAILER.
	PayloadUnsignedTrailer
)

// Values of x-amz-content-sha256 other than a hash.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingPayload         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingPayloadTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	// EmptyPayload is the hash of an empty body.
	EmptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Framed reports whether the body is in chunks that [DecodeBody] takes apart.
func (m PayloadMode) Framed() bool { return m >= PayloadChunked }

// HasTrailer reports whether headers follow the body.
func (m PayloadMode) HasTrailer() bool {
	return m == PayloadChunkedTrailer || m == PayloadUnsignedTrailer
}

func (m PayloadMode) signedChunks() bool { return m == PayloadChunked || m == PayloadChunkedTrailer }

func parsePayloadMode(value string) (PayloadMode, error) {
	switch value {
	case UnsignedPayload, "":
		return PayloadUnsigned, nil
	case StreamingPayload:
		return PayloadChunked, nil
	case StreamingPayloadTrailer:
		return PayloadChunkedTrailer, nil
	case StreamingUnsignedTrailer:
		return PayloadUnsignedTrailer, nil
	}
	if strings.HasPrefix(value, "STREAMING-AWS4-ECDSA-") {
		return 0, errOldSignature
	}
	if len(value) == hexHashSize && strings.Trim(value, "0123456789abcdefABCDEF") == "" {
		return PayloadSigned, nil
	}
	return 0, ErrInvalidArgument.With("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
		Detail{"ArgumentName", "x-amz-content-sha256"}, Detail{"ArgumentValue", value})
}
