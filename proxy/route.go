package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// apply makes every read and write that starts from now on obey r.
func (p *Proxy) apply(_ context.Context, r ledger.Route) error {
	if err := p.keepRoute(r); err != nil {
		return err
	}
	p.route.Store(&r)
	p.log.Info("obeying route", "epoch", r.Epoch, "main", r.Main.String(), "state", r.State)
	return nil
}

// current returns the route to obey without waiting. While none was ever
// heard of and StartGrace has passed, it is the fallback.
func (p *Proxy) current() (ledger.Route, bool) {
	if r := p.route.Load(); r != nil {
		return *r, true
	}
	if time.Since(p.started) <= p.cfg.StartGrace {
		return ledger.Route{}, false
	}
	if p.fallback != nil {
		return *p.fallback, true
	}
	return ledger.Route{Main: ledger.Source, State: ledger.Steady, Sync: true, Uploads: ledger.Source}, true
}

// obeyed is current, waiting for the first route.
func (p *Proxy) obeyed(ctx context.Context) (ledger.Route, error) {
	for {
		if r, ok := p.current(); ok {
			return r, nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return ledger.Route{}, err
		}
	}
}

// answered notes that the ledger answered a request.
func (p *Proxy) answered() {
	p.contact.Store(time.Now().UnixNano())
	p.down.Store(false)
}

// silence is the time since the ledger last answered anything.
func (p *Proxy) silence() time.Duration {
	last := p.member.Contact()
	if t := time.Unix(0, p.contact.Load()); t.After(last) {
		last = t
	}
	if last.Before(p.started) {
		last = p.started
	}
	return time.Since(last)
}

// outage reports whether the ledger is to be given up for now.
func (p *Proxy) outage() bool { return p.down.Load() && p.silence() > p.cfg.LedgerGrace }

// ledgerLost reports whether err means that the ledger can't answer now.
func ledgerLost(err error) bool {
	return errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrNoRoute)
}

// ask calls the ledger for a read, and again while it is out of reach.
func (p *Proxy) ask(ctx context.Context, call string, f func(context.Context) error) error {
	limit := time.Now().Add(p.cfg.LedgerWait)
	for {
		c, cancel := context.WithTimeout(ctx, callTimeout)
		done := p.metrics.ledgerCall(call)
		err := f(c)
		done()
		cancel()
		if err == nil {
			p.answered()
			return nil
		}
		if !ledgerLost(err) || ctx.Err() != nil {
			return err
		}
		if time.Now().After(limit) {
			return s3.ErrSlowDown.With("The ledger is out of reach. Please try again.")
		}
		if err := pause(ctx, jitter(20*time.Millisecond, 100*time.Millisecond)); err != nil {
			return err
		}
	}
}

// locate asks the ledger where the newest version of an object is; it need not
// know, see request.locate.
func (p *Proxy) locate(ctx context.Context, o ledger.Object) (loc ledger.Location, err error) {
	r, err := p.obeyed(ctx)
	if err != nil {
		return loc, err
	}
	if r.State == ledger.Steady {
		return ledger.Location{Store: r.Main, Route: r}, nil
	}
	err = p.ask(ctx, "lookup", func(ctx context.Context) error {
		loc, err = p.ledger.Lookup(ctx, o)
		return err
	})
	return loc, err
}

// uploadStore returns the store that a multipart upload lives on; sure is false
// when the ledger may have lost that.
func (p *Proxy) uploadStore(ctx context.Context, o ledger.Object, id string) (store ledger.Store, sure bool, err error) {
	var at ledger.UploadPlace
	r, err := p.obeyed(ctx)
	if err != nil {
		return 0, false, err
	}
	if r.State == ledger.Steady && r.Uploads == r.Main {
		return r.Main, true, nil
	}
	err = p.ask(ctx, "upload", func(ctx context.Context) error {
		at, err = p.ledger.Upload(ctx, o, id)
		return err
	})
	return at.Store, at.Sure, err
}
