#!/usr/bin/env bash
# load.sh IMAGE.tar...: imports docker-archive images into the running node.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/vars.sh"
init=$(init_pid) || die "no node is up: run hack/kube/up.sh"
for tar in "$@"; do
  nsenter -t "$init" -m -- ctr -n k8s.io images import "$(realpath "$tar")" >&2
done
