package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	objects   *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	failures  *prometheus.CounterVec
	retries   prometheus.Counter
	givenUp   prometheus.Counter
	latency   *prometheus.HistogramVec
	queueWait prometheus.Histogram
	listed    prometheus.Counter
	queueFull prometheus.Counter
	splits    prometheus.Counter
	lost      *prometheus.CounterVec
	inFlight  *prometheus.GaugeVec
	audited   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		objects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_worker_objects_total",
			Help: "Objects dealt with, by origin (event, batch) and result (copied, deleted, skipped, dropped, failed).",
		}, []string{"origin", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_worker_bytes_total", Help: "Bytes of content copied, by origin.",
		}, []string{"origin"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_worker_failures_total",
			Help: "Failed copies, by class of the error.",
		}, []string{"class"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crossfade_worker_retries_total", Help: "Copies put back to be tried again.",
		}),
		givenUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crossfade_worker_given_up_total", Help: "Objects that failed on their last try.",
		}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "crossfade_worker_copy_seconds", Help: "Time to copy one object, by origin.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2.5, 14),
		}, []string{"origin"}),
		queueWait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "crossfade_worker_event_wait_seconds", Help: "Time from an object becoming dirty to its copy being begun.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 12),
		}),
		listed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crossfade_worker_listed_objects_total", Help: "Objects seen in listings of main.",
		}),
		queueFull: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crossfade_worker_queue_full_total", Help: "Times that a lister had to wait for copiers.",
		}),
		splits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crossfade_worker_range_splits_total", Help: "Listing ranges that were split for idle workers.",
		}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_worker_not_kept_total",
			Help: "Properties of copied objects that the follower did not take (etag, acl, storage_class, checksum, tags, object_lock, redirect).",
		}, []string{"property"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "crossfade_worker_objects_in_flight", Help: "Objects being copied, by origin.",
		}, []string{"origin"}),
		audited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crossfade_worker_audited_objects_total",
			Help: "Objects that audits compared, and what they found (compared, missing, extra, different, repaired, bypassed, deferred).",
		}, []string{"result"}),
	}
	if r != nil {
		r.MustRegister(m.objects, m.bytes, m.failures, m.retries, m.givenUp, m.latency, m.queueWait,
			m.listed, m.queueFull, m.splits, m.lost, m.inFlight, m.audited)
	}
	return m
}

func (c class) String() string {
	if c == forEvents {
		return "event"
	}
	return "batch"
}

// done counts one finished object.
func (m *metrics) done(c class, began time.Time, r result) {
	m.objects.WithLabelValues(c.String(), r.outcome.String()).Inc()
	m.latency.WithLabelValues(c.String()).Observe(time.Since(began).Seconds())
	if r.outcome == copied {
		m.bytes.WithLabelValues(c.String()).Add(float64(r.bytes))
	}
}
