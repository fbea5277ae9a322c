package proxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-io/crossfade/internal/s3"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	ledger   *prometheus.HistogramVec
	intents  *prometheus.CounterVec
	waits    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, unrecorded func() int64) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crossfade_proxy_requests_total",
			Help: "Clients' requests by operation, store that answered and HTTP status (499: the client left)."}, []string{"operation", "store", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "crossfade_proxy_request_seconds",
			Help:    "Time to serve a client's request, bodies included, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 13)}, []string{"operation"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "crossfade_proxy_in_flight",
			Help: "Clients' requests under way."}),
		ledger: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "crossfade_proxy_ledger_seconds",
			Help:    "Time of one ledger call that a request waits for, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12)}, []string{"call"}),
		intents: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crossfade_proxy_intents_total",
			Help: "Writes by what was recorded: begun, committed, aborted, doubtful, or unrecorded (the ledger was out of reach)."}, []string{"outcome"}),
		waits: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crossfade_proxy_waits_total",
			Help: "Times that a write was told to wait: locked, held, sync, fenced, ledger."}, []string{"reason"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.inFlight, m.ledger, m.intents, m.waits,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "crossfade_proxy_unrecorded",
			Help: "Objects written while the ledger was out of reach and not recorded yet."}, func() float64 { return float64(unrecorded()) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) request(op s3.Operation, store string, status int, d time.Duration) {
	if op == "" {
		op = s3.Unknown
	}
	m.requests.WithLabelValues(string(op), store, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(string(op)).Observe(d.Seconds())
}

func (m *metrics) wait(reason string) { m.waits.WithLabelValues(reason).Inc() }

// ledgerCall times a call until the function it returns is called.
func (m *metrics) ledgerCall(name string) func() {
	began := time.Now()
	return func() { m.ledger.WithLabelValues(name).Observe(time.Since(began).Seconds()) }
}
