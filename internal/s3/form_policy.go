package s3

import (
	"bytes"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// FormLimits are what the policy of a form says of the file's length, in bytes.
type FormLimits struct{ Min, Max int64 }

// maxFormFile is the largest file that S3 takes by form.
const maxFormFile = 5 << 30

// VerifyForm checks the signature and the policy of a form that uploads to
// bucket. Like [Verifier.Verify] it returns [ErrAnonymous] for a form without
// credentials, else an [*Error].
func (v *Verifier) VerifyForm(f *Form, bucket string) (*Identity, FormLimits, error) {
	limits := FormLimits{Max: maxFormFile}
	policy := f.Fields["policy"]
	_, v4 := f.Fields["x-amz-signature"]
	_, v2 := f.Fields["signature"]
	switch {
	case !v4 && !v2 && policy == "":
		return nil, limits, ErrAnonymous
	case policy == "":
		return nil, limits, ErrInvalidArgument.With("Bucket POST must contain a field named 'policy'.  If it is specified, please check the order of the fields.", Detail{"ArgumentName", "policy"})
	}
	id, err := v.verifyFormSignature(f, policy, v4)
	if err != nil {
		return nil, limits, err
	}
	if err := checkPolicy(f, bucket, policy, v.now(), &limits); err != nil {
		return nil, limits, err
	}
	return id, limits, nil
}

func (v *Verifier) verifyFormSignature(f *Form, policy string, v4 bool) (*Identity, error) {
	a := &auth{presigned: true, signature: f.Fields["x-amz-signature"], token: f.Fields["x-amz-security-token"]}
	if v4 {
		if f.Fields["x-amz-algorithm"] != algorithm {
			return nil, ErrInvalidArgument.With("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"", Detail{"ArgumentName", "X-Amz-Algorithm"})
		}
		if err := a.parseCredential(f.Fields["x-amz-credential"]); err != nil {
			return nil, err
		}
		if _, err := time.Parse(timeFormat, f.Fields["x-amz-date"]); err != nil {
			return nil, a.malformed(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
		}
		if err := v.checkRegion(a); err != nil {
			return nil, err
		}
	} else {
		if !v.SignatureV2 {
			return nil, errOldSignature
		}
		a.accessKeyID, a.signature = f.Fields["awsaccesskeyid"], f.Fields["signature"]
	}
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
			Detail{"StringToSign", policy}, Detail{"SignatureProvided", a.signature})
	}
	return nil, refusal
}

// uncovered are the fields that no condition needs to name.
var uncovered = set("x-amz-signature", "signature", "awsaccesskeyid", "policy", "file", "submit")

// checkPolicy checks that the policy allows the form, whose every field it must name.
func checkPolicy(f *Form, bucket, encoded string, now time.Time, limits *FormLimits) error {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return ErrInvalidPolicyDocument.With("Invalid Policy: Could not decode policy.")
	}
	var policy struct {
		Expiration *string           `json:"expiration"`
		Conditions []json.RawMessage `json:"conditions"`
	}
	if json.Unmarshal(raw, &policy) != nil {
		return ErrInvalidPolicyDocument.With("Invalid Policy: Invalid JSON.")
	}
	if policy.Expiration == nil || policy.Conditions == nil {
		return ErrInvalidPolicyDocument.With("Invalid Policy: Policy missing expiration or conditions.")
	}
	expires, err := time.Parse(time.RFC3339, *policy.Expiration)
	if err != nil {
		return ErrInvalidPolicyDocument.With("Invalid Policy: Invalid 'expiration' value: '" + *policy.Expiration + "'")
	}
	if now.After(expires) {
		return ErrAccessDenied.With("Invalid according to Policy: Policy expired.")
	}
	named := map[string]bool{"bucket": true}
	for _, c := range policy.Conditions {
		if err := f.checkCondition(c, bucket, named, limits); err != nil {
			return err
		}
	}
	for field := range f.Fields {
		if !named[field] && !uncovered[field] && !strings.HasPrefix(field, "x-ignore-") {
			return ErrAccessDenied.With("Invalid according to Policy: Extra input fields: " + f.names[field])
		}
	}
	return nil
}

func (f *Form) checkCondition(raw json.RawMessage, bucket string, named map[string]bool, limits *FormLimits) error {
	invalid := ErrInvalidPolicyDocument.With("Invalid Policy: Invalid condition: " + string(raw))
	failed := ErrAccessDenied.With("Invalid according to Policy: Policy Condition failed: " + string(raw))
	value := func(field string) string {
		if field == "bucket" {
			return bucket
		}
		return f.Fields[field]
	}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		var exact map[string]string
		if json.Unmarshal(raw, &exact) != nil || len(exact) == 0 {
			return invalid
		}
		for name, want := range exact {
			field := strings.ToLower(name)
			named[field] = true
			if value(field) != want {
				return failed
			}
		}
		return nil
	}
	var list []any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&list) != nil || len(list) != 3 {
		return invalid
	}
	kind, _ := list[0].(string)
	if kind = strings.ToLower(kind); kind == "content-length-range" {
		var from, to int64
		if _, err := fmt.Sscan(fmt.Sprint(list[1]), &from); err != nil {
			return invalid
		}
		if _, err := fmt.Sscan(fmt.Sprint(list[2]), &to); err != nil {
			return invalid
		}
		limits.Min, limits.Max = max(limits.Min, from), min(limits.Max, to)
		return nil
	}
	name, isName := list[1].(string)
	want, isText := list[2].(string)
	name, isField := strings.CutPrefix(name, "$")
	if !isName || !isText || !isField {
		return invalid
	}
	field := strings.ToLower(name)
	named[field] = true
	switch kind {
	case "eq":
		if value(field) != want {
			return failed
		}
	case "starts-with":
		if !strings.HasPrefix(value(field), want) {
			return failed
		}
	default:
		return invalid
	}
	return nil
}
