package worker

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/internal/s3/s3test"
)

// probed replaces the lab's assumptions by what the stores can do.
func (l *lab) probed() *lab {
	l.t.Helper()
	for i := range l.stores {
		var err error
		if l.can[i], err = s3.Probe(l.t.Context(), l.stores[i], ""); err != nil {
			l.t.Fatal(err)
		}
	}
	return l
}

func (l *lab) compare(b string) {
	l.t.Helper()
	if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
		l.t.Errorf("keys and ETags (-source +target):\n%s", diff)
	}
	for key := range l.keys(ledger.Source, b) {
		want, wantBody := l.get(ledger.Source, b, key)
		got, gotBody := l.get(ledger.Target, b, key)
		if got == nil || wantBody != gotBody {
			l.t.Errorf("%q: content differs", key)
			continue
		}
		if diff := cmp.Diff(headers(want), headers(got)); diff != "" {
			l.t.Errorf("%q (-source +target):\n%s", key, diff)
		}
		if diff := cmp.Diff(l.tags(ledger.Source, b, key), l.tags(ledger.Target, b, key)); diff != "" {
			l.t.Errorf("%q, tags (-source +target):\n%s", key, diff)
		}
	}
}

// Two stores of different make, both ways.
func TestStoresOfDifferentMakeHoldTheSame(t *testing.T) {
	for name, stores := range map[string]func(*testing.T) (source, target s3.Endpoint){
		"RGW to versitygw": func(t *testing.T) (s3.Endpoint, s3.Endpoint) {
			return s3test.RGW(t), s3test.Versitygw(t, s3test.Options{})
		},
		"versitygw to RGW": func(t *testing.T) (s3.Endpoint, s3.Endpoint) {
			return s3test.Versitygw(t, s3test.Options{}), s3test.RGW(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := stores(t)
			l := newLabOf(t, source, target).probed()
			b := s3test.Bucket(t, l.stores[ledger.Source])
			t.Cleanup(func() { _ = s3test.RemoveBucket(context.Background(), l.stores[ledger.Target], b) })
			l.seed(ledger.Source, b, "dressed", []byte("content"), dressed)
			l.seed(ledger.Source, b, "empty", nil)
			for _, key := range []string{"a b+c%2F&=?.txt", "ünï/日本", "deep/er/key"} {
				l.seed(ledger.Source, b, key, []byte(key))
			}
			l.seed(ledger.Source, b, "streamed", []byte(strings.Repeat("s", 2<<20)))
			l.upload(ledger.Source, b, "parts", 5<<20, 5<<20, 1<<20)
			tags := &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a b"), Value: aws.String("c+d/e")}, {Key: aws.String("n"), Value: aws.String("1")}}}
			if _, err := l.stores[ledger.Source].S3.PutObjectTagging(t.Context(), &awss3.PutObjectTaggingInput{Bucket: &b, Key: aws.String("parts"), Tagging: tags}); err != nil {
				t.Fatal(err)
			}
			l.start(nil)
			l.copyAll(b)
			l.compare(b)

			l.setRoute(ledger.Route{Main: ledger.Source, State: ledger.Preparing, Sync: true, Run: true})
			l.obeyed()
			l.put(b, "dressed", "other content", dressed)
			l.put(b, "large", strings.Repeat("l", 9<<20))
			l.delete(b, "empty")
			l.synced()
			l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
			l.obeyed()
			l.put(b, "dressed", "content again")
			l.delete(b, "deep/er/key")
			l.synced()
			l.compare(b)
			if all, err := l.led.Unclean(t.Context()); err != nil || len(all) != 0 {
				t.Errorf("unclean: %v, %v", all, err)
			}
		})
	}
}

func TestConfigurationBetweenTwoBucketsOfRGW(t *testing.T) {
	l := newLabOf(t, s3test.RGW(t), s3test.RGW(t)).probed()
	b := s3test.Bucket(t, l.stores[ledger.Source])
	dst := b + "-eu"
	t.Cleanup(func() { _ = s3test.RemoveBucket(context.Background(), l.stores[ledger.Target], dst) })
	src, ctx := l.stores[ledger.Source].S3, t.Context()
	rule := types.LifecycleRule{ID: aws.String("old"), Status: types.ExpirationStatusEnabled, Expiration: &types.LifecycleExpiration{Days: aws.Int32(400)},
		Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")}}
	_, err1 := src.PutBucketLifecycleConfiguration(ctx, &awss3.PutBucketLifecycleConfigurationInput{Bucket: &b, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{rule}}})
	_, err2 := src.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: &b, ACL: types.BucketCannedACLPublicRead})
	_, err3 := src.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &b, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	l.seed(ledger.Source, b, "public", []byte("p"), func(in *awss3.PutObjectInput) { in.ACL = types.ObjectCannedACLPublicRead })
	l.seed(ledger.Source, b, "private", []byte("p"))
	l.start(func(c *Config) { c.BucketNames = map[string]string{b: dst} })
	l.copyAll(b)
	all, err := l.led.Buckets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lifecycle: put with the switch", olderVersions}, all[0].Unsupported); diff != "" {
		t.Error(diff)
	}
	acl, err := src.GetBucketAcl(ctx, &awss3.GetBucketAclInput{Bucket: &dst})
	if err != nil {
		t.Fatal(err)
	}
	if got, exact := cannedACL(acl.Owner, acl.Grants); got != "public-read" || !exact {
		t.Errorf("bucket ACL %q", got)
	}
	for key, want := range map[string]string{"public": "public-read", "private": ""} {
		acl, err := src.GetObjectAcl(ctx, &awss3.GetObjectAclInput{Bucket: &dst, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := cannedACL(acl.Owner, acl.Grants); got != want {
			t.Errorf("%s: ACL %q, want %q", key, got, want)
		}
	}
	v, err := src.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: &dst})
	if err != nil || v.Status != types.BucketVersioningStatusEnabled {
		t.Errorf("versioning %v, %v", v, err)
	}
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	waitFor(t, func() bool {
		out, err := src.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &dst})
		return err == nil && len(out.Rules) == 1 && aws.ToInt32(out.Rules[0].Expiration.Days) == 400
	})
	waitFor(t, func() bool {
		all, err := l.led.Buckets(ctx)
		return err == nil && len(all) == 1 && slices.Equal(all[0].Unsupported, []string{olderVersions})
	})
}
