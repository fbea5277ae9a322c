#!/usr/bin/env bash
# conformance.sh [FLAGS]: others' S3 suites and real clients, directly and through the proxy in each
# phase of a migration; see test/conformance. Gets what it needs: tools from the Go module proxy,
# Debian and npm, each pinned and built or unpacked once.
#   -short  a part, in about two minutes
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
has go || die "Go 1.26 or later is needed"
unset AWS_CA_BUNDLE
short=0
for flag in "$@"; do [ "$flag" != -short ] || short=1; done

# node_modules prints the directory of the pinned AWS SDK for JavaScript, from npm.
node_modules() {
  local module=$ROOT/hack/tools/sdk-js out
  out=$CACHE/sdk-js-$(content_key "$module")
  if [ ! -d "$out" ]; then
    rm -rf "$out.$$"
    mkdir -p "$CACHE"
    cp -r "$module" "$out.$$"
    (cd "$out.$$" && npm ci --no-audit --no-fund --ignore-scripts >&2) || die "npm could not install the AWS SDK for JavaScript"
    mv "$out.$$" "$out"
  fi
  printf '%s\n' "$out"
}

hack/redis.sh
hack/tool.sh versitygw
python3 -c 'import boto3' 2>/dev/null || debian python3 python3-boto3
python3 -c 'import boto3' 2>/dev/null || die "boto3 is needed: apt-get install python3-boto3"
if [ "$short" = 0 ]; then
  hack/tool.sh mc minio-go-functional
  for package in awscli:aws s3cmd:s3cmd rclone:rclone restic:restic; do debian "${package#*:}" "${package%:*}"; done
  if has node && has npm; then
    CONFORMANCE_NODE=$(node_modules)
    export CONFORMANCE_NODE
  else
    say "the AWS SDK for JavaScript is left out: node or npm is missing"
  fi
  hack/rgw.sh || say "Ceph RGW is left out"
fi
CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$BIN/crossfade" .
go build -trimpath -buildvcs=false -o "$BIN/conformance" ./test/conformance
export CROSSFADE_BIN=$BIN
exec "$BIN/conformance" -root "$ROOT" "$@"
