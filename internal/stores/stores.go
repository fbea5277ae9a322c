// Package stores tells the phase engine what it needs to know of the two object
// stores: whether they answer and grant what is needed, what they support, and
// which buckets the source has.
package stores

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/migration"
	"github.com/crossfade-io/crossfade/internal/s3"
)

const (
	goodFor      = 30 * time.Second
	badFor       = 5 * time.Second
	lookTimeout  = 15 * time.Second
	probeTimeout = time.Minute
	// firstWait is how long the first look may block its caller.
	firstWait = 20 * time.Second
)

// Options configure New.
type Options struct {
	// Endpoints of the stores, by identity.
	Endpoints [2]s3.Endpoint
	// Bucket of each store that probes may use; "" for any, or a scratch bucket.
	Bucket [2]string
	// Known are capabilities that were found earlier, which spares the probe.
	Known [2]map[string]string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Look is what was last seen of a store.
type Look struct {
	migration.StoreFacts
	// Capabilities by name; nil when they were not probed yet.
	Capabilities map[string]string
}

// Stores looks at the two stores now and then.
type Stores struct {
	opt     Options
	clients [2]*s3.Client
	states  [2]state
	probe   func(ctx context.Context, c *s3.Client, bucket string) (s3.Capabilities, error)
	check   func(ctx context.Context, c *s3.Client, bucket string) (s3.Capabilities, error)
}

type state struct {
	mu    sync.Mutex
	look  Look
	at    time.Time
	going chan struct{} // closed when the look under way ends; nil when none is
}

// New returns Stores. It makes no call.
func New(o Options) (*Stores, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Stores{opt: o, probe: s3.Probe, check: s3.ProbeReadOnly}
	for i := range s.clients {
		c, err := s3.NewClient(o.Endpoints[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", lower(i), err)
		}
		s.clients[i] = c
		s.states[i].look.Capabilities = o.Known[i]
	}
	return s, nil
}

// Look returns what was last seen of both stores. Only the first call waits for
// them; later ones look again in the background.
func (s *Stores) Look(ctx context.Context) [2]Look {
	var first []chan struct{}
	for i := range s.states {
		if done := s.refresh(i); done != nil {
			first = append(first, done)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	for _, done := range first {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	var out [2]Look
	for i := range s.states {
		st := &s.states[i]
		st.mu.Lock()
		out[i] = st.look
		if st.at.IsZero() {
			out[i].Problem = "No answer yet from " + s.opt.Endpoints[i].URL + "."
		}
		st.mu.Unlock()
	}
	return out
}

// refresh starts a look when one is due, and returns a channel to wait on when
// nothing has been seen yet.
func (s *Stores) refresh(i int) chan struct{} {
	st := &s.states[i]
	st.mu.Lock()
	defer st.mu.Unlock()
	fresh := goodFor
	if !st.look.Reachable {
		fresh = badFor
	}
	never := st.at.IsZero()
	if st.going == nil && (never || s.opt.Now().Sub(st.at) >= fresh) {
		st.going = make(chan struct{})
		go s.look(i, st.look.Capabilities, st.going)
	}
	if never {
		return st.going
	}
	return nil
}

func (s *Stores) look(i int, known map[string]string, done chan struct{}) {
	look := Look{Capabilities: known}
	if err := s.ask(i, &look); err != nil {
		look.Problem = s.explain(i, err)
	} else {
		look.Reachable = true
	}
	st := &s.states[i]
	st.mu.Lock()
	st.look, st.at, st.going = look, s.opt.Now(), nil
	st.mu.Unlock()
	close(done)
}

// ask reads from the source only, which serves clients; the target is written
// to once, in a scratch bucket or, where none can be made, in a bucket of the
// migration.
func (s *Stores) ask(i int, look *Look) error {
	if ledger.Store(i) == ledger.Source || len(look.Capabilities) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		defer cancel()
		bucket := s.opt.Bucket[i]
		if ledger.Store(i) == ledger.Target {
			bucket = "" // it may not exist there yet
		}
		found, err := s.check(ctx, s.clients[i], bucket)
		if err != nil && bucket != s.opt.Bucket[i] && found.Reachable == s3.Yes {
			// Keys that may not list buckets are no trouble.
			found, err = s.check(ctx, s.clients[i], s.opt.Bucket[i])
		}
		if len(look.Capabilities) == 0 && err == nil {
			look.Capabilities = found.Strings()
		}
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	found, err := s.probe(ctx, s.clients[i], "")
	if err != nil && s.opt.Bucket[i] != "" && found.Reachable == s3.Yes {
		found, err = s.probe(ctx, s.clients[i], s.opt.Bucket[i])
	}
	if err == nil {
		look.Capabilities = found.Strings()
	}
	return err
}

func (s *Stores) explain(i int, err error) string {
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return fmt.Sprintf("Cannot use the %s at %s: its certificate is signed by an authority that Crossfade does not trust. "+
			"It trusts those of its image, or of the machine: see \"Not supported\" in docs/operations.md.", lower(i), s.opt.Endpoints[i].URL)
	}
	return fmt.Sprintf("Cannot use the %s at %s: %s. Check spec.%s.endpoint, and that the Secret of spec.%s.credentialsRef has the right keys.",
		lower(i), s.opt.Endpoints[i].URL, strings.TrimSuffix(cause(err), "."), lower(i), lower(i))
}

// cause leaves out request ids and port numbers, which differ each time and
// would make a condition flap.
func cause(err error) string {
	var api smithy.APIError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &api):
		return migration.Cause(err)
	case api.ErrorMessage() == "":
		return api.ErrorCode()
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}

// ListBuckets returns the names of the source's buckets.
func (s *Stores) ListBuckets(ctx context.Context) ([]string, error) {
	names, err := s3.BucketNames(ctx, s.clients[ledger.Source].S3)
	switch {
	case errors.Is(err, s3.ErrNoListing):
		return nil, fmt.Errorf("the source's buckets cannot be listed: %w", err)
	case err != nil:
		return nil, errors.New("the source's buckets cannot be listed: " + strings.TrimSuffix(cause(err), "."))
	}
	return names, nil
}

// BucketsMade returns the names of the target's buckets that were made since a time; none, where it
// says that it does not list them.
func (s *Stores) BucketsMade(ctx context.Context, since time.Time) ([]string, error) {
	names, err := s3.BucketsMadeSince(ctx, s.clients[ledger.Target].S3, since)
	switch c := s3.Classify(err); {
	case c == s3.Denied, c == s3.Unsupported:
		return nil, nil
	case err != nil:
		return nil, errors.New("the target's buckets cannot be listed: " + strings.TrimSuffix(cause(err), "."))
	}
	return names, nil
}

// Close ends idle connections.
func (s *Stores) Close() {
	for _, c := range s.clients {
		c.HTTP.CloseIdleConnections()
	}
}

func lower(i int) string { return strings.ToLower(ledger.Store(i).String()) }
