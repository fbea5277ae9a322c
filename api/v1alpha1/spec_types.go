package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MigrationSpec says what to move and how.
//
// +kubebuilder:validation:XValidation:rule="!self.source.endpoint.contains('//') || !self.target.endpoint.contains('//') || !(self.source.endpoint.lowerAscii().split('/')[2] in [self.target.endpoint.lowerAscii().split('/')[2], self.target.endpoint.lowerAscii().split('/')[2] + (self.target.endpoint.lowerAscii().startsWith('https') ? ':443' : ':80')] || self.source.endpoint.lowerAscii().split('/')[2] + (self.source.endpoint.lowerAscii().startsWith('https') ? ':443' : ':80') == self.target.endpoint.lowerAscii().split('/')[2]) || self.source.region != self.target.region || (has(self.buckets) && self.buckets.all(b, has(b.targetName) && !self.buckets.exists(c, c.name == b.targetName)))",message="spec.source and spec.target are the same store: give spec.target another endpoint, or list spec.buckets and give each one a targetName that is none of their names"
type MigrationSpec struct {
	// source is the store that the buckets live on before the migration.
	// Its endpoint and region cannot change once the migration has started.
	// +required
	Source Store `json:"source"`

	// target is the store that the buckets move to.
	// Its endpoint and region cannot change once the migration has started.
	// +required
	Target Store `json:"target"`

	// buckets to move. Left out, every bucket of the source moves, and those
	// that clients create meanwhile. Cannot change once the migration has started.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, (has(b.targetName) ? b.targetName : b.name) == (has(a.targetName) ? a.targetName : a.name)))",message="two buckets would land in the same bucket on the target: give each one its own targetName"
	Buckets []Bucket `json:"buckets,omitempty"`

	// redis that keeps the ledger. Left out, the operator runs one for this
	// migration. Only its credentialsRef can change once the migration has started.
	// +optional
	Redis *Redis `json:"redis,omitempty"`

	// proxy configures the S3 endpoint that clients use.
	// +optional
	// +kubebuilder:default={}
	Proxy Proxy `json:"proxy,omitempty,omitzero"`

	// worker configures the processes that copy.
	// +optional
	// +kubebuilder:default={}
	Worker Worker `json:"worker,omitempty,omitzero"`

	// versions says which versions of an object in a versioned bucket move:
	// Latest (the default). All, with their delete markers, in order, is
	// refused: it is not supported yet.
	// Cannot change once the migration has started.
	// +optional
	// +kubebuilder:default=Latest
	// +kubebuilder:validation:XValidation:rule="self != 'All'",message="All is not supported yet: only the newest version of each object moves; leave versions out, and keep the source's buckets for as long as older versions are needed"
	Versions VersionsMode `json:"versions,omitempty"`

	// audit configures how the two stores are compared.
	// +optional
	// +kubebuilder:default={}
	Audit Audit `json:"audit,omitempty,omitzero"`

	// paused stops the first copy and audits, and no switch begins. Clients are
	// served, and what they write is copied on; a switch that has begun goes on.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// retryFailed is any text of yours; each time it changes, objects and
	// buckets that failed are tried again at once.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RetryFailed string `json:"retryFailed,omitempty"`

	// switch asks to move the clients from one store to the other. Left out,
	// no switch is asked for. Asked for before it is safe, it waits, and the
	// condition SwitchReady says for what. Taken away before clients write to
	// the target, it is off; after that the way back is to: Source.
	// +optional
	Switch *Switch `json:"switch,omitempty"`
}

