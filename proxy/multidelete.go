package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	maxDeleteBody   = 2 << 20
	maxDeleteKeys   = 1000
	maxDeleteResult = 8 << 20
)

// deleteItem is one Object element of a DeleteObjects request.
type deleteItem struct {
	key, version string
	raw          []byte
}

// beginEach is begin, with a change for each store that keys go to.
func (q *request) beginEach(ctx context.Context, keys []string, opt ledger.BeginOptions) ([]*change, error) {
	for began := time.Now(); ; {
		changes, err := q.p.beginEach(ctx, q.in.Bucket, keys, opt)
		if errors.Is(err, ledger.ErrUnknown) {
			if err := q.compare(ctx, keys); err != nil {
				return nil, err
			}
			opt.Compared = true
			continue
		}
		if err != nil {
			return nil, err
		}
		at := bucketStanding
		var by ledger.Route
		for _, c := range changes {
			if at == bucketStanding && err == nil {
				by = c.route
				at, err = q.bucketOf(ctx, c)
			}
		}
		if at == bucketStanding && err == nil {
			return changes, nil
		}
		for _, c := range changes {
			c.abort()
		}
		if err == nil && at == bucketMoving {
			err = q.untilBucketStands(ctx, by, began)
		}
		if err != nil {
			return nil, err
		}
		if at == bucketDeleted {
			opt.Store = nil // main says so
		}
	}
}

// deleteObjects deletes many objects: each where its intent says, in one
// request if that is one store, which it is but for the moment of a switch, and
// for versions that live on the old store.
func (q *request) deleteObjects() error {
	ctx := q.r.Context()
	raw, items, conditional, err := q.deleteList()
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return q.deleteNothing(raw)
	}
	for began := time.Now(); ; {
		answer, err := q.deleteEach(ctx, raw, items, conditional)
		switch {
		case err == nil:
			return q.respondBytes(answer.resp, answer.body)
		case !errors.Is(err, errLookAgain):
			return err
		case time.Since(began) > q.p.cfg.MaxInFlight:
			return s3.ErrSlowDown
		}
		if err := pause(ctx, jitter(10*time.Millisecond, 50*time.Millisecond)); err != nil {
			return err
		}
	}
}

// errLookAgain: what was looked for is not known any more, and nothing is done yet. Traffic has
// moved, or data was lost.
var errLookAgain = errors.New("look again")

func (q *request) deleteEach(ctx context.Context, raw []byte, items []deleteItem, conditional bool) (answer *deleteAnswer, err error) {
	opt := ledger.BeginOptions{Removes: true}
	var looked ledger.Route
	var here, there []deleteItem
	var other *ledger.Store
	if opt.InSync = conditional || slices.ContainsFunc(items, func(it deleteItem) bool { return it.version != "" }); !opt.InSync {
		here = items
	} else if here, there, other, looked, err = q.versionsAt(ctx, items); err != nil {
		return nil, err
	}
	if len(here) > 0 {
		if answer, err = q.deleteItems(ctx, raw, here, len(there) > 0, opt, looked); err != nil || answer.resp.StatusCode != http.StatusOK {
			return answer, err
		}
	}
	if len(there) > 0 {
		opt.Store = other
		a, err := q.deleteItems(ctx, raw, there, len(here) > 0, opt, looked)
		if err != nil || a.resp.StatusCode != http.StatusOK {
			return a, err
		}
		answer = answer.join(a)
	}
	return answer, nil
}

