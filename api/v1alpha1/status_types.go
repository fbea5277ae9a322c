package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MigrationStatus says how far the migration is.
type MigrationStatus struct {
	// observedGeneration is the metadata.generation that this status is about.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// phase is how far the migration is: Pending, Copying, CatchingUp,
	// SwitchStarted or SwitchDone. Trouble is told by conditions.
	// +optional
	Phase Phase `json:"phase,omitempty"`

	// conditions: Ready (clients are served as the spec asks), Stalled (only a
	// human can mend it), SourceReachable, TargetReachable, BucketsCopied,
	// CaughtUp, Audited, SwitchReady, Switched and LedgerHealthy.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// startedAt is when copying began.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// route is the rule that proxies and workers obey. The Migration owns it:
	// it is put into the ledger again when that was lost.
	// +optional
	Route *Route `json:"route,omitempty"`

	// pendingRoute is the route that is being put into the ledger: written before
	// any process can obey it, so that a lost ledger never brings an older main back.
	// +optional
	PendingRoute *Route `json:"pendingRoute,omitempty"`

	// progress of the copy.
	// +optional
	Progress *Progress `json:"progress,omitempty"`

	// lag of the follower behind main.
	// +optional
	Lag *Lag `json:"lag,omitempty"`

	// stores says what is known about the two stores.
	// +optional
	Stores *Stores `json:"stores,omitempty"`

	// bucketReports names buckets with configuration that is not on the target,
	// the first hundred of them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	BucketReports []BucketReport `json:"bucketReports,omitempty"`

	// proxy says where clients find the proxies.
	// +optional
	Proxy *ProxyStatus `json:"proxy,omitempty"`

	// sessions counts the running processes that the ledger knows.
	// +optional
	Sessions *Sessions `json:"sessions,omitempty"`

	// switch says how far the last switch is.
	// +optional
	Switch *SwitchStatus `json:"switch,omitempty"`

	// audit says what the last audit has found, or finds just now.
	// +optional
	Audit *AuditStatus `json:"audit,omitempty"`

	// ledger says what is known about the ledger.
	// +optional
	Ledger *LedgerStatus `json:"ledger,omitempty"`

	// retriedFailed is the last spec.retryFailed that was acted on.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RetriedFailed string `json:"retriedFailed,omitempty"`
}

// Phase is how far a migration is.
//
// +kubebuilder:validation:Enum=Pending;Copying;CatchingUp;SwitchStarted;SwitchDone
type Phase string

// The phases, in order. A switch back goes through SwitchStarted to CatchingUp.
const (
	// PhasePending: stores are probed and proxies start; nothing is copied yet.
	PhasePending Phase = "Pending"
	// PhaseCopying: what the source held at the start is being copied.
	PhaseCopying Phase = "Copying"
	// PhaseCatchingUp: all of that is copied; changes follow as clients make them.
	PhaseCatchingUp Phase = "CatchingUp"
	// PhaseSwitchStarted: clients write to the new main; the rest drains.
	PhaseSwitchStarted Phase = "SwitchStarted"
	// PhaseSwitchDone: the new main holds everything.
	PhaseSwitchDone Phase = "SwitchDone"
)

// RouteState says which routing rule is in force.
//
// +kubebuilder:validation:Enum=Steady;Preparing;Switched
type RouteState string

// The states of a route.
const (
	// RouteSteady: reads and writes go to main; reads need no ledger.
	RouteSteady RouteState = "Steady"
	// RoutePreparing: writes go to main, reads look the object up.
	RoutePreparing RouteState = "Preparing"
	// RouteSwitched: writes go to the new main, reads to the newest store.
	RouteSwitched RouteState = "Switched"
)

