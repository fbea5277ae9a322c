#!/usr/bin/env bash
# kube.sh: builds Kubernetes into bin/kube/: etcd, kube-apiserver, kube-controller-manager,
# kube-scheduler, kubelet, kube-proxy, kubectl (and the addons of kube/up.sh), all one binary.
# bin/kube is good as KUBEBUILDER_ASSETS.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Test-only flags. Neither optimizer nor debug information makes compiling k8s.io/client-go take
# 143 CPU seconds instead of 201 (-29 %); Kubernetes needs little CPU in tests.
version=$(awk '$1 == "k8s.io/kubernetes" {print $2; exit}' "$ROOT/hack/kube/module/go.mod")
IFS=.v read -r _ major minor _ <<<"$version"
stamp=k8s.io/component-base/version # or it calls itself v0.0.0, which charts refuse
built=$(go_tool kubeall "$ROOT/hack/kube/module" ./kubeall "about 8 minutes" "-gcflags=all=-N -l -dwarf=false" \
  "-ldflags=-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=$major -X $stamp.gitMinor=$minor")
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl addons; do
  place "$built" "$BIN/kube/$name"
done
