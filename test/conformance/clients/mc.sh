#!/usr/bin/env bash
# mc, on minio-go.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
MC=$(command -v mc)
[ -z "${CROSSFADE_BIN:-}" ] || MC=$CROSSFADE_BIN/mc
M() { "$MC" --config-dir "$PWD/cfg" --quiet --no-color "$@"; }

case_00_alias() { M alias set s "$S3_ENDPOINT" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" --api S3v4 --path on; }
case_01_make_bucket() { M mb "s/$BUCKET"; M ls s | grep >/dev/null "$BUCKET"; }
case_02_put_get() { M cp small "s/$BUCKET/small"; M cp "s/$BUCKET/small" got; same small got; }
case_03_multipart() { M put --part-size 5MiB large "s/$BUCKET/large"; M cat "s/$BUCKET/large" >got; same large got; }
case_04_pipe() { M pipe "s/$BUCKET/pipe" <medium; M cat "s/$BUCKET/pipe" >got; same medium got; }
case_05_mirror() { M mirror tree "s/$BUCKET/tree"; M mirror "s/$BUCKET/tree" down; diff -r tree down; }
case_06_diff() { equal "$(M diff tree "s/$BUCKET/tree")" ""; }
case_07_list() { equal "$(M ls -r "s/$BUCKET/tree" | wc -l)" 32; }
case_08_stat_attr() { M cp --attr 'x-a=1;Cache-Control=no-store' small "s/$BUCKET/attr"; M stat "s/$BUCKET/attr" | grep -i >/dev/null 'x-a'; }
case_09_tag() { M tag set "s/$BUCKET/small" 'k1=v1'; M tag list "s/$BUCKET/small" | grep >/dev/null v1; M tag remove "s/$BUCKET/small"; }
case_10_copy_move() { M cp "s/$BUCKET/large" "s/$BUCKET/large2"; M mv "s/$BUCKET/large2" "s/$BUCKET/large3"; M cat "s/$BUCKET/large3" >got; same large got; }
case_11_share() { M share download --expire 1m "s/$BUCKET/small" | awk '/Share:/ {print $2}' >url; curl -sf "$(cat url)" >got; same small got; }
case_12_head() { equal "$(M head -n 1 "s/$BUCKET/tree/a/b/deep")" deep; }
case_13_find_du() { M find "s/$BUCKET" --name 'deep' | grep >/dev/null deep; M du "s/$BUCKET"; }
case_14_errors() { refused 'does not exist' M cat "s/$BUCKET/nothing"; refused 'does not exist' M ls "s/$BUCKET-nothing"; }
case_15_anonymous_policy() { M anonymous set download "s/$BUCKET"; M anonymous get "s/$BUCKET" | grep >/dev/null download; M anonymous set private "s/$BUCKET"; }
case_99_remove_all() { M rm -r --force "s/$BUCKET"; M rb "s/$BUCKET"; ! M ls s | grep >/dev/null "$BUCKET"; }
run_cases
