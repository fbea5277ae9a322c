#!/usr/bin/env bash
# tool.sh NAME...: puts pinned tools into bin/: versitygw, controller-gen, golangci-lint, helm, mc,
# minio-go-functional.
# Each is built from hack/tools/NAME once per version and kept in ~/.cache/crossfade.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# No debug information: a tenth of the compile time. Tools whose speed does not matter also do
# without the optimizer.
lean=(-gcflags=all=-dwarf=false)
leanest=("-gcflags=all=-N -l -dwarf=false")

# functional_tests prints the path of minio-go's functional tests, built so that CASES may name
# some of them, and so that a case that panics fails alone.
functional_tests() {
  local module=$ROOT/hack/tools/minio-go source out
  has go || die "Go 1.26 or later is needed to build minio-go-functional"
  out=$CACHE/minio-go-functional-$(content_key "$module" "$(cat "$ROOT/hack/tools/minio-go/cases.go")")
  if [ ! -x "$out" ]; then
    mkdir -p "$CACHE" "$out.src"
    source=$(cd "$module" && GOWORK=off go mod download -json github.com/minio/minio-go/v7 | sed -n 's/^\t*"Dir": "\(.*\)",*$/\1/p')
    sed -e '/^func main() {/,/^}/s/^\(\t*\)\(test[A-Za-z0-9]*\)()$/\1runCase("\2", \2)/' -e '/^\/\/ *+build mint/d;/^\/\/go:build mint/d' \
      "$source/functional_tests.go" >"$out.src/functional_tests.go"
    cp "$module/cases.go" "$module/go.mod" "$module/go.sum" "$out.src/"
    (cd "$out.src" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=mod GOTOOLCHAIN=local go build -trimpath -buildvcs=false "${lean[@]}" -o "$out.$$" . >&2) ||
      die "building minio-go-functional failed"
    mv -f "$out.$$" "$out"
    rm -rf "$out.src"
  fi
  printf '%s\n' "$out"
}

for name in "$@"; do
  module=$ROOT/hack/tools/$name
  case $name in
    versitygw) built=$(go_tool "$name" "$module" github.com/versity/versitygw/cmd/versitygw "about 2 minutes" "${lean[@]}") ;;
    controller-gen) built=$(go_tool "$name" "$module" sigs.k8s.io/controller-tools/cmd/controller-gen "about 1 minute" "${leanest[@]}") ;;
    golangci-lint) built=$(go_tool "$name" "$module" github.com/golangci/golangci-lint/v2/cmd/golangci-lint "about 4 minutes" "${lean[@]}") ;;
    minio-go-functional) built=$(functional_tests) ;;
    mc) built=$(go_tool "$name" "$module" github.com/minio/mc "about 2 minutes" "${leanest[@]}") ;;
    helm) built=$(go_tool "$name" "$module" helm.sh/helm/v4/cmd/helm "about 2 minutes after kube.sh, else 5" "${leanest[@]}") ;;
    *) die "unknown tool $name" ;;
  esac
  place "$built" "$BIN/$name"
done