// Store is one of the two object stores.
type Store struct {
	// endpoint is the URL of the S3 API, like https://s3.example.com: http or
	// https, a host, perhaps a port, no path and no credentials.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '' && url(self).getEscapedPath() in ['', '/'] && !self.contains('?') && !self.contains('#') && !self.contains('@')",message="must be an http:// or https:// URL of a host, perhaps with a port, without path, query or credentials, like https://s3.example.com"
	// +kubebuilder:validation:XValidation:rule="!isURL(self) || (url(self).getPort() == '' ? !self.endsWith(':') && !self.endsWith(':/') : int(url(self).getPort()) >= 1 && int(url(self).getPort()) <= 65535)",message="the port must be from 1 to 65535; left out, it is 80 or 443"
	Endpoint string `json:"endpoint"`

	// region that requests are signed for. Default: us-east-1.
	// +optional
	// +kubebuilder:default=us-east-1
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+$`
	Region string `json:"region,omitempty"`

	// addressing says where the bucket's name goes: Path (the default,
	// https://host/bucket/key) or VirtualHost (https://bucket.host/key).
	// +optional
	// +kubebuilder:default=Path
	Addressing Addressing `json:"addressing,omitempty"`

	// credentialsRef names the Secret, in the Migration's namespace, with the
	// keys accessKeyID, secretAccessKey and, if need be, sessionToken.
	// +required
	CredentialsRef SecretReference `json:"credentialsRef"`
}

// SecretReference names a Secret in the Migration's namespace.
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
}

// Addressing says where a bucket's name goes in a request.
//
// +kubebuilder:validation:Enum=Path;VirtualHost
type Addressing string

// The ways to address a bucket.
const (
	AddressingPath        Addressing = "Path"
	AddressingVirtualHost Addressing = "VirtualHost"
)

// VersionsMode says which versions of an object move.
//
// +kubebuilder:validation:Enum=Latest;All
type VersionsMode string

// The choices of versions.
const (
	VersionsLatest VersionsMode = "Latest"
	VersionsAll    VersionsMode = "All"
)

// Bucket is one bucket to move.
type Bucket struct {
	// name of the bucket on the source, which is also the name that clients use.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]$`
	Name string `json:"name"`

	// targetName is the bucket's name on the target. Default: the same name.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9][a-z0-9.-]*[a-z0-9]$`
	TargetName string `json:"targetName,omitempty"`
}

// Redis says where the ledger is kept.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'Single' || size(self.addresses) == 1",message="mode Single takes exactly one address; set mode to Sentinel or Cluster to give several"
// +kubebuilder:validation:XValidation:rule="(self.mode == 'Sentinel') == has(self.masterName)",message="masterName must be given with mode Sentinel, and only then"
type Redis struct {
	// addresses as host:port: of the server (mode Single), of the sentinels
	// (Sentinel), or of some nodes of the cluster (Cluster).
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=280
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[^/@[:space:]]+:[0-9]{1,5}$') && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",message="must be host:port, like redis.example.com:6379: no URL; a password belongs into the Secret of credentialsRef"
	Addresses []string `json:"addresses"`

	// mode is Single (the default), Sentinel or Cluster.
	// +optional
	// +kubebuilder:default=Single
	Mode RedisMode `json:"mode,omitempty"`

	// masterName is the name of the monitored master, for mode Sentinel.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	MasterName string `json:"masterName,omitempty"`

	// credentialsRef names the Secret, in the Migration's namespace, with the
	// keys password and, if need be, username and sentinelPassword.
	// Changes of the first two are followed without a restart.
	// Left out, no authentication is used.
	// +optional
	CredentialsRef *SecretReference `json:"credentialsRef,omitempty"`
}

// RedisMode says how Redis is set up.
//
// +kubebuilder:validation:Enum=Single;Sentinel;Cluster
type RedisMode string

// The ways Redis is set up.
const (
	RedisSingle   RedisMode = "Single"
	RedisSentinel RedisMode = "Sentinel"
	RedisCluster  RedisMode = "Cluster"
)

