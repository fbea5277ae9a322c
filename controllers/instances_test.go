package controllers

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
)

// podReader lists the pods that it knows.
type podReader struct {
	client.Client
	pods []string
}

func (p podReader) List(_ context.Context, to client.ObjectList, _ ...client.ListOption) error {
	for _, name := range p.pods {
		list := to.(*corev1.PodList)
		list.Items = append(list.Items, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: "node"}})
	}
	return nil
}

func TestPodsAreListedPastTheCacheUntilASwitchIsOver(t *testing.T) {
	r := &Reconciler{Client: podReader{pods: []string{"old"}}, Reader: podReader{pods: []string{"old", "new"}}}
	route := func(main v1alpha1.StoreName, state v1alpha1.RouteState) *v1alpha1.Route {
		return &v1alpha1.Route{Epoch: 4, Main: main, State: state}
	}
	next := &v1alpha1.Route{Epoch: 5, Main: v1alpha1.StoreSource, State: v1alpha1.RoutePreparing}
	for name, c := range map[string]struct {
		to              v1alpha1.StoreName // "": no switch is asked for
		route, pending  *v1alpha1.Route
		pastTheCacheNow bool
	}{
		"nothing is asked for":         {"", route("Source", "Steady"), nil, false},
		"it is over":                   {"Target", route("Target", "Steady"), nil, false},
		"asked for":                    {"Target", route("Source", "Steady"), nil, true},
		"turned back, and taken away":  {"", route("Source", "Switched"), nil, true},
		"taken away while it prepares": {"", route("Source", "Preparing"), nil, true},
		"taken away just now":          {"", route("Source", "Steady"), next, true},
	} {
		s := &scope{m: &v1alpha1.Migration{}}
		if c.to != "" {
			s.m.Spec.Switch = &v1alpha1.Switch{To: c.to}
		}
		s.m.Status.Route, s.m.Status.PendingRoute = c.route, c.pending
		if err := r.listInstances(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if s.instances["new"] != c.pastTheCacheNow {
			t.Errorf("%s: %v", name, s.instances)
		}
	}
}
