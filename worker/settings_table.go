package worker

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// partial is what could not be carried over though the rest of a setting was.
type partial string

func (p partial) Error() string { return string(p) }

// bucketACL is a bucket's ACL in terms that hold on both stores.
type bucketACL struct {
	canned string
	exact  bool
}

// settings are in the order in which they must be put: what makes room for
// public grants first.
var settings = []setting{
	ownership, publicAccess, versioning, objectLock, acl, policy, cors, tagging, encryption,
	website, logging, notification, replication, lifecycle,
}

var ownership = setting{
	name: "ownership controls", absent: []string{"OwnershipControlsNotFoundError"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketOwnershipControls(ctx, &awss3.GetBucketOwnershipControlsInput{Bucket: &b})
		if err != nil || out.OwnershipControls == nil || len(out.OwnershipControls.Rules) == 0 {
			return nil, err
		}
		return out.OwnershipControls, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketOwnershipControls(ctx, &awss3.PutBucketOwnershipControlsInput{Bucket: &b, OwnershipControls: v.(*types.OwnershipControls)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.DeleteBucketOwnershipControls(ctx, &awss3.DeleteBucketOwnershipControlsInput{Bucket: &b})
		return err
	},
}

var publicAccess = setting{
	name: "public access block", absent: []string{"NoSuchPublicAccessBlockConfiguration"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetPublicAccessBlock(ctx, &awss3.GetPublicAccessBlockInput{Bucket: &b})
		if err != nil || out.PublicAccessBlockConfiguration == nil {
			return nil, err
		}
		c := out.PublicAccessBlockConfiguration
		if !aws.ToBool(c.BlockPublicAcls) && !aws.ToBool(c.BlockPublicPolicy) && !aws.ToBool(c.IgnorePublicAcls) && !aws.ToBool(c.RestrictPublicBuckets) {
			return nil, nil
		}
		return c, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutPublicAccessBlock(ctx, &awss3.PutPublicAccessBlockInput{Bucket: &b, PublicAccessBlockConfiguration: v.(*types.PublicAccessBlockConfiguration)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.DeletePublicAccessBlock(ctx, &awss3.DeletePublicAccessBlockInput{Bucket: &b})
		return err
	},
}

var versioning = setting{
	name: "versioning",
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: &b})
		if err != nil || out.Status == "" {
			return nil, err
		}
		return &types.VersioningConfiguration{Status: out.Status}, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &b, VersioningConfiguration: v.(*types.VersioningConfiguration)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &b,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}})
		return err
	},
}

var objectLock = setting{
	name: "object lock", absent: []string{"ObjectLockConfigurationNotFoundError"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetObjectLockConfiguration(ctx, &awss3.GetObjectLockConfigurationInput{Bucket: &b})
		if err != nil || out.ObjectLockConfiguration == nil || out.ObjectLockConfiguration.ObjectLockEnabled == "" {
			return nil, err
		}
		return out.ObjectLockConfiguration, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutObjectLockConfiguration(ctx, &awss3.PutObjectLockConfigurationInput{Bucket: &b, ObjectLockConfiguration: v.(*types.ObjectLockConfiguration)})
		return err
	},
}

var acl = setting{
	name: "ACL",
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketAcl(ctx, &awss3.GetBucketAclInput{Bucket: &b})
		if err != nil {
			return nil, err
		}
		canned, exact := cannedACL(out.Owner, out.Grants)
		if canned == "" && exact {
			return nil, nil
		}
		return &bucketACL{canned, exact}, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		a := v.(*bucketACL)
		canned := cmp.Or(a.canned, string(types.BucketCannedACLPrivate))
		_, err := s.api.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: &b, ACL: types.BucketCannedACL(canned)})
		if err == nil && !a.exact {
			err = partial("grants to single accounts have no counterpart on the other store")
		}
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: &b, ACL: types.BucketCannedACLPrivate})
		return err
	},
}

var policy = setting{
	name: "policy", absent: []string{"NoSuchBucketPolicy"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: &b})
		if err != nil || aws.ToString(out.Policy) == "" {
			return nil, err
		}
		return out.Policy, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &b, Policy: v.(*string)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.DeleteBucketPolicy(ctx, &awss3.DeleteBucketPolicyInput{Bucket: &b})
		return err
	},
}

var cors = setting{
	name: "CORS", absent: []string{"NoSuchCORSConfiguration"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketCors(ctx, &awss3.GetBucketCorsInput{Bucket: &b})
		if err != nil || len(out.CORSRules) == 0 {
			return nil, err
		}
		return &types.CORSConfiguration{CORSRules: out.CORSRules}, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketCors(ctx, &awss3.PutBucketCorsInput{Bucket: &b, CORSConfiguration: v.(*types.CORSConfiguration)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.DeleteBucketCors(ctx, &awss3.DeleteBucketCorsInput{Bucket: &b})
		return err
	},
}

var tagging = setting{
	name: "tags", absent: []string{"NoSuchTagSet", "NoSuchTagSetError"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: &b})
		if err != nil || len(out.TagSet) == 0 {
			return nil, err
		}
		slices.SortFunc(out.TagSet, func(a, b types.Tag) int { return cmp.Compare(aws.ToString(a.Key), aws.ToString(b.Key)) })
		return &types.Tagging{TagSet: out.TagSet}, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: &b, Tagging: v.(*types.Tagging)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.DeleteBucketTagging(ctx, &awss3.DeleteBucketTaggingInput{Bucket: &b})
		return err
	},
}
