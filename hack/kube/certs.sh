#!/usr/bin/env bash
# certs.sh DIR: throw-away certificates and kubeconfigs for the node.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/vars.sh"
mkdir -p "$1"
cd "$1"
umask 077

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
leaf() { # NAME SUBJECT EXTENSIONS
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
    -extfile <(printf '%s\n' "$3") 2>/dev/null
}

key ca
openssl req -x509 -new -key ca.key -days 30 -subj /CN=crossfade-node-ca -out ca.crt
key sa
openssl ec -in sa.key -pubout -out sa.pub 2>/dev/null
client='extendedKeyUsage=clientAuth'
leaf apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_IP"
leaf admin /O=system:masters/CN=admin "$client"
leaf kcm /CN=system:kube-controller-manager "$client"
leaf scheduler /CN=system:kube-scheduler "$client"
leaf proxy /CN=system:kube-proxy "$client"
leaf kubelet "/O=system:nodes/CN=system:node:$NODE" "$client"
leaf kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "$client"
leaf front-proxy-client /CN=front-proxy-client "$client"
for user in admin kcm scheduler proxy kubelet; do
  cat >"$user.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: crossfade, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $user, user: {client-certificate-data: $(base64 -w0 "$user.crt"), client-key-data: $(base64 -w0 "$user.key")}}]
contexts: [{name: crossfade, context: {cluster: crossfade, user: $user}}]
current-context: crossfade
K
done
