package v1alpha1

// Condition types. Ready and Stalled follow kstatus; the others are the
// migration's own and true when all is well.
const (
	// ConditionReady: clients are served as the spec asks. A copy that takes
	// days is not unreadiness.
	ConditionReady = "Ready"
	// ConditionStalled: only a human can mend it; the message says how.
	ConditionStalled = "Stalled"
	// ConditionSourceReachable: the source answers and grants the rights needed.
	ConditionSourceReachable = "SourceReachable"
	// ConditionTargetReachable: the target answers and grants the rights needed.
	ConditionTargetReachable = "TargetReachable"
	// ConditionBucketsCopied: everything that the source held at the start is
	// on the target.
	ConditionBucketsCopied = "BucketsCopied"
	// ConditionCaughtUp: the follower holds all but what clients just wrote: at
	// most 1,000 objects, none of them older than 15 s.
	ConditionCaughtUp = "CaughtUp"
	// ConditionAudited: an audit found the stores equal, and nothing has
	// happened since that could have gone unrecorded.
	ConditionAudited = "Audited"
	// ConditionSwitchReady: every guard of the switch holds.
	ConditionSwitchReady = "SwitchReady"
	// ConditionSwitched: the target holds everything and serves every client.
	ConditionSwitched = "Switched"
	// ConditionLedgerHealthy: Redis answers and has lost nothing.
	ConditionLedgerHealthy = "LedgerHealthy"
)

// ConditionTypes lists every condition type, in the order in which they are shown.
var ConditionTypes = []string{
	ConditionReady, ConditionStalled, ConditionSourceReachable, ConditionTargetReachable, ConditionLedgerHealthy,
	ConditionBucketsCopied, ConditionCaughtUp, ConditionAudited, ConditionSwitchReady, ConditionSwitched,
}

// Reasons of Ready and Stalled.
const (
	// ReasonServing: as many proxies are ready as asked for.
	ReasonServing = "Serving"
	// ReasonProxiesNotReady: fewer proxies are ready than asked for.
	ReasonProxiesNotReady = "ProxiesNotReady"
	// ReasonNoProxyReady: no proxy is ready, so clients are not served.
	ReasonNoProxyReady = "NoProxyReady"
	// ReasonMainUnreachable: the store that clients' requests go to does not answer.
	ReasonMainUnreachable = "MainUnreachable"
	// ReasonLedgerUnreachable: Redis does not answer, and a switch needs it.
	ReasonLedgerUnreachable = "LedgerUnreachable"
	// ReasonDeleting: the Migration is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonProgressing: nothing needs a human.
	ReasonProgressing = "Progressing"
	// ReasonInvalidSpec: the spec asks for something impossible.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonSecretNotFound: a Secret that the spec names does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretInvalid: a Secret that the spec names lacks a key.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonApplyFailed: the API server refused a child object.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonNameTaken: an object with a child's name exists and is not ours.
	ReasonNameTaken = "NameTaken"
	// ReasonDataOnOneStore: deleting now would strand data on one store.
	ReasonDataOnOneStore = "DataOnOneStore"
	// ReasonLedgerKeysLeft: the ledger's keys cannot be deleted from the Redis that
	// spec.redis names.
	ReasonLedgerKeysLeft = "LedgerKeysLeft"
)

