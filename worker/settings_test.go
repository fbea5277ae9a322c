package worker

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// subresources play the parts of a bucket's configuration that no store here has
// all of. They remember what is put, as it is.
type subresources struct {
	mu    sync.Mutex
	holds map[string]string // by query parameter
	order []string          // of the PUTs
}

// absent is what a store answers that has none: an error code, or an empty document.
var absent = map[string]string{
	"website": "NoSuchWebsiteConfiguration", "replication": "ReplicationConfigurationNotFoundError",
	"ownershipControls": "OwnershipControlsNotFoundError", "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
	"encryption": "ServerSideEncryptionConfigurationNotFoundError", "object-lock": "ObjectLockConfigurationNotFoundError",
	"lifecycle": "NoSuchLifecycleConfiguration",
	"logging":   "<BucketLoggingStatus/>", "notification": "<NotificationConfiguration/>", "versioning": "<VersioningConfiguration/>",
}

func (s *subresources) answer(r *http.Request) (*http.Response, error) {
	for name, none := range absent {
		if _, ok := r.URL.Query()[name]; !ok {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		switch r.Method {
		case http.MethodPut:
			b, err := io.ReadAll(r.Body)
			s.holds[name] = string(b)
			s.order = append(s.order, name)
			return document(r, ""), err
		case http.MethodDelete:
			delete(s.holds, name)
			resp := document(r, "")
			resp.StatusCode = http.StatusNoContent
			return resp, nil
		}
		if doc, ok := s.holds[name]; ok {
			return document(r, doc), nil
		}
		if strings.HasPrefix(none, "<") {
			return document(r, none), nil
		}
		return answer(r, http.StatusNotFound, none), nil
	}
	return nil, nil
}

func document(r *http.Request, body string) *http.Response {
	resp := answer(r, http.StatusOK, "")
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return resp
}

func TestEachPartOfABucketsConfigurationIsCopiedOrReported(t *testing.T) {
	l := newLab(t)
	const b, eu = "photos", "photos-eu"
	l.bucket(ledger.Source, b)
	full := map[string]string{
		"website":           `<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><RoutingRules><RoutingRule><Condition><KeyPrefixEquals>a/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith>b/</ReplaceKeyPrefixWith></Redirect></RoutingRule></RoutingRules></WebsiteConfiguration>`,
		"logging":           `<BucketLoggingStatus><LoggingEnabled><TargetBucket>photos</TargetBucket><TargetPrefix>log/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>`,
		"notification":      `<NotificationConfiguration><QueueConfiguration><Id>q</Id><Queue>arn:aws:sqs:us-east-1:1:q</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>`,
		"replication":       `<ReplicationConfiguration><Role>arn:aws:iam::1:role/r</Role><Rule><ID>r</ID><Status>Enabled</Status><Prefix></Prefix><Destination><Bucket>arn:aws:s3:::x</Bucket></Destination></Rule></ReplicationConfiguration>`,
		"ownershipControls": `<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>`,
		"publicAccessBlock": `<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>false</IgnorePublicAcls></PublicAccessBlockConfiguration>`,
		"encryption":        `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`,
		"object-lock":       `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>7</Days></DefaultRetention></Rule></ObjectLockConfiguration>`,
		"versioning":        `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`,
		"lifecycle":         `<LifecycleConfiguration><Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>400</Days></Expiration></Rule></LifecycleConfiguration>`,
	}
	source, target := &subresources{holds: maps.Clone(full)}, &subresources{holds: map[string]string{}}
	l.faults[ledger.Source].set(source.answer)
	l.faults[ledger.Target].set(target.answer)
	w, _ := l.start(func(c *Config) { c.BucketNames = map[string]string{b: eu} })
	l.copyAll(b)
	reported := func() []string {
		all, err := l.led.Buckets(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0].Unsupported
	}
	want := []string{
		"notification: its destinations belong to the old store; set it up by hand",
		"replication: its roles and destinations belong to the old store; set it up by hand",
		"lifecycle: put with the switch",
		olderVersions,
	}
	if diff := cmp.Diff(want, reported()); diff != "" {
		t.Error(diff)
	}
	same := func(names ...string) {
		t.Helper()
		for _, s := range settings {
			if !slices.Contains(names, s.name) {
				continue
			}
			from, err1 := s.get(t.Context(), w.stores[ledger.Source], b)
			to, err2 := s.get(t.Context(), w.stores[ledger.Target], eu)
			if on, ok := from.(*types.LoggingEnabled); ok {
				on.TargetBucket = aws.String(eu) // logs go where the bucket has gone
			}
			if diff := cmp.Diff(from, to, cmpopts.IgnoreUnexported(types.WebsiteConfiguration{}, types.IndexDocument{}, types.RoutingRule{}, types.Condition{}, types.Redirect{},
				types.LoggingEnabled{}, types.OwnershipControls{}, types.OwnershipControlsRule{}, types.PublicAccessBlockConfiguration{},
				types.ServerSideEncryptionConfiguration{}, types.ServerSideEncryptionRule{}, types.ServerSideEncryptionByDefault{},
				types.ObjectLockConfiguration{}, types.ObjectLockRule{}, types.DefaultRetention{}, types.VersioningConfiguration{},
				types.BucketLifecycleConfiguration{}, types.LifecycleRule{}, types.LifecycleRuleFilter{}, types.LifecycleExpiration{})); diff != "" || err1 != nil || err2 != nil {
				t.Errorf("%s (-source +target): %v %v\n%s", s.name, err1, err2, diff)
			}
		}
	}
	copiedNow := []string{"website", "logging", "ownership controls", "public access block", "encryption", "object lock", "versioning"}
	same(copiedNow...)
	if i, j := slices.Index(target.order, "versioning"), slices.Index(target.order, "object-lock"); i > j {
		t.Errorf("object lock was put before versioning: %v", target.order)
	}

	// What clients take away goes on the target too, where it can.
	source.mu.Lock()
	for _, name := range []string{"website", "logging", "notification", "replication", "ownershipControls", "publicAccessBlock", "encryption"} {
		delete(source.holds, name)
	}
	source.holds["versioning"] = strings.Replace(full["versioning"], "Enabled", "Suspended", 1)
	source.mu.Unlock()
	l.change(b, "", func(*s3.Client) error { return nil })
	l.synced()
	same(copiedNow...)
	if diff := cmp.Diff([]string{"lifecycle: put with the switch", olderVersions}, reported()); diff != "" {
		t.Error(diff)
	}

	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	waitFor(t, func() bool { return slices.Equal(reported(), []string{olderVersions}) })
	same("lifecycle")
}

func TestARefusedLifecycleIsReportedAtTheEnd(t *testing.T) {
	l := newLab(t)
	const b = "photos"
	l.bucket(ledger.Source, b)
	source := &subresources{holds: map[string]string{
		"lifecycle": `<LifecycleConfiguration><Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>400</Days></Expiration></Rule></LifecycleConfiguration>`,
	}}
	l.faults[ledger.Source].set(source.answer)
	l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
		if _, ok := r.URL.Query()["lifecycle"]; ok {
			return answer(r, http.StatusNotImplemented, "NotImplemented"), nil
		}
		return nil, nil
	})
	l.start(nil)
	l.copyAll(b)
	l.setRoute(ledger.Route{Main: ledger.Target, State: ledger.Switched, Sync: true, Run: true})
	waitFor(t, func() bool {
		all, err := l.led.Buckets(t.Context())
		return err == nil && len(all) == 1 && slices.Equal(all[0].Unsupported, []string{"lifecycle: target does not support it (NotImplemented)"})
	})
}

