package simulation

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is a store's response.
type answer struct {
	status int
	header http.Header
	body   string
}

func refusal(status int, code string) answer {
	return answer{status, http.Header{"Content-Type": {"application/xml"}}, "<Error><Code>" + code + "</Code><Message>" + code + "</Message></Error>"}
}

func document(body string) answer {
	return answer{200, http.Header{"Content-Type": {"application/xml"}}, body}
}

var statusOf = map[string]int{"NoSuchKey": 404, "NoSuchUpload": 404, "NoSuchBucket": 404, "PreconditionFailed": 412, "InvalidPart": 400,
	"NoSuchVersion": 404, "MethodNotAllowed": 405, "InvalidArgument": 400}

// transport carries a process' requests to a store.
type transport struct {
	p     *process
	store int
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := t.p.w
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	if w.teeth != nil && w.teeth.store != nil {
		w.teeth.store(t.p, r)
	}
	q := r.URL.Query()
	q.Del("x-id")
	label := fmt.Sprintf("%s %s %s?%s", w.stores[t.store].name, r.Method, r.URL.Path, brief(q.Encode()))
	var got answer
	to := []peer{sourcePeer, targetPeer}[t.store]
	f, err := t.p.call(r.Context(), to, label, w.plan.maxInFlight, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		st := w.stores[t.store]
		markers := st.vain
		ids := st.ids
		got = st.serve(r, q, body)
		if st.ids > ids && t.p.is("worker") && t.store != int(w.manager.state.Route.Uploads) { // else it can't be told from a client's
			bucket, _ := addressed(r)
			st.buckets[bucket].uploads[st.uploadID()].copied = true
		}
		if st.vain > markers && t.p.is("worker") {
			w.vain = append(w.vain, label)
		}
		if w.teeth != nil && w.teeth.reply != nil {
			w.teeth.reply(t.p, r, &got)
		}
		if w.tracing {
			w.write(t.p, "%s %q%s cond=%s%s -> %d %s", label, brief(body), r.Header.Get("X-Amz-Copy-Source"), r.Header.Get("If-Match"), r.Header.Get("If-None-Match"), got.status, brief(got.body))
		}
	})
	switch {
	case errors.Is(err, errUnsent):
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errUnsent}
	case err != nil:
		return nil, err
	case f.refused == "500":
		got = refusal(500, "InternalError")
	case f.refused == "503":
		got = refusal(503, "SlowDown")
	}
	if r.Method == http.MethodHead {
		got.body = ""
	}
	h := got.header.Clone()
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	length := int64(len(got.body))
	if h.Get("Content-Length") == "" {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	} else {
		length, _ = strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	}
	return &http.Response{StatusCode: got.status, Status: fmt.Sprintf("%d %s", got.status, http.StatusText(got.status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(strings.NewReader(got.body)), ContentLength: length, Request: r}, nil
}

func addressed(r *http.Request) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket, key
}

// serve applies a request.
func (s *store) serve(r *http.Request, q url.Values, body string) answer {
	name, key := addressed(r)
	if name == "" && r.Method == http.MethodGet {
		var list strings.Builder
		for _, n := range slices.Sorted(maps.Keys(s.buckets)) {
			fmt.Fprintf(&list, "<Bucket><Name>%s</Name></Bucket>", n)
		}
		return document("<ListAllMyBucketsResult><Buckets>" + list.String() + "</Buckets></ListAllMyBucketsResult>")
	}
	b := s.buckets[name]
	if b == nil && (r.Method != http.MethodPut || key != "") {
		return refusal(404, "NoSuchBucket")
	}
	if key == "" {
		return s.serveBucket(r, q, name, b, body)
	}
	id := q.Get("uploadId")
	switch {
	case q.Has("uploads") && r.Method == http.MethodPost:
		return document(fmt.Sprintf("<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>", name, key, s.create(b, key, r.Header)))
	case id != "":
		return s.servePart(r, q, b, key, id, body)
	case q.Has("tagging"), q.Has("acl"), q.Has("retention"), q.Has("legal-hold"), q.Has("attributes"):
		return refusal(501, "NotImplemented")
	}
	have := b.objects[key]
	if q.Has("versionId") {
		return s.serveVersion(r, q, b, key)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if have == nil {
			return b.missing(key)
		}
		return s.read(r, q, have)
	case http.MethodPut:
		if code := s.precondition(r.Header, have); code != "" {
			return refusal(statusOf[code], code)
		}
		if from := r.Header.Get("X-Amz-Copy-Source"); from != "" {
			return s.copy(b, key, from)
		}
		o := b.put(key, body, r.Header)
		return answer{200, o.named(http.Header{"Etag": {o.etag}}), ""}
	case http.MethodDelete:
		if have == nil && (!b.versioned || r.Header.Get("If-Match") != "") {
			return answer{204, http.Header{}, ""}
		}
		if code := s.precondition(r.Header, have); code != "" {
			return refusal(statusOf[code], code)
		}
		return answer{204, b.remove(key).named(http.Header{}), ""}
	}
	return refusal(501, "NotImplemented")
}