// Route is the rule that proxies and workers obey.
type Route struct {
	// epoch grows with every change of the route.
	// +required
	// +kubebuilder:validation:Minimum=0
	Epoch int64 `json:"epoch"`

	// main is the store that takes the clients' writes.
	// +required
	Main StoreName `json:"main"`

	// state is Steady (reads and writes go to main), Preparing (reads ask the
	// ledger) or Switched (writes go to the new main, reads to the newest store).
	// +required
	State RouteState `json:"state"`

	// hold is whether writes wait at the proxies just now.
	// +optional
	Hold bool `json:"hold"`

	// sync is whether changes on main are copied to the follower.
	// +optional
	Sync bool `json:"sync"`

	// uploads is the store on which multipart uploads live that the ledger
	// does not know.
	// +required
	Uploads StoreName `json:"uploads"`

	// run is whether workers take buckets, listings and copies.
	// +optional
	Run bool `json:"run"`
}

// Progress of the copy.
type Progress struct {
	// buckets counts buckets.
	// +optional
	Buckets BucketProgress `json:"buckets,omitempty,omitzero"`

	// objects counts objects.
	// +optional
	Objects ObjectProgress `json:"objects,omitempty,omitzero"`

	// bytes counts bytes of objects.
	// +optional
	Bytes ByteProgress `json:"bytes,omitempty,omitzero"`

	// percent of the listed objects that need no copy any more. It may fall
	// while the listing goes on, and reaches 100 when all buckets are copied.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int32 `json:"percent,omitempty"`

	// rate of the copy, over the last minute or so.
	// +optional
	Rate *Rate `json:"rate,omitempty"`

	// eta is how long the copy will take on at this rate.
	// +optional
	ETA *metav1.Duration `json:"eta,omitempty"`

	// failures names the first objects (or buckets, with an empty key) that
	// fail again and again. Objects are tried on at least every 5 minutes, but
	// for those that a store refuses as they are; these, and buckets, wait for
	// spec.retryFailed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Failures []Failure `json:"failures,omitempty"`
}

// BucketProgress counts buckets.
type BucketProgress struct {
	// total is how many buckets move.
	// +optional
	Total int64 `json:"total"`
	// copied is how many are copied with all they held at the start.
	// +optional
	Copied int64 `json:"copied"`
	// failed is how many failed again and again; they wait for spec.retryFailed.
	// +optional
	Failed int64 `json:"failed"`
}

// ObjectProgress counts objects.
type ObjectProgress struct {
	// listed is how many objects were found on the source.
	// +optional
	Listed int64 `json:"listed"`
	// copied is how many were copied.
	// +optional
	Copied int64 `json:"copied"`
	// skipped is how many the target held already.
	// +optional
	Skipped int64 `json:"skipped"`
	// failed is how many fail again and again.
	// +optional
	Failed int64 `json:"failed"`
}

// ByteProgress counts bytes.
type ByteProgress struct {
	// listed is the size of the objects found on the source.
	// +optional
	Listed int64 `json:"listed"`
	// copied is the size of the objects that were copied or were there already.
	// +optional
	Copied int64 `json:"copied"`
}

// Rate of the copy.
type Rate struct {
	// bytesPerSecond copied, like 85Mi.
	// +optional
	BytesPerSecond resource.Quantity `json:"bytesPerSecond,omitempty,omitzero"`
	// objectsPerSecond copied.
	// +optional
	ObjectsPerSecond int64 `json:"objectsPerSecond"`
}

// Failure names an object or bucket that fails again and again.
type Failure struct {
	// bucket on the source.
	// +required
	// +kubebuilder:validation:MaxLength=255
	Bucket string `json:"bucket"`
	// key of the object; empty when the bucket itself failed.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Key string `json:"key,omitempty"`
	// error is what the last try ended with.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Error string `json:"error"`
}

// Lag of the follower behind main.
type Lag struct {
	// objects is how many wait to be copied.
	// +optional
	Objects int64 `json:"objects"`
	// age of the oldest of them.
	// +optional
	Age metav1.Duration `json:"age"`
}