// deleteItems deletes some of the request's objects. An answer that is no 200 is the last one.
func (q *request) deleteItems(ctx context.Context, raw []byte, items []deleteItem, some bool, opt ledger.BeginOptions, looked ledger.Route) (*deleteAnswer, error) {
	keys := make([]string, len(items))
	look := false
	for i, it := range items {
		keys[i] = it.key
		look = look || namesVersion(it.version) && opt.Store == nil
	}
	changes, err := q.beginEach(ctx, keys, opt)
	if errors.Is(err, ledger.ErrMoved) {
		opt.Store = nil // main alone is asked now, as before the switch
		changes, err = q.beginEach(ctx, keys, opt)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, c := range changes {
			c.finally()
		}
	}()
	for _, c := range changes {
		if look && movedSince(looked, c.route) {
			for _, c := range changes {
				c.abort()
			}
			return nil, errLookAgain
		}
	}
	var answer *deleteAnswer
	for i, c := range changes {
		body := raw
		if some || len(changes) > 1 {
			body = c.share(raw, items)
		}
		a, err := q.deleteAt(c, body, some || len(changes) > 1)
		if err != nil || a.resp.StatusCode != http.StatusOK {
			for _, rest := range changes[i+1:] {
				rest.abort()
			}
			return a, err
		}
		answer = answer.join(a)
	}
	return answer, nil
}

// deleteNothing has the bucket's store say what it thinks of a list without objects.
func (q *request) deleteNothing(raw []byte) error {
	store, err := q.bucketStore()
	if err != nil {
		return err
	}
	return q.forwardTo(store, q.deleteCall(raw, false))
}

// deleteCall is a DeleteObjects request with a body, the client's own or a rewritten one.
func (q *request) deleteCall(body []byte, rewritten bool) call {
	hash := sha256.Sum256(body)
	c := call{in: q.in, body: bytesPayload(body), write: true, hash: hex.EncodeToString(hash[:])}
	if rewritten {
		c.header = plainBody(q.r.Header, body)
	}
	return c
}

// deleteAnswer is a store's answer to DeleteObjects.
type deleteAnswer struct {
	resp *http.Response // its body is read and closed
	body []byte
}

// join adds another store's results.
func (a *deleteAnswer) join(b *deleteAnswer) *deleteAnswer {
	if a == nil {
		return b
	}
	to, errTo := parseDocument(bytes.TrimSpace(a.body))
	from, errFrom := parseDocument(bytes.TrimSpace(b.body))
	switch {
	case errTo != nil || errFrom != nil || from.root.from == from.root.end:
		return a
	case to.root.from == to.root.end: // <DeleteResult/>: nothing to tell
		return b
	}
	return &deleteAnswer{a.resp, splice(to.raw, []edit{{to.root.to, to.root.to, string(from.raw[from.root.from:from.root.to])}})}
}

// share is the request's body with the change's own keys only.
func (c *change) share(raw []byte, items []deleteItem) []byte {
	mine := map[string]bool{}
	for _, in := range c.intents {
		mine[in.Object.Key] = true
	}
	for _, e := range c.entries {
		mine[e.change.Object.Key] = true
	}
	var out bytes.Buffer
	out.WriteString("<Delete>")
	if d, err := parseDocument(bytes.TrimSpace(raw)); err == nil && d.text("Quiet") == "true" {
		out.WriteString("<Quiet>true</Quiet>")
	}
	for _, it := range items {
		if mine[it.key] {
			out.Write(it.raw)
		}
	}
	out.WriteString("</Delete>")
	return out.Bytes()
}

// deleteAt deletes a change's keys at its store and settles them.
func (q *request) deleteAt(c *change, body []byte, rewritten bool) (*deleteAnswer, error) {
	resp, err := q.sendChange(c, q.deleteCall(body, rewritten))
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	result, err := readBounded(resp.Body, maxDeleteResult)
	if err != nil {
		c.doubt()
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		err = c.concludeEach(q, result)
	} else {
		err = c.conclude(q.r.Context(), resp.StatusCode)
	}
	return &deleteAnswer{resp, q.p.rename(c.store, result)}, err
}