// Reasons of the other conditions. SwitchReady, when false, has the name of the
// guard that does not hold as its reason.
const (
	// ReasonPending: not known yet.
	ReasonPending = "Pending"
	// ReasonReachable: the store answers and grants the rights needed.
	ReasonReachable = "Reachable"
	// ReasonUnreachable: the store, or Redis, does not answer or refuses the credentials.
	ReasonUnreachable = "Unreachable"
	// ReasonHealthy: Redis answers and has lost nothing.
	ReasonHealthy = "Healthy"
	// ReasonWaiting: the ledger is set up once both stores are reachable.
	ReasonWaiting = "Waiting"
	// ReasonRedisTooOld: spec.redis names a Redis of before version 7.
	ReasonRedisTooOld = "RedisTooOld"
	// ReasonUncleanEvent: changes may have gone unrecorded.
	ReasonUncleanEvent = "UncleanEvent"
	// ReasonChecking: Redis was restarted or replaced; every process looks whether
	// it lost anything.
	ReasonChecking = "Checking"
	// ReasonCopying: the first copy goes on.
	ReasonCopying = "Copying"
	// ReasonPaused: spec.paused is true.
	ReasonPaused = "Paused"
	// ReasonCopied: every bucket is copied.
	ReasonCopied = "Copied"
	// ReasonListBucketsFailed: the source refused to list its buckets.
	ReasonListBucketsFailed = "ListBucketsFailed"
	// ReasonBucketsFailed: buckets failed, and wait for spec.retryFailed.
	ReasonBucketsFailed = "BucketsFailed"
	// ReasonObjectsFailed: objects fail again and again.
	ReasonObjectsFailed = "ObjectsFailed"
	// ReasonCatchingUp: the follower is too far behind main.
	ReasonCatchingUp = "CatchingUp"
	// ReasonCaughtUp: the follower is close behind main.
	ReasonCaughtUp = "CaughtUp"
	// ReasonReverseOff: the follower is not kept in sync, because spec.switch.reverse was off.
	ReasonReverseOff = "ReverseOff"
	// ReasonNotVerified: no audit has been complete yet.
	ReasonNotVerified = "NotVerified"
	// ReasonVerified: the last audit left no difference.
	ReasonVerified = "Verified"
	// ReasonStale: something may have gone unrecorded since the last audit began.
	ReasonStale = "Stale"
	// ReasonDifferencesLeft: the last audit found differences that are not repaired.
	ReasonDifferencesLeft = "DifferencesLeft"
	// ReasonAuditFailed: the last audit ended before everything was compared.
	ReasonAuditFailed = "AuditFailed"
	// ReasonGuardsHold: every guard of the switch holds.
	ReasonGuardsHold = "Ready"
	// ReasonInProgress: a switch is in progress.
	ReasonInProgress = "InProgress"
	// ReasonNotAsked: no switch is asked for; clients write to the source.
	ReasonNotAsked = "NotAsked"
	// ReasonWaitingForGuards: a switch is asked for and a guard does not hold.
	ReasonWaitingForGuards = "WaitingForGuards"
	// ReasonPreparing: every process is told to look objects up.
	ReasonPreparing = "Preparing"
	// ReasonDraining: clients write to the new main, the rest drains.
	ReasonDraining = "Draining"
	// ReasonCalledOff: the switch was called off; clients write to the old main.
	ReasonCalledOff = "CalledOff"
	// ReasonSwitched: the target holds everything and serves every client.
	ReasonSwitched = "Switched"
)

// Event reasons. An event is sent when something changes, not while it lasts.
const (
	// EventPhaseChanged: the phase changed.
	EventPhaseChanged = "PhaseChanged"
	// EventStarted: clients are served and copying began.
	EventStarted = "Started"
	// EventSwitchPreparing: the switch began; processes learn to look objects up.
	EventSwitchPreparing = "SwitchPreparing"
	// EventSwitchPostponed: something happened before traffic moved that an audit must heal first.
	EventSwitchPostponed = "SwitchPostponed"
	// EventSwitchCancelled: the switch was taken back before traffic moved.
	EventSwitchCancelled = "SwitchCancelled"
	// EventSwitchCalledOff: the switch was called off by itself.
	EventSwitchCalledOff = "SwitchCalledOff"
	// EventSwitchStarted: new writes go to the new main.
	EventSwitchStarted = "SwitchStarted"
	// EventSwitchReversed: half-way, new writes go to the old main again.
	EventSwitchReversed = "SwitchReversed"
	// EventSwitchDone: the new main holds everything.
	EventSwitchDone = "SwitchDone"
	// EventRetryingFailed: what had failed is tried again.
	EventRetryingFailed = "RetryingFailed"
	// EventListBucketsFailed: the source refused to list its buckets.
	EventListBucketsFailed = "ListBucketsFailed"
	// EventAuditStarted: the stores are being compared.
	EventAuditStarted = "AuditStarted"
	// EventAuditDone: an audit is complete, or failed.
	EventAuditDone = "AuditDone"
	// EventLedgerLost: Redis lost data; the route was restored.
	EventLedgerLost = "LedgerLost"
	// EventAcknowledgedClean: the user's word that the stores are equal was taken.
	EventAcknowledgedClean = "AcknowledgedClean"
	// EventConditionChanged: a condition turned bad, or good again.
	EventConditionChanged = "ConditionChanged"
	// EventDeletionHeld: deletion waits, because data lives on one store alone.
	EventDeletionHeld = "DeletionHeld"
	// EventForceDeleted: deletion was forced although data lives on one store alone.
	EventForceDeleted = "ForceDeleted"
)

// Event actions: what the operator was doing when the event happened.
const (
	// ActionReconcile: looking after the migration.
	ActionReconcile = "Reconcile"
	// ActionCopy: copying and catching up.
	ActionCopy = "Copy"
	// ActionAudit: comparing the stores.
	ActionAudit = "Audit"
	// ActionSwitch: switching from one store to the other.
	ActionSwitch = "Switch"
	// ActionDelete: deleting the migration.
	ActionDelete = "Delete"
)

const (
	// Finalizer keeps a Migration until its ledger is cleaned up and nothing
	// lives on one store alone.
	Finalizer = "crossfade.io/ledger"
	// AnnotationForceDelete, set to "true", lets a Migration be deleted
	// although data lives on one store alone. That data stays where it is.
	AnnotationForceDelete = "crossfade.io/force-delete"
)
