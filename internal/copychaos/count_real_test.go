//go:build real

package copychaos

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/replicate"
)

// queues are the origin's queues of the topics that are copied.
func (w *world) queues(u *unit, topics ...string) (all []remoting.Queue) {
	w.Helper()
	for _, topic := range topics {
		qs, err := u.mq.Queues(w.ctx, topic, false)
		require.NoError(w, err)
		all = append(all, qs...)
	}
	return all
}

// held is how many messages the queues hold; an error if a broker does not answer.
func (w *world) held(u *unit, queues []remoting.Queue) (n int64, err error) {
	for _, q := range queues {
		end, err := u.mq.MaxOffset(w.ctx, q)
		if err != nil {
			return 0, err
		}
		n += end
	}
	return n, nil
}

// layout is where the copies of a pair are.
func (w *world) layout(origin, target *unit) map[remoting.Queue]remoting.Queue {
	w.Helper()
	doc, err := w.store.Get(w.ctx, msha.LayoutKey+"."+origin.name+"."+target.name)
	if errors.Is(err, msha.ErrNotFound) {
		return nil
	}
	require.NoError(w, err)
	l := replicate.Layout{}
	require.NoError(w, json.Unmarshal(doc.Value, &l))
	out := map[remoting.Queue]remoting.Queue{}
	for _, a := range l.Queues {
		out[a.Origin] = a.Target
	}
	return out
}

// copies is how many messages the replica queues of some topics hold.
func (w *world) copies(origin, target *unit, topics ...string) (n int64) {
	w.Helper()
	w.eventually("the target answers", func() (ok bool) {
		var replicas []remoting.Queue
		for q, replica := range w.layout(origin, target) {
			if slices.Contains(topics, q.Topic) {
				replicas = append(replicas, replica)
			}
		}
		var err error
		n, err = w.held(target, replicas)
		return err == nil
	})
	return n
}

// copied reports whether the last message of an origin queue is among the last copies.
func (w *world) copied(origin, target *unit, q, replica remoting.Queue) bool {
	end, err := origin.mq.MaxOffset(w.ctx, q)
	if err != nil {
		return false
	}
	at, err := target.mq.MaxOffset(w.ctx, replica)
	if err != nil || at < end {
		return false
	}
	const stretch = 300 // what lies behind the last copy can be a repeated batch
	for from := max(at-1, 0); end > 0; from = max(at-stretch, 0) {
		for next := from; next < at; {
			res, err := target.mq.Pull(w.ctx, remoting.PullRequest{Queue: replica, Group: "MSHA_REPLICATOR", Offset: next})
			if err != nil || res.NextOffset <= next {
				return false
			}
			for _, m := range res.Messages {
				if o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin]); err == nil && o.Offset == end-1 {
					return true
				}
			}
			next = res.NextOffset
		}
		if from <= at-stretch || from == 0 {
			return false
		}
	}
	return true
}

// patience is how long nothing may be copied while something is to be: then copying stands still, and the audit says at what.
const patience = time.Minute

// caughtUp waits until everything the origin holds is copied, or copying stands still.
func (w *world) caughtUp(origin, target *unit, topics ...string) {
	w.Helper()
	all, since := int64(-1), time.Now()
	queues := w.queues(origin, topics...)
	w.eventually(origin.name+" is copied to "+target.name, func() bool {
		layout := w.layout(origin, target)
		for len(queues) > 0 {
			replica, ok := layout[queues[0]]
			if !ok || !w.copied(origin, target, queues[0], replica) {
				break
			}
			queues = queues[1:]
		}
		if n := w.copies(origin, target, topics...); n != all {
			all, since = n, time.Now()
		}
		return len(queues) == 0 || time.Since(since) > patience
	})
}

// audited waits until a pair has caught up, audits it, and asserts that every message of the origin has one copy that does not differ, and
// that the brokers' own counts say the same.
func (w *world) audited(origin, target *unit, o replicate.AuditOptions, topics ...string) *replicate.AuditReport {
	w.Helper()
	w.caughtUp(origin, target, topics...)
	o.Targets, o.Topics, o.Logger = []string{target.name}, topics, w.log.Logger()
	report, err := replicate.Audit(w.ctx, origin.name, w.store, &o)
	require.NoError(w, err)
	pair := origin.name + " -> " + target.name + ": " + report.Verdict()
	for _, q := range report.Queues {
		require.Empty(w, q.Err, pair)
		for _, kind := range replicate.Differences() {
			require.Empty(w, q.Findings[kind].List, "%s: %s %s", pair, q.Queue, kind)
		}
		require.Zero(w, q.Pending, pair)
	}
	require.True(w, report.Exact(), pair)

	sources := w.queues(origin, topics...)
	var replicas []remoting.Queue
	for _, q := range sources {
		replicas = append(replicas, w.layout(origin, target)[q])
	}
	sent, err := w.held(origin, sources)
	require.NoError(w, err)
	stored, err := w.held(target, replicas)
	require.NoError(w, err)
	require.Equal(w, sent, compared(report), pair)
	require.Equal(w, stored, compared(report)+report.Count(replicate.Repeated), pair)
	return report
}

// compared is how many distinct messages have a copy.
func compared(r *replicate.AuditReport) (n int64) {
	for _, q := range r.Queues {
		n += q.Compared
	}
	return n
}
