package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/ledger/ledgertest"
)

// A Redis that came back with older data than the Migration remembers is not obeyed.
func TestRolesKnowTheEpochOfTheMigration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "migration.yaml")
	manifest := `
apiVersion: crossfade.io/v1alpha1
kind: Migration
metadata: {name: photos}
spec:
  source: {endpoint: "http://127.0.0.1:1", credentialsRef: {name: s}}
  target: {endpoint: "http://127.0.0.1:2", credentialsRef: {name: t}}
  redis: {addresses: ["` + ledgertest.Redis(t) + `"]}
status:
  route: {epoch: 5, main: Target, state: Steady, uploads: Target}
`
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := (&roleFlags{config: file}).open(t.Context(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	m := r.ledger.Join(ledger.MemberOptions{Role: ledger.RoleProxy, Instance: "p"})
	for _, tc := range []struct {
		epoch int64
		want  error
	}{{4, ledger.ErrUnavailable}, {6, nil}} {
		if err := r.ledger.SetRoute(t.Context(), ledger.Route{Epoch: tc.epoch, State: ledger.Steady}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Beat(t.Context()); !errors.Is(err, tc.want) {
			t.Errorf("epoch %d: %v, want %v", tc.epoch, err, tc.want)
		}
	}
}
