package controllers

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
)

// AddFlags adds the manager's flags, which set o when they are parsed.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Images.Crossfade, "image", "", "image of the proxies and workers (required)")
	fs.Var((*pullPolicy)(&o.Images.PullPolicy), "image-pull-policy", "Always, IfNotPresent or Never, for all that the manager runs")
	fs.StringArrayVar(&o.Images.PullSecrets, "image-pull-secret", nil, "image pull Secret in the Migration's namespace; may be given again")
	fs.StringVar(&o.Images.Redis, "redis-image", "valkey/valkey:8.1-alpine", "image of the Redis of a Migration without spec.redis")
	o.Redis.StorageSize = resource.MustParse("2Gi")
	fs.Var((*quantity)(&o.Redis.StorageSize), "redis-storage-size", "size of that Redis' volume; 0 keeps the ledger in the pod")
	fs.StringVar(&o.Redis.StorageClass, "redis-storage-class", "", "storage class of that Redis' volume; default: the cluster's")
	fs.StringArrayVar(&o.Namespaces, "namespace", nil, "namespace to look after; may be given again; default: all")
	fs.StringVar(&o.MetricsAddress, "metrics-bind-address", "0", "address of /metrics; 0 turns it off")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", false, "serve metrics over TLS, to those who may get /metrics")
	fs.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 turns it off")
	fs.BoolVar(&o.LeaderElect, "leader-elect", false, "let one of several managers work, and the others wait")
	fs.StringVar(&o.LeaderElectNamespace, "leader-elect-namespace", "", "namespace of the lease; default: the manager's own")
	fs.IntVar(&o.Workers, "workers", 4, "Migrations that are looked after at a time")
}

type pullPolicy string

func (p *pullPolicy) String() string { return string(*p) }
func (p *pullPolicy) Type() string   { return "policy" }
func (p *pullPolicy) Set(v string) error {
	switch v {
	case "", "Always", "IfNotPresent", "Never":
		*p = pullPolicy(v)
		return nil
	}
	return fmt.Errorf("%q: must be Always, IfNotPresent or Never", v)
}

type quantity resource.Quantity

func (q *quantity) String() string { return (*resource.Quantity)(q).String() }
func (q *quantity) Type() string   { return "quantity" }
func (q *quantity) Set(v string) error {
	parsed, err := resource.ParseQuantity(v)
	if err != nil {
		return fmt.Errorf("%q: must be a size like 2Gi: %w", v, err)
	}
	*q = quantity(parsed)
	return nil
}
