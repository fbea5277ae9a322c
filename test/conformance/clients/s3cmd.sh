#!/usr/bin/env bash
# s3cmd, with its own signing and listing code.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HOST=${S3_ENDPOINT#http://}
cat >cfg <<C
[default]
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
host_base = $HOST
host_bucket = $HOST
use_https = False
multipart_chunk_size_mb = 5
C
S() { s3cmd -c cfg --no-progress "$@"; }

case_01_make_bucket() { S mb "s3://$BUCKET"; S ls | grep >/dev/null "$BUCKET"; }
case_02_put_get() { S put small "s3://$BUCKET/small"; S get --force "s3://$BUCKET/small" got; same small got; }
case_03_empty() { S put empty "s3://$BUCKET/empty"; S get --force "s3://$BUCKET/empty" got; same empty got; }
case_04_multipart() { S put large "s3://$BUCKET/large"; S get --force "s3://$BUCKET/large" got; same large got; }
case_05_sync() { S sync tree/ "s3://$BUCKET/tree/"; mkdir -p down; S sync "s3://$BUCKET/tree/" down/; diff -r tree down; }
case_06_list() { equal "$(S ls -r "s3://$BUCKET/tree/" | wc -l)" 32; S ls "s3://$BUCKET/tree/" | grep >/dev/null 'DIR.*tree/a/'; }
case_07_copy_move() { S cp "s3://$BUCKET/small" "s3://$BUCKET/copy"; S mv "s3://$BUCKET/copy" "s3://$BUCKET/moved"; S get --force "s3://$BUCKET/moved" got; same small got; }
case_08_info_and_headers() { S put --add-header=x-amz-meta-a:1 --mime-type=text/x-conf small "s3://$BUCKET/info"; S info "s3://$BUCKET/info" | grep >/dev/null text/x-conf; }
case_09_modify() { S modify --add-header=x-amz-meta-b:2 "s3://$BUCKET/info"; S info "s3://$BUCKET/info" | grep -i >/dev/null 'x-amz-meta-b'; }
case_10_tagging() { S settagging "s3://$BUCKET/small" "k=v"; S gettagging "s3://$BUCKET/small" | grep >/dev/null k; S deltagging "s3://$BUCKET/small"; }
case_11_signurl() { curl -sf "$(S signurl "s3://$BUCKET/small" +60)" >got; same small got; }
case_12_multipart_list() { S multipart "s3://$BUCKET"; }
case_13_du() { S du "s3://$BUCKET" | grep >/dev/null objects; }
case_14_errors() { refused NoSuchKey S get --force "s3://$BUCKET/nothing" got; refused NoSuchBucket S ls "s3://$BUCKET-nothing"; }
case_15_setpolicy() {
  printf '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}' "$BUCKET" >policy
  S setpolicy policy "s3://$BUCKET"
  S delpolicy "s3://$BUCKET"
}
case_99_remove_all() { S del --recursive --force "s3://$BUCKET/"; S rb "s3://$BUCKET"; refused NoSuchBucket S ls "s3://$BUCKET"; }
run_cases
