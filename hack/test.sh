#!/usr/bin/env bash
# test.sh [STAGE...]: runs the tests on real parts, the quickest to get first, and counts them all:
#   fast  unit tests, ledger scripts and data plane, on redis-server and versitygw
#   rgw   what also wants a Ceph object gateway (skipped where it cannot be installed)
#   kube  what wants an API server: KUBEBUILDER_ASSETS, or built into bin/kube
# RACE=0 goes without the race detector; TEST_FLAGS adds flags of go test; PACKAGES narrows ./...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
[ $# -gt 0 ] || set -- fast rgw kube
has go || die "Go 1.26 or later is needed"
unset AWS_CA_BUNDLE # it makes the AWS SDK refuse a client with a transport of its own
export CROSSFADE_BIN=$BIN
flags=(-count=1 -timeout=20m)
if [ "${RACE:-1}" = 1 ]; then
  debian gcc gcc libc6-dev # the race detector needs cgo
  flags+=(-race)
  export CGO_ENABLED=1
fi
read -ra more <<<"${TEST_FLAGS:-}"
flags+=("${more[@]}")

# A package belongs to the last stage whose parts its tests ask for.
stage_of() { # DIRECTORY
  if grep -qsE 'controller-runtime/pkg/envtest|KUBEBUILDER_ASSETS' "$1"/*_test.go; then
    echo kube
  elif grep -qsE 'CROSSFADE_RGW|\.RGW\(' "$1"/*_test.go; then
    echo rgw
  else
    echo fast
  fi
}
declare -A packages=([fast]="" [rgw]="" [kube]="")
read -ra patterns <<<"${PACKAGES:-./...}"
listing=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' "${patterns[@]}")
while read -r package dir; do
  [ -z "$package" ] || packages[$(stage_of "$dir")]+=" $package"
done <<<"$listing"

rgw_dir=
stop_rgw() { [ -z "$rgw_dir" ] || "$ROOT/hack/rgw/stop.sh" "$rgw_dir"; }

start_rgw() {
  [ -z "${CROSSFADE_RGW:-}" ] || return 0
  "$ROOT/hack/rgw.sh" || return 0
  local base=${TMPDIR:-/tmp} port
  [ ! -w /dev/shm ] || base=/dev/shm # the monitor syncs every write
  rgw_dir=$(mktemp -d "$base/crossfade-rgw.XXXXXX")
  export CROSSFADE_RGW_KEY=crossfade CROSSFADE_RGW_SECRET=crossfade-secret
  for _ in 1 2 3; do # another program may take the port first
    port=$((RANDOM % 20000 + 20000))
    if RGW_KEY=$CROSSFADE_RGW_KEY RGW_SECRET=$CROSSFADE_RGW_SECRET "$ROOT/hack/rgw/start.sh" "$rgw_dir" "$port"; then
      export CROSSFADE_RGW=http://127.0.0.1:$port
      return 0
    fi
  done
  die "RGW did not start"
}

stage() {
  local list
  read -ra list <<<"${packages[$1]}"
  [ "${#list[@]}" -gt 0 ] || return 0
  say "== $1 tests: ${#list[@]} packages"
  case $1 in
    fast)
      "$ROOT/hack/redis.sh"
      "$ROOT/hack/tool.sh" versitygw
      ;;
    rgw) start_rgw ;;
    kube)
      if [ -z "${KUBEBUILDER_ASSETS:-}" ]; then
        "$ROOT/hack/kube.sh"
        export KUBEBUILDER_ASSETS=$BIN/kube
      fi
      "$ROOT/hack/tool.sh" helm # the chart is rendered and installed
      # envtest gives up after 20 s, which a busy machine may need
      export KUBEBUILDER_CONTROLPLANE_START_TIMEOUT=120s KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT=60s
      ;;
  esac
  # testsum tells failures from its input, so that a later stage still runs
  go test -json "${flags[@]}" "${list[@]}" || true
}

stages() {
  trap stop_rgw EXIT
  for name in "$@"; do stage "$name"; done
}
go build -o "$BIN/testsum" ./hack/testsum
stages "$@" | "$BIN/testsum"
