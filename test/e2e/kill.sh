#!/usr/bin/env bash
# kill.sh CONTAINER-ID: ends a container of our node with SIGKILL, as a crash would.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../hack/kube/vars.sh"
init=$(init_pid) || die "no node is up"
exec nsenter -t "$init" -m -- ctr -n k8s.io task kill -s SIGKILL "$1"
