// Package v1alpha1 is the API of Crossfade: the Migration, which moves the
// buckets of one S3 store to another while clients keep reading and writing.
//
// +kubebuilder:object:generate=true
// +groupName=crossfade.io
package v1alpha1
