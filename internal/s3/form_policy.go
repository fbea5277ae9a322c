package s3

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FormLimits are what the policy of a form says of the file's length, in bytes.
type FormLimits struct{ Min, Max int64 }

// maxFormFile is the largest file that S3 takes by form.
const maxFormFile = 5 << 30

// The fields that sign a form. One needs all the others.
var (
	formFieldsV4 = []string{"policy", "x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm"}
	formFieldsV2 = []string{"policy", "signature", "awsaccesskeyid"}
)

// VerifyForm checks the signature and the policy of a form that uploads to
// bucket. Like [Verifier.Verify] it returns [ErrAnonymous] for a form without
// credentials, else an [*Error].
func (v *Verifier) VerifyForm(f *Form, bucket string) (*Identity, FormLimits, error) {
	limits := FormLimits{Max: maxFormFile}
	_, v2 := f.Fields["signature"]
	needed := formFieldsV4
	if v2 {
		needed = formFieldsV2
	}
	missing := ""
	found := 0
	for _, field := range needed {
		if _, ok := f.Fields[field]; ok {
			found++
		} else if missing == "" {
			missing = field
		}
	}
	switch {
	case found == 0:
		return nil, limits, ErrAnonymous
	case missing != "":
		return nil, limits, ErrInvalidArgument.With("Bucket POST must contain a field named '"+missing+"'.  If it is specified, please check the order of the fields.",
			Detail{"ArgumentName", missing})
	}
	policy := f.Fields["policy"]
	id, err := v.verifyFormSignature(f, policy, !v2)
	if err != nil {
		return nil, limits, err
	}
	if err := checkPolicy(f, bucket, policy, v.now(), &limits); err != nil {
		return nil, limits, err
	}
	return id, limits, nil
}

func (v *Verifier) verifyFormSignature(f *Form, policy string, v4 bool) (*Identity, error) {
	a := &auth{form: true, signature: f.Fields["x-amz-signature"], token: f.Fields["x-amz-security-token"]}
	if v4 {
		if f.Fields["x-amz-algorithm"] != algorithm {
			return nil, ErrInvalidArgument.With("Only AWS4-HMAC-SHA256 is supported",
				Detail{"ArgumentName", "X-Amz-Algorithm"}, Detail{"ArgumentValue", f.Fields["x-amz-algorithm"]})
		}
		if _, err := time.Parse(timeFormat, f.Fields["x-amz-date"]); err != nil {
			return nil, ErrInvalidArgument.With("X-Amz-Date must be formated via ISO8601 Long format",
				Detail{"ArgumentName", "X-Amz-Date"}, Detail{"ArgumentValue", f.Fields["x-amz-date"]})
		}
		if err := a.parseCredential(f.Fields["x-amz-credential"]); err != nil {
			return nil, err
		}
		return v.inRegion(a, func() (*Identity, error) { return v.verifyFormKeys(a, policy, true) })
	}
	if !v.SignatureV2 {
		return nil, errOldSignature
	}
	a.accessKeyID, a.signature = f.Fields["awsaccesskeyid"], f.Fields["signature"]
	return v.verifyFormKeys(a, policy, false)
}

func (v *Verifier) verifyFormKeys(a *auth, policy string, v4 bool) (*Identity, error) {
	keys := v.Lookup(a.accessKeyID)
	if len(keys) == 0 {
		return nil, ErrInvalidAccessKeyID.With("", Detail{"AWSAccessKeyId", a.accessKeyID})
	}
	refusal := error(ErrInvalidToken)
	for _, key := range keys {
		if !hmac.Equal([]byte(key.SessionToken), []byte(a.token)) {
			continue
		}
		var want []byte
		if v4 {
			sum := v.keys.get(a.accessKeyID, key.SecretAccessKey, a.date, a.region).signature([]byte(policy))
			want = sum[:]
		} else {
			want = signatureV2(key.SecretAccessKey, policy)
		}
		if hmac.Equal(want, []byte(a.signature)) {
			return &Identity{AccessKeyID: a.accessKeyID, Region: a.region, Payload: PayloadUnsigned}, nil
		}
		refusal = ErrSignatureDoesNotMatch.With("", Detail{"AWSAccessKeyId", a.accessKeyID},
			Detail{"StringToSign", policy}, Detail{"SignatureProvided", a.signature}, Detail{"StringToSignBytes", spacedHex([]byte(policy))})
	}
	return nil, refusal
}

// uncovered are the fields that no condition needs to name.
var uncovered = set("x-amz-signature", "signature", "awsaccesskeyid", "policy", "file", "submit")

func badPolicy(format string, args ...any) *Error {
	return ErrInvalidPolicyDocument.With("Invalid Policy: " + fmt.Sprintf(format, args...))
}

