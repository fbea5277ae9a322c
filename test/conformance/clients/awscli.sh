#!/usr/bin/env bash
# AWS's command line, as people use it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
S3=(aws --endpoint-url "$S3_ENDPOINT" s3)
API=(aws --endpoint-url "$S3_ENDPOINT" --output text s3api)

case_01_make_bucket() {
  "${S3[@]}" mb "s3://$BUCKET"
  "${API[@]}" head-bucket --bucket "$BUCKET"
  "${S3[@]}" ls | grep >/dev/null "$BUCKET"
}
case_02_put_get() {
  "${S3[@]}" cp small "s3://$BUCKET/small"
  "${S3[@]}" cp "s3://$BUCKET/small" got && same small got
}
case_03_stdin_stdout() {
  "${S3[@]}" cp - "s3://$BUCKET/stdin" <medium
  "${S3[@]}" cp "s3://$BUCKET/stdin" - >got && same medium got
}
case_04_multipart() {
  "${S3[@]}" cp large "s3://$BUCKET/large"
  "${S3[@]}" cp "s3://$BUCKET/large" got && same large got
  "${API[@]}" head-object --bucket "$BUCKET" --key large --query ETag | grep >/dev/null -- '-3"'
}
case_05_sync_up_and_down() {
  "${S3[@]}" sync tree "s3://$BUCKET/tree"
  "${S3[@]}" sync "s3://$BUCKET/tree" down && diff -r tree down
  equal "$("${S3[@]}" sync tree "s3://$BUCKET/tree" --size-only | wc -l)" 0
}
case_06_list_pages() {
  equal "$("${S3[@]}" ls --recursive "s3://$BUCKET/tree/" | wc -l)" 32
  equal "$("${API[@]}" list-objects-v2 --bucket "$BUCKET" --prefix tree/ --page-size 7 --query 'Contents[].Key' | wc -w)" 33
  "${S3[@]}" ls "s3://$BUCKET/tree/" | grep >/dev/null 'PRE a/'
}
case_07_copy_and_move() {
  "${S3[@]}" cp "s3://$BUCKET/small" "s3://$BUCKET/copied"
  "${S3[@]}" mv "s3://$BUCKET/copied" "s3://$BUCKET/moved"
  refused 404 "${API[@]}" head-object --bucket "$BUCKET" --key copied
  "${S3[@]}" cp "s3://$BUCKET/moved" got && same small got
}
case_08_copy_large_by_parts() {
  "${S3[@]}" cp "s3://$BUCKET/large" "s3://$BUCKET/large2"
  "${S3[@]}" cp "s3://$BUCKET/large2" got && same large got
}
case_09_metadata() {
  "${API[@]}" put-object --bucket "$BUCKET" --key meta --body small --content-type text/x-conf --cache-control no-store \
    --content-disposition 'attachment; filename="x"' --content-language nl --metadata one=1,two=zwei >out
  equal "$("${API[@]}" head-object --bucket "$BUCKET" --key meta --query '[ContentType,CacheControl,ContentLanguage,Metadata.one,Metadata.two]' | tr '\t' ' ')" "text/x-conf no-store nl 1 zwei"
  "${S3[@]}" cp "s3://$BUCKET/meta" "s3://$BUCKET/meta2" --metadata-directive REPLACE --content-type text/y
  equal "$("${API[@]}" head-object --bucket "$BUCKET" --key meta2 --query ContentType)" text/y
}
case_10_tagging() {
  "${API[@]}" put-object --bucket "$BUCKET" --key tagged --body small --tagging 'a=1&b=2' >out
  equal "$("${API[@]}" get-object-tagging --bucket "$BUCKET" --key tagged --query 'length(TagSet)')" 2
  "${API[@]}" put-object-tagging --bucket "$BUCKET" --key tagged --tagging 'TagSet=[{Key=c,Value=3}]'
  equal "$("${API[@]}" get-object-tagging --bucket "$BUCKET" --key tagged --query 'TagSet[0].Key')" c
  "${API[@]}" delete-object-tagging --bucket "$BUCKET" --key tagged
}
case_11_range_and_conditions() {
  "${API[@]}" get-object --bucket "$BUCKET" --key medium-r got >out 2>&1 && return 1
  "${API[@]}" put-object --bucket "$BUCKET" --key medium-r --body medium >out
  "${API[@]}" get-object --bucket "$BUCKET" --key medium-r --range bytes=100-299 got >out
  same got <(tail -c +101 medium | head -c 200)
  local etag
  etag=$("${API[@]}" head-object --bucket "$BUCKET" --key medium-r --query ETag)
  refused 304 "${API[@]}" get-object --bucket "$BUCKET" --key medium-r --if-none-match "$etag" got
  refused PreconditionFailed "${API[@]}" get-object --bucket "$BUCKET" --key medium-r --if-match '"nothing"' got
}
case_12_presign() {
  local url
  url=$("${S3[@]}" presign "s3://$BUCKET/small" --expires-in 60)
  curl -sf "$url" >got && same small got
}
case_13_checksum() {
  "${API[@]}" put-object --bucket "$BUCKET" --key summed --body medium --checksum-algorithm SHA256 >out
  "${API[@]}" get-object --bucket "$BUCKET" --key summed --checksum-mode ENABLED got >out && same medium got
}
case_14_multipart_by_hand() {
  local id one two
  id=$("${API[@]}" create-multipart-upload --bucket "$BUCKET" --key hand --query UploadId)
  "${API[@]}" list-multipart-uploads --bucket "$BUCKET" --query 'Uploads[].Key' | grep >/dev/null hand
  head -c 5242880 large >p1
  one=$("${API[@]}" upload-part --bucket "$BUCKET" --key hand --upload-id "$id" --part-number 1 --body p1 --query ETag)
  two=$("${API[@]}" upload-part --bucket "$BUCKET" --key hand --upload-id "$id" --part-number 2 --body small --query ETag)
  equal "$("${API[@]}" list-parts --bucket "$BUCKET" --key hand --upload-id "$id" --query 'length(Parts)')" 2
  "${API[@]}" complete-multipart-upload --bucket "$BUCKET" --key hand --upload-id "$id" \
    --multipart-upload "Parts=[{PartNumber=1,ETag=$one},{PartNumber=2,ETag=$two}]" >out
  "${S3[@]}" cp "s3://$BUCKET/hand" got && same got <(cat p1 small)
}
case_15_abort_multipart() {
  local id
  id=$("${API[@]}" create-multipart-upload --bucket "$BUCKET" --key aborted --query UploadId)
  "${API[@]}" abort-multipart-upload --bucket "$BUCKET" --key aborted --upload-id "$id"
  refused NoSuchUpload "${API[@]}" list-parts --bucket "$BUCKET" --key aborted --upload-id "$id"
}
case_16_bucket_configuration() {
  "${API[@]}" put-bucket-tagging --bucket "$BUCKET" --tagging 'TagSet=[{Key=team,Value=x}]'
  equal "$("${API[@]}" get-bucket-tagging --bucket "$BUCKET" --query 'TagSet[0].Value')" x
  "${API[@]}" put-bucket-policy --bucket "$BUCKET" --policy '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::'"$BUCKET"'/open/*"}]}'
  "${API[@]}" get-bucket-policy --bucket "$BUCKET" | grep >/dev/null open
  "${API[@]}" delete-bucket-policy --bucket "$BUCKET"
}
case_17_cors() {
  "${API[@]}" put-bucket-cors --bucket "$BUCKET" --cors-configuration '{"CORSRules":[{"AllowedOrigins":["https://a.example"],"AllowedMethods":["GET"],"AllowedHeaders":["*"]}]}'
  curl -sf -o out -D head -X OPTIONS -H 'Origin: https://a.example' -H 'Access-Control-Request-Method: GET' "$S3_ENDPOINT/$BUCKET/small"
  grep -qi '^access-control-allow-origin: https://a.example' head
}
case_18_acl() { "${API[@]}" get-bucket-acl --bucket "$BUCKET" | grep >/dev/null FULL_CONTROL; }
case_19_errors() {
  refused NoSuchBucket "${S3[@]}" ls "s3://$BUCKET-nothing"
  refused NoSuchKey "${API[@]}" get-object --bucket "$BUCKET" --key nothing got
  refused BucketNotEmpty "${S3[@]}" rb "s3://$BUCKET"
}
case_20_delete_many() {
  "${API[@]}" delete-objects --bucket "$BUCKET" --delete 'Objects=[{Key=tree/a/f1},{Key=tree/a/f2},{Key=none}]' >out
  refused 404 "${API[@]}" head-object --bucket "$BUCKET" --key tree/a/f1
  equal "$("${S3[@]}" ls --recursive "s3://$BUCKET/tree/" | wc -l)" 30
}
case_99_remove_all() {
  "${S3[@]}" rm --recursive "s3://$BUCKET" >out
  "${S3[@]}" rb "s3://$BUCKET"
  refused 404 "${API[@]}" head-bucket --bucket "$BUCKET"
}
run_cases
