package s3

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// maxErrorBody bounds what is read of an error response, in bytes.
const maxErrorBody = 64 << 10

// Error is an S3 error: one that is sent to a client, or one that a store sent.
type Error struct {
	Code    string
	Message string
	// Status is the HTTP status.
	Status int
	// Resource and RequestID are filled in by [WriteError] when empty.
	Resource  string
	RequestID string
	// Details are further elements of the XML body.
	Details []Detail
}

// Detail is one further element of an error's body.
type Detail struct{ Name, Value string }

// Error returns code and message.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// Is reports whether target is an Error with the same code, so that
// errors.Is(err, ErrNoSuchKey) works whatever the message.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With returns a copy of e with another message (empty: the same) and further details.
func (e *Error) With(message string, details ...Detail) *Error {
	c := *e
	if message != "" {
		c.Message = message
	}
	c.Details = append(c.Details[:len(c.Details):len(c.Details)], details...)
	return &c
}

// ErrorCode returns the code, for errors seen through an interface.
func (e *Error) ErrorCode() string { return e.Code }

// MarshalXML writes the body that S3 sends.
func (e *Error) MarshalXML(enc *xml.Encoder, _ xml.StartElement) error {
	start := xml.StartElement{Name: xml.Name{Local: "Error"}}
	if err := enc.EncodeToken(start); err != nil {
		return err
	}
	fields := append([]Detail{{"Code", e.Code}, {"Message", e.Message}}, e.Details...)
	fields = append(fields, Detail{"Resource", e.Resource}, Detail{"RequestId", e.RequestID})
	for _, f := range fields {
		if err := enc.EncodeElement(f.Value, xml.StartElement{Name: xml.Name{Local: f.Name}}); err != nil {
			return err
		}
	}
	return enc.EncodeToken(start.End())
}

// WriteError answers r with err: an [*Error] as it is, anything else as
// InternalError, whose cause is not told. HEAD and bodyless statuses get no
// body. An x-amz-request-id already set on w is used, else one is made.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	var known *Error
	switch {
	case errors.As(err, &known):
	case errors.Is(err, ErrAnonymous):
		known = ErrAccessDenied
	default:
		known = ErrInternalError
	}
	e := *known
	if e.Status == 0 {
		e.Status = http.StatusInternalServerError
	}
	h := w.Header()
	if e.RequestID == "" {
		e.RequestID = h.Get("X-Amz-Request-Id")
	}
	if e.RequestID == "" {
		e.RequestID = NewRequestID()
	}
	if e.Resource == "" {
		e.Resource = r.URL.EscapedPath()
	}
	h.Set("X-Amz-Request-Id", e.RequestID)
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified", "Content-Range"} {
		h.Del(name)
	}
	if r.Method == http.MethodHead || e.Status == http.StatusNotModified || e.Status == http.StatusNoContent {
		h.Del("Content-Length")
		w.WriteHeader(e.Status)
		return
	}
	var body bytes.Buffer
	body.WriteString(xml.Header)
	if encErr := xml.NewEncoder(&body).Encode(&e); encErr != nil {
		body.Reset()
	}
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body.Bytes())
}

// NewRequestID returns a random id in the form that S3 uses.
func NewRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, hex.EncodedLen(len(b)))
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

// ParseError reads the error of a response with a status of 300 or more. It
// reads a bounded part of the body and does not close it. A response without an
// S3 error body gets the code that its status stands for.
func ParseError(resp *http.Response) *Error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Amz-Request-Id")}
	if resp.Body != nil {
		parseErrorBody(e, io.LimitReader(resp.Body, maxErrorBody))
	}
	if e.Code == "" {
		e.Code = codeOfStatus(resp.StatusCode)
		e.Message = http.StatusText(resp.StatusCode)
	}
	return e
}

// parseErrorBody fills e from an Error element; other bodies leave it as it is.
func parseErrorBody(e *Error, body io.Reader) {
	dec := xml.NewDecoder(body)
	depth := 0
	for {
		token, err := dec.Token()
		if err != nil {
			return
		}
		switch t := token.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			switch {
			case depth == 0 && t.Name.Local == "Error", depth == 0 && t.Name.Local == "ErrorResponse", depth == 1 && t.Name.Local == "Error":
				depth++
				continue
			case depth == 0:
				return
			}
			var value string
			if dec.DecodeElement(&value, &t) != nil {
				return
			}
			e.set(t.Name.Local, value)
		}
	}
}

func (e *Error) set(name, value string) {
	switch name {
	case "Code":
		e.Code = value
	case "Message":
		e.Message = value
	case "Resource":
		e.Resource = value
	case "RequestId", "RequestID":
		e.RequestID = value
	default:
		e.Details = append(e.Details, Detail{name, value})
	}
}

func codeOfStatus(status int) string {
	switch status {
	case http.StatusNotModified:
		return ErrNotModified.Code
	case http.StatusBadRequest:
		return "BadRequest"
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrAccessDenied.Code
	case http.StatusNotFound:
		return ErrNotFound.Code
	case http.StatusMethodNotAllowed:
		return ErrMethodNotAllowed.Code
	case http.StatusConflict:
		return ErrOperationAborted.Code
	case http.StatusPreconditionFailed:
		return ErrPreconditionFailed.Code
	case http.StatusRequestedRangeNotSatisfiable:
		return ErrInvalidRange.Code
	case http.StatusTooManyRequests:
		return "TooManyRequests"
	case http.StatusNotImplemented:
		return ErrNotImplemented.Code
	case http.StatusServiceUnavailable:
		return ErrServiceUnavailable.Code
	}
	if status >= 500 {
		return ErrInternalError.Code
	}
	return "HTTP" + strconv.Itoa(status)
}
