#!/usr/bin/env bash
# kube.sh [FLAGS of trafficctl demo]: the demo on a real single-node Kubernetes: helm install,
# kubectl apply, kubectl patch, pods. Builds the node if need be (about 8 minutes, once), starts it
# if it is not up, and ends what it started. Run as root.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../kube/vars.sh"
cd "$ROOT"
[ "$(id -u)" = 0 ] || die "a node of our own needs root; without it: DEMO=local make demo"
unset AWS_CA_BUNDLE
hack/kube.sh
hack/tool.sh helm versitygw
hack/rgw.sh
hack/image.sh crossfade redis pause
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$BIN/trafficctl" ./test/trafficctl

down=
node_pid >/dev/null || down=1
end() { [ -z "$down" ] || hack/kube/down.sh; }
trap end EXIT
KUBECONFIG=$(hack/kube/up.sh "$BIN/images/crossfade.tar" "$BIN/images/redis.tar")
export KUBECONFIG CROSSFADE_BIN=$BIN
# In the node's network: pods reach the two stores, the clients reach the proxies' Service.
hack/kube/exec.sh "$BIN/trafficctl" demo --kube --host "$NODE_IP" --root "$ROOT" "$@"