// Proxy configures the S3 endpoint that clients use.
//
// +kubebuilder:validation:XValidation:rule="!has(self.autoscaling) || !has(self.resources) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits)",message="autoscaling goes by the CPU that a pod requests, and resources request none: add resources.requests.cpu, or leave resources out"
type Proxy struct {
	// replicas of the proxy. Default: 2. Ignored while autoscaling is given.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	Replicas *int32 `json:"replicas,omitempty"`

	// autoscaling lets a HorizontalPodAutoscaler set the replicas.
	// +optional
	Autoscaling *Autoscaling `json:"autoscaling,omitempty"`

	// clients are the keys that clients may sign with. Left out, clients sign
	// with the source's own keys and need no change but the endpoint.
	// +optional
	// +listType=map
	// +listMapKey=secretName
	// +kubebuilder:validation:MaxItems=256
	Clients []ProxyClient `json:"clients,omitempty"`

	// anonymous says what happens to requests without a signature: Refuse (the
	// default), or Forward them unsigned, so that the store's own policies and
	// ACLs decide, as they do without the proxy.
	// +optional
	// +kubebuilder:default=Refuse
	Anonymous AnonymousMode `json:"anonymous,omitempty"`

	// signatureV2 lets clients sign with AWS Signature Version 2, which protects
	// neither the body nor most headers. Default: false.
	// +optional
	SignatureV2 bool `json:"signatureV2,omitempty"`

	// regions that clients may sign for. Left out, those of source and target
	// and any other that one of these stores takes; "*" stands for any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9_-]+|\*)$`
	Regions []string `json:"regions,omitempty"`

	// domains are host names of the proxy below which clients may name a bucket:
	// with s3.example.com, https://photos.s3.example.com/key is understood.
	// Left out, the bucket is the first part of the path.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Domains []string `json:"domains,omitempty"`

	// tls makes the proxies serve HTTPS. Left out, they serve HTTP.
	// +optional
	TLS *ProxyTLS `json:"tls,omitempty"`

	// service is how clients reach the proxies.
	// +optional
	// +kubebuilder:default={}
	Service ProxyService `json:"service,omitempty,omitzero"`

	// resources of one proxy's container. Left out, it requests 100m of CPU
	// and 128Mi of memory, and is limited to 1Gi of memory.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
}

// ProxyClient is one client, its key, and whom it is at the stores.
type ProxyClient struct {
	// secretName names the Secret, in the Migration's namespace, with the keys
	// accessKeyID, secretAccessKey and, if need be, sessionToken. While the key is
	// rotated, previousAccessKeyID, previousSecretAccessKey and
	// previousSessionToken hold the old one, which stays valid until they go.
	// Changes are followed without a restart.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	SecretName string `json:"secretName"`

	// sourceCredentialsRef names the Secret with the keys that this client's
	// requests are signed with at the source, so that owners and ACLs stay right.
	// Left out: those of spec.source.credentialsRef.
	// +optional
	SourceCredentialsRef *SecretReference `json:"sourceCredentialsRef,omitempty"`

	// targetCredentialsRef is the same for the target.
	// Left out: those of spec.target.credentialsRef.
	// +optional
	TargetCredentialsRef *SecretReference `json:"targetCredentialsRef,omitempty"`
}

// AnonymousMode says what happens to requests without a signature.
//
// +kubebuilder:validation:Enum=Refuse;Forward
type AnonymousMode string

// The ways to treat requests without a signature.
const (
	AnonymousRefuse  AnonymousMode = "Refuse"
	AnonymousForward AnonymousMode = "Forward"
)

// ProxyTLS is what the proxies serve HTTPS with.
type ProxyTLS struct {
	// secretName names the Secret of type kubernetes.io/tls, in the Migration's
	// namespace, with the keys tls.crt and tls.key. A renewed certificate is
	// followed without a restart.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	SecretName string `json:"secretName"`
}