// Stores says what is known about the two stores.
type Stores struct {
	// source is the store that the buckets lived on before the migration.
	// +optional
	Source StoreStatus `json:"source,omitempty,omitzero"`
	// target is the store that the buckets move to.
	// +optional
	Target StoreStatus `json:"target,omitempty,omitzero"`
}

// StoreRole says what a store is for just now.
//
// +kubebuilder:validation:Enum=Main;Follower
type StoreRole string

// The roles of a store.
const (
	RoleMain     StoreRole = "Main"
	RoleFollower StoreRole = "Follower"
)

// StoreStatus says what is known about a store.
type StoreStatus struct {
	// role is Main (takes the clients' writes) or Follower.
	// +optional
	Role StoreRole `json:"role,omitempty"`
	// endpoint of the store.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Endpoint string `json:"endpoint,omitempty"`
	// capabilities that the store was found to have, like
	// putIfMatch: Yes, or objectACL: No.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Capabilities map[string]Capability `json:"capabilities,omitempty"`
}

// Capability says whether, or how far, a store supports a feature.
//
// +kubebuilder:validation:MaxLength=256
type Capability string

// BucketReport says what of a bucket's configuration is not on the target.
type BucketReport struct {
	// name of the bucket on the source.
	// +required
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name"`
	// unsupported names the configuration that could not be copied, and why, or
	// that is put there with the switch.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	Unsupported []string `json:"unsupported,omitempty"`
}

// ProxyStatus says where clients find the proxies.
type ProxyStatus struct {
	// address that clients use as their S3 endpoint, inside the cluster or,
	// with a load balancer, outside.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Address string `json:"address,omitempty"`
	// ready is how many proxies serve.
	// +optional
	Ready int32 `json:"ready"`
	// replicas is how many proxies are asked for.
	// +optional
	Replicas int32 `json:"replicas"`
}

// Sessions counts the running processes that the ledger knows.
type Sessions struct {
	// proxies with a heartbeat.
	// +optional
	Proxies int32 `json:"proxies"`
	// workers with a heartbeat.
	// +optional
	Workers int32 `json:"workers"`
	// behind names processes that do not obey the route's epoch yet.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=253
	Behind []string `json:"behind,omitempty"`
}

// SwitchStatus says how far the last switch is.
type SwitchStatus struct {
	// to is the store that it moves clients to.
	// +optional
	To StoreName `json:"to,omitempty"`
	// preparingAt is when its guards held and processes were told of it.
	// +optional
	PreparingAt *metav1.MicroTime `json:"preparingAt,omitempty"`
	// startedAt is when clients' writes began to go to the new main.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// finishedAt is when the new main held everything.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// duration from startedAt to finishedAt.
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
	// behind: when writes began to go to the new main, it may have lacked more than
	// what had just been written. If Redis loses data before the switch is done,
	// what the new main lacks does not count as deleted there.
	// +optional
	Behind bool `json:"behind,omitempty"`
	// waitingFor names what it waits for just now.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=512
	WaitingFor []string `json:"waitingFor,omitempty"`
	// calledOff is the request, as store/attempt, that was called off by
	// itself. Ask again with another spec.switch.attempt, or by taking
	// spec.switch away and giving it again.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	CalledOff string `json:"calledOff,omitempty"`
}

// LedgerStatus says what is known about the ledger.
type LedgerStatus struct {
	// generation of the ledger: another one means that Redis lost data.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Generation string `json:"generation,omitempty"`
	// seenAt is a time by the ledger's clock at which it was seen, kept to
	// within a minute: a ledger that is older lost data.
	// +optional
	SeenAt *metav1.Time `json:"seenAt,omitempty"`
	// bucketsListedAt is when the source was last asked for its buckets.
	// +optional
	BucketsListedAt *metav1.Time `json:"bucketsListedAt,omitempty"`
	// addresses of the Redis that keeps it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=280
	Addresses []string `json:"addresses,omitempty"`
	// acknowledgedClean is the request, as store/attempt, whose override of
	// AuditClean was taken as word that the stores are equal. What happens later
	// wants another spec.switch.attempt.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	AcknowledgedClean string `json:"acknowledgedClean,omitempty"`
	// unclean says why an audit is due before a switch; empty when none is.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=1024
	Unclean []string `json:"unclean,omitempty"`
}