func TestAllOfAnObjectIsWrittenAgain(t *testing.T) {
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	get := &awss3.GetObjectOutput{
		ContentLength: aws.Int64(7), ETag: aws.String(`"e"`), ContentType: aws.String("text/plain"), CacheControl: aws.String("no-cache"),
		ContentDisposition: aws.String("inline"), ContentEncoding: aws.String("gzip"), ContentLanguage: aws.String("de"),
		Metadata: map[string]string{"a": "b"}, StorageClass: types.StorageClassStandardIa, WebsiteRedirectLocation: aws.String("/elsewhere"),
		ObjectLockMode: types.ObjectLockModeGovernance, ObjectLockRetainUntilDate: &until, ObjectLockLegalHoldStatus: types.ObjectLockLegalHoldStatusOn,
		ChecksumSHA256: aws.String("sum"), ChecksumType: types.ChecksumTypeFullObject,
	}
	p := propertiesOf(get)
	p.tagging, p.acl = aws.String("t=1"), types.ObjectCannedACLPublicRead
	want := map[string]string{"type": "text/plain", "cache": "no-cache", "disposition": "inline", "encoding": "gzip", "language": "de",
		"metadata": "map[a:b]", "class": "STANDARD_IA", "redirect": "/elsewhere", "mode": "GOVERNANCE", "until": until.String(), "hold": "ON",
		"tags": "t=1", "acl": "public-read"}
	in := p.put("b", "k")
	got := map[string]string{"type": *in.ContentType, "cache": *in.CacheControl, "disposition": *in.ContentDisposition, "encoding": *in.ContentEncoding,
		"language": *in.ContentLanguage, "metadata": fmt.Sprint(in.Metadata), "class": string(in.StorageClass), "redirect": *in.WebsiteRedirectLocation,
		"mode": string(in.ObjectLockMode), "until": in.ObjectLockRetainUntilDate.String(), "hold": string(in.ObjectLockLegalHoldStatus),
		"tags": *in.Tagging, "acl": string(in.ACL)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in one piece:\n%s", diff)
	}
	if aws.ToString(in.ChecksumSHA256) != "sum" {
		t.Error("the checksum is lost")
	}
	up := p.create("b", "k")
	got = map[string]string{"type": *up.ContentType, "cache": *up.CacheControl, "disposition": *up.ContentDisposition, "encoding": *up.ContentEncoding,
		"language": *up.ContentLanguage, "metadata": fmt.Sprint(up.Metadata), "class": string(up.StorageClass), "redirect": *up.WebsiteRedirectLocation,
		"mode": string(up.ObjectLockMode), "until": up.ObjectLockRetainUntilDate.String(), "hold": string(up.ObjectLockLegalHoldStatus),
		"tags": *up.Tagging, "acl": string(up.ACL)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in parts:\n%s", diff)
	}
	past := time.Now().Add(-time.Hour)
	get.ObjectLockRetainUntilDate = &past
	if p := propertiesOf(get); p.lockMode != "" || p.retainUntil != nil || p.legalHold != types.ObjectLockLegalHoldStatusOn {
		t.Errorf("a retention that has ended: %v until %v, hold %v", p.lockMode, p.retainUntil, p.legalHold)
	}
}