// ProxyService is the Service in front of the proxies.
type ProxyService struct {
	// type of the Service. Default: ClusterIP.
	// +optional
	// +kubebuilder:default=ClusterIP
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`

	// port of the Service. Default: 80, with tls as well.
	// +optional
	// +kubebuilder:default=80
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// Autoscaling configures a HorizontalPodAutoscaler.
//
// +kubebuilder:validation:XValidation:rule="self.minReplicas <= self.maxReplicas",message="minReplicas must not be larger than maxReplicas"
type Autoscaling struct {
	// minReplicas is the least number of replicas. Default: 2.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	MinReplicas int32 `json:"minReplicas,omitempty"`

	// maxReplicas is the largest number of replicas.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	MaxReplicas int32 `json:"maxReplicas"`

	// targetCPUUtilization, in percent of the CPU that a pod requests, that
	// the autoscaler aims at. Default: 70.
	// +optional
	// +kubebuilder:default=70
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	TargetCPUUtilization int32 `json:"targetCPUUtilization,omitempty"`
}

// Worker configures the processes that copy.
type Worker struct {
	// replicas of the worker. Default: 2. 0 stops all copying: what clients
	// change is recorded, and the ledger grows with it.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=256
	Replicas *int32 `json:"replicas,omitempty"`

	// concurrency is how many objects one worker copies at a time. Default: 32.
	// +optional
	// +kubebuilder:default=32
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	Concurrency int32 `json:"concurrency,omitempty"`

	// limits keep one worker from loading the stores more than you want.
	// +optional
	Limits *WorkerLimits `json:"limits,omitempty"`

	// resources of one worker's container. Left out, it requests 100m of CPU
	// and 128Mi of memory, and is limited to 1Gi of memory.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
}

// WorkerLimits are limits for each worker.
type WorkerLimits struct {
	// bytesPerSecond that one worker copies at most, like 200Mi. Left out: no limit.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!quantity(string(self)).isLessThan(quantity('1Ki'))",message="must be at least 1Ki (M is for millions, m for thousandths); leave it out for no limit"
	BytesPerSecond *resource.Quantity `json:"bytesPerSecond,omitempty"`

	// requestsPerSecond that one worker sends at most, to both stores together.
	// Left out: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`
}

// Audit configures how the two stores are compared.
//
// +kubebuilder:validation:XValidation:rule="!has(self.trigger) || size(self.trigger) == 0 || self.mode != 'Off'",message="trigger asks for an audit, but mode is Off: set mode to ETag or Checksum, or leave trigger out"
type Audit struct {
	// mode is ETag (the default: names, sizes and ETags, and the metadata of a
	// sample), Checksum (contents too: by the checksums that both stores keep,
	// else by reading both) or "Off", in quotes: without them YAML means false.
	// Unless it is Off, an audit runs when the copy is complete, and again after
	// anything that may have gone unrecorded; a switch waits for it.
	// +optional
	// +kubebuilder:default=ETag
	Mode AuditMode `json:"mode,omitempty"`

	// onDifference is Repair (the default: what main holds is copied to the
	// follower, and what only the follower holds is deleted there, but for
	// objects on the target that are older than the migration) or Report.
	// +optional
	// +kubebuilder:default=Repair
	OnDifference AuditAction `json:"onDifference,omitempty"`

	// trigger is any text of yours; each time it changes, an audit runs. It is
	// repeated in status.audit.trigger by the audit that it asked for.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Trigger string `json:"trigger,omitempty"`
}

// AuditAction says what becomes of a difference.
//
// +kubebuilder:validation:Enum=Repair;Report
type AuditAction string

// What may become of a difference.
const (
	AuditRepair AuditAction = "Repair"
	AuditReport AuditAction = "Report"
)

// AuditMode says what an audit compares.
//
// +kubebuilder:validation:Enum=ETag;Checksum;Off
type AuditMode string

// The ways to audit.
const (
	AuditETag     AuditMode = "ETag"
	AuditChecksum AuditMode = "Checksum"
	AuditOff      AuditMode = "Off"
)

