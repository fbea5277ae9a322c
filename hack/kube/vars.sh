# vars.sh: names and addresses of the node, for the scripts beside it. Override by environment.
# shellcheck shell=bash disable=SC2034
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
HERE=$ROOT/hack/kube
RUN=${CROSSFADE_KUBE_DIR:-${TMPDIR:-/tmp}/crossfade-kube}
NODE=crossfade
# The node hangs on one veth pair; nothing else leads out of its network namespace.
HOST_IP=${CROSSFADE_KUBE_HOST_IP:-172.30.99.1}
NODE_IP=${CROSSFADE_KUBE_NODE_IP:-172.30.99.2}
HOST_LINK=${CROSSFADE_KUBE_LINK:-cfkube0} NODE_LINK=${CROSSFADE_KUBE_LINK:-cfkube0}n
KUBE=$BIN/kube
PATH=$KUBE:$PATH # another kubectl may be on the caller's PATH

# node_pid prints the pid that holds every process of the node, if the node is up and ours.
node_pid() {
  local pid
  pid=$(cat "$RUN/node.pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "--kill-child" || return 1
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "CROSSFADE_KUBE_RUN=$RUN" || return 1
  printf '%s\n' "$pid"
}

# init_pid prints the host's pid of the node's PID 1: the door to its namespaces.
init_pid() {
  local pid
  pid=$(node_pid) && pid=$(tr -d ' ' <"/proc/$pid/task/$pid/children") && [ -n "$pid" ] && printf '%s\n' "$pid"
}

api_ready() {
  local pki=$RUN/pki
  [ "$(curl -s -m 2 --noproxy '*' --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" \
    "https://$NODE_IP:6443/readyz" 2>/dev/null)" = ok ]
}

# until_true SECONDS COMMAND...: runs COMMAND until it is true; false when SECONDS have gone.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
