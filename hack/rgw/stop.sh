#!/usr/bin/env bash
# stop.sh DIR: ends exactly the daemons that start.sh began in DIR, then removes DIR.
set -euo pipefail
[ $# = 1 ] || { echo "usage: stop.sh DIR" >&2; exit 2; }
[ -e "$1/ceph.conf" ] || exit 0
D=$(cd "$1" && pwd)
# ours: a Ceph daemon that runs on D's configuration; a reused pid is not
ours() { grep -qz "^CEPH_CONF=$D/ceph.conf\$" "/proc/$1/environ" 2>/dev/null; }

for file in "$D"/run/client.rgw*.pid "$D"/run/osd*.pid "$D"/run/mon*.pid; do
  [ -f "$file" ] || continue
  pid=$(cat "$file")
  ours "$pid" || continue
  kill -9 "$pid" 2>/dev/null || true # a memory store has nothing to save
  for _ in $(seq 100); do
    ours "$pid" || break
    sleep 0.05
  done
done
rm -rf "$D"
