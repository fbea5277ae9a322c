package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// ErrorClass is what to do about an error.
type ErrorClass string

const (
	// None: no error.
	None ErrorClass = ""
	// Retryable: a broken connection, a timeout, a 5xx, a body that arrived
	// damaged. The store may have carried the request out.
	Retryable ErrorClass = "Retryable"
	// Throttled: the store asks for fewer requests; retry later.
	Throttled ErrorClass = "Throttled"
	// NotFound: no such bucket, key, version, upload or configuration.
	NotFound ErrorClass = "NotFound"
	// Precondition: If-Match and the like did not hold, or a concurrent
	// conditional write got in the way.
	Precondition ErrorClass = "Precondition"
	// Unsupported: the store does not know the operation or a part of it.
	Unsupported ErrorClass = "Unsupported"
	// Denied: the keys are wrong or lack the right.
	Denied ErrorClass = "Denied"
	// Canceled: the caller's own context was canceled.
	Canceled ErrorClass = "Canceled"
	// Fatal: anything else; trying again will not help.
	Fatal ErrorClass = "Fatal"
)

// ErrNoListing: a listing was answered with success, but by something that is
// none: an error page of a gateway with status 200, or nothing. The SDK takes that
// for an empty one.
var ErrNoListing = errors.New("the answer is not a listing: is something else than the store at its endpoint?")

// classOfCode holds codes whose status alone would mislead.
var classOfCode = map[string]ErrorClass{
	"SlowDown":                   Throttled,
	"SlowDownRead":               Throttled,
	"SlowDownWrite":              Throttled,
	"Throttling":                 Throttled,
	"ThrottlingException":        Throttled,
	"RequestThrottled":           Throttled,
	"RequestLimitExceeded":       Throttled,
	"BandwidthLimitExceeded":     Throttled,
	"TooManyRequests":            Throttled,
	"RequestTimeout":             Retryable,
	"InternalError":              Retryable,
	"OperationAborted":           Retryable,
	"IncompleteBody":             Retryable,
	"BadDigest":                  Retryable,
	"XAmzContentSHA256Mismatch":  Retryable,
	"PreconditionFailed":         Precondition,
	"ConditionalRequestConflict": Precondition,
	"NotImplemented":             Unsupported,
	"XNotImplemented":            Unsupported,
	"MethodNotAllowed":           Unsupported,
	"InvalidAccessKeyId":         Denied,
	"SignatureDoesNotMatch":      Denied,
	"AccessDenied":               Denied,
	"ExpiredToken":               Denied,
	"InvalidToken":               Denied,
	"RequestTimeTooSkewed":       Denied,
}

// Classify says what to do about err, which may come from [Client], from an
// http.Client, from a body's Read or be an [*Error].
func Classify(err error) ErrorClass {
	if err == nil {
		return None
	}
	code, status := ErrorCode(err)
	if class, ok := classOfCode[code]; ok {
		return class
	}
	switch {
	case status == http.StatusNotModified, status == http.StatusPreconditionFailed:
		return Precondition
	case status == http.StatusNotFound, strings.HasPrefix(code, "NoSuch"), strings.HasSuffix(code, "NotFound"), strings.HasSuffix(code, "NotFoundError"):
		return NotFound
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Denied
	case status == http.StatusNotImplemented, status == http.StatusMethodNotAllowed:
		return Unsupported
	case status == http.StatusRequestTimeout, status >= 500:
		return Retryable
	case status >= 300:
		return Fatal
	}
	return classifyTransport(err)
}

// classifyTransport is for errors without a response, or in the middle of one.
func classifyTransport(err error) ErrorClass {
	var (
		certificate *tls.CertificateVerificationError
		timeout     net.Error
		network     *net.OpError
		request     *url.Error
	)
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.As(err, &certificate):
		return Fatal
	case errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed),
		errors.As(err, &network), errors.As(err, &request),
		errors.As(err, &timeout) && timeout.Timeout():
		return Retryable
	}
	// The SDK's wrapper for "the request could not be sent".
	var send interface{ ConnectionError() bool }
	if errors.As(err, &send) && send.ConnectionError() {
		return Retryable
	}
	return Fatal
}

// ErrorCode returns the S3 error code in err ("" if there is none) and the
// HTTP status (0 if there was no response).
func ErrorCode(err error) (code string, status int) {
	var own *Error
	if errors.As(err, &own) {
		return own.Code, own.Status
	}
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		code = coded.ErrorCode()
	}
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) {
		status = answered.HTTPStatusCode()
	}
	return code, status
}
