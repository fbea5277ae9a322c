#!/usr/bin/env bash
# manifests.sh: generates the CRD and the manager's RBAC from the Go code, and puts both into
# the chart.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
"$ROOT/hack/tool.sh" controller-gen
"$BIN/controller-gen" crd paths=./api/... output:crd:artifacts:config=config/crd/bases
"$BIN/controller-gen" rbac:roleName=crossfade-manager paths=./controllers/... output:rbac:artifacts:config=config/rbac
cp config/crd/bases/crossfade.io_migrations.yaml config/rbac/role.yaml charts/crossfade/files/
