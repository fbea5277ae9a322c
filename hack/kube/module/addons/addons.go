// Package addons is what a real cluster installs beside Kubernetes itself, in
// the smallest form that tests need: DNS for Services and a provisioner of
// local volumes.
package addons

import (
	"context"
	"errors"
	"flag"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Run serves until it fails. args are the flags that node.sh gives.
func Run(args []string) error {
	flags := flag.NewFlagSet("addons", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
	listen := flags.String("dns", "127.0.0.1:53", "address of the DNS server")
	domain := flags.String("domain", "cluster.local", "the cluster's DNS domain")
	dir := flags.String("volumes", "", "directory that holds the volumes")
	node := flags.String("node", "", "name of the node that holds the volumes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	ctx := context.Background()
	factory := informers.NewSharedInformerFactory(client, 10*time.Minute)
	dns := newDNS(factory, *domain)
	volumes := newVolumes(factory, client, *dir, *node)
	factory.Start(ctx.Done())
	for _, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return errors.New("caches did not fill")
		}
	}
	failed := make(chan error, 2)
	go func() { failed <- dns.serve(*listen) }()
	go func() { failed <- volumes.serve(ctx) }()
	return <-failed
}
