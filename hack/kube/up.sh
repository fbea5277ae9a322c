#!/usr/bin/env bash
# up.sh [IMAGE.tar...]: starts a real single-node Kubernetes in namespaces of its own, imports the
# images, and prints the path of its kubeconfig when the node is ready (about 15 s). Run as root.
# The machine's sysctls, nftables and links stay as they were but for one veth pair; down.sh
# leaves nothing behind. `export KUBECONFIG=$(hack/kube/up.sh)`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/vars.sh"
[ "$(id -u)" = 0 ] || die "a node needs root"
case $RUN in /run/* | /var/lib/* | /var/log/*) die "CROSSFADE_KUBE_DIR may not be in $RUN: the node covers it" ;; esac
for image in "$@"; do [ -f "$image" ] || die "no image $image"; done

if node_pid >/dev/null; then
  say "the node is up already"
  [ $# = 0 ] || "$HERE/load.sh" "$@"
  echo "$RUN/kubeconfig"
  exit 0
fi
SECONDS=0
debian containerd containerd runc containernetworking-plugins iptables nftables conntrack iproute2 curl openssl
for pair in runc:runc ip:iproute2 nft:nftables conntrack:conntrack iptables:iptables openssl:openssl curl:curl; do
  debian "${pair%%:*}" "${pair##*:}"
done
[ -x /usr/lib/cni/bridge ] || debian /usr/lib/cni/bridge containernetworking-plugins
[ -x "$KUBE/kubelet" ] || "$ROOT/hack/kube.sh"
[ -f "$BIN/images/pause.tar" ] || "$ROOT/hack/image.sh" pause
"$HERE/down.sh" # what a killed run left
trap '[ $? = 0 ] || { say "the node did not start: $RUN/log"; tail -n 3 "$RUN"/log/*.log >&2 2>/dev/null || true; }' EXIT
mkdir -p "$RUN/log" "$RUN/cni"
touch "$RUN/crossfade-node" # tells down.sh that the directory is ours to remove
realpath "$BIN/images/pause.tar" "$@" >"$RUN/images"
"$HERE/certs.sh" "$RUN/pki"
"$HERE/config.sh"

ulimit -n 20000 2>/dev/null || true
CROSSFADE_KUBE_RUN=$RUN setsid unshare --pid --fork --kill-child --mount --mount-proc --net --uts --ipc \
  "$HERE/node.sh" </dev/null >/dev/null 2>"$RUN/log/unshare.log" &
echo $! >"$RUN/node.pid"
in_own_network() {
  local pid
  pid=$(init_pid) && [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}
until_true 10 in_own_network || die "the node's namespaces did not come up"
ip link add "$HOST_LINK" type veth peer name "$NODE_LINK"
ip link set "$NODE_LINK" netns "$(init_pid)"
ip addr add "$HOST_IP/30" dev "$HOST_LINK"
ip link set "$HOST_LINK" up
cp "$RUN/pki/admin.kubeconfig" "$RUN/kubeconfig"
export KUBECONFIG=$RUN/kubeconfig NO_PROXY=$NODE_IP

until_true 120 api_ready || die "the API server is not ready"
say "API server ready after ${SECONDS} s"
node_ready() {
  [ "$(kubectl --request-timeout=5s get node "$NODE" \
    -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ] &&
    kubectl --request-timeout=5s -n default get serviceaccount default >/dev/null 2>&1
}
until_true 120 node_ready || die "the node is not ready"
if grep -q failed "$RUN/log/images.log"; then
  cat "$RUN/log/images.log" >&2
  die "an image could not be imported"
fi
say "node ready after ${SECONDS} s; hack/kube/down.sh ends it"
echo "$RUN/kubeconfig"
