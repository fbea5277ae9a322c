// AWS's SDK for JavaScript: its own signing, default checksums, and its uploader.
import { createRequire } from "node:module";
import { createHash, randomBytes } from "node:crypto";
import assert from "node:assert/strict";

const require = createRequire(process.env.CONFORMANCE_NODE + "/package.json");
const s3m = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const s3 = new s3m.S3({ endpoint: process.env.S3_ENDPOINT, region: "us-east-1", forcePathStyle: true, maxAttempts: 1 });
const Bucket = "conf-" + randomBytes(6).toString("hex");
const text = async (key, more = {}) => (await s3.getObject({ Bucket, Key: key, ...more })).Body.transformToString();
const refused = (name, call) => assert.rejects(call, (e) => (assert.equal(e.name, name), true));

const cases = {
  async create_bucket() {
    await s3.createBucket({ Bucket });
    assert.ok((await s3.listBuckets({})).Buckets.some((b) => b.Name === Bucket));
  },
  async put_get() {
    const { ETag } = await s3.putObject({ Bucket, Key: "a", Body: "hello", Metadata: { x: "1" }, ContentType: "text/x-conf" });
    assert.equal(ETag, `"${createHash("md5").update("hello").digest("hex")}"`);
    assert.equal(await text("a"), "hello");
    const head = await s3.headObject({ Bucket, Key: "a" });
    assert.deepEqual([head.ContentLength, head.ContentType, head.Metadata], [5, "text/x-conf", { x: "1" }]);
  },
  async empty_object() {
    await s3.putObject({ Bucket, Key: "empty", Body: "" });
    assert.equal(await text("empty"), "");
  },
  async strange_keys() {
    for (const key of ["sp ace", "pl+us", "ünï/cödé", "a&b=c", "100%", "quote'(1)!*", "日本"]) {
      await s3.putObject({ Bucket, Key: key, Body: key });
      assert.equal(await text(key), key);
    }
  },
  async ranges() { assert.equal(await text("a", { Range: "bytes=1-2" }), "el"); },
  async conditions() {
    await refused("PreconditionFailed", s3.getObject({ Bucket, Key: "a", IfMatch: '"no"' }));
    await s3.putObject({ Bucket, Key: "once", Body: "1", IfNoneMatch: "*" });
    await refused("PreconditionFailed", s3.putObject({ Bucket, Key: "once", Body: "2", IfNoneMatch: "*" }));
  },
  async checksum_sha256() {
    await s3.putObject({ Bucket, Key: "sum", Body: "hello", ChecksumAlgorithm: "SHA256" });
    assert.equal(await text("sum", { ChecksumMode: "ENABLED" }), "hello");
  },
  async uploader() {
    const Body = randomBytes(12 << 20);
    await new Upload({ client: s3, params: { Bucket, Key: "large", Body }, partSize: 5 << 20 }).done();
    const got = await (await s3.getObject({ Bucket, Key: "large" })).Body.transformToByteArray();
    assert.ok(Body.equals(Buffer.from(got)));
  },
  async list_pages() {
    for (let i = 0; i < 12; i++) await s3.putObject({ Bucket, Key: `list/${String(i).padStart(2, "0")}`, Body: "x" });
    const keys = [];
    for await (const page of s3m.paginateListObjectsV2({ client: s3, pageSize: 5 }, { Bucket, Prefix: "list/" })) keys.push(...page.Contents.map((o) => o.Key));
    assert.equal(keys.length, 12);
    assert.deepEqual(keys, [...keys].sort());
  },
  async copy() {
    await s3.copyObject({ Bucket, Key: "copy", CopySource: `${Bucket}/a` });
    assert.equal(await text("copy"), "hello");
  },
  async tags() {
    await s3.putObjectTagging({ Bucket, Key: "a", Tagging: { TagSet: [{ Key: "k", Value: "v" }] } });
    assert.deepEqual((await s3.getObjectTagging({ Bucket, Key: "a" })).TagSet, [{ Key: "k", Value: "v" }]);
  },
  async errors() {
    await refused("NoSuchKey", s3.getObject({ Bucket, Key: "nothing" }));
    await refused("NotFound", s3.headObject({ Bucket, Key: "nothing" }));
    await refused("NoSuchBucket", s3.listObjectsV2({ Bucket: Bucket + "-no" }));
  },
  async delete_many_and_bucket() {
    const keys = (await s3.listObjectsV2({ Bucket })).Contents.map(({ Key }) => ({ Key }));
    const out = await s3.deleteObjects({ Bucket, Delete: { Objects: keys } });
    assert.equal(out.Deleted.length, keys.length);
    await s3.deleteBucket({ Bucket });
    await refused("NotFound", s3.headBucket({ Bucket }));
  },
};
for (const [name, run] of Object.entries(cases)) {
  console.log("RUN", name);
  try {
    await run();
    console.log("PASS", name);
  } catch (e) {
    console.log(`FAIL ${name}: ${String(e.name + " " + e.message).replaceAll("\n", " ").slice(0, 400)}`);
  }
}
