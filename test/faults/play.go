package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/traffic"
)

// patience is how long a switch may take once only light faults go on: as long
// as requests of dead processes can be on their way, twice over, and, after a
// loss, as those that the ledger has forgotten, and then some.
func (w *world) patience() time.Duration {
	return 2*(15*time.Second+w.o.maxInFlight) + 2*90*time.Second
}

// play runs everything and returns whether nothing was wrong.
func (w *world) play(ctx context.Context) (bool, error) {
	if err := w.setUp(ctx); err != nil {
		return false, err
	}
	w.say("seed %d; source %s, target %s; %d proxies, %d workers", w.o.seed, w.stores[0].URL, w.stores[1].URL, w.o.proxies, w.o.workers)
	follow, stop := context.WithCancel(ctx)
	defer stop()
	go w.routes.follow(follow, w)
	endpoint := w.stores[0] // clients keep their keys
	endpoint.URL = "http://" + w.front.Addr()
	var err error
	w.loaded = time.Now()
	w.load, err = traffic.Start(context.WithoutCancel(ctx), traffic.Config{
		Endpoint: endpoint, Buckets: w.seed.BucketNames(), Clients: 8, KeysPerClient: 80, Rate: w.o.rate, MaxSize: 64 << 10,
		Seed: w.o.seed, Timeout: 75 * time.Second, Settle: w.o.maxInFlight + 20*time.Second, Seeded: w.seed.Plan(), AbortStrays: true, Period: "Pending",
		// versitygw shows the file that it is writing to
		IgnoreListed: func(name string) bool { return strings.Contains(name, ".sgwtmp.") },
		Excuse: func(f traffic.Failure) bool {
			return w.faults.explains(f, w.routes.answering(f.Start, f.End))
		},
	})
	if err != nil {
		return false, err
	}
	go w.followPhase(follow)
	go w.tell(follow)
	s := newSchedule(w)
	go s.run(follow)
	err = w.stages(ctx, s)
	s.set(off)
	if err != nil && !errors.Is(err, errStuck) {
		return false, err
	}
	return w.end(ctx)
}

var errStuck = errors.New("stuck")

// followPhase labels requests and faults by the phase that they fall into.
func (w *world) followPhase(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		r, phase := w.routes.last(), string(w.status().Phase)
		if r.State != ledger.Steady {
			phase = string(r.State) + " " + storeName(r.Main)
		} else if phase == "" {
			phase = "Pending"
		}
		if phase != last {
			last = phase
			w.load.SetPeriod(phase)
			w.faults.phase(phase)
			w.note("= %s", phase)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// tell says how it stands now and then.
func (w *world) tell(ctx context.Context) {
	told := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(15 * time.Second):
		}
		r, st := w.load.Snapshot(), w.status()
		for ; told < len(r.First); told++ {
			w.say("VIOLATION at %s: %s", w.wallOf(r.First[told]), r.First[told])
		}
		why, _ := waits(st)
		w.say("%d faults; %d requests, explained failures %d; errors %d, stale %d, listings %d, content %d; %s; %s", w.faults.count(), r.Requests, r.Excused,
			r.Errors, r.StaleReads, r.WrongListings, r.WrongContent, st.Phase, why)
	}
}

// wallOf is when a violation was seen, as logs have it.
func (w *world) wallOf(v traffic.Violation) string {
	return w.loaded.Add(v.At).Format("15:04:05.000")
}

// stages goes through the phases, over and back, until time is up.
func (w *world) stages(ctx context.Context, s *schedule) error {
	until := time.Now().Add(w.o.time)
	if err := w.redis.keep(); err != nil {
		return err
	}
	for round := 0; time.Now().Before(until) || round == 0; round++ {
		to := w.routes.last().Main.Other()
		s.set(heavy)
		w.rest(ctx, w.o.storm)
		if round > 0 || w.o.losses > 1 { // a single one is worth most in the middle of a switch
			if err := w.lose(ctx, s); err != nil {
				return err
			}
		}
		// A client's upload that goes on keeps the switch from being done meanwhile.
		release, err := w.openUpload(ctx, to.Other())
		if err != nil {
			return err
		}
		if err := w.switchTo(ctx, s, to, round); err != nil {
			return err
		}
		s.set(heavy)
		w.rest(ctx, w.o.storm)
		if err := w.lose(ctx, s); err != nil {
			return err
		}
		if round%3 == 0 {
			// Back, half-way; and over again.
			s.set(middling)
			if err := w.switchTo(ctx, s, to.Other(), round); err != nil {
				return err
			}
			s.set(heavy)
			w.rest(ctx, w.o.storm/2)
			s.set(middling)
			if time.Now().Before(until) {
				if err := w.switchTo(ctx, s, to, round); err != nil {
					return err
				}
			}
		}
		s.set(light)
		if err := release(ctx); err != nil {
			return err
		}
		err = w.await(ctx, "the switch to be done", func() bool { return w.routes.last().State == ledger.Steady })
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return nil
}

// openUpload begins a multipart upload on a store, and returns how to end it.
func (w *world) openUpload(ctx context.Context, store ledger.Store) (func(context.Context) error, error) {
	c, p := w.stores[store].Client(lab.WithRetries(8)), w.pairs()[0]
	bucket, key := []string{p.A, p.B}[store], "long-upload"
	u, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("upload on the %s: %w", store, err)
	}
	return func(ctx context.Context) error {
		_, err := c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: u.UploadId})
		return err
	}, nil
}

func (w *world) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// switchTo asks for a switch and waits until traffic has moved.
func (w *world) switchTo(ctx context.Context, s *schedule, to ledger.Store, round int) error {
	mode := "Live"
	if round%4 == 3 {
		mode = "PauseWrites"
	}
	w.say("asking for %s (%s)", to, mode)
	err := w.ask(func(r *request) { r.to, r.mode = storeName(to), mode; r.attempt++ })
	if err != nil {
		return err
	}
	s.set(middling)
	time.AfterFunc(20*time.Second, func() {
		if r := w.routes.last(); r.Main != to {
			s.set(light)
		}
	})
	return w.await(ctx, "traffic to move to the "+storeName(to), func() bool {
		r := w.routes.last()
		return r.Main == to && r.State == ledger.Switched
	})
}

// await waits for something that the engine must bring about, doing what a
// person would: trying failed objects again, which is told. An audit it waits for.
func (w *world) await(ctx context.Context, what string, done func() bool) error {
	begin, helped, calledOff := time.Now(), time.Now(), false
	for !done() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		why, failed := waits(w.status())
		if time.Since(begin) > w.patience() {
			w.problem("waited %s for %s: %s", time.Since(begin).Round(time.Second), what, why)
			return errStuck
		}
		if time.Since(helped) > 10*time.Second {
			helped = time.Now()
			switch {
			case failed:
				w.say("helping: retryFailed, for %s", why)
				w.help("failed objects tried again: " + why)
				if err := w.ask(func(r *request) { r.retry = fmt.Sprint(time.Now().UnixMilli()) }); err != nil {
					return err
				}
			case !calledOff && w.request().mode == "PauseWrites" && time.Since(begin) > 30*time.Second:
				calledOff = true
				w.say("helping: Live instead of PauseWrites, for %s", why)
				if err := w.ask(func(r *request) { r.mode = "Live"; r.attempt++ }); err != nil {
					return err
				}
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}
