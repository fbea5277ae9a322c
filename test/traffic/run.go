package traffic

import (
	"context"
	"crypto/md5"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/time/rate"

	"github.com/crossfade-io/crossfade/test/lab"
)

// Run is a set of clients at work.
type Run struct {
	cfg     Config
	client  *s3.Client
	space   *keyspace
	stats   *stats
	limit   *rate.Limiter
	began   time.Time
	changed atomic.Int64 // when the period last changed, since began
	seeded  []*register
	shared  []*register
	clients []*client

	inDoubt atomic.Int64
	checked atomic.Int64

	cancel  context.CancelFunc
	wg      sync.WaitGroup
	stopped sync.Once
	ended   time.Duration
}

// Start makes the clients and sets them to work until ctx is done or Stop is
// called. It fails when the endpoint does not take a first request.
func Start(ctx context.Context, cfg Config) (*Run, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	r := &Run{
		cfg: cfg, client: cfg.Endpoint.Client(), stats: newStats(cfg.Period),
		limit: rate.NewLimiter(rate.Limit(cfg.Rate), max(int(cfg.Rate/10), 1)), began: time.Now(),
	}
	regs := r.seedRegisters()
	for i := range cfg.SharedKeys {
		bucket := cfg.Buckets[i%len(cfg.Buckets)]
		r.shared = append(r.shared, newRegister(bucket, fmt.Sprintf("%sshared/%02d", cfg.Prefix, i), content{absent: true}))
	}
	regs = append(regs, r.shared...)
	for i := range cfg.Clients {
		c := newClient(r, i)
		r.clients = append(r.clients, c)
		regs = append(regs, c.own...)
	}
	// Anchors keep the directories that clients share from being removed and
	// made again all the time by stores that have directories.
	var anchors []*register
	for _, b := range cfg.Buckets {
		for _, k := range []string{"anchor", "shared/anchor"} {
			anchors = append(anchors, newRegister(b, cfg.Prefix+k, content{absent: true}))
		}
	}
	r.space = newKeyspace(append(regs, anchors...))
	for _, a := range anchors {
		if ans := r.clients[0].put(a, false); !ans.ok() {
			return nil, fmt.Errorf("traffic: first request to %s: %w", cfg.Endpoint.URL, ans.err)
		}
	}
	ctx, r.cancel = context.WithCancel(ctx)
	for _, c := range r.clients {
		r.wg.Go(func() { c.work(ctx) })
	}
	return r, nil
}

func (r *Run) seedRegisters() []*register {
	for _, o := range r.cfg.Seeded {
		etag, sum := o.Sums()
		r.seeded = append(r.seeded, newRegister(o.Bucket, o.Key, content{
			bodyKey: o.Bucket + "/" + o.Key, size: o.Size, etag: etag, sum: sum,
			header: o.Header, meta: o.Meta, tags: o.Tags,
		}))
	}
	return append([]*register(nil), r.seeded...)
}

// SetPeriod labels the requests that begin from now on.
func (r *Run) SetPeriod(name string) {
	r.stats.setPeriod(name)
	r.changed.Store(int64(r.now()))
}

// Snapshot returns what happened so far.
func (r *Run) Snapshot() Report {
	rep := r.stats.report()
	rep.Took = r.now()
	if r.ended > 0 {
		rep.Took = r.ended
	}
	rep.InDoubt, rep.KeysChecked = r.inDoubt.Load(), r.checked.Load()
	return rep
}

// Stop lets the clients finish what they are at, checks that every key holds
// its last acknowledged write and that the listings agree, and reports. A
// second call returns the report again.
func (r *Run) Stop() Report {
	r.stopped.Do(func() {
		r.cancel()
		r.wg.Wait()
		r.finalCheck(r.client, nil, "")
		r.ended = r.now()
	})
	return r.Snapshot()
}

// VerifyAt checks that a store itself holds what the clients wrote, with
// buckets renamed as given. Call it after Stop; it adds to the report.
func (r *Run) VerifyAt(name string, e lab.Endpoint, rename map[string]string) Report {
	r.finalCheck(e.Client(), rename, " (at "+name+")")
	return r.Snapshot()
}

func (r *Run) now() time.Duration { return time.Since(r.began) }

// answer is what became of a request.
type answer struct {
	start, end time.Duration
	period     string
	status     int // HTTP; 0: none came
	code       string
	err        error
}

func (a answer) ok() bool { return a.err == nil }

// missing tells whether the answer says that the object is not there.
func (a answer) missing() bool { return a.status == http.StatusNotFound }

// unknown tells whether the request may or may not have taken effect.
func (a answer) unknown() bool { return a.err != nil && (a.status < 400 || a.status >= 500) }

// call makes one request, bounded by the configured time-out, and counts it.
// Failures that are never right (5xx, no answer) become violations here; a 4xx
// is for the caller to judge.
func (r *Run) call(op Op, bucket, key string, do func(context.Context) error) answer {
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.Timeout)
	defer cancel()
	a := answer{period: r.stats.current(), start: r.now()}
	a.err = do(ctx)
	a.end = r.now()
	a.status, a.code = lab.Status(a.err)
	r.stats.done(a.period, op, a.end-a.start, a.unknown())
	if !a.unknown() {
		return a
	}
	if a.status == 0 {
		r.stats.noAnswer()
		if r.cfg.AllowBroken {
			return a
		}
	}
	if r.excused(op, a) {
		return a
	}
	r.stats.violate(Violation{Kind: KindError, Op: op, Bucket: bucket, Key: key, Period: a.period, At: a.end, Detail: a.err.Error()})
	return a
}

// excused counts a failure that the caller has an excuse for.
func (r *Run) excused(op Op, a answer) bool {
	if r.cfg.Excuse == nil || !r.cfg.Excuse(Failure{Op: op, Start: r.began.Add(a.start), End: r.began.Add(a.end), Status: a.status, Code: a.code, Err: a.err}) {
		return false
	}
	r.stats.excuse()
	return true
}

// unexpected reports a 4xx that nothing explains.
func (r *Run) unexpected(op Op, reg *register, a answer) {
	if r.excused(op, a) {
		return
	}
	r.stats.failed(a.period, op)
	r.stats.violate(Violation{Kind: KindError, Op: op, Bucket: reg.bucket, Key: reg.key, Period: a.period, At: a.end, Detail: a.err.Error()})
}

func (r *Run) violate(kind Kind, op Op, reg *register, a answer, format string, args ...any) {
	r.stats.violate(Violation{Kind: kind, Op: op, Bucket: reg.bucket, Key: reg.key, Period: a.period, At: a.end, Detail: fmt.Sprintf(format, args...)})
}

// conclude records in the register what an answer means for a write.
func (r *Run) conclude(reg *register, w *write, a answer) {
	switch {
	case a.ok():
		reg.ack(w, a.end)
	case a.unknown():
		r.inDoubt.Add(1)
		reg.inDoubt(w, a.end+r.cfg.Settle)
	default:
		reg.refused(w)
	}
}

// newContent returns what write seq of a key holds, and its body.
func newContent(reg *register, seq int, size int64) (content, []byte) {
	name := reg.bucket + "/" + reg.key
	body := lab.Body(name, seq, size)
	return content{
		bodyKey: name, bodySeq: seq, size: size, etag: lab.ETag(body, 0), sum: md5.Sum(body),
		meta: map[string]string{"write": fmt.Sprint(seq)},
	}, body
}
