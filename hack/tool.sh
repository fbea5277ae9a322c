#!/usr/bin/env bash
# tool.sh NAME...: puts pinned tools into bin/: versitygw, controller-gen, golangci-lint, helm.
# Each is built from hack/tools/NAME once per version and kept in ~/.cache/crossfade.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# No debug information: a tenth of the compile time. Tools whose speed does not matter also do
# without the optimizer.
lean=(-gcflags=all=-dwarf=false)
leanest=("-gcflags=all=-N -l -dwarf=false")

for name in "$@"; do
  module=$ROOT/hack/tools/$name
  case $name in
    versitygw) built=$(go_tool "$name" "$module" github.com/versity/versitygw/cmd/versitygw "about 2 minutes" "${lean[@]}") ;;
    controller-gen) built=$(go_tool "$name" "$module" sigs.k8s.io/controller-tools/cmd/controller-gen "about 1 minute" "${leanest[@]}") ;;
    golangci-lint) built=$(go_tool "$name" "$module" github.com/golangci/golangci-lint/v2/cmd/golangci-lint "about 4 minutes" "${lean[@]}") ;;
    helm) built=$(go_tool "$name" "$module" helm.sh/helm/v4/cmd/helm "about 2 minutes after kube.sh, else 5" "${leanest[@]}") ;;
    *) die "unknown tool $name" ;;
  esac
  place "$built" "$BIN/$name"
done
