package s3

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// otherETag is no object's.
	otherETag = `"00000000000000000000000000000000"`
	// minPart is the smallest part that may be followed by another.
	minPart = 5 << 20
)

func (p *probe) conditionalPut() {
	etag, err := p.put("conditional", "1", nil)
	if err != nil {
		return
	}
	_, again := p.put("conditional", "2", func(in *awss3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
	_, fresh := p.put("fresh", "1", func(in *awss3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
	p.caps.PutIfNoneMatch = guarded(again, fresh)
	if again == nil {
		if etag, err = p.put("conditional", "1", nil); err != nil {
			return
		}
	}
	_, wrong := p.put("conditional", "3", func(in *awss3.PutObjectInput) { in.IfMatch = aws.String(otherETag) })
	_, right := p.put("conditional", "4", func(in *awss3.PutObjectInput) { in.IfMatch = aws.String(etag) })
	p.caps.PutIfMatch = guarded(wrong, right)
}

func (p *probe) deleteIfMatch() {
	etag, err := p.put("delete", "1", nil)
	if err != nil {
		return
	}
	remove := func(etag string) error {
		_, err := p.c.S3.DeleteObject(p.ctx, &awss3.DeleteObjectInput{Bucket: &p.bucket, Key: p.key("delete"), IfMatch: &etag})
		return err
	}
	wrong := remove(otherETag)
	right := remove(etag)
	p.caps.DeleteIfMatch = guarded(wrong, right)
}

// upload creates an upload with one part for each size and returns what
// completes it. The content is zeros.
func (p *probe) upload(name string, sizes ...int64) (*awss3.CompleteMultipartUploadInput, error) {
	created, err := p.c.S3.CreateMultipartUpload(p.ctx, &awss3.CreateMultipartUploadInput{Bucket: &p.bucket, Key: p.key(name)})
	if err != nil {
		return nil, err
	}
	if p.uploads == nil {
		p.uploads = make(map[string]string)
	}
	p.uploads[name] = aws.ToString(created.UploadId)
	var parts []types.CompletedPart
	for i, size := range sizes {
		number := aws.Int32(int32(i + 1))
		part, err := p.c.S3.UploadPart(p.ctx, &awss3.UploadPartInput{
			Bucket: &p.bucket, Key: p.key(name), UploadId: created.UploadId, PartNumber: number,
			Body: bytes.NewReader(make([]byte, size)), ContentLength: &size,
		})
		if err != nil {
			return nil, err
		}
		parts = append(parts, types.CompletedPart{PartNumber: number, ETag: part.ETag})
	}
	return &awss3.CompleteMultipartUploadInput{
		Bucket: &p.bucket, Key: p.key(name), UploadId: created.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}, nil
}

// complete completes a fresh upload of one byte, conditionally. ok is false when
// it did not come to that.
func (p *probe) complete(name, ifMatch, ifNoneMatch string) (ok bool, err error) {
	in, err := p.upload(name, 1)
	if err != nil {
		return false, err
	}
	if ifMatch != "" {
		in.IfMatch = &ifMatch
	}
	if ifNoneMatch != "" {
		in.IfNoneMatch = &ifNoneMatch
	}
	if _, err = p.c.S3.CompleteMultipartUpload(p.ctx, in); err != nil {
		_, _ = p.c.S3.AbortMultipartUpload(p.ctx, &awss3.AbortMultipartUploadInput{Bucket: &p.bucket, Key: in.Key, UploadId: in.UploadId})
	}
	delete(p.uploads, name)
	return true, err
}

func (p *probe) multipart() {
	if _, err := p.put("complete", "1", nil); err == nil {
		ok1, again := p.complete("complete", "", "*")
		ok2, fresh := p.complete("complete-fresh", "", "*")
		if ok1 && ok2 {
			p.caps.CompleteIfNoneMatch = guarded(again, fresh)
		}
	}
	if etag, err := p.put("complete", "2", nil); err == nil {
		ok1, wrong := p.complete("complete", otherETag, "")
		ok2, right := p.complete("complete", etag, "")
		if ok1 && ok2 {
			p.caps.CompleteIfMatch = guarded(wrong, right)
		}
	}

	in, err := p.upload("parts", minPart, 1)
	if err != nil {
		return
	}
	if _, err := p.c.S3.CompleteMultipartUpload(p.ctx, in); err != nil {
		return
	}
	delete(p.uploads, "parts")
	p.partNumberGet()
	p.attributesParts()
}

func (p *probe) partNumberGet() {
	out, err := p.c.S3.GetObject(p.ctx, &awss3.GetObjectInput{Bucket: &p.bucket, Key: p.key("parts"), PartNumber: aws.Int32(2)})
	if err != nil {
		p.caps.PartNumberGet = supported(err)
		return
	}
	_ = out.Body.Close()
	if aws.ToInt64(out.ContentLength) == 1 && aws.ToInt32(out.PartsCount) == 2 {
		p.caps.PartNumberGet = Yes
	} else {
		p.caps.PartNumberGet = No
	}
}

func (p *probe) attributesParts() {
	out, err := p.c.S3.GetObjectAttributes(p.ctx, &awss3.GetObjectAttributesInput{
		Bucket: &p.bucket, Key: p.key("parts"),
		ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesObjectParts, types.ObjectAttributesObjectSize},
	}, func(o *awss3.Options) { o.RetryMaxAttempts = 1 })
	switch {
	case err == nil && out.ObjectParts != nil && len(out.ObjectParts.Parts) == 2 && aws.ToInt64(out.ObjectParts.Parts[1].Size) == 1:
		p.caps.AttributesParts = Yes
	case err == nil:
		p.caps.AttributesParts = No
	default:
		p.caps.AttributesParts = supported(err)
		if _, status := ErrorCode(err); status == http.StatusInternalServerError {
			// Ceph answers so to what it does not know.
			p.caps.AttributesParts = No
		}
	}
}

// streamingTrailer sends a body whose checksum follows it.
func (p *probe) streamingTrailer() {
	content := []byte("crossfade")
	sum := crc32.Checksum(content, castagnoli)
	resp, err := p.putTrailer("trailer", content, sum)
	if err != nil || resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented {
		return
	}
	if resp.StatusCode != http.StatusOK {
		p.caps.StreamingTrailer = No
		return
	}
	got, err := p.get("trailer")
	if err != nil {
		return
	}
	damaged, err := p.putTrailer("trailer-bad", content, sum+1)
	if err != nil {
		return
	}
	if bytes.Equal(got, content) && damaged.StatusCode == http.StatusBadRequest {
		p.caps.StreamingTrailer = Yes
	} else {
		p.caps.StreamingTrailer = No
	}
}

func (p *probe) putTrailer(name string, content []byte, sum uint32) (*http.Response, error) {
	rewriter, err := NewRewriter(p.c.Endpoint)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPut, "http://store", nil)
	if err != nil {
		return nil, err
	}
	rewriter.Rewrite(Request{Bucket: p.bucket, Key: *p.key(name)}, req)
	trailer := http.Header{"X-Amz-Checksum-Crc32c": {encodeCRC(sum)}}
	body, length, err := EncodeTrailer(req.Header, io.NopCloser(bytes.NewReader(content)), int64(len(content)),
		[]string{"x-amz-checksum-crc32c"}, func() http.Header { return trailer })
	if err != nil {
		return nil, err
	}
	req.Body, req.ContentLength = body, length
	NewSigner(p.c.Endpoint).Sign(req, StreamingUnsignedTrailer, time.Now())
	resp, err := p.c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody))
	return resp, resp.Body.Close()
}

