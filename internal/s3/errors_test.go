package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestWriteErrorIsWhatParseErrorReads(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/photos/a%20b?x=y", nil)
	WriteError(w, r, fmt.Errorf("wrapped: %w", ErrNoSuchKey.With("", Detail{"Key", "a <b>"})))
	resp := w.Result()
	got := ParseError(resp)
	if !errors.Is(got, ErrNoSuchKey) || got.Status != 404 || got.Message != ErrNoSuchKey.Message || got.Resource != "/photos/a%20b" {
		t.Errorf("got %+v", got)
	}
	if got.RequestID == "" || got.RequestID != resp.Header.Get("X-Amz-Request-Id") {
		t.Errorf("request id %q, header %q", got.RequestID, resp.Header.Get("X-Amz-Request-Id"))
	}
	if len(got.Details) != 1 || got.Details[0] != (Detail{"Key", "a <b>"}) {
		t.Errorf("details %v", got.Details)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/xml" {
		t.Errorf("Content-Type %q", ct)
	}
	if len(ErrNoSuchKey.Details) != 0 || ErrNoSuchKey.Resource != "" {
		t.Error("the catalogue was changed")
	}
}

func TestWriteErrorTellsNoCause(t *testing.T) {
	w := httptest.NewRecorder()
	WriteError(w, httptest.NewRequest("GET", "/", nil), errors.New("dial redis:6379: refused"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "redis") || !strings.Contains(w.Body.String(), "<Code>InternalError</Code>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWriteErrorWithoutBody(t *testing.T) {
	for name, tt := range map[string]struct {
		method string
		err    error
		want   int
	}{
		"head":         {"HEAD", ErrNoSuchKey, 404},
		"not modified": {"GET", ErrNotModified, 304},
		"anonymous":    {"HEAD", ErrAnonymous, 403},
	} {
		w := httptest.NewRecorder()
		WriteError(w, httptest.NewRequest(tt.method, "/b/k", nil), tt.err)
		if w.Code != tt.want || w.Body.Len() != 0 {
			t.Errorf("%s: %d, body %q", name, w.Code, w.Body)
		}
	}
}

// Keys may hold what XML can't: the answer must stay well-formed.
func TestWriteErrorIsWellFormed(t *testing.T) {
	w := httptest.NewRecorder()
	WriteError(w, httptest.NewRequest("GET", "/b/k", nil), ErrInvalidArgument.With("bad \x00\xff <value>"))
	if err := xml.Unmarshal(w.Body.Bytes(), new(struct{})); err != nil {
		t.Errorf("%v in %q", err, w.Body)
	}
}

func TestParseErrorOfOtherBodies(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		want   error
	}{
		"no body, not found": {404, "", ErrNotFound},
		"no body, forbidden": {403, "", ErrAccessDenied},
		"no body, 412":       {412, "", ErrPreconditionFailed},
		"page of a balancer": {503, "<html><body>busy</body></html>", ErrServiceUnavailable},
		"cut":                {400, "<Error><Code>BadDigest</Code><Mess", ErrBadDigest},
		"IAM's form":         {403, "<ErrorResponse><Error><Code>InvalidAccessKeyId</Code></Error></ErrorResponse>", ErrInvalidAccessKeyID},
		"with a namespace":   {404, `<?xml version="1.0"?><Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>NoSuchUpload</Code></Error>`, ErrNoSuchUpload},
		"endless":            {500, "<Error><Message>" + strings.Repeat("x", 1<<20), ErrInternalError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			resp := &http.Response{StatusCode: tt.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(tt.body))}
			if got := ParseError(resp); !errors.Is(got, tt.want) || got.Status != tt.status {
				t.Errorf("got %v (%d), want %v", got, got.Status, tt.want)
			}
		})
	}
}

func sdkError(status int, code string) error {
	return &smithy.OperationError{ServiceID: "S3", OperationName: "PutObject", Err: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code},
	}}
}

func TestClassify(t *testing.T) {
	tests := map[string]struct {
		err  error
		want ErrorClass
	}{
		"none":                   {nil, None},
		"no such key":            {sdkError(404, "NoSuchKey"), NotFound},
		"head, no body":          {sdkError(404, "NotFound"), NotFound},
		"no lifecycle":           {sdkError(404, "NoSuchLifecycleConfiguration"), NotFound},
		"no lock":                {sdkError(404, "ObjectLockConfigurationNotFoundError"), NotFound},
		"412":                    {sdkError(412, "PreconditionFailed"), Precondition},
		"concurrent conditional": {sdkError(409, "ConditionalRequestConflict"), Precondition},
		"concurrent operation":   {sdkError(409, "OperationAborted"), Retryable},
		"bucket not empty":       {sdkError(409, "BucketNotEmpty"), Fatal},
		"slow down":              {sdkError(503, "SlowDown"), Throttled},
		"429":                    {sdkError(429, ""), Throttled},
		"unavailable":            {sdkError(503, "ServiceUnavailable"), Retryable},
		"500":                    {sdkError(500, "InternalError"), Retryable},
		"bad gateway":            {sdkError(502, ""), Retryable},
		"not implemented":        {sdkError(501, "NotImplemented"), Unsupported},
		"not allowed":            {sdkError(405, "MethodNotAllowed"), Unsupported},
		"denied":                 {sdkError(403, "AccessDenied"), Denied},
		"forbidden, no body":     {sdkError(403, "Forbidden"), Denied},
		"wrong keys":             {sdkError(403, "SignatureDoesNotMatch"), Denied},
		"token expired":          {sdkError(400, "ExpiredToken"), Denied},
		"damaged on the way":     {sdkError(400, "BadDigest"), Retryable},
		"request timeout":        {sdkError(400, "RequestTimeout"), Retryable},
		"key too long":           {sdkError(400, "KeyTooLongError"), Fatal},
		"another region":         {sdkError(301, "PermanentRedirect"), Fatal},
		"own error":              {fmt.Errorf("put: %w", ErrSlowDown), Throttled},
		"own 404":                {ErrNoSuchUpload, NotFound},
		"canceled":               {fmt.Errorf("put: %w", context.Canceled), Canceled},
		"deadline":               {context.DeadlineExceeded, Retryable},
		"refused":                {&url.Error{Op: "Get", Err: &net.OpError{Err: syscall.ECONNREFUSED}}, Retryable},
		"reset":                  {syscall.ECONNRESET, Retryable},
		"cut body":               {io.ErrUnexpectedEOF, Retryable},
		"name not found":         {&net.OpError{Err: &net.DNSError{IsNotFound: true}}, Retryable},
		"could not be sent":      {&smithyhttp.RequestSendError{Err: errors.New("x")}, Retryable},
		"programming error":      {errors.New("validation"), Fatal},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Classify(tt.err); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
