package config

import (
	"bytes"
	"context"
	"os"
	"time"
)

// Watch calls changed with the manifest at path each time that its content
// changes, until ctx ends, and failed when the new content is of no use. It
// looks every so often, because a mounted ConfigMap and an editor both replace
// the file. The content at the time of the call does not count as a change.
func Watch(ctx context.Context, path string, every time.Duration, changed func(*Config), failed func(error)) {
	last, _ := os.ReadFile(path)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b, err := os.ReadFile(path)
		if err != nil || bytes.Equal(b, last) {
			continue // an editor may be just replacing it
		}
		last = b
		c, err := Parse(b)
		if err != nil {
			failed(err)
			continue
		}
		changed(c)
	}
}