// checkPolicy checks that the policy allows the form, whose every field it must
// name, and the bucket.
func checkPolicy(f *Form, bucket, encoded string, now time.Time, limits *FormLimits) error {
	encoded = strings.TrimRight(strings.TrimSpace(encoded), "=")
	if encoded == "" {
		return badPolicy("Expecting '{' but found End-of-Input")
	}
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return badPolicy("invalid Base64 encoding.")
	}
	conditions, err := parsePolicy(raw, now)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, c := range conditions {
		if err := f.checkCondition(c, bucket, named, limits); err != nil {
			return err
		}
	}
	extra := func(field string) error {
		return ErrAccessDenied.With("Invalid according to Policy: Extra input fields: " + field)
	}
	if !named["bucket"] {
		return extra("bucket")
	}
	for field := range f.Fields {
		if !named[field] && !uncovered[field] && !strings.HasPrefix(field, "x-ignore-") {
			return extra(f.names[field])
		}
	}
	return nil
}

// parsePolicy returns the conditions of a policy that has not expired.
func parsePolicy(raw []byte, now time.Time) ([]json.RawMessage, error) {
	var policy map[string]json.RawMessage
	if json.Unmarshal(raw, &policy) != nil {
		return nil, badPolicy("Invalid JSON.")
	}
	for _, name := range []string{"expiration", "conditions"} {
		if policy[name] == nil {
			return nil, badPolicy("Policy missing %s.", name)
		}
	}
	for name := range policy {
		if name != "expiration" && name != "conditions" {
			return nil, badPolicy("Unexpected: %q", name)
		}
	}
	var expiration string
	if json.Unmarshal(policy["expiration"], &expiration) != nil {
		return nil, badPolicy("Invalid JSON.")
	}
	var conditions []json.RawMessage
	if json.Unmarshal(policy["conditions"], &conditions) != nil {
		return nil, badPolicy("Invalid 'conditions' value: must be a List.")
	}
	expires, err := time.Parse(time.RFC3339, expiration)
	if err != nil {
		return nil, badPolicy("Invalid 'expiration' value: '%s'", expiration)
	}
	if now.After(expires) {
		return nil, ErrAccessDenied.With("Invalid according to Policy: Policy expired.")
	}
	return conditions, nil
}

// condition is one of a policy: a comparison of a field with a text, or a range of lengths.
type condition struct {
	kind, field, want string
	from, to          int64
	text              string // as errors show it
}

func parseCondition(raw json.RawMessage) (c condition, err error) {
	var exact map[string]any
	if json.Unmarshal(raw, &exact) == nil && exact != nil {
		if len(exact) != 1 {
			return c, badPolicy("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
		}
		for name, value := range exact {
			text, ok := value.(string)
			if !ok {
				return c, badPolicy("Invalid Simple-Condition: value must be a string.")
			}
			c = condition{kind: "eq", field: strings.ToLower(name), want: text, text: fmt.Sprintf(`["eq", "$%s", "%s"]`, strings.ToLower(name), text)}
		}
		return c, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return c, badPolicy("Invalid condition test: must be a List or Object.")
	}
	if len(list) == 0 {
		return c, badPolicy("Invalid Condition: missing operation identifier.")
	}
	c.text = string(raw)
	if json.Unmarshal(list[0], &c.kind) != nil {
		return c, badPolicy("Invalid JSON.")
	}
	var targets []any
	switch c.kind {
	case "eq", "starts-with":
		targets = []any{&c.field, &c.want}
	case "content-length-range":
		targets = []any{(*length)(&c.from), (*length)(&c.to)}
	default:
		return c, badPolicy("Invalid Condition: unknown operation '%s'.", c.kind)
	}
	if len(list) != 3 {
		return c, badPolicy("Invalid %s: wrong number of arguments.", c.kind)
	}
	for i, target := range targets {
		if json.Unmarshal(list[i+1], target) != nil {
			return c, badPolicy("Invalid JSON.")
		}
	}
	name, isField := strings.CutPrefix(c.field, "$")
	if c.field = strings.ToLower(name); c.kind != "content-length-range" && !isField {
		return c, c.failed()
	}
	return c, nil
}

// length is a number, or a text that is one.
type length int64

func (l *length) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	*l = length(n)
	return err
}

func (c condition) failed() error {
	return ErrAccessDenied.With("Invalid according to Policy: Policy Condition failed: " + c.text)
}

func (f *Form) checkCondition(raw json.RawMessage, bucket string, named map[string]bool, limits *FormLimits) error {
	c, err := parseCondition(raw)
	if err != nil {
		return err
	}
	if c.kind == "content-length-range" {
		limits.Min, limits.Max = max(limits.Min, c.from), min(limits.Max, c.to)
		return nil
	}
	named[c.field] = true
	value := f.Fields[c.field]
	if c.field == "bucket" {
		value = bucket
	}
	values := []string{value}
	if c.field == "content-type" && c.kind == "starts-with" {
		values = strings.Split(value, ",") // each of a list must
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
	}
	for _, v := range values {
		if c.kind == "eq" && v != c.want || c.kind == "starts-with" && !strings.HasPrefix(v, c.want) {
			return c.failed()
		}
	}
	return nil
}
