package controllers

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const (
	portS3      = 8080
	portMetrics = 9090
	// userID is that of "nonroot" in the image.
	userID = 65532
	// A proxy that ends lets running requests finish, a worker its copies.
	proxyGrace  = 120
	workerGrace = 60
)

func (b blueprint) proxyService() *corev1.Service {
	spec := b.m.Spec.Proxy.Service
	return &corev1.Service{
		ObjectMeta: b.meta(componentProxy),
		Spec: corev1.ServiceSpec{
			Type:     spec.Type,
			Selector: selector(b.m, componentProxy),
			Ports:    []corev1.ServicePort{{Name: "s3", Port: spec.Port, TargetPort: intstr.FromString("s3"), Protocol: corev1.ProtocolTCP}},
		},
	}
}

func (b blueprint) proxyDeployment() *appsv1.Deployment {
	c := b.container(componentProxy, b.m.Spec.Proxy.Resources,
		"--listen", ":"+strconv.Itoa(portS3), "--state-dir", stateDir)
	c.Ports = append([]corev1.ContainerPort{{Name: "s3", ContainerPort: portS3, Protocol: corev1.ProtocolTCP}}, c.Ports...)
	// Endpoints take a moment to forget a pod that ends.
	c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}}
	// Writes that the ledger has not taken in yet outlive the container, not the pod.
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "state", MountPath: stateDir})
	pod := b.pod(componentProxy, c, proxyGrace)
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	return b.deployment(componentProxy, b.replicasOfProxy(), pod)
}

// replicasOfProxy leaves an autoscaler's choice as it is. It is sent all the
// same: a field that we stop to send would fall back to 1 first.
func (b blueprint) replicasOfProxy() *int32 {
	spec := b.m.Spec.Proxy
	if a := spec.Autoscaling; a != nil {
		return ptr.To(min(max(ptr.Deref(b.proxyReplicas, a.MinReplicas), a.MinReplicas), a.MaxReplicas))
	}
	return ptr.To(ptr.Deref(spec.Replicas, 2))
}

func (b blueprint) proxyAutoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	a := b.m.Spec.Proxy.Autoscaling
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: b.meta(componentProxy),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: childName(b.m, componentProxy)},
			MinReplicas:    ptr.To(a.MinReplicas),
			MaxReplicas:    a.MaxReplicas,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To(a.TargetCPUUtilization)},
			}}},
		},
	}
}

func (b blueprint) workerDeployment() *appsv1.Deployment {
	c := b.container(componentWorker, b.m.Spec.Worker.Resources)
	return b.deployment(componentWorker, ptr.To(ptr.Deref(b.m.Spec.Worker.Replicas, 2)), b.pod(componentWorker, c, workerGrace))
}

func (b blueprint) deployment(component string, replicas *int32, pod corev1.PodTemplateSpec) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: b.meta(component),
		Spec: appsv1.DeploymentSpec{
			Replicas: replicas,
			Selector: &metav1.LabelSelector{MatchLabels: selector(b.m, component)},
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxUnavailable: ptr.To(intstr.FromInt32(0)),
					MaxSurge:       ptr.To(intstr.FromInt32(1)),
				},
			},
			Template: pod,
		},
	}
}

// container runs a role. Everything it needs to know is in the manifest; no
// credentials are in its environment or on its command line.
func (b blueprint) container(component string, resources *corev1.ResourceRequirements, args ...string) corev1.Container {
	if resources == nil {
		resources = &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		}
	}
	return corev1.Container{
		Name:            component,
		Image:           b.images.Crossfade,
		ImagePullPolicy: b.images.PullPolicy,
		Args: append([]string{component,
			"--config", configDir + "/" + manifestFile,
			"--secrets-dir", secretsDir,
			"--instance", "$(POD_NAME)",
			"--metrics", ":" + strconv.Itoa(portMetrics)}, args...),
		Env: []corev1.EnvVar{
			fromField("POD_NAME", "metadata.name"),
			fromField("POD_UID", "metadata.uid"),
		},
		Ports:           []corev1.ContainerPort{{Name: "metrics", ContainerPort: portMetrics, Protocol: corev1.ProtocolTCP}},
		Resources:       *resources,
		VolumeMounts:    []corev1.VolumeMount{{Name: "config", MountPath: configDir, ReadOnly: true}},
		LivenessProbe:   probe("/healthz", 10, 6),
		ReadinessProbe:  probe("/readyz", 2, 3),
		SecurityContext: restrictedContainer(),
	}
}

func fromField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("metrics"), Scheme: corev1.URISchemeHTTP}},
		PeriodSeconds:    period,
		TimeoutSeconds:   2,
		FailureThreshold: failures,
	}
}

func (b blueprint) pod(component string, c corev1.Container, grace int64) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: labelsOf(b.m, component),
			Annotations: map[string]string{
				annotationConfig:       b.rollout(component),
				"prometheus.io/scrape": "true",
				"prometheus.io/port":   strconv.Itoa(portMetrics),
			},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName:            childName(b.m, component),
			AutomountServiceAccountToken:  ptr.To(false),
			EnableServiceLinks:            ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To(grace),
			SecurityContext:               restrictedPod(),
			ImagePullSecrets:              b.pullSecrets(),
			Containers:                    []corev1.Container{c},
			Volumes:                       []corev1.Volume{b.configVolume(component)},
			TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
				MaxSkew:           1,
				TopologyKey:       corev1.LabelHostname,
				WhenUnsatisfiable: corev1.ScheduleAnyway,
				LabelSelector:     &metav1.LabelSelector{MatchLabels: selector(b.m, component)},
			}},
		},
	}
}

func (b blueprint) pullSecrets() []corev1.LocalObjectReference {
	var out []corev1.LocalObjectReference
	for _, s := range b.images.PullSecrets {
		out = append(out, corev1.LocalObjectReference{Name: s})
	}
	return out
}

func restrictedPod() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot:   ptr.To(true),
		RunAsUser:      ptr.To[int64](userID),
		RunAsGroup:     ptr.To[int64](userID),
		FSGroup:        ptr.To[int64](userID),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func restrictedContainer() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}
