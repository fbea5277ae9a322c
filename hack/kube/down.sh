#!/usr/bin/env bash
# down.sh: ends the node. One kill ends every process in it; its mounts and network go with them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/vars.sh"
if pid=$(node_pid); then
  init=$(init_pid || true)
  kill -9 "$pid"
  gone() { [ -z "$init" ] || ! readlink "/proc/$init/ns/net" >/dev/null 2>&1; } # a zombie has none
  until_true 20 gone || die "process $init of the node does not end"
fi
ip link del "$HOST_LINK" 2>/dev/null || true
# the kubelet's control groups outlive it
for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -d "$tree/kubepods" ] || continue
  find "$tree/kubepods" -depth -type d -exec rmdir {} + 2>/dev/null || true
done
if [ -e "$RUN" ]; then
  [ -e "$RUN/crossfade-node" ] || die "$RUN does not belong to a node: remove it yourself"
  rm -rf "$RUN"
fi
