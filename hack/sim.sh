#!/usr/bin/env bash
# sim.sh run | campaign | teeth: plays the simulation of docs/sim.md, one process a core.
#   SEED=N   play this history only, and print what happens in it
#   AIM=N    what the histories aim at, see test/simulation/rough_test.go
#   FIRST=N  the first seed (campaign: a new one each time)
#   HISTORIES=N  how many (run)
#   FOR=3m   how long instead; teeth: how long to look for each broken rule
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
"$ROOT/hack/redis.sh"
unset AWS_CA_BUNDLE # it makes the AWS SDK refuse a client with a transport of its own
mkdir -p "$BIN"
go test -c -o "$BIN/simulation.test" ./test/simulation
cd test/simulation
histories=("$BIN/simulation.test" -test.timeout=0 -test.run='^TestHistories$' ${AIM:+-aim="$AIM"})
jobs=$(nproc)

each() { # FIRST SEED, FLAGS ...: on every core
  local first=$1 pids=() failed=0
  shift
  for ((i = 0; i < jobs; i++)); do
    "${histories[@]}" -first=$((first + i)) -stride="$jobs" "$@" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return $failed
}

case ${1:-run} in
  run)
    if [ -n "${SEED:-}" ]; then exec "${histories[@]}" -seed="$SEED"; fi
    if [ -n "${FOR:-}" ]; then
      each "${FIRST:-1}" -for="$FOR"
    else
      each "${FIRST:-1}" -histories=$(((${HISTORIES:-1000} + jobs - 1) / jobs))
    fi
    ;;
  campaign) each "${FIRST:-$(date +%s)000}" -for="${FOR:-100000h}" -go-on ;;
  teeth) exec "$BIN/simulation.test" -test.timeout=0 -test.run='^TestTeeth$' -teeth-for="${FOR:-3m}" -first="${FIRST:-1}" ;;
  *) die "usage: sim.sh run | campaign | teeth" ;;
esac
