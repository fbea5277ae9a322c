"""boto3: what Python programs do, with its own checksums, retries and transfer manager."""
import hashlib
import io
import os
import time
import urllib.error
import urllib.request
import uuid

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["S3_ENDPOINT"]
BUCKET = "conf-" + uuid.uuid4().hex[:12]


def client(**options):
    options.setdefault("s3", {"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1",
                        config=Config(retries={"total_max_attempts": 1}, read_timeout=60, **options))


s3 = client()
LARGE = os.urandom(12 << 20)


def refused(code, call, **args):
    try:
        call(**args)
    except ClientError as e:
        got = e.response["Error"]["Code"]
        assert got == code, f"refused with {got}, not {code}"
        return e.response
    raise AssertionError(f"not refused with {code}")


def put(key, body=b"hello", **args):
    return s3.put_object(Bucket=BUCKET, Key=key, Body=body, **args)


def get(key, **args):
    out = s3.get_object(Bucket=BUCKET, Key=key, **args)
    out["Data"] = out["Body"].read()
    return out


def case_01_create_bucket():
    s3.create_bucket(Bucket=BUCKET)
    s3.head_bucket(Bucket=BUCKET)
    assert BUCKET in [b["Name"] for b in s3.list_buckets()["Buckets"]]


def case_02_put_get_head():
    etag = put("plain")["ETag"]
    out = get("plain")
    assert out["Data"] == b"hello" and out["ETag"] == etag == '"%s"' % hashlib.md5(b"hello").hexdigest()
    assert s3.head_object(Bucket=BUCKET, Key="plain")["ContentLength"] == 5


def case_03_empty_object():
    put("empty", b"")
    assert get("empty")["Data"] == b""


def case_04_empty_then_put_on_one_connection():
    for i in range(5):
        put("e%d" % i, b"")
        put("f%d" % i, b"x")


def case_05_metadata_and_headers():
    put("meta", ContentType="text/x-conf", CacheControl="max-age=3", ContentDisposition="inline", ContentEncoding="gzip",
        ContentLanguage="nl", Metadata={"one": "1", "two": "zwei drei"})
    h = s3.head_object(Bucket=BUCKET, Key="meta")
    got = [h.get(k) for k in ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Metadata")]
    assert got == ["text/x-conf", "max-age=3", "inline", "gzip", "nl", {"one": "1", "two": "zwei drei"}], got


def case_06_ranges():
    put("range", bytes(range(256)))
    out = get("range", Range="bytes=10-19")
    assert out["Data"] == bytes(range(10, 20)) and out["ContentRange"] == "bytes 10-19/256", out["ContentRange"]
    assert out["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert get("range", Range="bytes=-5")["Data"] == bytes(range(251, 256))
    refused("InvalidRange", s3.get_object, Bucket=BUCKET, Key="range", Range="bytes=900-")


def case_07_conditional_reads():
    etag = put("cond")["ETag"]
    assert get("cond", IfMatch=etag)["Data"] == b"hello"
    refused("PreconditionFailed", s3.get_object, Bucket=BUCKET, Key="cond", IfMatch='"no"')
    refused("304", s3.get_object, Bucket=BUCKET, Key="cond", IfNoneMatch=etag)
    refused("412", s3.head_object, Bucket=BUCKET, Key="cond", IfMatch='"no"')


def case_08_conditional_writes():
    put("once", IfNoneMatch="*")
    refused("PreconditionFailed", put, key="once", IfNoneMatch="*")


def case_09_conditional_overwrite():
    etag = put("swap")["ETag"]
    put("swap", b"two", IfMatch=etag)
    refused("PreconditionFailed", put, key="swap", body=b"three", IfMatch=etag)
    assert get("swap")["Data"] == b"two"


def case_10_response_overrides():
    out = get("plain", ResponseContentType="text/over", ResponseCacheControl="no-store")
    assert out["ContentType"] == "text/over" and out["CacheControl"] == "no-store"


def case_11_checksums():
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        out = put("sum" + algorithm, ChecksumAlgorithm=algorithm)
        back = get("sum" + algorithm, ChecksumMode="ENABLED")
        assert back["Data"] == b"hello"
        assert out.get("Checksum" + algorithm) == back.get("Checksum" + algorithm), (out, back)


def case_12_strange_keys():
    for key in ("sp ace", "pl+us", "per%cent", "per%2Fcent", "amp&er=sand", "quo\"te", "ünïcödé", "a/b/c d", "semi;colon,", "~tilde(1)!*'", "日本語", "q?mark#hash"):
        put(key, key.encode())
        assert get(key)["Data"] == key.encode(), key
        listed = [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents", [])]
        assert key in listed, (key, listed)
        s3.delete_object(Bucket=BUCKET, Key=key)


def case_13_list_pages():
    for i in range(25):
        put("list/%02d/x" % i)
    for method in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(method).paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 7})
        assert [o["Key"] for p in pages for o in p.get("Contents", [])] == ["list/%02d/x" % i for i in range(25)], method
        pages = s3.get_paginator(method).paginate(Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 4})
        assert [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])] == ["list/%02d/" % i for i in range(25)], method
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter="list/10/x")["KeyCount"] == 14


