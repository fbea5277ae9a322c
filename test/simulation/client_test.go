package simulation

import (
	"context"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// uploadLife is how long a client goes on with a multipart upload.
const uploadLife = 40 * time.Second

// client is one user of the system; it does one thing at a time.
type client struct {
	w      *world
	name   string
	signer *s3.Signer
	seen   map[string]string  // ETags of what it read or wrote, by key
	made   map[string]version // what its writes were answered, by op and key
}

func (w *world) runClient(i int, ops []op) {
	c := &client{w: w, name: fmt.Sprint("client", i), signer: s3.NewSigner(endpoint(0)), seen: map[string]string{}, made: map[string]version{}}
	for _, o := range ops {
		switch {
		case o.on != "":
			if !w.await(o.on, o.at) {
				continue
			}
		case o.gap > 0:
			time.Sleep(o.gap)
		default:
			time.Sleep(time.Until(w.began.Add(o.at)))
		}
		c.do(o)
	}
}

// request is what a client sends.
type request struct {
	method, key, query string
	bucket             string // "": the one that all work with
	header             http.Header
	body               string
}

// reply is what it hears; nil: nothing.
type reply struct {
	*httptest.ResponseRecorder
	call, ret int64
}

func (r *reply) body() string { return r.Body.String() }
func (r *reply) text() string {
	if r.ResponseRecorder == nil {
		return ""
	}
	return r.body()
}
func (r *reply) etag() string { return strings.Trim(r.Header().Get("Etag"), `"`) }

// pick chooses a proxy as a load balancer would.
func (c *client) pick(r *rand.Rand) *node {
	for {
		c.w.mu.Lock()
		all := append([]*node(nil), c.w.nodes...)
		c.w.mu.Unlock()
		all = slices.DeleteFunc(all, func(n *node) bool { return !c.w.ready(n) })
		if len(all) > 0 {
			return all[r.IntN(len(all))]
		}
		time.Sleep(between(r, 100*time.Millisecond, 200*time.Millisecond))
	}
}

// send sends a request through one of the proxies. answered is false when the
// client does not know how it went.
func (c *client) send(o op, step string, rq request) (rep *reply, answered bool) {
	w := c.w
	r := roll(w.seed, c.name+o.id+step)
	n := c.pick(r)
	w.mu.Lock()
	p, handler := n.p, n.proxy.Handler()
	w.mu.Unlock()
	bucket := rq.bucket
	if bucket == "" {
		bucket = bucketName
	}
	target := "http://proxy.test/" + bucket
	if rq.key != "" {
		target += "/" + s3.EscapeKey(rq.key)
	}
	if rq.query != "" {
		target += "?" + rq.query
	}
	ctx, cancel := context.WithCancel(context.Background())
	if rq.method == http.MethodGet || rq.method == http.MethodHead {
		ctx = context.WithValue(ctx, lookupKey{}, &firstLookup{})
	}
	if o.pace != (pace{}) && (o.kind != "multipart" || step == "complete") {
		ctx = context.WithValue(ctx, paceKey{}, o.pace)
	}
	q := httptest.NewRequest(rq.method, target, strings.NewReader(rq.body)).WithContext(ctx)
	for k, v := range rq.header {
		q.Header[k] = v
	}
	q.RequestURI = q.URL.RequestURI()
	c.signer.Sign(q, s3.UnsignedPayload, time.Now())
	rep = &reply{call: w.tick()}
	began := time.Now()
	w.note(p, "%s %s %s %s %s %q", o.id, c.name, rq.method, rq.key, rq.query, brief(rq.body))
	heard := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		defer cancel()
		time.Sleep(between(r, 10*time.Microsecond, 5*time.Millisecond))
		rec := httptest.NewRecorder()
		if p.up(ctx) != nil || !served(handler, rec, q) || p.up(ctx) != nil {
			rec = nil
		}
		heard <- rec
	}()
	stays := w.plan.patience
	if o.leaves > 0 {
		stays = o.leaves
	}
	give := time.NewTimer(stays)
	defer give.Stop()
	select {
	case rep.ResponseRecorder = <-heard:
	case <-give.C:
		cancel()
		if o.leaves == 0 && w.calm() {
			w.mu.Lock()
			w.problem("no answer: %s %s %s", o.id, rq.method, rq.key)
			w.mu.Unlock()
		}
	case <-p.dead:
	}
	time.Sleep(between(r, 10*time.Microsecond, 5*time.Millisecond))
	rep.ret = w.tick()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.ops++
	if rep.ResponseRecorder == nil {
		w.write(p, "%s heard nothing", o.id)
		return rep, false
	}
	w.write(p, "%s heard %d %q", o.id, rep.Code, brief(rep.body()))
	rep.Code = outcome(rep.Code, rep.body())
	if rep.Code >= 500 {
		w.result.failed++
		if strings.Contains(rep.body(), "overtaken by another") && !w.plan.inOrder() {
			w.result.faults["overtaken"]++ // as the protocol has it, see docs/sim.md
		} else if !began.After(w.faultTill) && !strings.Contains(rep.body(), "overtaken by another") {
			// It has waited while a fault was at work.
		} else if w.awaitsVersions(rq, began) {
			w.result.faults["waited"]++ // as docs/sim.md has it
		} else {
			w.problem("a request failed without a cause: %s %s %s answered %d %s", o.id, rq.method, rq.key, rep.Code, rep.body())
		}
		return rep, false
	}
	return rep, true
}