func (s *store) copy(b *bucket, key, from string) answer {
	path, id, _ := strings.Cut(from, "?versionId=")
	path, _ = url.PathUnescape(path)
	_, source, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	o := b.objects[source]
	switch {
	case id != "":
		i, code := b.find(source, id)
		if code != "" {
			return refusal(statusOf[code], code)
		}
		if o = b.versions[source][i]; o.marker {
			return refusal(400, "InvalidRequest")
		}
	case o == nil:
		return refusal(404, "NoSuchKey")
	}
	made := b.put(key, o.data, o.header)
	return made.documented(fmt.Sprintf("<CopyObjectResult><LastModified>%s</LastModified><ETag>%s</ETag></CopyObjectResult>", stamp(made.modified), escaped(made.etag)))
}

func (s *store) read(r *http.Request, q url.Values, o *object) answer {
	if m := r.Header.Get("If-Match"); m != "" && m != o.etag {
		return refusal(412, "PreconditionFailed")
	}
	h := o.named(o.header.Clone())
	h.Set("Etag", o.etag)
	h.Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	body, status := o.data, 200
	if n, _ := strconv.Atoi(q.Get("partNumber")); n > 0 && n <= len(o.parts) {
		body, status = o.parts[n-1], 206
		h.Set("X-Amz-Mp-Parts-Count", strconv.Itoa(len(o.parts)))
	}
	var from, to int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 && to < len(body) {
		body, status = body[from:to+1], 206
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	return answer{status, h, body}
}

func (s *store) servePart(r *http.Request, q url.Values, b *bucket, key, id, body string) answer {
	u := b.uploads[id]
	if u == nil || u.key != key {
		return refusal(404, "NoSuchUpload")
	}
	switch r.Method {
	case http.MethodPut:
		n, _ := strconv.Atoi(q.Get("partNumber"))
		u.parts[n] = body
		return answer{200, http.Header{"Etag": {md5tag(body)}}, ""}
	case http.MethodGet:
		return document("<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>")
	case http.MethodDelete:
		delete(b.uploads, id)
		return answer{204, http.Header{}, ""}
	case http.MethodPost:
		if code := s.precondition(r.Header, b.objects[key]); code != "" {
			return refusal(statusOf[code], code)
		}
		var in struct {
			Part []struct{ PartNumber int }
		}
		if xml.Unmarshal([]byte(body), &in) != nil {
			return refusal(400, "MalformedXML")
		}
		var numbers []int
		for _, p := range in.Part {
			numbers = append(numbers, p.PartNumber)
		}
		o, code := b.complete(id, numbers)
		if code != "" {
			return refusal(statusOf[code], code)
		}
		return o.documented(fmt.Sprintf("<CompleteMultipartUploadResult><Key>%s</Key><ETag>%s</ETag></CompleteMultipartUploadResult>", key, escaped(o.etag)))
	}
	return refusal(501, "NotImplemented")
}

func (s *store) serveBucket(r *http.Request, q url.Values, name string, b *bucket, body string) answer {
	switch {
	case r.Method == http.MethodPut && len(q) == 0:
		if b != nil {
			return refusal(409, "BucketAlreadyOwnedByYou")
		}
		s.buckets[name] = s.newBucket()
		s.buckets[name].versioned = name == s.keeps
		return answer{200, http.Header{}, ""}
	case r.Method == http.MethodHead:
		return answer{200, http.Header{}, ""}
	case r.Method == http.MethodDelete && (len(q) == 0 || q.Has("list-type")): // what is not known is ignored
		if len(b.objects) > 0 || len(b.versions) > 0 {
			return refusal(409, "BucketNotEmpty")
		}
		delete(s.buckets, name)
		return answer{204, http.Header{}, ""}
	case r.Method == http.MethodPut && q.Has("versioning"):
		return b.setVersioning(body)
	case r.Method == http.MethodPost && q.Has("delete"):
		return s.deleteMany(b, body)
	case r.Method != http.MethodGet:
		return refusal(501, "NotImplemented")
	case q.Has("location"):
		return document("<LocationConstraint/>")
	case q.Has("versioning"):
		if b.suspended {
			return document("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")
		}
		if b.versioned {
			return document("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
		}
		return document("<VersioningConfiguration/>")
	case q.Has("versions"):
		return listVersions(q, b)
	case q.Has("uploads"):
		var out strings.Builder
		for _, id := range slices.Sorted(maps.Keys(b.uploads)) {
			u := b.uploads[id]
			fmt.Fprintf(&out, "<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>%s</Initiated></Upload>", u.key, id, stamp(u.began))
		}
		return document("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>" + out.String() + "</ListMultipartUploadsResult>")
	}
	for k := range q {
		switch k {
		case "list-type", "prefix", "marker", "start-after", "max-keys", "continuation-token", "encoding-type", "delimiter":
		default:
			return refusal(501, "NotImplemented")
		}
	}
	return list(q, b)
}

func list(q url.Values, b *bucket) answer {
	after, most := max(q.Get("marker"), q.Get("start-after"), q.Get("continuation-token")), 1000
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil {
		most = n
	}
	var out strings.Builder
	n, truncated, last, group := 0, false, "", ""
	for _, k := range b.keys() {
		if k <= after || !strings.HasPrefix(k, q.Get("prefix")) || group != "" && strings.HasPrefix(k, group) || below(after, k, q) {
			continue
		}
		if n == most {
			truncated = true
			break
		}
		n, last, group = n+1, k, ""
		if rest := strings.TrimPrefix(k, q.Get("prefix")); q.Get("delimiter") != "" && strings.Contains(rest, q.Get("delimiter")) {
			head, _, _ := strings.Cut(rest, q.Get("delimiter"))
			group = q.Get("prefix") + head + q.Get("delimiter")
			last = group
			out.WriteString("<CommonPrefixes><Prefix>" + group + "</Prefix></CommonPrefixes>")
			continue
		}
		o := b.objects[k]
		fmt.Fprintf(&out, "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>%s</ETag><Size>%d</Size></Contents>", k, stamp(o.modified), escaped(o.etag), len(o.data))
	}
	head := fmt.Sprintf("<Name>b</Name><Prefix>%s</Prefix><MaxKeys>%d</MaxKeys><IsTruncated>%t</IsTruncated>", q.Get("prefix"), most, truncated)
	if q.Get("list-type") == "2" {
		head += fmt.Sprintf("<KeyCount>%d</KeyCount>", n)
		if truncated {
			head += "<NextContinuationToken>" + last + "</NextContinuationToken>"
		}
	} else if truncated && q.Get("delimiter") != "" {
		head += "<NextMarker>" + last + "</NextMarker>"
	}
	return document("<ListBucketResult>" + head + out.String() + "</ListBucketResult>")
}

// below says that a listing that goes on after a common prefix has left a key behind.
func below(after, key string, q url.Values) bool {
	return q.Get("delimiter") != "" && strings.HasSuffix(after, q.Get("delimiter")) && strings.HasPrefix(key, after)
}

func (s *store) deleteMany(b *bucket, body string) answer {
	var in struct {
		Object []struct{ Key, VersionId string }
	}
	if xml.Unmarshal([]byte(body), &in) != nil {
		return refusal(400, "MalformedXML")
	}
	out := ""
	for _, o := range in.Object {
		if o.VersionId != "" {
			out += b.deleteOne(o.Key, o.VersionId)
			continue
		}
		m := b.remove(o.Key)
		out += "<Deleted><Key>" + o.Key + "</Key>"
		if m != nil {
			out += "<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>" + m.version + "</DeleteMarkerVersionId>"
		}
		out += "</Deleted>"
	}
	return document("<DeleteResult>" + out + "</DeleteResult>")
}

func stamp(t time.Time) string   { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
func escaped(etag string) string { return strings.ReplaceAll(etag, `"`, "&quot;") }