func TestWhatAStoreRefusesOfAnObjectIsLeftOutAndCounted(t *testing.T) {
	const public = `<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList>` +
		`<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>me</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>` +
		`<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>` + allUsers + `</URI></Grantee><Permission>READ</Permission></Grant>` +
		`</AccessControlList></AccessControlPolicy>`
	for property, c := range map[string]struct{ header, code string }{
		propStorageClass: {"x-amz-storage-class", "InvalidStorageClass"},
		propACL:          {"x-amz-acl", "AccessControlListNotSupported"},
	} {
		t.Run(property, func(t *testing.T) {
			l := newLab(t)
			l.can[ledger.Source].ObjectACL, l.can[ledger.Target].ObjectACL = s3.Yes, s3.Yes
			const b = "photos"
			l.bucket(ledger.Source, b)
			for _, key := range []string{"a", "b"} {
				l.seed(ledger.Source, b, key, []byte(key))
			}
			l.faults[ledger.Source].set(func(r *http.Request) (*http.Response, error) {
				if _, ok := r.URL.Query()["acl"]; ok {
					return document(r, public), nil
				}
				resp, err := l.faults[ledger.Source].next.RoundTrip(r)
				if err == nil && r.Method == http.MethodGet && r.URL.RawQuery == "x-id=GetObject" {
					resp.Header.Set("x-amz-storage-class", "GLACIER_IR")
				}
				return resp, err
			})
			l.faults[ledger.Target].set(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPut && strings.Count(r.URL.Path, "/") == 2 && r.Header.Get(c.header) != "" {
					return answer(r, http.StatusBadRequest, c.code), nil
				}
				return nil, nil
			})
			w, _ := l.start(nil)
			l.copyAll(b)
			if diff := cmp.Diff(l.keys(ledger.Source, b), l.keys(ledger.Target, b)); diff != "" {
				t.Error(diff)
			}
			if n := count(w.metrics.lost.WithLabelValues(property)); n != 2 {
				t.Errorf("%v counted as not kept, want 2", n)
			}
		})
	}
}
