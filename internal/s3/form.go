package s3

import (
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

const (
	// maxFormFields bounds what comes before the file, in bytes.
	maxFormFields = 20 << 10
	// maxFormParts bounds the number of fields.
	maxFormParts = 256
)

// Form is an upload by HTML form (POST Object).
type Form struct {
	// Fields by lower-case name, without the file; of two the first counts.
	Fields map[string]string
	// FileName is the name that the browser gave the file.
	FileName string
	// File is the content. What follows it in the form does not count.
	File io.Reader

	names map[string]string // as sent
}

var (
	errBadForm = ErrMalformedPOSTRequest
	errNoFile  = ErrInvalidArgument.With("POST requires exactly one file upload per request.", Detail{"ArgumentName", "file"})
	errNoKey   = ErrInvalidArgument.With("Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.", Detail{"ArgumentName", "key"})
)

// ReadForm reads a form up to its file. Errors are of type [*Error], or those of
// the connection.
func ReadForm(r *http.Request) (*Form, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, errBadForm
	}
	f := &Form{Fields: map[string]string{}, names: map[string]string{}}
	parts := multipart.NewReader(r.Body, params["boundary"])
	left := int64(maxFormFields)
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil, errNoFile
		case err != nil:
			return nil, formError(err)
		case n == maxFormParts:
			return nil, ErrMaxPostPreDataLengthExceeded
		}
		name := part.FormName()
		field := strings.ToLower(name)
		if field == "file" {
			f.FileName, f.File = part.FileName(), formFile{part}
			return f, f.setKey()
		}
		value, err := io.ReadAll(io.LimitReader(part, left+1))
		if err != nil {
			return nil, formError(err)
		}
		if left -= int64(len(value) + len(name)); left < 0 {
			return nil, ErrMaxPostPreDataLengthExceeded
		}
		if _, again := f.Fields[field]; !again && field != "" {
			f.Fields[field], f.names[field] = string(value), name
		}
	}
}

// setKey puts the file's name into the key.
func (f *Form) setKey() error {
	if f.Fields["key"] == "" {
		return errNoKey
	}
	f.Fields["key"] = strings.ReplaceAll(f.Fields["key"], "${filename}", f.FileName)
	if f.Fields["key"] == "" {
		return ErrInvalidArgument.With("User key must have a length greater than 0.", Detail{"ArgumentName", "key"})
	}
	return nil
}

// formError is the client's fault unless the connection broke.
func formError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return ErrIncompleteBody
	}
	var network interface{ Timeout() bool }
	if errors.As(err, &network) {
		return err
	}
	return errBadForm
}

// formFile tells a form that ends early from a file that ends.
type formFile struct{ part *multipart.Part }

func (f formFile) Read(p []byte) (int, error) {
	n, err := f.part.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = formError(err)
	}
	return n, err
}

// notHeaders are fields that begin like a header and are none.
var notHeaders = set("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token", "x-amz-content-sha256",
	"x-amz-decoded-content-length", "x-amz-trailer")

// Header returns the header of the PUT that stores the same object.
func (f *Form) Header() (http.Header, error) {
	h := http.Header{}
	for field, value := range f.Fields {
		name := ""
		switch {
		case field == "content-type" && value == "":
			// None, so that the store gives its default; an empty one some would keep.
		case field == "acl":
			name = "X-Amz-Acl"
		case field == "tagging":
			tags, err := formTags(value)
			if err != nil {
				return nil, err
			}
			h["X-Amz-Tagging"] = []string{tags}
		case field == "content-type", field == "content-encoding", field == "content-disposition", field == "content-language",
			field == "cache-control", field == "expires",
			strings.HasPrefix(field, "x-amz-") && !notHeaders[field] && !strings.HasPrefix(field, "x-amz-copy-"):
			name = textproto.CanonicalMIMEHeaderKey(field)
		}
		if name == "" {
			continue
		}
		if !validHeader(field, value) {
			return nil, ErrInvalidArgument.With("Invalid value of a form field.", Detail{"ArgumentName", f.names[field]})
		}
		h[name] = []string{value}
	}
	return h, nil
}

// formTags turns the XML of the tagging field into the value of x-amz-tagging.
func formTags(value string) (string, error) {
	var t struct {
		TagSet struct {
			Tag []struct{ Key, Value string }
		}
	}
	if xml.Unmarshal([]byte(value), &t) != nil {
		return "", ErrMalformedXML
	}
	tags := url.Values{}
	for _, tag := range t.TagSet.Tag {
		tags.Add(tag.Key, tag.Value)
	}
	return tags.Encode(), nil
}
