#!/usr/bin/env bash
# verify.sh: generates everything again, formats and lints, and fails if that changed a file: what
# is committed is what the tools give.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
state() {
  git ls-files -z --cached --others --exclude-standard | sort -zu |
    while IFS= read -r -d '' file; do [ ! -f "$file" ] || sha256sum -- "$file"; done
}
before=$(state)
make --no-print-directory generate manifests fmt
if ! changes=$(diff <(printf '%s\n' "$before") <(state)); then
  printf '%s\n' "$changes" | grep '^[<>]' | awk '{print $3}' | sort -u >&2
  die "these files were not as generated and formatted: commit them as they are now"
fi
make --no-print-directory lint
go mod verify