func encodeCRC(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

func (p *probe) checksums() {
	content := "crossfade"
	want := encodeCRC(crc32.Checksum([]byte(content), castagnoli))
	if _, err := p.put("checksum", content, func(in *awss3.PutObjectInput) { in.ChecksumCRC32C = &want }); err != nil {
		p.caps.ChecksumsStored = supported(err)
		return
	}
	out, err := p.c.S3.HeadObject(p.ctx, &awss3.HeadObjectInput{Bucket: &p.bucket, Key: p.key("checksum"), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		return
	}
	if aws.ToString(out.ChecksumCRC32C) == want {
		p.caps.ChecksumsStored = Yes
	} else {
		p.caps.ChecksumsStored = No
	}
}

func (p *probe) tagsAndACL() {
	if _, err := p.put("meta", "1", nil); err != nil {
		return
	}
	tags := &types.Tagging{TagSet: []types.Tag{{Key: aws.String("crossfade"), Value: aws.String("probe")}}}
	_, err := p.c.S3.PutObjectTagging(p.ctx, &awss3.PutObjectTaggingInput{Bucket: &p.bucket, Key: p.key("meta"), Tagging: tags})
	if err == nil {
		var got *awss3.GetObjectTaggingOutput
		got, err = p.c.S3.GetObjectTagging(p.ctx, &awss3.GetObjectTaggingInput{Bucket: &p.bucket, Key: p.key("meta")})
		if err == nil && len(got.TagSet) != 1 {
			err = ErrNotImplemented
		}
	}
	p.caps.ObjectTagging = supported(err)

	_, err = p.c.S3.PutObjectAcl(p.ctx, &awss3.PutObjectAclInput{Bucket: &p.bucket, Key: p.key("meta"), ACL: types.ObjectCannedACLPrivate})
	if err == nil {
		_, err = p.c.S3.GetObjectAcl(p.ctx, &awss3.GetObjectAclInput{Bucket: &p.bucket, Key: p.key("meta")})
	}
	p.caps.ObjectACL = supported(err)
}
