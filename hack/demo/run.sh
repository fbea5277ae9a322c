#!/usr/bin/env bash
# run.sh [FLAGS of trafficctl demo]: a live migration between two real S3 servers, with clients
# that check every answer, a switch, and a report. On Kubernetes when one is at hand: KUBECONFIG, kind,
# or our own node if it is built (DEMO=local says no to that); else the same manifest with
# `crossfade local`, on any Debian machine.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"
if [ "${DEMO:-}" != local ] && { [ -n "${KUBECONFIG:-}" ] || [[ $(kubectl config current-context 2>/dev/null) == kind-* ]]; }; then
  exec hack/demo/cluster.sh "$@"
fi
if [ "${DEMO:-}" != local ] && [ "$(id -u)" = 0 ] && [ -x "$BIN/kube/kubelet" ]; then
  exec hack/demo/kube.sh "$@"
fi
has go || die "Go 1.26 or later is needed"
unset AWS_CA_BUNDLE
hack/redis.sh
hack/rgw.sh
hack/tool.sh versitygw
say "building crossfade and trafficctl"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$BIN/crossfade" .
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$BIN/trafficctl" ./test/trafficctl
CROSSFADE_BIN=$BIN exec "$BIN/trafficctl" demo --root "$ROOT" "$@"
