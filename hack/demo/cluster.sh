#!/usr/bin/env bash
# cluster.sh [FLAGS of trafficctl demo]: the demo on a Kubernetes that is at hand: the one that
# KUBECONFIG names, or the current context's if kind made it. The two stores and the clients run on
# this machine, the rest in the cluster; it is uninstalled in the end.
#   DEMO_HOST  this machine's address as pods reach it (kind: found out)
#   DEMO_LOAD  a command that brings image tars, its arguments, into the cluster (kind: known)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"
unset AWS_CA_BUNDLE
has kubectl || die "kubectl is needed to use the cluster at hand; DEMO=local make demo does without one"
context=$(kubectl config current-context) || die "KUBECONFIG has no current context; DEMO=local make demo does without a cluster"
kubectl --request-timeout=10s get nodes >/dev/null || die "the cluster $context does not answer; DEMO=local make demo does without one"
case $context in
  kind-*)
    : "${DEMO_LOAD:=kind_load}"
    : "${DEMO_HOST:=$(docker network inspect kind -f '{{range .IPAM.Config}}{{.Gateway}} {{end}}' | tr ' ' '\n' | grep -m1 '\.')}"
    ;;
esac
kind_load() { for tar in "$@"; do kind load image-archive --name "${context#kind-}" "$tar"; done; }
[ -n "${DEMO_LOAD:-}" ] && [ -n "${DEMO_HOST:-}" ] || die "to use the cluster $context, set DEMO_HOST (this machine's address as pods reach it)
and DEMO_LOAD (a command that brings image tars into it); or DEMO=local make demo, or unset KUBECONFIG"
say "using the cluster $context: the chart and a Migration are installed there, and removed in the end"
has helm || hack/tool.sh helm
hack/tool.sh versitygw
hack/rgw.sh
hack/image.sh crossfade redis
$DEMO_LOAD "$BIN/images/crossfade.tar" "$BIN/images/redis.tar"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$BIN/trafficctl" ./test/trafficctl
CROSSFADE_BIN=$BIN "$BIN/trafficctl" demo --kube --forward --host "$DEMO_HOST" --root "$ROOT" "$@"
