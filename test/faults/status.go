package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/crossfade-io/crossfade/api/v1alpha1"
	"github.com/crossfade-io/crossfade/internal/ledger"
)

// request is what the migration's user asks for.
type request struct {
	to      string // "": no switch
	mode    string
	attempt int
	retry   string
}

func (r request) yaml() string {
	if r.to == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{to: %s, mode: %s, attempt: %q", r.to, r.mode, fmt.Sprint(r.attempt))
	return b.String() + "}"
}

func (w *world) request() request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// ask changes the manifest, as kubectl patch would.
func (w *world) ask(change func(*request)) error {
	w.mu.Lock()
	change(&w.asked)
	w.mu.Unlock()
	return w.engine.write()
}

func (w *world) status() *v1alpha1.MigrationStatus {
	var m struct{ Status v1alpha1.MigrationStatus }
	b, err := os.ReadFile(filepath.Join(w.dir, "engine", "state", "status.json"))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return &v1alpha1.MigrationStatus{}
	}
	return &m.Status
}

// waits says what a migration waits for, and whether it is for somebody to try
// failed objects again.
func waits(st *v1alpha1.MigrationStatus) (why string, failed bool) {
	var out []string
	for _, t := range []string{v1alpha1.ConditionSwitchReady, v1alpha1.ConditionSwitched, v1alpha1.ConditionLedgerHealthy} {
		if c := meta.FindStatusCondition(st.Conditions, t); c != nil && c.Status == "False" {
			out = append(out, t+": "+c.Reason+": "+c.Message)
		}
	}
	why = strings.Join(out, "; ")
	return why, strings.Contains(why, "retryFailed")
}

func storeName(s ledger.Store) string { return s.String() }