def case_14_copy():
    put("from", Metadata={"a": "1"})
    s3.copy_object(Bucket=BUCKET, Key="to", CopySource={"Bucket": BUCKET, "Key": "from"})
    assert get("to")["Metadata"] == {"a": "1"}
    s3.copy_object(Bucket=BUCKET, Key="to", CopySource={"Bucket": BUCKET, "Key": "from"}, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert get("to")["Metadata"] == {"b": "2"}
    refused("PreconditionFailed", s3.copy_object, Bucket=BUCKET, Key="to", CopySource={"Bucket": BUCKET, "Key": "from"}, CopySourceIfMatch='"no"')


def case_15_transfer_manager():
    cfg = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_fileobj(io.BytesIO(LARGE), BUCKET, "large", Config=cfg)
    out = io.BytesIO()
    s3.download_fileobj(BUCKET, "large", out, Config=cfg)
    assert out.getvalue() == LARGE
    assert s3.head_object(Bucket=BUCKET, Key="large")["ETag"].endswith('-3"')


def case_16_part_number():
    out = s3.get_object(Bucket=BUCKET, Key="large", PartNumber=2)
    assert out["Body"].read() == LARGE[5 << 20:10 << 20] and out["PartsCount"] == 3


def case_17_multipart_copy():
    up = s3.create_multipart_upload(Bucket=BUCKET, Key="mpcopy")["UploadId"]
    src = {"Bucket": BUCKET, "Key": "large"}
    parts = []
    for n, (a, b) in enumerate(((0, (6 << 20) - 1), (6 << 20, len(LARGE) - 1)), 1):
        r = s3.upload_part_copy(Bucket=BUCKET, Key="mpcopy", UploadId=up, PartNumber=n, CopySource=src, CopySourceRange="bytes=%d-%d" % (a, b))
        parts.append({"PartNumber": n, "ETag": r["CopyPartResult"]["ETag"]})
    assert [p["PartNumber"] for p in s3.list_parts(Bucket=BUCKET, Key="mpcopy", UploadId=up)["Parts"]] == [1, 2]
    s3.complete_multipart_upload(Bucket=BUCKET, Key="mpcopy", UploadId=up, MultipartUpload={"Parts": parts})
    assert get("mpcopy")["Data"] == LARGE


def case_18_list_uploads_and_abort():
    ids = {k: s3.create_multipart_upload(Bucket=BUCKET, Key=k)["UploadId"] for k in ("up/a", "up/b", "up/c")}
    seen, args = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=BUCKET, Prefix="up/", MaxUploads=2, **args)
        seen += [u["Key"] for u in page.get("Uploads", [])]
        if not page["IsTruncated"]:
            break
        args = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert seen == ["up/a", "up/b", "up/c"], seen
    for k, i in ids.items():
        s3.abort_multipart_upload(Bucket=BUCKET, Key=k, UploadId=i)
        refused("NoSuchUpload", s3.upload_part, Bucket=BUCKET, Key=k, UploadId=i, PartNumber=1, Body=b"x")


def case_19_complete_errors():
    up = s3.create_multipart_upload(Bucket=BUCKET, Key="bad")["UploadId"]
    etag = s3.upload_part(Bucket=BUCKET, Key="bad", UploadId=up, PartNumber=1, Body=b"x")["ETag"]
    s3.upload_part(Bucket=BUCKET, Key="bad", UploadId=up, PartNumber=2, Body=b"x")
    complete = lambda *p: {"Bucket": BUCKET, "Key": "bad", "UploadId": up, "MultipartUpload": {"Parts": [{"PartNumber": n, "ETag": e} for n, e in p]}}
    refused("InvalidPart", s3.complete_multipart_upload, **complete((1, '"' + "0" * 32 + '"')))
    refused("EntityTooSmall", s3.complete_multipart_upload, **complete((1, etag), (2, etag)))
    s3.abort_multipart_upload(Bucket=BUCKET, Key="bad", UploadId=up)


def case_20_tags():
    put("tags", Tagging="a=1&b=2")
    tags = lambda: {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=BUCKET, Key="tags")["TagSet"]}
    assert tags() == {"a": "1", "b": "2"}
    s3.put_object_tagging(Bucket=BUCKET, Key="tags", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert tags() == {"c": "3"} and get("tags")["TagCount"] == 1
    s3.delete_object_tagging(Bucket=BUCKET, Key="tags")
    assert tags() == {}


def case_21_delete_many():
    keys = ["del/%d" % i for i in range(5)] + ["del/ünï & co"]
    for k in keys:
        put(k)
    out = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in keys + ["del/none"]]})
    assert len(out["Deleted"]) == 7 and not out.get("Errors"), out
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="del/")["KeyCount"] == 0
    put("del/q")
    out = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "del/q"}], "Quiet": True})
    assert "Deleted" not in out


