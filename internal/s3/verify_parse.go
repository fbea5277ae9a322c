package s3

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// auth is what a request says about its signature.
type auth struct {
	// v2: Signature Version 2, and nothing else is set.
	v2            bool
	presigned     bool
	form          bool
	credential    string
	accessKeyID   string
	date, region  string
	scope         string
	signedHeaders []string
	signature     string
	timestamp     string
	time          time.Time
	expires       time.Duration
	token         string
	payload       string
}

// malformed returns the error for a signature that can't be understood.
func (a *auth) malformed(why string) *Error {
	if a.presigned {
		return ErrAuthorizationQueryParametersError.With(why)
	}
	return ErrAuthorizationHeaderMalformed.With("The authorization header is malformed; " + why)
}

// parseAuth finds the signature in header or query. It returns ErrAnonymous if
// there is none.
func parseAuth(r *http.Request, query []param) (*auth, error) {
	for _, name := range onceOnly {
		if len(r.Header[name]) > 1 {
			return nil, ErrInvalidArgument.With(strings.ToLower(name)+" must be given once", Detail{"ArgumentName", strings.ToLower(name)})
		}
	}
	headers := r.Header["Authorization"]
	inQuery, v2 := false, false
	for _, p := range query {
		switch p.name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature":
			inQuery = true
		case "AWSAccessKeyId", "Signature":
			v2 = true
		}
	}
	switch {
	case len(headers) > 1, len(headers) == 1 && (inQuery || v2):
		return nil, ErrInvalidArgument.With("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case len(headers) == 1 && strings.HasPrefix(strings.TrimSpace(headers[0]), "AWS "), v2 && !inQuery:
		return &auth{v2: true}, nil
	case len(headers) == 1:
		return parseAuthHeader(r, headers[0])
	case inQuery:
		return parseAuthQuery(r, query)
	}
	return nil, ErrAnonymous
}

// onceOnly are headers of which two would be understood in two ways.
var onceOnly = []string{"X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token", "X-Amz-Decoded-Content-Length"}

var errOldSignature = ErrInvalidRequest.With("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")

func parseAuthHeader(r *http.Request, header string) (*auth, error) {
	scheme, rest, found := strings.Cut(strings.TrimSpace(header), " ")
	refused := []Detail{{"ArgumentName", "Authorization"}, {"ArgumentValue", scheme}}
	switch {
	case !found:
		return nil, ErrInvalidArgument.With("Authorization header is invalid -- one and only one ' ' (space) required.", refused...)
	case scheme == algorithm:
	case scheme == "AWS", strings.HasPrefix(scheme, "AWS4-"):
		return nil, errOldSignature
	default:
		return nil, ErrInvalidArgument.With("Unsupported Authorization Type", refused...)
	}
	a := &auth{}
	credential, signedHeaders, err := a.parseComponents(rest)
	if err != nil {
		return nil, err
	}
	if err := a.parseCredential(credential); err != nil {
		return nil, err
	}
	a.signedHeaders = strings.Split(signedHeaders, ";")
	if err := a.parseHeaderTime(r); err != nil {
		return nil, err
	}
	if a.timestamp[:len(dateFormat)] != a.date {
		return nil, a.malformed(fmt.Sprintf("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", a.date, a.timestamp[:len(dateFormat)]))
	}
	a.token = r.Header.Get("X-Amz-Security-Token")
	if a.payload = r.Header.Get("X-Amz-Content-Sha256"); a.payload == "" {
		return nil, ErrInvalidRequest.With("Missing required header for this request: x-amz-content-sha256")
	}
	return a, nil
}

