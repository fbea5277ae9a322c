#!/usr/bin/env bash
# Runs every native fuzz target for FUZZ_TIME (30s), one after the other.
# FUZZ (a regular expression) picks targets; FUZZ_PACKAGES picks packages.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${FUZZ_TIME:=30s}" "${FUZZ:=.}" "${FUZZ_PACKAGES:=./internal/s3 ./proxy}"
for package in $FUZZ_PACKAGES; do
  for target in $(grep -rhoE '^func Fuzz[A-Za-z0-9]+' "$package" --include='*_test.go' | sed 's/^func //' | sort); do
    [[ $target =~ $FUZZ ]] || continue
    echo "== $package $target ($FUZZ_TIME)"
    go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZ_TIME"
  done
done
