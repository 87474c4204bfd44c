package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/manager"
)

// oneSided: a group that runs in one unit only. What the other unit produces for that unit's routes waits until somebody has said where the group
// begins there; what is produced for the other unit's routes waits for a switch, or for the group's first process there.
func oneSided(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	w.join("unit-1", failing(10))
	w.join("unit-1", failing(10))
	here, there := w.produce("unit-1"), w.produce("unit-2")
	here("beijing", 20)
	there("beijing", 30)
	w.eventually("the home messages are processed", func() bool { return w.journal.verdict().Processed >= 20 })
	v := w.quiet()
	require.Equal(t, 20, v.Processed, v.String())

	w.provision("unit=unit-3&group="+w.group+"&start=first", 404)
	w.provision("unit=unit-2&group="+w.group, 400)
	w.provision("unit=unit-2&group="+w.group+"&start=committed", 404)
	w.provision("unit=unit-2&group=nobody&start=first", 404)
	w.provision("unit=unit-1&group="+w.group+"&start=first", 409)
	done := w.provision("unit=unit-2&group="+w.group+"&start=first", 200)
	require.Len(t, done.Queues, 4, "of one broker")
	for _, q := range done.Queues {
		require.Zero(t, q.Offset)
		require.False(t, q.Before)
	}
	w.exact(w.settled())

	// Again: nothing changes.
	again := w.provision("unit=unit-2&group="+w.group+"&start=last&topics="+w.topic, 200)
	for _, q := range again.Queues {
		require.True(t, q.Before)
		require.Zero(t, q.Offset)
	}

	here("guangzhou", 20)
	there("guangzhou", 30)
	require.Equal(t, 50, w.quiet().Lost, "nobody consumes where they belong")
	w.move("values=guangzhou")
	w.exact(w.settled())
	w.join("unit-2", failing(10))
	w.move("values=guangzhou")
	here("guangzhou", 20)
	there("guangzhou", 20)
	there("beijing", 20)
	v = w.settled()
	w.exact(v)
	require.Equal(t, 40, v.ByUnit["unit-2"], v.String())
	w.provision("unit=unit-2&group="+w.group+"&start=first", 409)
}

// provision asks the manager to say where a group begins.
func (w *world) provision(query string, status int) (done manager.Provisioned) {
	w.Helper()
	got, failure := w.ask(http.MethodPost, "/provision?"+query, &done)
	require.Equal(w, status, got, failure.Error)
	return done
}

// TestGroupThatWentAway: a group has left a unit for longer than its messages are kept. A manager has carried its facts forward, so that what
// it had done is not processed again, and a switch finds its facts.
func TestGroupThatWentAway(t *testing.T) {
	t.Parallel()
	w := start(t, onEmbedded, ownership, "unit-1", "unit-2")
	w.join("unit-1", failing(10))
	leaver := w.join("unit-2", failing(10))
	for _, unit := range w.names {
		send := w.produce(unit)
		send("guangzhou", 50)
		send("beijing", 50)
	}
	w.exact(w.settled())
	leaver.leave()
	cl, done := w.cluster("unit-2")
	defer done()
	log := remoting.Queue{Topic: msha.ProgressTopic, Broker: "broker-unit-2"}
	end, err := cl.MaxOffset(w.ctx, log)
	require.NoError(t, err)
	require.NoError(t, w.manager.Close())
	w.manage(&manager.Options{SnapshotEvery: 100 * time.Millisecond})
	kept := int64(-1)
	w.eventually("a snapshot of all there was", func() bool {
		res, err := cl.Pull(w.ctx, remoting.PullRequest{Queue: log, Group: "reader", Offset: end, Max: 100})
		require.NoError(t, err)
		for _, m := range res.Messages {
			records, err := filter.DecodeLog(m.Body, m.QueueOffset)
			require.NoError(t, err)
			if slices.ContainsFunc(records, func(r filter.Record) bool {
				return r.Kind == filter.Snapshot && r.Group == w.group && r.LogOffset >= end-1 && r.Chunks == 1
			}) {
				kept = m.QueueOffset
			}
		}
		return kept >= 0
	})
	require.NoError(t, w.manager.Close())
	require.NoError(t, w.sites["unit-2"].(embedded).RaiseMinOffset(log, kept)) // what is older has expired
	w.manage(&manager.Options{})
	there := w.produce("unit-2")
	there("guangzhou", 30)
	w.move("values=guangzhou")
	w.exact(w.settled())
	w.join("unit-2", failing(10))
	w.move("values=guangzhou")
	there("guangzhou", 30)
	w.exact(w.settled())
}

func TestOneSidedGroup(t *testing.T) { t.Parallel(); oneSided(t, onEmbedded) }
