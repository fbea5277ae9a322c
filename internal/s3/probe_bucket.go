package s3

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// setConfiguration sets and reads each configuration of the scratch bucket.
func (p *probe) setConfiguration() {
	b, s3, ctx := &p.bucket, p.c.S3, p.ctx
	then := func(err error, read func() error) Support {
		if err == nil {
			err = read()
			if Classify(err) == NotFound {
				// Taken, but not kept.
				return No
			}
		}
		return supported(err)
	}

	_, err := s3.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: b, ACL: types.BucketCannedACLPrivate})
	p.caps.BucketACL = then(err, p.getACL)

	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::%s/%s/none"]}]}`, p.bucket, p.prefix)
	_, err = s3.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: b, Policy: &policy})
	p.caps.BucketPolicy = then(err, p.getPolicy)

	_, err = s3.PutBucketLifecycleConfiguration(ctx, &awss3.PutBucketLifecycleConfigurationInput{
		Bucket: b, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID: aws.String("crossfade-probe"), Status: types.ExpirationStatusDisabled,
			Filter:     &types.LifecycleRuleFilter{Prefix: aws.String("none/")},
			Expiration: &types.LifecycleExpiration{Days: aws.Int32(3650)},
		}}},
	})
	p.caps.BucketLifecycle = then(err, p.getLifecycle)

	_, err = s3.PutBucketCors(ctx, &awss3.PutBucketCorsInput{
		Bucket: b, CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{
			AllowedMethods: []string{"GET"}, AllowedOrigins: []string{"https://crossfade.invalid"},
		}}},
	})
	p.caps.BucketCORS = then(err, p.getCORS)

	_, err = s3.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{
		Bucket: b, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("crossfade"), Value: aws.String("probe")}}},
	})
	p.caps.BucketTagging = then(err, p.getTagging)

	_, err = s3.PutBucketWebsite(ctx, &awss3.PutBucketWebsiteInput{
		Bucket: b, WebsiteConfiguration: &types.WebsiteConfiguration{IndexDocument: &types.IndexDocument{Suffix: aws.String("index.html")}},
	})
	p.caps.BucketWebsite = then(err, p.getWebsite)

	_, err = s3.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{
		Bucket: b, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	p.caps.BucketVersioning = then(err, func() error {
		out, err := s3.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: b})
		if err == nil && out.Status != types.BucketVersioningStatusEnabled {
			return ErrNotImplemented
		}
		return err
	})

	locked := p.prefix + "-lock"
	err = p.c.CreateBucket(ctx, locked, true)
	if err == nil {
		p.scratch = append(p.scratch, locked)
		_, err = s3.GetObjectLockConfiguration(ctx, &awss3.GetObjectLockConfigurationInput{Bucket: &locked})
		if Classify(err) == NotFound {
			err = ErrNotImplemented
		}
	}
	p.caps.ObjectLock = supported(err)
}

// readConfiguration reads each configuration of a bucket that is not ours.
func (p *probe) readConfiguration() {
	p.caps.BucketACL = supported(p.getACL())
	p.caps.BucketPolicy = supported(p.getPolicy())
	p.caps.BucketLifecycle = supported(p.getLifecycle())
	p.caps.BucketCORS = supported(p.getCORS())
	p.caps.BucketTagging = supported(p.getTagging())
	p.caps.BucketWebsite = supported(p.getWebsite())
	_, err := p.c.S3.GetBucketVersioning(p.ctx, &awss3.GetBucketVersioningInput{Bucket: &p.bucket})
	p.caps.BucketVersioning = supported(err)
	// A bucket without lock says nothing about other buckets.
	if _, err := p.c.S3.GetObjectLockConfiguration(p.ctx, &awss3.GetObjectLockConfigurationInput{Bucket: &p.bucket}); Classify(err) != NotFound {
		p.caps.ObjectLock = supported(err)
	}
}

func (p *probe) getACL() error {
	_, err := p.c.S3.GetBucketAcl(p.ctx, &awss3.GetBucketAclInput{Bucket: &p.bucket})
	return err
}

func (p *probe) getPolicy() error {
	_, err := p.c.S3.GetBucketPolicy(p.ctx, &awss3.GetBucketPolicyInput{Bucket: &p.bucket})
	return err
}

func (p *probe) getLifecycle() error {
	_, err := p.c.S3.GetBucketLifecycleConfiguration(p.ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &p.bucket})
	return err
}

func (p *probe) getCORS() error {
	_, err := p.c.S3.GetBucketCors(p.ctx, &awss3.GetBucketCorsInput{Bucket: &p.bucket})
	return err
}

func (p *probe) getTagging() error {
	_, err := p.c.S3.GetBucketTagging(p.ctx, &awss3.GetBucketTaggingInput{Bucket: &p.bucket})
	return err
}

func (p *probe) getWebsite() error {
	_, err := p.c.S3.GetBucketWebsite(p.ctx, &awss3.GetBucketWebsiteInput{Bucket: &p.bucket})
	return err
}
