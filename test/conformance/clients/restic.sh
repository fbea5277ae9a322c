#!/usr/bin/env bash
# restic: many small writes, lists and deletes, and a check of every byte.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export RESTIC_PASSWORD=conformance RESTIC_REPOSITORY=s3:$S3_ENDPOINT/$BUCKET/repo RESTIC_CACHE_DIR=$PWD/cache

case_01_init() { restic init; }
case_02_backup() { restic backup tree large; }
case_03_backup_again() { printf more >tree/a/more; restic backup tree; }
case_04_snapshots() { equal "$(restic snapshots --json | grep -o '"short_id"' | wc -l)" 2; }
case_05_check() { restic check --read-data; }
case_06_restore() { restic restore latest --target back; diff -r tree "$(find back -type d -name tree | head -1)"; }
case_07_forget_prune() { restic forget --keep-last 1 --group-by host --prune; restic check; }
case_08_unlock() { restic unlock; restic list packs | grep >/dev/null .; }
run_cases