def case_22_presigned():
    for method, http, body in (("put_object", "PUT", b"signed"), ("get_object", "GET", None), ("head_object", "HEAD", None), ("delete_object", "DELETE", None)):
        url = client(signature_version="s3v4").generate_presigned_url(method, Params={"Bucket": BUCKET, "Key": "pre signed"}, ExpiresIn=60)
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method=http)) as r:
            if http == "GET":
                assert r.read() == b"signed"
    url = client(signature_version="s3v4").generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "plain"}, ExpiresIn=1)
    time.sleep(2.5)
    try:
        urllib.request.urlopen(url)
    except urllib.error.HTTPError as e:
        assert e.code == 403 and b"AccessDenied" in e.read()
        return
    raise AssertionError("an expired URL was served")


def case_23_unsigned_payload():
    c = client(s3={"addressing_style": "path", "payload_signing_enabled": False})
    c.put_object(Bucket=BUCKET, Key="unsigned", Body=b"u" * 100000)
    assert get("unsigned")["Data"] == b"u" * 100000


def case_24_wrong_secret():
    c = boto3.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1", aws_secret_access_key="wrong",
                     aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], config=Config(s3={"addressing_style": "path"}))
    refused("SignatureDoesNotMatch", c.list_objects_v2, Bucket=BUCKET)


def case_25_errors():
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="nothing")
    refused("404", s3.head_object, Bucket=BUCKET, Key="nothing")
    refused("NoSuchBucket", s3.get_object, Bucket=BUCKET + "-nothing", Key="x")
    refused("NoSuchBucket", s3.list_objects_v2, Bucket=BUCKET + "-nothing")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=BUCKET)
    refused("NoSuchUpload", s3.list_parts, Bucket=BUCKET, Key="x", UploadId="0123456789abcdef0123456789abcdef")


def case_26_attributes():
    put("attr")
    out = s3.get_object_attributes(Bucket=BUCKET, Key="attr", ObjectAttributes=["ETag", "ObjectSize"])
    assert out["ObjectSize"] == 5


def case_27_bucket_configuration():
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == [{"Key": "k", "Value": "v"}]
    s3.get_bucket_location(Bucket=BUCKET)
    refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket=BUCKET)
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]})
    assert s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"][0]["AllowedMethods"] == ["GET"]
    s3.delete_bucket_cors(Bucket=BUCKET)


def case_28_bucket_acl():
    assert s3.get_bucket_acl(Bucket=BUCKET)["Grants"][0]["Permission"] == "FULL_CONTROL"


def case_29_object_acl():
    put("acl", ACL="public-read")
    assert len(s3.get_object_acl(Bucket=BUCKET, Key="acl")["Grants"]) == 2


def case_30_lifecycle():
    rules = {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 30}}]}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=rules)
    assert s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"][0]["ID"] == "r"
    s3.delete_bucket_lifecycle(Bucket=BUCKET)


def case_31_versions():
    name = BUCKET + "-v"
    s3.create_bucket(Bucket=name)
    try:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        ids = [s3.put_object(Bucket=name, Key="k", Body=b"%d" % i)["VersionId"] for i in range(3)]
        s3.delete_object(Bucket=name, Key="k")
        refused("NoSuchKey", s3.get_object, Bucket=name, Key="k")
        assert s3.get_object(Bucket=name, Key="k", VersionId=ids[1])["Body"].read() == b"1"
        page = s3.list_object_versions(Bucket=name)
        assert [v["VersionId"] for v in page["Versions"]] == ids[::-1] and len(page["DeleteMarkers"]) == 1
        s3.delete_object(Bucket=name, Key="k", VersionId=page["DeleteMarkers"][0]["VersionId"])
        assert s3.get_object(Bucket=name, Key="k")["Body"].read() == b"2"
    finally:
        empty(name)


def empty(name):
    try:
        page = s3.list_object_versions(Bucket=name)
        for v in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=name, Key=v["Key"], VersionId=v["VersionId"])
    except ClientError:
        pass
    for o in s3.list_objects_v2(Bucket=name).get("Contents", []):
        s3.delete_object(Bucket=name, Key=o["Key"])
    try:
        s3.delete_bucket(Bucket=name)
    except ClientError as e:
        left = [o["Key"] for o in s3.list_objects_v2(Bucket=name).get("Contents", [])]
        page = s3.list_object_versions(Bucket=name)
        versions = [(v["Key"], v["VersionId"]) for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        raise AssertionError(f"{e}; left: {left} {versions}") from e


def case_99_remove_bucket():
    empty(BUCKET)
    refused("404", s3.head_bucket, Bucket=BUCKET)


for name, case in sorted(globals().copy().items()):
    if name.startswith("case_"):
        name = name.removeprefix("case_")
        print("RUN", name, flush=True)
        try:
            case()
            print("PASS", name, flush=True)
        except Exception as e:  # every failure is a result
            print("FAIL", name + ":", type(e).__name__, str(e).replace("\n", " ")[:400], flush=True)
