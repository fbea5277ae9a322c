package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	// regionTimeout bounds the question to a store, in which a client waits.
	regionTimeout = 5 * time.Second
	// regionRefused is how long a refusal is believed. What was taken once stays.
	regionRefused = time.Minute
	// maxRegions bounds what is remembered.
	maxRegions = 256
)

// regions finds out whether a store takes signatures for a region that is not its
// own. Ceph takes any, and names one of its own to clients (GetBucketLocation),
// who sign for it from then on, also when the other store is main.
type regions struct {
	ask    func(ctx context.Context, region string) (bool, error)
	flight singleflight.Group

	mu    sync.Mutex
	taken map[string]time.Time // until when it is refused; zero: taken
}

func newRegions(ask func(context.Context, string) (bool, error)) *regions {
	return &regions{ask: ask, taken: map[string]time.Time{}}
}

func (g *regions) take(region string) bool {
	g.mu.Lock()
	until, known := g.taken[region]
	g.mu.Unlock()
	if known && (until.IsZero() || time.Now().Before(until)) {
		return until.IsZero()
	}
	yes, err, _ := g.flight.Do(region, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), regionTimeout)
		defer cancel()
		ok, err := g.ask(ctx, region)
		if err != nil {
			return false, err
		}
		until := time.Time{}
		if !ok {
			until = time.Now().Add(regionRefused)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.taken) >= maxRegions {
			clear(g.taken)
		}
		g.taken[region] = until
		return ok, nil
	})
	return err == nil && yes == true
}

// takesRegion asks the stores, the source first.
func (p *Proxy) takesRegion(ctx context.Context, region string) (bool, error) {
	var failed error
	for i, u := range p.upstream {
		ok, err := u.takesRegion(ctx, p.cfg.Stores[i].Endpoint, region)
		if ok {
			return true, nil
		}
		failed = errors.Join(failed, err)
	}
	return false, failed
}

func (u *upstream) takesRegion(ctx context.Context, e s3.Endpoint, region string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://store/", http.NoBody)
	if err != nil {
		return false, err
	}
	u.rewriter.Rewrite(s3.Request{Operation: s3.ListBuckets}, req)
	e.Region = region
	s3.NewSigner(e).Sign(req, s3.EmptyPayload, time.Now())
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode < 300:
		return true, nil
	case resp.StatusCode >= 500:
		return false, fmt.Errorf("ListBuckets: %s", resp.Status)
	}
	// Who signed is known, and may not list.
	return errors.Is(s3.ParseError(resp), s3.ErrAccessDenied), nil
}
