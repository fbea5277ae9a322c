#!/usr/bin/env bash
# start.sh DIR PORT [ADDRESS]: one Ceph object gateway over a memory store, for tests and demos.
# Everything it writes is below DIR; it listens on ADDRESS (127.0.0.1) only. It returns when the
# gateway answers; `stop.sh DIR` ends it.
#   RGW_KEY, RGW_SECRET       the user's keys (crossfade, crossfade-secret)
#   RGW_ALT_KEY, RGW_ALT_SECRET  a second user, if set
#   RGW_MEMORY                bytes the store may hold (4 GiB)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ $# -ge 2 ] || die "usage: start.sh DIR PORT [ADDRESS]"
mkdir -p "$1"
D=$(cd "$1" && pwd) PORT=$2 ADDRESS=${3:-127.0.0.1}
[ -e "$D/ceph.conf" ] && die "$D is in use or was not stopped: run $ROOT/hack/rgw/stop.sh $D"
has radosgw || die "radosgw is missing: run $ROOT/hack/rgw.sh"
(: <"/dev/tcp/$ADDRESS/$PORT") 2>/dev/null && die "port $PORT of $ADDRESS is taken"
mkdir -p "$D"/{mon,osd,run,log,rgw}

# A monitor needs a fixed port: one that nobody listens on now.
free_port() {
  local p
  while :; do
    p=$((RANDOM % 20000 + 20000))
    (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break
  done
  echo "$p"
}
MON_PORT=$(free_port)
FSID=$(cat /proc/sys/kernel/random/uuid)
export CEPH_CONF=$D/ceph.conf CEPH_ARGS=
cat >"$D/ceph.conf" <<C
[global]
fsid = $FSID
mon host = [v2:127.0.0.1:$MON_PORT/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = $D/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data = $D/mon
mon data avail warn = 1
mon data avail crit = 0
mon osd full ratio = .99
# each pool costs a few proposals, which would wait a second each: 2 s to start instead of 12
paxos propose interval = 0.02
paxos min wait = 0.01
osd data = $D/osd
osd objectstore = memstore
osd class load list = *
osd class default list = *
memstore device bytes = ${RGW_MEMORY:-4294967296}
rgw data = $D/rgw
rgw enable usage log = false
rgw lc debug interval = 10
rgw crypt require ssl = false
run dir = $D/run
admin socket = $D/run/\$name.asok
pid file = $D/run/\$name.pid
log file = $D/log/\$name.log
[client.rgw.a]
rgw frontends = beast endpoint=$ADDRESS:$PORT tcp_nodelay=1
rgw dns name = s3.localhost
rgw thread pool size = 64
C
trap '[ $? = 0 ] || { tail -n 5 "$D"/log/* >&2 2>/dev/null || true; "$ROOT/hack/rgw/stop.sh" "$D"; }' EXIT
cd "$D"

key() { ceph-authtool "$D/keyring" --gen-key -n "$@" >/dev/null; }
ceph-authtool --create-keyring "$D/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
key client.admin --cap mon 'allow *' --cap osd 'allow *'
key client.rgw.a --cap mon 'allow rwx' --cap osd 'allow rwx'
key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
monmaptool --create --fsid "$FSID" --addv a "[v2:127.0.0.1:$MON_PORT]" "$D/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$D/monmap" --keyring "$D/keyring"
ceph-mon -i a >/dev/null 2>>"$D/log/start.log"
OSD=$(cat /proc/sys/kernel/random/uuid)
timeout 60 ceph --connect-timeout 30 osd new "$OSD" >/dev/null
ceph-osd -i 0 --osd-uuid "$OSD" --mkfs >>"$D/log/start.log" 2>&1
ceph-osd -i 0 >/dev/null 2>>"$D/log/start.log"

# The first of these waits for the store and makes the zone's pools.
user() {
  timeout 90 radosgw-admin user create --uid "$1" --display-name "$1" \
    --access-key "$2" --secret-key "$3" >/dev/null 2>>"$D/log/start.log"
}
user crossfade "${RGW_KEY:-crossfade}" "${RGW_SECRET:-crossfade-secret}"
[ -z "${RGW_ALT_KEY:-}" ] || user alt "$RGW_ALT_KEY" "${RGW_ALT_SECRET:?}"
radosgw -n client.rgw.a >/dev/null 2>>"$D/log/start.log"
for _ in $(seq 600); do
  if curl -sI -m 2 "http://$ADDRESS:$PORT/" | grep -qi '^x-amz-request-id: tx'; then
    say "RGW on http://$ADDRESS:$PORT"
    exit 0
  fi
  sleep 0.1
done
die "RGW did not answer on http://$ADDRESS:$PORT"
