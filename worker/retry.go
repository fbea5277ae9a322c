package worker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"
)

const maxBackoff = 30 * time.Second

// backoff returns the wait after a number of failed tries: doubling, bounded,
// with jitter so that many workers don't come back together.
func (w *Worker) backoff(failed int) time.Duration {
	d := w.cfg.Backoff << min(failed, 10)
	d = min(d, maxBackoff)
	var b [8]byte
	_, _ = rand.Read(b[:]) // which a simulation can seed
	return d/2 + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(d/2+1))
}

// sleep waits, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