// parseComponents takes apart what follows the algorithm.
func (a *auth) parseComponents(list string) (credential, signedHeaders string, err error) {
	fields := strings.Split(list, ",")
	if len(fields) != 3 {
		return "", "", a.malformed("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	values := map[string]string{}
	for _, field := range fields {
		field = strings.TrimSpace(field)
		name, value, found := strings.Cut(field, "=")
		if !found {
			return "", "", a.malformed(fmt.Sprintf("the authorization component %q is malformed.", field))
		}
		values[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if values[name] == "" {
			return "", "", a.malformed("missing " + name + ".")
		}
	}
	a.signature = values["Signature"]
	return values["Credential"], values["SignedHeaders"], nil
}

// parseCredential reads accessKeyID/date/region/s3/aws4_request.
func (a *auth) parseCredential(credential string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" {
		return a.badCredential(credential, `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`)
	}
	a.credential, a.accessKeyID, a.date, a.region = credential, parts[0], parts[1], parts[2]
	a.scope = credential[len(parts[0])+1:]
	if parts[3] != service {
		return a.badCredential(credential, fmt.Sprintf("incorrect service %q. This endpoint belongs to \"s3\".", parts[3]))
	}
	if parts[4] != terminator {
		return a.badCredential(credential, fmt.Sprintf("incorrect terminal %q. This endpoint uses \"aws4_request\".", parts[4]))
	}
	if _, err := time.Parse(dateFormat, a.date); err != nil {
		return a.badCredential(credential, fmt.Sprintf("incorrect date format %q. This date in the credential must be in the format \"yyyyMMdd\".", a.date))
	}
	return nil
}

// badCredential is malformed for the credential.
func (a *auth) badCredential(credential, why string) *Error {
	switch {
	case a.form:
		return ErrInvalidArgument.With(why, Detail{"ArgumentName", "x-amz-credential"}, Detail{"ArgumentValue", credential})
	case a.presigned:
		why = "Error parsing the X-Amz-Credential parameter; " + why
	}
	return a.malformed(why)
}

var errNoDate = ErrAccessDenied.With("AWS authentication requires a valid Date or x-amz-date header.")

func (a *auth) parseHeaderTime(r *http.Request) error {
	if value := r.Header.Get("X-Amz-Date"); value != "" {
		t, err := time.Parse(timeFormat, value)
		if err != nil {
			return errNoDate
		}
		a.time, a.timestamp = t, value
		return nil
	}
	value := r.Header.Get("Date")
	for _, layout := range []string{timeFormat, time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, value); err == nil {
			a.time = t
			a.timestamp, _ = formatTime(t)
			return nil
		}
	}
	return errNoDate
}

func parseAuthQuery(r *http.Request, query []param) (*auth, error) {
	a := &auth{presigned: true}
	values := make(map[string]string, 7)
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		value, count := queryValue(query, name)
		if count != 1 || value == "" {
			return nil, a.malformed("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
		}
		values[name] = value
	}
	if values["X-Amz-Algorithm"] != algorithm {
		if values["X-Amz-Algorithm"] == "AWS4-ECDSA-P256-SHA256" {
			return nil, a.malformed(`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"`)
		}
		return nil, a.malformed(`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"`)
	}
	if err := a.parseCredential(values["X-Amz-Credential"]); err != nil {
		return nil, err
	}
	t, err := time.Parse(timeFormat, values["X-Amz-Date"])
	if err != nil {
		return nil, a.malformed(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	a.time, a.timestamp = t, values["X-Amz-Date"]
	if a.timestamp[:len(dateFormat)] != a.date {
		return nil, a.malformed(fmt.Sprintf("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", a.date, a.timestamp[:len(dateFormat)]))
	}
	seconds, err := strconv.ParseInt(values["X-Amz-Expires"], 10, 64)
	switch {
	case err != nil:
		return nil, a.malformed("X-Amz-Expires should be a number")
	case seconds < 0:
		return nil, a.malformed("X-Amz-Expires must be non-negative")
	case seconds > int64(maxExpiry/time.Second):
		return nil, a.malformed("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	a.expires = time.Duration(seconds) * time.Second
	a.signedHeaders = strings.Split(values["X-Amz-SignedHeaders"], ";")
	a.signature = values["X-Amz-Signature"]

	for _, name := range []string{"X-Amz-Security-Token", "X-Amz-Content-Sha256"} {
		if _, n := queryValue(query, name); n > 1 {
			return nil, a.malformed("Query parameter " + name + " must be given once.")
		}
	}
	var tokens int
	if a.token, tokens = queryValue(query, "X-Amz-Security-Token"); tokens == 0 {
		a.token = r.Header.Get("X-Amz-Security-Token")
	}
	a.payload = UnsignedPayload
	if value := r.Header.Get("X-Amz-Content-Sha256"); value != "" {
		a.payload = value
	} else if value, n := queryValue(query, "X-Amz-Content-Sha256"); n == 1 {
		a.payload = value
	}
	return a, nil
}
