package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/replicate"
)

// collector turns what is known of a replicator into metrics; it asks no broker.
type collector struct {
	r        replicator
	observer *observer
	plain    []plainMetric

	paused, stopped, lagMessages, lagBytes, lagAge, lagOK, lagTook, delayed, half, unknown *prometheus.Desc
}

// plainMetric is one number of Stats.
type plainMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(replicate.Stats) float64
}

func newCollector(unit string, r replicator, o *observer) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("msha_replicator_"+name, help, labels, prometheus.Labels{"origin": unit})
	}
	queue := []string{"target", "topic", "broker", "queue"}
	c := &collector{
		r: r, observer: o,
		paused:      desc("paused", "1 for each topic that is paused in this process.", "topic"),
		stopped:     desc("queue_stopped", "1 for each queue that is not copied any more until somebody looks at it; /readyz says why.", queue...),
		lagMessages: desc("lag_messages", "Messages of an origin queue that are not copied to the target yet; queues of this process.", queue...),
		lagBytes:    desc("lag_bytes", "Estimated bytes of these messages, by the mean size of what was copied last; absent where unknown.", queue...),
		lagAge:      desc("lag_age_seconds", "Age of the oldest of these messages, by the clock of the origin's broker; absent where unknown.", queue...),
		lagOK:       desc("lag_asked", "1 if all queues of this process answered when their lag was asked for last, otherwise 0."),
		lagTook:     desc("lag_asking_seconds", "How long it took to ask for the lag last."),
		delayed:     desc("pending_delayed_messages", "Messages that a broker of the origin holds until they are due, and that are copied only then; absent where unknown. Every process of the unit reports the same.", "broker"),
		half:        desc("pending_half_messages", "Transactional messages that were neither committed nor rolled back, and are not copied; absent where unknown. Every process of the unit reports the same.", "broker"),
		unknown:     desc("pending_unknown", "1 for each broker whose delayed or half messages could not be counted; the log says why.", "broker"),
	}
	counter := func(name, help string, value func(replicate.Stats) int64) {
		c.plain = append(c.plain, plainMetric{desc(name, help), prometheus.CounterValue, func(s replicate.Stats) float64 { return float64(value(s)) }})
	}
	gauge := func(name, help string, value func(replicate.Stats) int) {
		c.plain = append(c.plain, plainMetric{desc(name, help), prometheus.GaugeValue, func(s replicate.Stats) float64 { return float64(value(s)) }})
	}
	counter("copied_messages_total", "Messages stored in replica queues by this process.", func(s replicate.Stats) int64 { return s.Copied })
	counter("copied_bytes_total", "Bytes of their bodies and properties.", func(s replicate.Stats) int64 { return s.Bytes })
	counter("batches_total", "Sends that stored them.", func(s replicate.Stats) int64 { return s.Batches })
	counter("send_errors_total", "Sends that failed or had no answer; what had no answer may have been stored.", func(s replicate.Stats) int64 { return s.SendErrors })
	counter("interruptions_total", "Times that copying of a queue was interrupted by an error and began again.", func(s replicate.Stats) int64 { return s.Interruptions })
	counter("gaps_total", "Ranges of messages that expired at the origin uncopied and were skipped by policy.", func(s replicate.Stats) int64 { return s.Gaps })
	counter("skipped_messages_total", "Messages in these ranges.", func(s replicate.Stats) int64 { return s.Skipped })
	counter("incarnations_raised_total", "Queues found to have lost their tail or to be made anew.", func(s replicate.Stats) int64 { return s.Raised })
	counter("lease_losses_total", "Times that this process lost its lease.", func(s replicate.Stats) int64 { return s.LeaseLosses })
	c.plain = append(c.plain, plainMetric{
		desc("limited_seconds_total", "Time that sends waited for the rate limits, of all queues together."), prometheus.CounterValue,
		func(s replicate.Stats) float64 { return s.Limited.Seconds() },
	})
	gauge("ready", "1 if the process takes part in sharing and all its queues were looked at.", func(s replicate.Stats) int { return truth(s.Ready()) })
	gauge("sharing", "1 if the process takes part in sharing.", func(s replicate.Stats) int { return truth(s.Sharing) })
	gauge("members", "Processes that share the unit's work, as this one knows.", func(s replicate.Stats) int { return s.Members })
	gauge("shares", "Topics' queues on one broker, each to one target, that this process copies.", func(s replicate.Stats) int { return s.Shares })
	gauge("queues", "Copies of queues in these shares.", func(s replicate.Stats) int { return s.Queues })
	gauge("queues_located", "Of these, those that know where to go on.", func(s replicate.Stats) int { return s.Located })
	gauge("queues_stopped", "Of these, those that are not copied any more until somebody looks at them.", func(s replicate.Stats) int { return len(s.Stopped) })
	return c
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, p := range c.plain {
		ch <- p.desc
	}
	for _, d := range []*prometheus.Desc{c.paused, c.stopped, c.lagMessages, c.lagBytes, c.lagAge, c.lagOK, c.lagTook, c.delayed, c.half, c.unknown} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	st := c.r.Stats()
	for _, p := range c.plain {
		ch <- prometheus.MustNewConstMetric(p.desc, p.kind, p.value(st))
	}
	for _, topic := range st.Paused {
		gauge(c.paused, 1, topic)
	}
	for _, q := range st.Stopped {
		gauge(c.stopped, 1, queueLabels(q.Queue, q.Target)...)
	}
	lags, lag, pending, _ := c.observer.last()
	if !lag.at.IsZero() {
		gauge(c.lagOK, float64(truth(lag.err == nil)))
		gauge(c.lagTook, lag.took.Seconds())
	}
	for _, l := range lags {
		labels := queueLabels(l.Queue, l.Target)
		gauge(c.lagMessages, float64(l.Messages), labels...)
		if l.Bytes != msha.Unknown {
			gauge(c.lagBytes, float64(l.Bytes), labels...)
		}
		if l.Age != msha.Unknown {
			gauge(c.lagAge, l.Age.Seconds(), labels...)
		}
	}
	for _, p := range pending {
		if p.Delayed != msha.Unknown {
			gauge(c.delayed, float64(p.Delayed), p.Broker)
		}
		if p.Half != msha.Unknown {
			gauge(c.half, float64(p.Half), p.Broker)
		}
		if p.Err != nil {
			gauge(c.unknown, 1, p.Broker)
		}
	}
}

func queueLabels(q msha.OriginQueue, target string) []string {
	return []string{target, q.Topic, q.Broker, strconv.Itoa(q.Queue)}
}
