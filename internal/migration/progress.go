package migration

import (
	"context"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

const maxFailures = 10

func (e *Engine) report(ctx context.Context, f facts, out *Output) {
	calledOff := out.State.CalledOff != "" && f.in.Spec.Switch != nil && out.State.CalledOff == requestID(*f.in.Spec.Switch)
	out.Conditions = append(out.Conditions, copyConditions(f)...)
	out.Conditions = append(out.Conditions, ledgerConditions(f)...)
	out.Conditions = append(out.Conditions, switchConditions(f, out.WaitingFor, calledOff)...)
	copied, failed := countBuckets(f.buckets)
	started := !out.State.StartedAt.IsZero()
	out.Phase = phaseOf(f.route, started && f.listed && copied == len(f.buckets), started)
	out.Dirty, out.Lag = f.stats.Dirty, f.stats.Oldest
	out.Buckets, out.Sessions, out.UncleanList = f.buckets, f.sessions, f.unclean

	p := &out.Progress
	p.BucketsTotal, p.BucketsCopied, p.BucketsFailed = int64(len(f.buckets)), int64(copied), int64(failed)
	p.Failed = f.stats.Failed
	for _, b := range f.buckets {
		p.Listed = add(p.Listed, b.Listed)
		p.Copied = add(p.Copied, b.Copied)
		p.Skipped = add(p.Skipped, b.Skipped)
		if b.State == ledger.BucketFailed && len(p.Failures) < maxFailures {
			p.Failures = append(p.Failures, ledger.Failure{Object: ledger.Object{Bucket: b.Name}, Cause: b.Error})
		}
	}
	if p.Failed > 0 && len(p.Failures) < maxFailures {
		// Names are a help, not a decision: without them the count stands.
		if named, err := e.Ledger.Failures(ctx, maxFailures-len(p.Failures)); err == nil {
			p.Failures = append(p.Failures, named...)
		}
	}
	done := p.Copied.Objects + p.Skipped.Objects
	switch {
	case out.Phase == CatchingUp || out.Phase == SwitchStarted || out.Phase == SwitchDone:
		p.Percent = 100
	case p.Listed.Objects > 0:
		p.Percent = int32(min(99, 100*done/p.Listed.Objects))
	}
	p.ObjectsPerSecond, p.BytesPerSecond = e.rates.add(e.Now(), done, p.Copied.Bytes+p.Skipped.Bytes)
	if left := p.Listed.Objects - done; out.Phase == Copying && left > 0 && p.ObjectsPerSecond > 0 {
		p.ETA = time.Duration(float64(left) / p.ObjectsPerSecond * float64(time.Second)).Round(time.Second)
	}
}

func add(a, b ledger.Progress) ledger.Progress {
	return ledger.Progress{Objects: a.Objects + b.Objects, Bytes: a.Bytes + b.Bytes}
}

// rates keeps half a minute of samples.
type rates struct {
	samples []sample
}

type sample struct {
	at             time.Time
	objects, bytes int64
}

func (r *rates) add(now time.Time, objects, bytes int64) (objectsPerSecond, bytesPerSecond float64) {
	r.samples = append(r.samples, sample{now, objects, bytes})
	for len(r.samples) > 2 && now.Sub(r.samples[0].at) > 30*time.Second {
		r.samples = r.samples[1:]
	}
	first := r.samples[0]
	dt := now.Sub(first.at).Seconds()
	if dt < 1 || objects < first.objects {
		return 0, 0
	}
	return float64(objects-first.objects) / dt, float64(bytes-first.bytes) / dt
}
