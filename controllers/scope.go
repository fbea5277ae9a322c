package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/config"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/stores"
)

// scope is one reconcile of one Migration: what is read once, and what the
// steps find out. Only status.go turns it into status.
type scope struct {
	key  types.NamespacedName
	m    *v1alpha1.Migration
	old  *v1alpha1.Migration // as read
	log  logr.Logger
	next time.Duration // when to look again

	// redis that keeps the ledger: the user's, or the one that we run.
	redis   *v1alpha1.Redis
	secrets config.MemorySecrets

	proxies *appsv1.Deployment
	service *corev1.Service
	// instances are the proxy pods that exist.
	instances map[string]bool

	looks [2]stores.Look
	out   *migration.Output

	// local: clients are served by this process, not by pods.
	local bool
	// stall is what only a human can mend.
	stall *stallError
	// held is why deletion waits.
	held   string
	events []event
}

type event struct {
	warning              bool
	reason, action, note string
}

// stallError is an error that only a human can mend.
type stallError struct {
	reason, message string
}

func (e *stallError) Error() string { return e.message }

// fingerprint sums up values that marshal to JSON.
func fingerprint(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		_ = json.NewEncoder(h).Encode(p) // our own types marshal
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
