package app

import (
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/crossfade-io/crossfade/controllers"
)

func managerCommand(log func() logr.Logger) *cobra.Command {
	var o controllers.Options
	var pullPolicy, storageSize string
	cmd := &cobra.Command{Use: "manager", Short: "Reconcile Migrations in a Kubernetes cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = log().WithName("manager")
			ctrl.SetLogger(o.Log)
			o.Images.PullPolicy = corev1.PullPolicy(pullPolicy)
			if storageSize != "" {
				size, err := resource.ParseQuantity(storageSize)
				if err != nil {
					return fmt.Errorf("--redis-storage-size: %w", err)
				}
				o.Redis.StorageSize = size
			}
			switch o.Images.PullPolicy {
			case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
			default:
				return fmt.Errorf("--image-pull-policy is Always, IfNotPresent or Never, not %q", pullPolicy)
			}
			if o.Images.Crossfade == "" {
				return fmt.Errorf("--image: name the image of this program, which proxies and workers run")
			}
			cfg, err := ctrl.GetConfig()
			if err != nil {
				return fmt.Errorf("find the cluster: run in a pod, or set KUBECONFIG: %w", err)
			}
			return controllers.Run(cmd.Context(), cfg, o)
		}}
	fs := cmd.Flags()
	fs.StringVar(&o.Images.Crossfade, "image", os.Getenv("CROSSFADE_IMAGE"), "image of proxies and workers (required)")
	fs.StringVar(&pullPolicy, "image-pull-policy", "", "pull policy of both images: Always, IfNotPresent or Never; left out: Kubernetes' own choice")
	fs.StringArrayVar(&o.Images.PullSecrets, "image-pull-secret", nil, "Secret to pull images with, in the Migration's namespace; may be repeated")
	fs.StringVar(&o.Images.Redis, "redis-image", "valkey/valkey:8.1-alpine", "image of the Redis that keeps a ledger when the Migration names none")
	fs.StringVar(&storageSize, "redis-storage-size", "2Gi", "size of that Redis' volume; 0 keeps the ledger in the pod")
	fs.StringVar(&o.Redis.StorageClass, "redis-storage-class", "", "storage class of that volume; left out: the cluster's default")
	fs.StringArrayVar(&o.Namespaces, "namespace", nil, "look after Migrations in this namespace only; may be repeated")
	fs.StringVar(&o.MetricsAddress, "metrics-bind-address", "0", "address of metrics; 0 turns them off")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", false, "serve metrics over TLS to those who may get /metrics")
	fs.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8081", "address of probes; 0 turns them off")
	fs.BoolVar(&o.LeaderElect, "leader-elect", false, "let one of several managers work")
	fs.StringVar(&o.LeaderElectNamespace, "leader-elect-namespace", "", "namespace of the lease; left out: the pod's own")
	fs.IntVar(&o.Workers, "workers", 4, "how many Migrations are looked after at a time")
	return cmd
}
