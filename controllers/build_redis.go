package controllers

import (
	"context"
	"crypto/rand"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
)

// RedisOptions say how the Redis that we run keeps its data.
type RedisOptions struct {
	// StorageSize of its volume; zero keeps the ledger in the pod, so that it
	// is lost with the pod.
	StorageSize resource.Quantity
	// StorageClass of its volume; empty means the cluster's default.
	StorageClass string
}

const (
	portRedis = 6379
	// redisConfigKey holds the password in Redis' own format: on the command
	// line or in the environment everyone on the node could read it.
	redisConfigKey = "redis.conf"
	redisConfigDir = "/etc/redis"
	redisDataDir   = "/data"
)

// managedRedis is how the roles reach the Redis that we run.
func managedRedis(m *v1alpha1.Migration) *v1alpha1.Redis {
	name := childName(m, componentRedis)
	return &v1alpha1.Redis{
		Addresses:      []string{fmt.Sprintf("%s.%s.svc:%d", name, m.Namespace, portRedis)},
		Mode:           v1alpha1.RedisSingle,
		CredentialsRef: &v1alpha1.SecretReference{Name: name},
	}
}

// ensureRedisSecret makes the password once. It is not applied: it must never change.
func (r *Reconciler) ensureRedisSecret(ctx context.Context, s *scope) error {
	key := client.ObjectKey{Namespace: s.m.Namespace, Name: childName(s.m, componentRedis)}
	secret := &corev1.Secret{}
	err := r.Reader.Get(ctx, key, secret)
	if err == nil {
		if !metav1.IsControlledBy(secret, s.m) {
			return &stallError{v1alpha1.ReasonNameTaken, fmt.Sprintf(
				"Secret %s exists and does not belong to this Migration: remove it, or give the Migration another name.", key.Name)}
		}
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get Secret %s: %w", key.Name, err)
	}
	secret = redisSecret(s.m, rand.Text())
	if err := r.own(s.m, secret); err != nil {
		return err
	}
	if err := r.Client.Create(ctx, secret, fieldOwner); err != nil {
		return fmt.Errorf("create Secret %s: %w", key.Name, err)
	}
	return nil
}

func redisSecret(m *v1alpha1.Migration, password string) *corev1.Secret {
	b := blueprint{m: m}
	return &corev1.Secret{ObjectMeta: b.meta(componentRedis), Data: map[string][]byte{
		config.RedisPasswordKey: []byte(password),
		redisConfigKey:          []byte("requirepass " + password + "\n"),
	}}
}

func (b blueprint) redisObjects() []client.Object {
	out := []client.Object{b.redisService()}
	if !b.redisOptions.StorageSize.IsZero() {
		out = append(out, b.redisClaim())
	}
	return append(out, b.redisStatefulSet())
}

func (b blueprint) redisService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: b.meta(componentRedis),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: selector(b.m, componentRedis),
			Ports:    []corev1.ServicePort{{Name: "redis", Port: portRedis, TargetPort: intstr.FromString("redis"), Protocol: corev1.ProtocolTCP}},
		},
	}
}

func (b blueprint) redisClaim() *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: b.meta(componentRedis),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: b.redisOptions.StorageSize}},
		},
	}
	if b.redisOptions.StorageClass != "" {
		c.Spec.StorageClassName = ptr.To(b.redisOptions.StorageClass)
	}
	return c
}

func (b blueprint) redisStatefulSet() *appsv1.StatefulSet {
	data := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	if !b.redisOptions.StorageSize.IsZero() {
		data.VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: childName(b.m, componentRedis)}}
	}
	tcp := func(period, failures int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("redis")}},
			PeriodSeconds: period, TimeoutSeconds: 2, FailureThreshold: failures,
		}
	}
	return &appsv1.StatefulSet{
		ObjectMeta: b.meta(componentRedis),
		Spec: appsv1.StatefulSetSpec{
			ServiceName: childName(b.m, componentRedis),
			Replicas:    ptr.To[int32](1),
			Selector:    &metav1.LabelSelector{MatchLabels: selector(b.m, componentRedis)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labelsOf(b.m, componentRedis)},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken:  ptr.To(false),
					EnableServiceLinks:            ptr.To(false),
					TerminationGracePeriodSeconds: ptr.To[int64](30),
					SecurityContext:               restrictedPod(),
					ImagePullSecrets:              b.pullSecrets(),
					Containers: []corev1.Container{{
						Name:            componentRedis,
						Image:           b.images.Redis,
						ImagePullPolicy: b.images.PullPolicy,
						// Every write reaches the kernel before it is answered, and the disk
						// within a second: a killed process loses nothing.
						Command: []string{"redis-server", redisConfigDir + "/" + redisConfigKey,
							"--dir", redisDataDir, "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
							"--maxmemory-policy", "noeviction", "--port", fmt.Sprint(portRedis)},
						Ports: []corev1.ContainerPort{{Name: "redis", ContainerPort: portRedis, Protocol: corev1.ProtocolTCP}},
						Resources: corev1.ResourceRequirements{
							Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
							Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
						},
						VolumeMounts: []corev1.VolumeMount{
							{Name: "config", MountPath: redisConfigDir, ReadOnly: true},
							{Name: "data", MountPath: redisDataDir},
						},
						LivenessProbe:   tcp(10, 6),
						ReadinessProbe:  tcp(2, 3),
						SecurityContext: restrictedContainer(),
					}},
					Volumes: []corev1.Volume{
						{Name: "config", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
							SecretName:  childName(b.m, componentRedis),
							Items:       []corev1.KeyToPath{{Key: redisConfigKey, Path: redisConfigKey}},
							DefaultMode: ptr.To[int32](0o440),
						}}},
						data,
					},
				},
			},
		},
	}
}
