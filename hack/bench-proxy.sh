#!/usr/bin/env bash
# bench-proxy.sh [FLAGS]: what the proxy costs beside nginx and the store itself, on this machine; see
# test/bench (FLAGS: go run ./test/bench --help). About 13 minutes; leave the machine alone meanwhile.
#   --quick  a part, in a minute
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
has go || die "Go 1.26 or later is needed"
unset AWS_CA_BUNDLE # it makes the AWS SDK refuse a client with a transport of its own
debian nginx nginx-light
hack/redis.sh
hack/tool.sh versitygw
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$BIN/crossfade" .
go build -trimpath -buildvcs=false -o "$BIN/bench" ./test/bench
export CROSSFADE_BIN=$BIN
exec "$BIN/bench" "$@"
