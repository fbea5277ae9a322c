package seed

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/crossfade-io/crossfade/test/lab"
)

// bucket makes a bucket and gives it the configuration that f asks for.
func (r *runner) bucket(ctx context.Context, name string, f Features) error {
	if err := lab.EnsureBucket(ctx, r.client, name); err != nil {
		return err
	}
	r.res.Buckets++
	b := &name
	steps := []struct {
		feature string
		wanted  bool
		do      func() error
	}{
		{"versioning", f.Versioning, func() error {
			_, err := r.client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: b,
				VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
			return err
		}},
		{"cors", f.CORS, func() error {
			_, err := r.client.PutBucketCors(ctx, &s3.PutBucketCorsInput{Bucket: b, CORSConfiguration: &types.CORSConfiguration{
				CORSRules: []types.CORSRule{{
					AllowedMethods: []string{"GET", "PUT"}, AllowedOrigins: []string{"https://app.example.com"},
					AllowedHeaders: []string{"*"}, ExposeHeaders: []string{"ETag"}, MaxAgeSeconds: aws.Int32(600),
				}}}})
			return err
		}},
		{"policy", f.Policy, func() error {
			policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"public","Effect":"Allow","Principal":"*",`+
				`"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::%s/public/*"]}]}`, name)
			_, err := r.client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: b, Policy: &policy})
			return err
		}},
		{"lifecycle", f.Lifecycle, func() error {
			_, err := r.client.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: b,
				LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
					ID: aws.String("expire-tmp"), Status: types.ExpirationStatusEnabled,
					Filter:     &types.LifecycleRuleFilter{Prefix: aws.String("tmp/")},
					Expiration: &types.LifecycleExpiration{Days: aws.Int32(30)},
				}}}})
			return err
		}},
		{"bucketTags", f.BucketTags, func() error {
			_, err := r.client.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: b, Tagging: &types.Tagging{
				TagSet: []types.Tag{{Key: aws.String("env"), Value: aws.String("lab")}}}})
			return err
		}},
	}
	for _, s := range steps {
		if !s.wanted {
			continue
		}
		if err := r.optional(s.feature, s.do()); err != nil {
			return fmt.Errorf("%s: %w", s.feature, err)
		}
	}
	return nil
}