// Switch asks to move the clients to one of the stores.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxPause) || self.mode == 'PauseWrites'",message="maxPause is for mode PauseWrites: set mode to PauseWrites, or leave maxPause out"
type Switch struct {
	// to is the store that shall take the clients' writes: Target (the
	// default), or Source to go back.
	// +optional
	// +kubebuilder:default=Target
	To StoreName `json:"to,omitempty"`

	// mode is Live (the default: writes never wait) or PauseWrites (writes are
	// held, not failed, until the other store has caught up).
	// +optional
	// +kubebuilder:default=Live
	Mode SwitchMode `json:"mode,omitempty"`

	// maxPause is how long writes may be held in mode PauseWrites; past it the
	// switch is called off and writes go on to the old store. Default: 30s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="size(self) <= 20 && self.matches('^([0-9]{1,6}([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('5m')",message="must be a duration like 30s or 1m30s, more than 0s and at most 5m, because clients give up on requests held for longer"
	MaxPause *metav1.Duration `json:"maxPause,omitempty"`

	// reverse keeps the old store in sync after the switch, so that you can go
	// back at any time. Default: true. Off, there is no way back. It is read when
	// a switch ends; what it says later does not matter until the next one.
	// +optional
	// +kubebuilder:default=true
	Reverse *bool `json:"reverse,omitempty"`

	// danglingUploads says what becomes of multipart uploads that clients
	// began before the switch and have not finished.
	// +optional
	// +kubebuilder:default={}
	DanglingUploads DanglingUploads `json:"danglingUploads,omitempty,omitzero"`

	// maxLag is how old the oldest object that still waits to be copied may be
	// when the switch begins. Default: 1m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="size(self) <= 20 && self.matches('^([0-9]{1,6}([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) > duration('0s')",message="must be a duration like 30s or 1m30s, and more than 0s"
	MaxLag *metav1.Duration `json:"maxLag,omitempty"`

	// maxDirty is how many objects may still wait to be copied when the switch
	// begins. Default: 10000.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxDirty *int64 `json:"maxDirty,omitempty"`

	// overrides names guards that shall not keep the switch from beginning:
	// NothingFailed (objects that failed stay on the old store only),
	// AuditClean (the stores may differ where no audit has looked, or where one
	// found it) and CaughtUp (maxLag and maxDirty). Use them knowingly.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	Overrides []Guard `json:"overrides,omitempty"`

	// attempt is any text of yours; changing it asks again after a switch that
	// was called off.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Attempt string `json:"attempt,omitempty"`
}

// StoreName names a store by identity.
//
// +kubebuilder:validation:Enum=Source;Target
type StoreName string

// The two stores.
const (
	StoreSource StoreName = "Source"
	StoreTarget StoreName = "Target"
)

// SwitchMode says whether writes may wait during a switch.
//
// +kubebuilder:validation:Enum=Live;PauseWrites
type SwitchMode string

// The ways to switch.
const (
	SwitchLive        SwitchMode = "Live"
	SwitchPauseWrites SwitchMode = "PauseWrites"
)

// Guard is a guard of the switch that can be overridden.
//
// +kubebuilder:validation:Enum=NothingFailed;AuditClean;CaughtUp
type Guard string

// The guards that can be overridden.
const (
	// GuardNothingFailed: no object fails, or was given up.
	GuardNothingFailed Guard = "NothingFailed"
	// GuardAuditClean: an audit that began after the last unclean event left no difference.
	GuardAuditClean Guard = "AuditClean"
	// GuardCaughtUp: dirty objects are few and young.
	GuardCaughtUp Guard = "CaughtUp"
)

// DanglingUploads says what becomes of multipart uploads begun before a switch.
//
// +kubebuilder:validation:XValidation:rule="!has(self.after) || self.policy == 'Abort'",message="after is for policy Abort: set policy to Abort, or leave after out"
type DanglingUploads struct {
	// policy is Wait (the default: the switch is done when clients have
	// completed or aborted them) or Abort (they are aborted some time after
	// the switch).
	// +optional
	// +kubebuilder:default=Wait
	Policy DanglingUploadsPolicy `json:"policy,omitempty"`

	// after is how long past the switch uploads are aborted, with policy
	// Abort. Default: 1h.
	// +optional
	// +kubebuilder:validation:XValidation:rule="size(self) <= 20 && self.matches('^([0-9]{1,6}([.][0-9]+)?(ns|us|ms|s|m|h))+$')",message="must be a duration like 30m or 12h, and not negative"
	After *metav1.Duration `json:"after,omitempty"`
}

// DanglingUploadsPolicy says how to deal with a dangling upload.
//
// +kubebuilder:validation:Enum=Wait;Abort
type DanglingUploadsPolicy string

// The policies for dangling uploads.
const (
	UploadsWait  DanglingUploadsPolicy = "Wait"
	UploadsAbort DanglingUploadsPolicy = "Abort"
)
