package worker

import (
	"context"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var encryption = setting{
	name: "encryption", absent: []string{"ServerSideEncryptionConfigurationNotFoundError"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketEncryption(ctx, &awss3.GetBucketEncryptionInput{Bucket: &b})
		if err != nil || out.ServerSideEncryptionConfiguration == nil || len(out.ServerSideEncryptionConfiguration.Rules) == 0 {
			return nil, err
		}
		return out.ServerSideEncryptionConfiguration, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketEncryption(ctx, &awss3.PutBucketEncryptionInput{Bucket: &b,
			ServerSideEncryptionConfiguration: v.(*types.ServerSideEncryptionConfiguration)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.DeleteBucketEncryption(ctx, &awss3.DeleteBucketEncryptionInput{Bucket: &b})
		return err
	},
}

var website = setting{
	name: "website", absent: []string{"NoSuchWebsiteConfiguration"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketWebsite(ctx, &awss3.GetBucketWebsiteInput{Bucket: &b})
		if err != nil || out.IndexDocument == nil && out.ErrorDocument == nil && out.RedirectAllRequestsTo == nil && len(out.RoutingRules) == 0 {
			return nil, err
		}
		return &types.WebsiteConfiguration{IndexDocument: out.IndexDocument, ErrorDocument: out.ErrorDocument,
			RedirectAllRequestsTo: out.RedirectAllRequestsTo, RoutingRules: out.RoutingRules}, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketWebsite(ctx, &awss3.PutBucketWebsiteInput{Bucket: &b, WebsiteConfiguration: v.(*types.WebsiteConfiguration)})
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.DeleteBucketWebsite(ctx, &awss3.DeleteBucketWebsiteInput{Bucket: &b})
		return err
	},
}

var logging = setting{
	name: "logging",
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketLogging(ctx, &awss3.GetBucketLoggingInput{Bucket: &b})
		if err != nil || out.LoggingEnabled == nil || out.LoggingEnabled.TargetBucket == nil {
			return nil, err
		}
		return out.LoggingEnabled, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		on := *v.(*types.LoggingEnabled)
		if on.TargetBucket != nil {
			dst := s.bucket(*on.TargetBucket)
			on.TargetBucket = &dst
		}
		grants := len(on.TargetGrants) > 0
		on.TargetGrants = nil
		_, err := s.api.PutBucketLogging(ctx, &awss3.PutBucketLoggingInput{Bucket: &b,
			BucketLoggingStatus: &types.BucketLoggingStatus{LoggingEnabled: &on}})
		if err == nil && grants {
			err = partial("grants on the log objects have no counterpart on the other store")
		}
		return err
	},
	remove: func(ctx context.Context, s *store, b string) error {
		_, err := s.api.PutBucketLogging(ctx, &awss3.PutBucketLoggingInput{Bucket: &b, BucketLoggingStatus: &types.BucketLoggingStatus{}})
		return err
	},
}

// notification and replication point at queues, roles and buckets that exist
// beside one store only; they are shown, never guessed.
var notification = setting{
	name: "notification",
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketNotificationConfiguration(ctx, &awss3.GetBucketNotificationConfigurationInput{Bucket: &b})
		if err != nil || len(out.QueueConfigurations)+len(out.TopicConfigurations)+len(out.LambdaFunctionConfigurations) == 0 && out.EventBridgeConfiguration == nil {
			return nil, err
		}
		return &types.NotificationConfiguration{QueueConfigurations: out.QueueConfigurations, TopicConfigurations: out.TopicConfigurations,
			LambdaFunctionConfigurations: out.LambdaFunctionConfigurations, EventBridgeConfiguration: out.EventBridgeConfiguration}, nil
	},
	write: func(context.Context, *store, string, any) error {
		return partial("its destinations belong to the old store; set it up by hand")
	},
}

var replication = setting{
	name: "replication", absent: []string{"ReplicationConfigurationNotFoundError", "NoSuchReplicationConfiguration"},
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketReplication(ctx, &awss3.GetBucketReplicationInput{Bucket: &b})
		if err != nil || out.ReplicationConfiguration == nil || len(out.ReplicationConfiguration.Rules) == 0 {
			return nil, err
		}
		return out.ReplicationConfiguration, nil
	},
	write: func(context.Context, *store, string, any) error {
		return partial("its roles and destinations belong to the old store; set it up by hand")
	},
}

var lifecycle = setting{
	name: "lifecycle", absent: []string{"NoSuchLifecycleConfiguration"}, later: true,
	read: func(ctx context.Context, s *store, b string) (any, error) {
		out, err := s.api.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &b})
		if err != nil || len(out.Rules) == 0 {
			return nil, err
		}
		return &types.BucketLifecycleConfiguration{Rules: out.Rules}, nil
	},
	write: func(ctx context.Context, s *store, b string, v any) error {
		_, err := s.api.PutBucketLifecycleConfiguration(ctx, &awss3.PutBucketLifecycleConfigurationInput{Bucket: &b,
			LifecycleConfiguration: v.(*types.BucketLifecycleConfiguration)})
		return err
	},
}
