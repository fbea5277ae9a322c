package shim

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// linger is how long a connection that was answered is kept for the other side
// to read the answer.
const linger = 200 * time.Millisecond

// errorText is an S3 error as an HTTP response that ends its connection.
func errorText(f Fault, method string) string {
	body := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>made by a test</Message></Error>", f.Code)
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		f.Status, http.StatusText(f.Status), len(body))
	if method == http.MethodHead {
		return head
	}
	return head + body
}

// answer reads one request and answers it with the fault's status.
func (c *conn) answer(p *phase) {
	defer c.abort()
	r, err := http.ReadRequest(bufio.NewReader(c.down))
	if err != nil {
		return
	}
	if !strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	c.say(errorText(p.Fault, r.Method))
}

// answerLate lets the server do one request and replaces what it answers.
func (c *conn) answerLate(p *phase) {
	defer c.abort()
	up, err := c.link.dial()
	if err != nil || !c.attach(up) {
		return
	}
	// The request's first line tells whether the answer may have a body.
	in := bufio.NewReader(c.down)
	first, err := in.Peek(4)
	if err != nil {
		return
	}
	method := ""
	if string(first) == "HEAD" {
		method = http.MethodHead
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.abort()
	wg.Go(func() { _, _ = io.Copy(up, in) })
	out := bufio.NewReader(up)
	for {
		resp, err := http.ReadResponse(out, &http.Request{Method: method})
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusContinue {
			break
		}
		if _, err := io.WriteString(c.down, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return
		}
	}
	c.say(errorText(p.Fault, method))
}

// say writes and gives the other side the time to read it.
func (c *conn) say(text string) {
	if _, err := io.WriteString(c.down, text); err != nil {
		return
	}
	_ = c.down.CloseWrite()
	select {
	case <-c.done:
	case <-time.After(linger):
	}
}
