package simulation

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// add makes an object, or a delete marker, the current version of a key.
func (b *bucket) add(key string, o *object) {
	if b.suspended {
		o.version = "null"
		b.versions[key] = append(slices.DeleteFunc(b.versions[key], func(o *object) bool { return o.version == "null" }), o)
	} else if b.versioned {
		b.store.versions++
		o.version = fmt.Sprintf("%s%04d", b.store.versionPrefix(), b.store.versions)
		b.versions[key] = append(b.versions[key], o)
	}
	b.objects[key] = o
	if o.marker {
		delete(b.objects, key)
	}
}

func (s *store) versionPrefix() string { return s.name + "-version-" }

// remove deletes a key as a client that names no version does. It returns the delete
// marker, nil in a bucket without versions.
func (b *bucket) remove(key string) *object {
	if !b.versioned {
		delete(b.objects, key)
		return nil
	}
	if b.objects[key] == nil {
		b.store.vain++
	}
	m := &object{marker: true, modified: time.Now()}
	b.add(key, m)
	return m
}

// removeVersion deletes one version for good; what came before it is current then.
func (b *bucket) removeVersion(key, id string) (*object, string) {
	i, code := b.find(key, id)
	if code == "NoSuchVersion" {
		return nil, "" // gone already
	}
	if code != "" {
		return nil, code
	}
	o := b.versions[key][i]
	left := slices.Delete(b.versions[key], i, i+1)
	b.versions[key] = left
	switch {
	case len(left) == 0:
		delete(b.versions, key)
		delete(b.objects, key)
	case left[len(left)-1].marker:
		delete(b.objects, key)
	default:
		b.objects[key] = left[len(left)-1]
	}
	return o, ""
}

// find looks for a version. What is no id of this store is refused as S3 refuses an id
// that it can't have given.
func (b *bucket) find(key, id string) (int, string) {
	if !b.versioned || id != "null" && !strings.HasPrefix(id, b.store.versionPrefix()) {
		return -1, "InvalidArgument"
	}
	i := slices.IndexFunc(b.versions[key], func(o *object) bool { return o.version == id })
	if i < 0 {
		return -1, "NoSuchVersion"
	}
	return i, ""
}

func (b *bucket) setVersioning(body string) answer {
	var in struct{ Status string }
	if xml.Unmarshal([]byte(body), &in) != nil || in.Status != "Enabled" && in.Status != "Suspended" {
		return refusal(400, "MalformedXML")
	}
	b.suspended = in.Status == "Suspended"
	if !b.versioned {
		for k, o := range b.objects {
			o.version = "null"
			b.versions[k] = []*object{o}
		}
		b.versioned = true
	}
	return answer{200, http.Header{}, ""}
}

// named adds a version's headers.
func (o *object) named(h http.Header) http.Header {
	if o != nil && o.version != "" {
		h.Set("X-Amz-Version-Id", o.version)
	}
	if o != nil && o.marker {
		h.Set("X-Amz-Delete-Marker", "true")
	}
	return h
}

func (o *object) documented(body string) answer {
	a := document(body)
	o.named(a.header)
	return a
}

// missing is the answer to a read of a key that has no current object.
func (b *bucket) missing(key string) answer {
	a := refusal(404, "NoSuchKey")
	if n := len(b.versions[key]); n > 0 {
		b.versions[key][n-1].named(a.header)
	}
	return a
}

// serveVersion serves a request that names a version.
func (s *store) serveVersion(r *http.Request, q url.Values, b *bucket, key string) answer {
	id := q.Get("versionId")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		i, code := b.find(key, id)
		if code != "" {
			return refusal(statusOf[code], code)
		}
		if o := b.versions[key][i]; !o.marker {
			return s.read(r, q, o)
		}
		a := refusal(405, "MethodNotAllowed")
		b.versions[key][i].named(a.header)
		return a
	case http.MethodDelete:
		o, code := b.removeVersion(key, id)
		if code != "" {
			return refusal(statusOf[code], code)
		}
		h := o.named(http.Header{})
		h.Set("X-Amz-Version-Id", id)
		return answer{204, h, ""}
	}
	return refusal(501, "NotImplemented")
}

// deleteOne is what DeleteObjects says of one version.
func (b *bucket) deleteOne(key, id string) string {
	o, code := b.removeVersion(key, id)
	head := "<Key>" + key + "</Key><VersionId>" + id + "</VersionId>"
	switch {
	case code != "":
		return "<Error>" + head + "<Code>" + code + "</Code><Message>" + code + "</Message></Error>"
	case o != nil && o.marker:
		head += "<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>" + id + "</DeleteMarkerVersionId>"
	}
	return "<Deleted>" + head + "</Deleted>"
}

// listVersions lists versions, the newest of each key first.
func listVersions(q url.Values, b *bucket) answer {
	most := 1000
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil {
		most = n
	}
	if q.Get("delimiter") != "" {
		return refusal(501, "NotImplemented")
	}
	after, marker := q.Get("key-marker"), q.Get("version-id-marker")
	var out strings.Builder
	n, more, lastKey, lastID := 0, false, "", ""
	for _, k := range slices.Sorted(maps.Keys(b.versions)) {
		if !strings.HasPrefix(k, q.Get("prefix")) || k < after || k == after && marker == "" {
			continue
		}
		all := b.versions[k]
		skip := k == after
		for i := len(all) - 1; i >= 0; i-- {
			o := all[i]
			if skip {
				skip = o.version != marker
				continue
			}
			if n == most {
				more = true
				break
			}
			n, lastKey, lastID = n+1, k, o.version
			head := fmt.Sprintf("<Key>%s</Key><VersionId>%s</VersionId><IsLatest>%t</IsLatest><LastModified>%s</LastModified>", k, o.version, i == len(all)-1, stamp(o.modified))
			if o.marker {
				out.WriteString("<DeleteMarker>" + head + "</DeleteMarker>")
			} else {
				fmt.Fprintf(&out, "<Version>%s<ETag>%s</ETag><Size>%d</Size></Version>", head, escaped(o.etag), len(o.data))
			}
		}
	}
	head := fmt.Sprintf("<Name>b</Name><Prefix>%s</Prefix><KeyMarker>%s</KeyMarker><MaxKeys>%d</MaxKeys><IsTruncated>%t</IsTruncated>", q.Get("prefix"), after, most, more)
	if more {
		head += "<NextKeyMarker>" + lastKey + "</NextKeyMarker><NextVersionIdMarker>" + lastID + "</NextVersionIdMarker>"
	}
	return document("<ListVersionsResult>" + head + out.String() + "</ListVersionsResult>")
}
