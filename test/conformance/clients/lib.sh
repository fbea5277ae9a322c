# lib.sh: what the scripts share. A case is a function whose name begins with "case_"; it fails
# with the first command that fails. The proxy or store is at $S3_ENDPOINT, the keys are AWS's.
# shellcheck shell=bash
set -uo pipefail
export BUCKET=conf-$RANDOM-$RANDOM
WORK=$(mktemp -d "$PWD/files.XXXXXX")
cd "$WORK" || exit 1
head -c 1500000 /dev/urandom >medium
head -c 20000000 /dev/urandom >large
printf 'hello' >small
: >empty
mkdir -p tree/a/b "tree/sp ace"
for i in $(seq 30); do printf 'file %s' "$i" >"tree/a/f$i"; done
printf 'deep' >tree/a/b/deep
printf 'strange' >"tree/sp ace/ünïcode+plus&amp.txt"
# A store tells times in seconds: a file written in the second of its upload would seem newer.
find tree -type f -exec touch -d '1 hour ago' {} +

same() { cmp "$1" "$2" || { echo "$1 and $2 differ"; return 1; }; }
# refused TEXT COMMAND...: the command must fail, and say TEXT.
refused() {
  local text=$1 out
  shift
  if out=$("$@" 2>&1); then
    echo "was not refused: $*"
    return 1
  fi
  grep -q "$text" <<<"$out" || { echo "$out"; return 1; }
}
equal() { [ "$1" = "$2" ] || { echo "got $1, not $2"; return 1; }; }

run_cases() {
  local name out
  for name in $(declare -F | awk '$3 ~ /^case_/ {print $3}'); do
    echo "RUN ${name#case_}"
    if out=$(set -e; trap 'echo "line $LINENO"' ERR; set -E; "$name" 2>&1 </dev/null); then
      echo "PASS ${name#case_}"
    else
      echo "FAIL ${name#case_}: $(tr '\n' ' ' <<<"$out" | tail -c 400)"
    fi
  done
}
