#!/usr/bin/env bash
# faults.sh FLAGS...: gets what test/faults needs and runs it (see test/faults/main.go for FLAGS).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
has go || die "Go 1.26 or later is needed"
unset AWS_CA_BUNDLE # it makes the AWS SDK refuse a client with a transport of its own
export CROSSFADE_BIN=$BIN
"$ROOT/hack/redis.sh"
"$ROOT/hack/tool.sh" versitygw
case " $* " in
  *" --quick "*) ;;
  *) "$ROOT/hack/rgw.sh" || say "without Ceph's gateway: versitygw on both sides" ;;
esac
exec go run ./test/faults "$@"