// outcome is the status that an answer stands for: one that came late says it in its body,
// as SDKs expect of CopyObject.
func outcome(status int, body string) int {
	var e struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
	}
	if status != http.StatusOK || xml.Unmarshal([]byte(body), &e) != nil {
		return status
	}
	switch e.Code {
	case "NoSuchKey", "NoSuchBucket", "NoSuchVersion":
		return http.StatusNotFound
	case "PreconditionFailed":
		return http.StatusPreconditionFailed
	}
	return http.StatusServiceUnavailable
}

func (w *world) calm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().After(w.faultTill)
}

// served runs the handler; false: it cut the connection.
func served(h http.Handler, rec *httptest.ResponseRecorder, q *http.Request) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler { //nolint:errorlint // net/http's own rule
				panic(v)
			}
			ok = false
		}
	}()
	h.ServeHTTP(rec, q)
	return true
}

// did records an operation on one key. The status is 0 when there was no answer.
func (c *client) did(o op, kind, key, value, etag string, rep *reply, out output) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	in := input{kind: kind, key: key, value: value, etag: etag, op: o.id}
	if kind == "removeVersion" {
		in.version = madeBy(o.of, key)
	}
	c.w.record(in, out, rep.call, rep.ret)
}

// wrong notes an answer that no S3 store would have given.
func (c *client) wrong(o op, rep *reply) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.problem("an answer that main alone would not have given: %s %s: %d %s", o.id, o.kind, rep.Code, rep.body())
}

func (c *client) know(value string) string {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	tag := md5tag(value)
	c.w.knowTag(tag, value)
	return tag
}

// valueOf returns the content that an ETag stands for.
func (c *client) valueOf(o op, etag string) (string, bool) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	v, ok := c.w.tags[strings.Trim(etag, `"`)]
	if !ok {
		c.w.problem("an ETag of nothing that was written: %s %s", o.id, etag)
	}
	return v, ok
}

func (c *client) do(o op) {
	key := o.keys[0]
	switch o.kind {
	case "put":
		c.know(o.value)
		rep, ok := c.send(o, "", request{method: "PUT", key: key, body: o.value})
		if ok && rep.Code != 200 {
			c.wrong(o, rep)
			return
		}
		c.did(o, "write", key, o.value, "", rep, output{unknown: !ok})
		c.keep(o, key, o.value, rep)
	case "get", "head":
		c.read(o, key)
	case "delete":
		rep, ok := c.send(o, "", request{method: "DELETE", key: key})
		if ok && rep.Code != 204 {
			c.wrong(o, rep)
			return
		}
		c.did(o, "write", key, "", "", rep, output{unknown: !ok})
		c.keep(o, key, "", rep)
	case "removeVersion":
		c.removeVersion(o)
	case "getVersion":
		c.getVersion(o)
	case "listVersions":
		c.listVersions(o)
	case "deleteMany":
		c.deleteMany(o)
	case "list":
		c.list(o)
	case "putIfAbsent", "putIfMatch":
		c.conditional(o, key)
	case "copy":
		c.copy(o)
	case "getNull", "removeNull":
		c.onNull(o)
	case "removeSpare", "emptySpare":
		c.takeSpare(o)
	case "listed":
		c.useListed(o)
	case "copyVersion":
		c.copyVersion(o)
	case "multipart":
		c.multipart(o, key)
	default:
		c.onSpare(o)
	}
}

