package controllers

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	configDir    = "/etc/crossfade"
	manifestFile = "migration.yaml"
	secretsDir   = configDir + "/secrets"
	stateDir     = "/var/lib/crossfade"
)

// config is the manifest that the roles read. It leaves out what is the
// manager's alone, and names the Redis in any case. It carries the route, for a
// proxy that starts while Redis is down.
func (b blueprint) config() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: b.meta(componentConfig), Data: map[string]string{manifestFile: manifest(b.roleManifest())}}
}

func (b blueprint) roleManifest() *v1alpha1.Migration {
	spec := b.m.Spec.DeepCopy()
	spec.Redis = b.redis.DeepCopy()
	spec.Paused, spec.RetryFailed, spec.Audit = false, "", v1alpha1.Audit{} // the ledger says so
	p := &spec.Proxy
	p.Replicas, p.Autoscaling, p.Resources, p.Service = nil, nil, nil, v1alpha1.ProxyService{}
	spec.Worker.Replicas, spec.Worker.Resources = nil, nil
	if spec.Switch != nil {
		// Workers deal with uploads; the switch itself is the ledger's route.
		spec.Switch = &v1alpha1.Switch{DanglingUploads: spec.Switch.DanglingUploads}
	}
	return &v1alpha1.Migration{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KindMigration},
		ObjectMeta: metav1.ObjectMeta{Name: b.m.Name, Namespace: b.m.Namespace, UID: b.m.UID},
		Spec:       *spec,
		Status:     v1alpha1.MigrationStatus{Route: b.m.Status.Route, PendingRoute: b.m.Status.PendingRoute, Stores: storesOf(b.m)},
	}
}

// storesOf is what proxies need to know about the stores.
func storesOf(m *v1alpha1.Migration) *v1alpha1.Stores {
	if m.Status.Stores == nil {
		return nil
	}
	out := &v1alpha1.Stores{}
	const name = "streamingTrailer"
	for from, to := range map[*v1alpha1.StoreStatus]*v1alpha1.StoreStatus{&m.Status.Stores.Source: &out.Source, &m.Status.Stores.Target: &out.Target} {
		if c, ok := from.Capabilities[name]; ok {
			to.Capabilities = map[string]v1alpha1.Capability{name: c}
		}
	}
	return out
}

// rollout changes when the pods of a component must be replaced to follow the
// manifest. What a switch asks for is read again while they run, and so are
// credentials.
func (b blueprint) rollout(component string) string {
	m := b.roleManifest()
	m.Spec.Switch = nil
	switch component {
	case componentProxy:
		m.Spec.Worker = v1alpha1.Worker{}
	case componentWorker:
		m.Spec.Proxy = v1alpha1.Proxy{}
	}
	return fingerprint(m.Spec)
}

func manifest(m *v1alpha1.Migration) string {
	out, err := yaml.Marshal(m)
	if err != nil {
		panic(err) // our own types marshal
	}
	return string(out)
}

// storeSecrets are the Secrets with the stores' own keys, which every role needs.
func storeSecrets(m *v1alpha1.Migration) []string {
	out := []string{m.Spec.Source.CredentialsRef.Name, m.Spec.Target.CredentialsRef.Name}
	slices.Sort(out)
	return slices.Compact(out)
}

// s3Secrets are those, and the clients', which are the proxies' business alone.
func s3Secrets(m *v1alpha1.Migration) []string {
	out := storeSecrets(m)
	for _, c := range m.Spec.Proxy.Clients {
		out = append(out, c.SecretName)
		for _, ref := range []*v1alpha1.SecretReference{c.SourceCredentialsRef, c.TargetCredentialsRef} {
			if ref != nil {
				out = append(out, ref.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// configVolume holds the manifest and the Secrets in one tree, which the
// kubelet updates as a whole.
func (b blueprint) configVolume(component string) corev1.Volume {
	sources := []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: childName(b.m, componentConfig)},
		Items:                []corev1.KeyToPath{{Key: manifestFile, Path: manifestFile}},
	}}}
	secrets := storeSecrets(b.m)
	if component == componentProxy {
		secrets = s3Secrets(b.m)
	}
	for _, name := range secrets {
		sources = append(sources,
			secretFiles(name, false, s3.AccessKeyIDFile, s3.SecretAccessKeyFile),
			secretFiles(name, true, s3.SessionTokenFile,
				s3.PreviousAccessKeyIDFile, s3.PreviousSecretAccessKeyFile, s3.PreviousSessionTokenFile))
	}
	if t := b.m.Spec.Proxy.TLS; t != nil && component == componentProxy {
		sources = append(sources, secretFiles(t.SecretName, false, config.TLSCertKey, config.TLSKeyKey))
	}
	if ref := b.redis.CredentialsRef; ref != nil {
		sources = append(sources,
			secretFiles(ref.Name, false, config.RedisPasswordKey),
			secretFiles(ref.Name, true, config.RedisUsernameKey, config.RedisSentinelPasswordKey))
	}
	return corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: ptr.To[int32](0o440)},
	}}
}

func secretFiles(name string, optional bool, keys ...string) corev1.VolumeProjection {
	p := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}}
	if optional {
		p.Optional = ptr.To(true)
	}
	for _, k := range keys {
		p.Items = append(p.Items, corev1.KeyToPath{Key: k, Path: "secrets/" + name + "/" + k})
	}
	return corev1.VolumeProjection{Secret: p}
}
