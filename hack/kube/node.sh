#!/usr/bin/env bash
# node.sh: PID 1 of the node's namespaces (up.sh starts it). Starts everything, then waits.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/vars.sh"
exec >"$RUN/log/node.log" 2>&1
hostname "$NODE"

# Network: up.sh moves the other end of the veth pair in here.
ip link set lo up
until_true 20 ip link show "$NODE_LINK" >/dev/null 2>&1
ip link set "$NODE_LINK" name eth0
ip addr add "$NODE_IP/30" dev eth0
ip link set eth0 up
ip route add default via "$HOST_IP"
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1 || true
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables || true; fi

# Mounts: private copies of every path that the node writes.
mount --make-rprivate /
mkdir -p "$RUN"/{var-lib,var-log,etcd,volumes}
mount -t tmpfs tmpfs "$RUN/etcd"
mount --bind "$RUN/var-lib" /var/lib
mount --bind "$RUN/var-log" /var/log
mount -t tmpfs tmpfs /run
# The kubelet insists on these sysctls: shadows keep the machine's own values as they are.
mkdir -p /run/sysctl
shadow() {
  local copy=/run/sysctl/${1//\//_}
  echo "$2" >"$copy"
  mount --bind "$copy" "/proc/sys/$1"
}
shadow vm/overcommit_memory 1
shadow vm/panic_on_oom 0
shadow kernel/panic 10
shadow kernel/panic_on_oops 1
shadow kernel/keys/root_maxkeys 1000000
shadow kernel/keys/root_maxbytes 25000000
mount --make-rshared /
mkdir -p /var/lib/kubelet /var/lib/containerd /var/log/pods
: >/run/resolv.conf # what pods with dnsPolicy Default get: no way out

run() { # NAME COMMAND...: starts a daemon, and again whenever it exits
  local name=$1
  shift
  (
    while :; do
      "$@" >>"$RUN/log/$name.log" 2>&1 || true
      echo "== $name exited $(date +%T)" >>"$RUN/log/$name.log"
      sleep 1
    done
  ) &
}

pki=$RUN/pki
run containerd containerd --config "$RUN/containerd.toml"
(
  until_true 20 ctr -n k8s.io version >/dev/null 2>&1
  while read -r tar; do
    ctr -n k8s.io images import "$tar" || echo "importing $tar failed"
  done <"$RUN/images"
) >>"$RUN/log/images.log" 2>&1 &
import=$!
run etcd "$KUBE/etcd" --name node --data-dir "$RUN/etcd/data" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster node=http://127.0.0.1:2380
run kube-apiserver "$KUBE/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --profiling=false \
  --advertise-address="$NODE_IP" --bind-address="$NODE_IP" --secure-port=6443 --service-cluster-ip-range=10.96.0.0/16 \
  --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
  --kubelet-preferred-address-types=InternalIP \
  --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy-client \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
until_true 120 api_ready
run kube-controller-manager "$KUBE/kube-controller-manager" --kubeconfig="$pki/kcm.kubeconfig" --leader-elect=false \
  --bind-address=127.0.0.1 --root-ca-file="$pki/ca.crt" --service-account-private-key-file="$pki/sa.key" \
  --use-service-account-credentials=true --cluster-cidr=10.244.0.0/16 \
  --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
  --authentication-kubeconfig="$pki/kcm.kubeconfig" --authorization-kubeconfig="$pki/kcm.kubeconfig"
run kube-scheduler "$KUBE/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 \
  --authentication-kubeconfig="$pki/scheduler.kubeconfig" --authorization-kubeconfig="$pki/scheduler.kubeconfig"
wait "$import" || true
run addons "$KUBE/addons" --kubeconfig="$pki/admin.kubeconfig" --dns="$NODE_IP:53" --volumes="$RUN/volumes" --node="$NODE"
run kubelet "$KUBE/kubelet" --config="$RUN/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" --hostname-override="$NODE" \
  --node-ip="$NODE_IP" --root-dir=/var/lib/kubelet --cert-dir=/var/lib/kubelet/pki
run kube-proxy "$KUBE/kube-proxy" --config="$RUN/kube-proxy.yaml" --hostname-override="$NODE"
echo started
wait
