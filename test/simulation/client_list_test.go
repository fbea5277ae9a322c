package simulation

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
)

// list reads pages; each shows what its range of keys holds.
func (c *client) list(o op) {
	token, after := "", ""
	for n := 0; n <= 10; n++ {
		q := url.Values{"max-keys": {fmt.Sprint(o.most)}}
		if o.delimiter {
			q.Set("delimiter", "/")
		}
		next := "continuation-token"
		if o.v1 {
			next = "marker"
		} else {
			q.Set("list-type", "2")
		}
		if token != "" {
			q.Set(next, token)
		}
		rep, ok := c.send(o, fmt.Sprint("page", n), request{method: "GET", query: q.Encode()})
		if !ok {
			return
		}
		var page listPage
		if rep.Code != 200 || xml.Unmarshal([]byte(rep.body()), &page) != nil {
			c.wrong(o, rep)
			return
		}
		last, ok := c.shown(o, rep, page, after)
		if !ok || !page.IsTruncated {
			return
		}
		switch {
		case !o.v1:
			token = page.NextContinuationToken
		case o.delimiter:
			token = page.NextMarker
		default:
			token = last // a client of the first version goes on with the last key
		}
		if token == "" {
			c.wrong(o, rep)
			return
		}
		after = last
	}
}

type listPage struct {
	IsTruncated           bool
	NextContinuationToken string
	NextMarker            string
	Contents              []struct{ Key, ETag string }
	CommonPrefixes        []struct{ Prefix string }
}

// shown records a page as a read of each key in its range, and returns where the
// range ends. A common prefix says that some key below it is there, not which one:
// if there is none, none of them is.
func (c *client) shown(o op, rep *reply, page listPage, after string) (last string, ok bool) {
	shown, grouped := map[string]string{}, map[string]bool{}
	for _, e := range page.Contents {
		v, known := c.valueOf(o, e.ETag)
		if !known || o.delimiter && strings.Contains(e.Key, "/") {
			c.wrong(o, rep)
			return "", false
		}
		shown[e.Key], last = v, max(last, e.Key)
	}
	for _, p := range page.CommonPrefixes {
		grouped[p.Prefix] = true
		// All that begins with it is done with.
		last = max(last, p.Prefix+"\xff")
	}
	for _, k := range c.w.plan.keys() {
		dir, _, below := strings.Cut(k, "/")
		if k <= after || page.IsTruncated && k > last || o.delimiter && below && grouped[dir+"/"] {
			continue
		}
		c.did(o, "read", k, "", "", rep, output{value: shown[k]})
	}
	return last, true
}