func (c *client) read(o op, key string) {
	rep, ok := c.send(o, "", request{method: map[string]string{"get": "GET", "head": "HEAD"}[o.kind], key: key})
	switch {
	case !ok:
	case rep.Code == 404:
		c.did(o, "read", key, "", "", rep, output{})
	case rep.Code == 200:
		value, known := c.valueOf(o, rep.etag())
		if !known {
			return
		}
		if o.kind == "get" && rep.body() != value {
			c.w.mu.Lock()
			c.w.problem("a body that is not its ETag's: %s got %q with the ETag of %q", o.id, rep.body(), value)
			c.w.mu.Unlock()
		}
		c.seen[key] = rep.Header().Get("Etag")
		c.did(o, "read", key, "", "", rep, output{value: value})
	default:
		c.wrong(o, rep)
	}
}

func (c *client) deleteMany(o op) {
	body := "<Delete>"
	for _, k := range o.keys {
		body += "<Object><Key>" + k + "</Key></Object>"
	}
	rep, ok := c.send(o, "", request{method: "POST", query: "delete=", body: body + "</Delete>"})
	if ok && rep.Code != 200 {
		c.wrong(o, rep)
		return
	}
	for _, k := range o.keys {
		done := ok && strings.Contains(rep.body(), "<Deleted><Key>"+k+"</Key>")
		c.did(o, "write", k, "", "", rep, output{unknown: !done})
		if _, rest, found := strings.Cut(rep.text(), "<Key>"+k+"</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>"); done && found {
			id, _, _ := strings.Cut(rest, "<")
			c.made[madeBy(o.id, k)] = version{id, "", rep.call}
			c.w.mu.Lock()
			c.w.makers[id] = madeBy(o.id, k)
			c.w.mu.Unlock()
		}
	}
}

func (c *client) conditional(o op, key string) {
	c.know(o.value)
	kind, h, etag := "ifAbsent", http.Header{"If-None-Match": {"*"}}, ""
	if o.kind == "putIfMatch" {
		if etag = c.seen[key]; etag == "" {
			return
		}
		kind, h = "ifMatch", http.Header{"If-Match": {etag}}
	}
	rep, ok := c.send(o, "", request{method: "PUT", key: key, header: h, body: o.value})
	out := output{unknown: !ok}
	switch {
	case !ok:
	case rep.Code == 200:
		out.ok = true
		c.keep(o, key, o.value, rep)
	case rep.Code == 412, rep.Code == 404 && kind == "ifMatch":
	default:
		c.wrong(o, rep)
		return
	}
	c.did(o, kind, key, o.value, strings.Trim(etag, `"`), rep, out)
}

func (c *client) copy(o op) {
	from, to := o.keys[0], o.keys[1]
	rep, ok := c.send(o, "", request{method: "PUT", key: to, header: http.Header{"X-Amz-Copy-Source": {"/" + bucketName + "/" + from}}})
	switch {
	case !ok:
		c.w.mu.Lock()
		c.w.stray = append(c.w.stray, strayCopy{from, to, rep.call, o.id})
		c.w.mu.Unlock()
	case rep.Code == 404:
		c.did(o, "read", from, "", "", rep, output{})
	case rep.Code == 200:
		var got struct{ ETag string }
		if err := xml.Unmarshal([]byte(rep.body()), &got); err != nil {
			c.wrong(o, rep)
			return
		}
		c.w.mu.Lock()
		tag := strings.Trim(got.ETag, `"`)
		if _, known := c.w.tags[tag]; !known {
			// A copy of what was uploaded in parts has an ETag of its own.
			for v := range c.w.tagsOf {
				if strings.Trim(md5tag(v), `"`) == tag {
					c.w.knowTag(tag, v)
					break
				}
			}
		}
		c.w.mu.Unlock()
		if v, known := c.valueOf(o, got.ETag); known {
			c.did(o, "read", from, "", "", rep, output{value: v})
			c.did(o, "write", to, v, "", rep, output{})
			c.keep(o, to, v, rep)
		}
	default:
		c.wrong(o, rep)
	}
}

