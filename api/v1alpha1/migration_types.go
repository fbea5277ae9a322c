package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A root rule sees status, so "once started" is: the phase has left Pending.
// Rules compare with oldSelf only what the update changes, so that a status
// write never fails on them.

// Migration moves the buckets of one S3 store, the source, to another, the
// target, while clients keep reading and writing through its proxies.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mig,categories=crossfade,path=migrations
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Main",type=string,JSONPath=`.status.route.main`
// +kubebuilder:printcolumn:name="Copied%",type=integer,JSONPath=`.status.progress.percent`
// +kubebuilder:printcolumn:name="Lag",type=string,JSONPath=`.status.lag.age`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Dirty",type=integer,priority=1,JSONPath=`.status.lag.objects`
// +kubebuilder:printcolumn:name="Rate",type=string,priority=1,JSONPath=`.status.progress.rate.bytesPerSecond`
// +kubebuilder:printcolumn:name="ETA",type=string,priority=1,JSONPath=`.status.progress.eta`
// +kubebuilder:printcolumn:name="Audited",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Audited")].reason`
// +kubebuilder:printcolumn:name="Proxy",type=string,priority=1,JSONPath=`.status.proxy.address`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",message="metadata.name must be at most 40 lower-case letters, digits and dashes, beginning with a letter, because Services are named after it"
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending' || (self.spec.source.endpoint == oldSelf.spec.source.endpoint && self.spec.source.region == oldSelf.spec.source.region)",message="spec.source: endpoint and region cannot change once the migration has started; delete this Migration and create a new one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending' || (self.spec.target.endpoint == oldSelf.spec.target.endpoint && self.spec.target.region == oldSelf.spec.target.region)",message="spec.target: endpoint and region cannot change once the migration has started; delete this Migration and create a new one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending' || (has(self.spec.buckets) == has(oldSelf.spec.buckets) && (!has(self.spec.buckets) || self.spec.buckets == oldSelf.spec.buckets))",message="spec.buckets cannot change once the migration has started; create a second Migration for further buckets"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending' || self.spec.versions == oldSelf.spec.versions",message="spec.versions cannot change once the migration has started; delete this Migration and create a new one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending' || (has(self.spec.redis) == has(oldSelf.spec.redis) && (!has(self.spec.redis) || (self.spec.redis.addresses == oldSelf.spec.redis.addresses && self.spec.redis.mode == oldSelf.spec.redis.mode && has(self.spec.redis.masterName) == has(oldSelf.spec.redis.masterName) && (!has(self.spec.redis.masterName) || self.spec.redis.masterName == oldSelf.spec.redis.masterName))))",message="spec.redis: only credentialsRef can change once the migration has started, because the ledger lives in that Redis; keep its addresses, mode and masterName"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.route) || oldSelf.status.route.main != 'Target' || !has(oldSelf.spec.switch) || has(self.spec.switch)",message="spec.switch cannot be taken away once clients write to the target; to go back set spec.switch.to to Source"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.route) || oldSelf.status.route.main != 'Target' || oldSelf.status.route.sync || !has(self.spec.switch) || self.spec.switch.to != 'Source' || (has(oldSelf.spec.switch) && oldSelf.spec.switch.to == 'Source')",message="spec.switch.to: cannot go back to Source, because reverse was off and the source lacks the writes made since the switch; create a second Migration from the target to the source instead"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.route) || oldSelf.status.route.main != 'Source' || oldSelf.status.route.sync || !has(self.spec.switch) || self.spec.switch.to != 'Target' || (has(oldSelf.spec.switch) && oldSelf.spec.switch.to == 'Target')",message="spec.switch.to: cannot go to Target again, because reverse was off when clients went back and the target lacks the writes made since; delete this Migration and create a new one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.route) || oldSelf.status.route.sync || !has(self.spec.switch) || !self.spec.switch.reverse || (has(oldSelf.spec.switch) && oldSelf.spec.switch.reverse)",message="spec.switch.reverse cannot be turned on after the switch, because the other store already lacks writes; leave it false"
type Migration struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to move, between which stores, and whether to switch.
	// +required
	Spec MigrationSpec `json:"spec"`

	// status says how far the migration is.
	// +optional
	Status MigrationStatus `json:"status,omitempty,omitzero"`
}

// MigrationList is a list of Migrations.
//
// +kubebuilder:object:root=true
type MigrationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Migration `json:"items"`
}
