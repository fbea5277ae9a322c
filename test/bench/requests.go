package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/s3"
	"github.com/crossfade-io/crossfade/test/lab"
)

const bucket = "bench"

// keysOf says how many objects of a size there are.
func keysOf(size int64) int { return int(max(16, min(512, 16<<20/size))) }

// wires signs one request for each object of a size. They are good for the 15
// minutes that a signature is. Every contender gets the same ones: they name
// the store, whoever they are sent to.
func wires(store lab.Endpoint, method string, size int64, signed bool) ([]wire, error) {
	signer := s3.NewSigner(s3.Endpoint{URL: store.URL, Region: store.Region, AccessKeyID: store.AccessKey, SecretAccessKey: store.SecretKey})
	hash := s3.UnsignedPayload
	if signed {
		hash = s3.EmptyPayload
		if method == http.MethodPut {
			hash = hashOf(size)
		}
	}
	out := make([]wire, keysOf(size))
	for i := range out {
		r, err := http.NewRequest(method, fmt.Sprintf("%s/%s/%d/object-%06d", store.URL, bucket, size, i), nil)
		if err != nil {
			return nil, err
		}
		signer.Sign(r, hash, time.Now())
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: crossfade-bench\r\n", method, r.URL.Path, r.URL.Host)
		if err := r.Header.Write(&b); err != nil {
			return nil, err
		}
		out[i].size = size
		if method == http.MethodPut {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", size)
			out[i].rest = size
		}
		b.WriteString("\r\n")
		if out[i].rest > 0 && out[i].rest <= small {
			b.Write(at(0, size))
			out[i].rest = 0
		}
		out[i].head = b.Bytes()
	}
	return out, nil
}

func hashOf(size int64) string {
	h := sha256.New()
	for off := int64(0); off < size; {
		p := at(off, size-off)
		h.Write(p)
		off += int64(len(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// seed writes every object to the store itself.
func seed(ctx context.Context, store lab.Endpoint, sizes []int64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, size := range sizes {
		ws, err := wires(store, http.MethodPut, size, false)
		if err != nil {
			return err
		}
		g.Go(func() error {
			l := newLoad(strings.TrimPrefix(store.URL, "http://"), ws)
			c, err := dial(l.addr, &l.moved)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			for i := range ws {
				if err := c.do(&ws[i]); err != nil {
					return err
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
			return nil
		})
	}
	return g.Wait()
}