// deleteList reads and checks the request's body. What can't be read can't be
// recorded, so it is refused here.
func (q *request) deleteList() (raw []byte, items []deleteItem, conditional bool, err error) {
	if q.body == nil {
		return nil, nil, false, s3.ErrMalformedXML
	}
	if q.body.length > maxDeleteBody {
		return nil, nil, false, s3.ErrMalformedXML
	}
	body := io.ReadCloser(q.progress(q.body))
	if q.identity != nil && q.identity.Payload == s3.PayloadSigned {
		body = s3.VerifyPayload(body, q.body.length, q.identity.ContentSHA256)
	}
	if raw, err = readBounded(body, maxDeleteBody); err != nil {
		var known *s3.Error
		if err = q.clientError(err); !asError(err, &known) {
			err = s3.ErrIncompleteBody
		}
		return nil, nil, false, err
	}
	d, err := parseDocument(bytes.TrimSpace(raw))
	if err != nil || d.root.name != "Delete" {
		return nil, nil, false, s3.ErrMalformedXML
	}
	for _, e := range d.children {
		if e.name != "Object" {
			continue
		}
		fields, err := below(d.raw, e)
		if err != nil {
			return nil, nil, false, s3.ErrMalformedXML
		}
		key, ok := text(d.raw, fields, "Key")
		if !ok || key == "" {
			return nil, nil, false, s3.ErrMalformedXML
		}
		version, _ := text(d.raw, fields, "VersionId")
		for _, name := range []string{"ETag", "LastModifiedTime", "Size"} {
			_, found := text(d.raw, fields, name)
			conditional = conditional || found
		}
		items = append(items, deleteItem{key: key, version: version, raw: d.raw[e.start:e.end]})
	}
	if len(items) > maxDeleteKeys {
		return nil, nil, false, s3.ErrMalformedXML
	}
	return raw, items, conditional, nil
}

// concludeEach settles each key by what the result says of it: an intent of a
// key that was not deleted must not make its store the newest.
func (c *change) concludeEach(q *request, result []byte) error {
	failed, times, err := deleteErrors(result)
	if err != nil {
		c.doubt()
		return nil //nolint:nilerr // the client gets the store's answer
	}
	var kept, aborted, doubted change
	for _, part := range []*change{&kept, &aborted, &doubted} {
		part.p, part.store, part.route = c.p, c.store, c.route
	}
	named := map[string]int{}
	for _, in := range c.intents {
		named[in.Object.Key]++
	}
	pick := func(key string) *change {
		code, bad := failed[key]
		switch {
		case !bad, times[key] < named[key]: // named more than once, deleted at least once
			return &kept
		case codeVerdict(code) == undone:
			return &aborted
		}
		return &doubted
	}
	for _, in := range c.intents {
		part := pick(in.Object.Key)
		part.intents = append(part.intents, in)
	}
	for _, e := range c.entries {
		part := pick(e.change.Object.Key)
		part.entries = append(part.entries, e)
	}
	c.settled = true
	aborted.abort()
	doubted.doubt()
	return kept.commit(q.r.Context())
}

// deleteErrors returns the keys that were not deleted, with the error's code,
// and how often each was refused: a request may name a key more than once.
func deleteErrors(result []byte) (failed map[string]string, times map[string]int, err error) {
	d, err := parseDocument(bytes.TrimSpace(result))
	if err == nil && d.root.name == "Error" {
		err = errNoResult
	}
	if err != nil {
		return nil, nil, err
	}
	failed, times = map[string]string{}, map[string]int{}
	for _, e := range d.children {
		if e.name != "Error" {
			continue
		}
		fields, err := below(d.raw, e)
		if err != nil {
			return nil, nil, err
		}
		key, _ := text(d.raw, fields, "Key")
		failed[key], _ = text(d.raw, fields, "Code")
		times[key]++
	}
	return failed, times, nil
}

// errNoResult: nobody knows what became of the keys: the store failed when it had begun
// to answer with 200.
var errNoResult = errors.New("the answer is an error with status 200")

func bytesPayload(b []byte) *payload {
	return &payload{rc: io.NopCloser(bytes.NewReader(b)), length: int64(len(b))}
}

// plainBody replaces the headers that protect a body by those of another one.
func plainBody(h http.Header, body []byte) http.Header {
	out := http.Header{}
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-Checksum-") || strings.HasPrefix(name, "X-Amz-Sdk-Checksum-") || name == "X-Amz-Trailer" {
			out[name] = nil
		}
	}
	sum := md5.Sum(body)
	out.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	return out
}

// framed reports whether the client's body is in chunks.
func (q *request) framed() bool {
	if q.identity != nil {
		return q.identity.Payload.Framed()
	}
	return strings.HasPrefix(q.r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-")
}
