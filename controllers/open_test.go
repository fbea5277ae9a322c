package controllers

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
)

// The real engine on a real Redis, with stores that refuse and then let in.
func TestARealLedgerIsSetUpAndCleanedUp(t *testing.T) {
	w := newWorld(t)
	addr := ledgertest.Redis(t)
	denied := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusForbidden)
		_, _ = rw.Write([]byte(`<?xml version="1.0"?><Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>`))
	}))
	defer denied.Close()
	w.secret("old", "accessKeyID", "secretAccessKey")
	w.secret("new", "accessKeyID", "secretAccessKey")
	m := w.migration("photos")
	m.Annotations = map[string]string{"engine": "real"}
	m.Spec.Source.Endpoint, m.Spec.Target.Endpoint = denied.URL, "http://127.0.0.1:1"
	m.Spec.Redis = &v1alpha1.Redis{Addresses: []string{addr}}
	w.Expect(api.Create(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(w.condition("SourceReachable")).Should(gomega.Equal("False Unreachable"))
	w.Eventually(w.condition("TargetReachable")).Should(gomega.Equal("False Unreachable"))
	w.Eventually(w.condition("LedgerHealthy")).Should(gomega.Equal("False Waiting"))
	for _, c := range w.read().Status.Conditions {
		if c.Type == v1alpha1.ConditionSourceReachable {
			w.Expect(c.Message).To(gomega.ContainSubstring("InvalidAccessKeyId: No such key. Check spec.source.endpoint, and that the Secret"))
		}
	}

	// A ledger that a manager before this one has set up.
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = rdb.Close() }()
	l := ledger.New(ledger.Options{Redis: rdb, Migration: config.LedgerName(w.read())})
	w.Expect(l.SetRoute(w.ctx, ledger.Route{Epoch: 3, Main: ledger.Source, State: ledger.Steady, Sync: true, Uploads: ledger.Source})).To(gomega.Succeed())
	w.Eventually(w.condition("LedgerHealthy")).Should(gomega.Equal("True Healthy"))
	w.Expect(w.read().Status.Route.Epoch).To(gomega.Equal(int64(3)))
	w.Expect(api.Delete(w.ctx, m)).To(gomega.Succeed())
	w.Eventually(w.gone).Should(gomega.BeTrue())
	keys, err := rdb.Keys(w.ctx, "*").Result()
	w.Expect(err).NotTo(gomega.HaveOccurred())
	w.Expect(keys).To(gomega.BeEmpty(), "deletion leaves keys behind")
}
