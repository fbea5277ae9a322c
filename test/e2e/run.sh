#!/usr/bin/env bash
# run.sh [FLAGS of trafficctl demo]: the whole life of a Migration on a real node: chart, apply,
# copy, switch, back, delete, while clients check every answer and a process of each role is ended
# with kill -9 along the way. Run as root.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../hack/lib.sh"
exec "$ROOT/hack/demo/kube.sh" --back --kill-with "$ROOT/test/e2e/kill.sh" "$@"
