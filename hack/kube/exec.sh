#!/usr/bin/env bash
# exec.sh COMMAND...: runs COMMAND in the node's network, where pod and Service addresses can be
# reached. What it starts stays visible outside: end it yourself.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/vars.sh"
init=$(init_pid) || die "no node is up: run hack/kube/up.sh"
exec nsenter -t "$init" -n -- "$@"
