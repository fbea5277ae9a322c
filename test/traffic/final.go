package traffic

import (
	"cmp"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// finalCheck reads every key that clients wrote once more, and lists their part
// of the buckets.
func (r *Run) finalCheck(client *s3.Client, rename map[string]string, suffix string) {
	regs := append([]*register(nil), r.shared...)
	for _, c := range r.clients {
		regs = append(regs, c.own...)
	}
	r.waitSettled(regs)
	var g errgroup.Group
	g.SetLimit(8)
	for _, reg := range regs {
		g.Go(func() error {
			bucket := cmp.Or(rename[reg.bucket], reg.bucket)
			op := GetObject + Op(suffix)
			r.checkLast(op, client, bucket, reg)
			r.checked.Add(1)
			return nil
		})
	}
	_ = g.Wait()
	for _, b := range r.cfg.Buckets {
		r.list(listing{op: ListObjectsV2 + Op(suffix), client: client, bucket: b, at: cmp.Or(rename[b], b), prefix: r.cfg.Prefix, maxKeys: 1000})
	}
}

// checkLast reads a key whose writes are all over. A wrong answer is a stale
// read when a later one is right, and a lost write when none is.
func (r *Run) checkLast(op Op, client *s3.Client, bucket string, reg *register) {
	const tries = 6
	got := r.fetch(client, op, bucket, reg)
	for i := 1; i < tries && !r.right(reg, got); i++ {
		again := r.fetch(client, op, bucket, reg)
		if r.right(reg, again) {
			if !got.answer.unknown() {
				r.judge(op, reg, got, false)
			}
			got = again
			break
		}
		if got.answer.unknown() {
			got = again
		}
	}
	r.judge(op, reg, got, true)
	if got.answer.ok() {
		r.checkTags(client, bucket, reg, true)
	}
}

// right tells whether a read showed what may be there.
func (r *Run) right(reg *register, got sighting) bool {
	a := got.answer
	return (a.ok() || a.missing()) && reg.observe(a.start, a.end, got.fits).ok
}
