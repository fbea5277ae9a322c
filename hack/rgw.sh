#!/usr/bin/env bash
# rgw.sh: makes sure that Ceph's object gateway is installed (Debian's); rgw/start.sh runs one.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
debian radosgw radosgw ceph-mon ceph-osd ceph-mgr ceph-common curl