// AuditPhase is how far an audit is.
//
// +kubebuilder:validation:Enum=Running;Complete;Failed
type AuditPhase string

// The phases of an audit.
const (
	// AuditRunning: it goes on, but for the time of a switch that does not wait for it.
	AuditRunning AuditPhase = "Running"
	// AuditComplete: everything was compared.
	AuditComplete AuditPhase = "Complete"
	// AuditFailed: it ended before that, see problem.
	AuditFailed AuditPhase = "Failed"
)

// AuditStatus says what an audit has found.
type AuditStatus struct {
	// id tells this audit from the next.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`
	// trigger is the spec.audit.trigger that it obeys.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Trigger string `json:"trigger,omitempty"`
	// mode is what it compares.
	// +optional
	Mode AuditMode `json:"mode,omitempty"`
	// onDifference is what becomes of what it finds.
	// +optional
	OnDifference AuditAction `json:"onDifference,omitempty"`
	// phase is Running, Complete or Failed.
	// +optional
	Phase AuditPhase `json:"phase,omitempty"`
	// startedAt is when it began, by the ledger's clock.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// finishedAt is when it was complete, or failed.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// since is the unclean event that it was due since; empty when there was none.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Since string `json:"since,omitempty"`
	// percent of the objects that were compared, as far as it can be told.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent int32 `json:"percent"`
	// compared counts the objects that were compared.
	// +optional
	Compared int64 `json:"compared"`
	// missing counts objects that only main held.
	// +optional
	Missing int64 `json:"missing"`
	// extra counts objects that only the follower held.
	// +optional
	Extra int64 `json:"extra"`
	// different counts objects whose content or metadata differed.
	// +optional
	Different int64 `json:"different"`
	// repaired counts those of the missing, extra and different that were seen
	// to be equal afterwards.
	// +optional
	Repaired int64 `json:"repaired"`
	// bypassed counts those of them that nothing but a write past the proxies
	// explains: the ledger lost nothing that could.
	// +optional
	Bypassed int64 `json:"bypassed"`
	// deferred counts objects that clients never left alone; they were copied
	// once more instead of being compared.
	// +optional
	Deferred int64 `json:"deferred"`
	// notKept counts repaired objects with metadata that the follower cannot hold.
	// +optional
	NotKept int64 `json:"notKept"`
	// differences names the first of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Differences []Difference `json:"differences,omitempty"`
	// problem is why it failed, or what it is held up by just now.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Problem string `json:"problem,omitempty"`
	// verifiedAt is when the last audit began that left no difference.
	// +optional
	VerifiedAt *metav1.MicroTime `json:"verifiedAt,omitempty"`
}

// DifferenceKind says how the follower differed from main.
//
// +kubebuilder:validation:Enum=Missing;Extra;Different
type DifferenceKind string

// Difference names an object that was not the same on both stores.
type Difference struct {
	// bucket on the source.
	// +required
	// +kubebuilder:validation:MaxLength=255
	Bucket string `json:"bucket"`
	// key of the object; empty when the bucket itself was missing.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Key string `json:"key,omitempty"`
	// kind is Missing (on the follower), Extra (there alone) or Different.
	// +required
	Kind DifferenceKind `json:"kind"`
	// detail says in what they differed.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Detail string `json:"detail,omitempty"`
	// bypassed is whether nothing but a write past the proxies explains it.
	// +optional
	Bypassed bool `json:"bypassed,omitempty"`
}