// seeUploads lists multipart uploads while one of the client's own is under way.
func (c *client) seeUploads(o op, when, own string) {
	if !c.w.plan.seesUploads {
		return
	}
	rep, ok := c.send(o, "uploads "+when, request{method: "GET", query: "uploads="})
	if !ok {
		return
	}
	var page struct{ Upload []struct{ UploadId string } }
	if rep.Code != 200 || xml.Unmarshal([]byte(rep.body()), &page) != nil {
		c.wrong(o, rep)
		return
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.result.faults["uploadsListed"]++
	found := false
	for _, u := range page.Upload {
		found = found || u.UploadId == own
		if c.w.copied[u.UploadId] && len(c.w.losses) == 0 { // what was noted of copies' uploads may be lost
			c.w.problem("a listing shows the upload of a copy: %s %s: %s", o.id, when, u.UploadId)
		}
	}
	// Where an upload lives is lost with the proxy that has said it.
	if !found && (len(c.w.losses) == 0 || c.w.result.faults["crashProxy"] == 0) {
		c.w.problem("a listing lacks an upload that is under way: %s %s: %s", o.id, when, own)
	}
}

func (c *client) multipart(o op, key string) {
	began := time.Now()
	rep, ok := c.send(o, "create", request{method: "POST", key: key, query: "uploads="})
	if !ok {
		return
	}
	var made struct{ UploadId string }
	if rep.Code != 200 || xml.Unmarshal([]byte(rep.body()), &made) != nil {
		c.wrong(o, rep)
		return
	}
	id := url.QueryEscape(made.UploadId)
	c.seeUploads(o, "at first", made.UploadId)
	var parts []string
	complete := "<CompleteMultipartUpload>"
	abort := !o.finish
	for n := 1; n <= o.parts && !abort; n++ {
		time.Sleep(o.pause)
		part := fmt.Sprintf("<%s part %d>", o.id, n)
		rep, ok := c.send(o, fmt.Sprint("part", n), request{method: "PUT", key: key, query: fmt.Sprintf("partNumber=%d&uploadId=%s", n, id), body: part})
		if ok && rep.Code != 200 {
			c.wrong(o, rep)
			return
		}
		abort = !ok
		parts = append(parts, part)
		complete += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, escaped(md5tag(part)))
	}
	time.Sleep(o.pause)
	if o.endOn != "" {
		abort = !c.w.await(o.endOn, o.endAt) || abort
	}
	c.seeUploads(o, "at last", made.UploadId)
	if abort || time.Since(began) > uploadLife {
		_, _ = c.send(o, "abort", request{method: "DELETE", key: key, query: "uploadId=" + id})
		return
	}
	value := strings.Join(parts, "")
	c.w.mu.Lock()
	c.w.knowTag(joinedTag(parts), value)
	c.w.knowTag(md5tag(value), value)
	c.w.knowTag(joinedTag([]string{value}), value) // where a copy could not learn the parts
	c.w.mu.Unlock()
	rep, ok = c.send(o, "complete", request{method: "POST", key: key, query: "uploadId=" + id, body: complete + "</CompleteMultipartUpload>"})
	switch {
	case ok && rep.Code == 200 && strings.Contains(rep.body(), "<Error>"):
		ok = false
	case ok && rep.Code != 200:
		c.wrong(o, rep)
		return
	}
	c.did(o, "write", key, value, "", rep, output{unknown: !ok})
	if ok {
		c.keep(o, key, value, rep)
	}
}
