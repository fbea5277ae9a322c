package worker

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestCannedACL(t *testing.T) {
	owner := &types.Owner{ID: aws.String("me")}
	mine := types.Grant{Grantee: &types.Grantee{ID: aws.String("me")}, Permission: types.PermissionFullControl}
	group := func(uri string, p types.Permission) types.Grant {
		return types.Grant{Grantee: &types.Grantee{URI: aws.String(uri)}, Permission: p}
	}
	for name, c := range map[string]struct {
		owner  *types.Owner
		grants []types.Grant
		want   string
		exact  bool
	}{
		"private":            {owner, []types.Grant{mine}, "", true},
		"public read":        {owner, []types.Grant{mine, group(allUsers, types.PermissionRead)}, "public-read", true},
		"public read, write": {owner, []types.Grant{mine, group(allUsers, types.PermissionRead), group(allUsers, types.PermissionWrite)}, "public-read-write", true},
		"authenticated":      {owner, []types.Grant{mine, group(authUsers, types.PermissionRead)}, "authenticated-read", true},
		"write only":         {owner, []types.Grant{mine, group(allUsers, types.PermissionWrite)}, "", false},
		"another account":    {owner, []types.Grant{mine, {Grantee: &types.Grantee{ID: aws.String("you")}, Permission: types.PermissionRead}}, "", false},
		"no owner told":      {nil, []types.Grant{mine}, "", false},
		"no grantee":         {owner, []types.Grant{{Permission: types.PermissionRead}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, exact := cannedACL(c.owner, c.grants); got != c.want || exact != c.exact {
				t.Errorf("got %q, %v; want %q, %v", got, exact, c.want, c.exact)
			}
		})
	}
}

func TestContentEncodingWithoutTransfer(t *testing.T) {
	for in, want := range map[string]string{"gzip": "gzip", "aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip, aws-chunked": "gzip", "": ""} {
		if got := aws.ToString(contentEncoding(&in)); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestPolicyFollowsTheBucketsName(t *testing.T) {
	in := `{"Statement":[{"Resource":["arn:aws:s3:::photos","arn:aws:s3:::photos/*","arn:aws:s3:::photos-old/*"]}]}`
	want := `{"Statement":[{"Resource":["arn:aws:s3:::photos-eu","arn:aws:s3:::photos-eu/*","arn:aws:s3:::photos-old/*"]}]}`
	if got := *renamed(&in, "photos", "photos-eu"); got != want {
		t.Errorf("got %s", got)
	}
}
