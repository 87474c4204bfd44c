package e2e

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/replicate"
)

// loseTail kills a unit's broker and starts it without the last messages of each of the scenario's queues.
func (w *world) loseTail(unit string, n int) {
	w.Helper()
	c := w.sites[unit].(embedded).Cluster
	require.NoError(w, c.Kill("broker-"+unit))
	require.NoError(w, c.Restart("broker-"+unit, embedmq.LoseTail(n, w.topic)))
}

// copied waits until every message that the units hold of their own is in all the other ones.
func (w *world) copied() (compared, lost int64) {
	w.Helper()
	w.eventually("everything copied", func() bool {
		compared, lost = 0, 0
		pending := int64(0)
		for _, origin := range w.names {
			report, err := replicate.Audit(w.ctx, origin, w.store, &replicate.AuditOptions{Topics: []string{w.topic}, Access: access, Logger: w.log})
			if errors.Is(err, msha.ErrNotFound) {
				return false
			}
			require.NoError(w, err)
			lost += report.Count(replicate.Lost)
			for _, q := range report.Queues {
				compared += q.Compared
				pending += q.Pending
			}
		}
		return pending == 0
	})
	return compared, lost
}

// raised is how many queues of a unit have another incarnation.
func (w *world) raised(unit string) int {
	doc, err := w.store.Get(w.ctx, msha.IncarnationsKey+"."+unit)
	if errors.Is(err, msha.ErrNotFound) {
		return 0
	}
	require.NoError(w, err)
	in, err := msha.ParseIncarnations(doc)
	require.NoError(w, err)
	return in.Count()
}

// TestOriginLosesItsTail: a broker comes back without messages that were processed and copied. What it stores afterwards under their
// offsets is processed once, by whoever owns it, and also after switches.
func TestOriginLosesItsTail(t *testing.T) {
	t.Parallel()
	w := start(t, onEmbedded, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit)
		w.join(unit)
	}
	send := w.produce("unit-1")
	send("beijing", 60)
	send("guangzhou", 60)
	w.exact(w.settled())
	w.copied()
	w.loseTail("unit-1", 7)
	send("beijing", 20)
	send("guangzhou", 20)
	w.eventually("the replicator finds out", func() bool { return w.raised("unit-1") == 4 })
	send("beijing", 20)
	send("guangzhou", 20)
	w.exact(w.settled())
	w.move("values=guangzhou")
	w.move("values=beijing")
	send("beijing", 20)
	send("guangzhou", 20)
	w.exact(w.settled())
	compared, lost := w.copied()
	require.Equal(t, [2]int64{240 - 28, 28}, [2]int64{compared, lost})
	w.audited(w.names...)
}

// TestLostMessagesAreTakenOver: the owner's broker loses messages before they were processed. Their copies are processed where they are,
// once the values move there: what had been copied is not lost.
func TestLostMessagesAreTakenOver(t *testing.T) {
	t.Parallel()
	w := start(t, onEmbedded, ownership, "unit-1", "unit-2")
	owner := w.join("unit-1")
	w.join("unit-2")
	send := w.produce("unit-1")
	send("beijing", 20)
	w.exact(w.settled())
	owner.leave()
	send("beijing", 40)
	w.copied()
	w.loseTail("unit-1", 5)
	w.eventually("the replicator finds out", func() bool { return w.raised("unit-1") == 4 })
	send("beijing", 20)
	w.move("values=beijing")
	w.exact(w.settled())
	w.join("unit-1")
	w.move("values=beijing")
	send("beijing", 20)
	w.exact(w.settled())
}

// TestTakeOverForNobody: nobody consumes in the gaining unit. The switch does not wait for what cannot be processed, says so, and whoever
// comes later processes it.
func TestTakeOverForNobody(t *testing.T) {
	t.Parallel()
	w := start(t, onEmbedded, ownership, "unit-1", "unit-2")
	owner, gaining := w.join("unit-1"), w.join("unit-2")
	send := w.produce("unit-1")
	send("beijing", 20)
	w.exact(w.settled())
	owner.leave()
	send("beijing", 20)
	w.eventually("pulled by the other unit", func() bool { return w.acknowledged("unit-2", msha.ReplicaTopic(w.topic, "unit-1")) == 40 })
	gaining.leave()
	answer := w.move("values=beijing&override=target-alive")
	require.Zero(t, answer.Pending)
	require.Contains(t, answer.Phases[len(answer.Phases)-1].Note, "20 messages wait for groups that nobody consumes in the gaining unit")
	w.join("unit-2")
	w.exact(w.settled())
}

// acknowledged is the sum of the group's offsets in a topic of a unit.
func (w *world) acknowledged(unit, topic string) (sum int64) {
	w.Helper()
	cl, done := w.cluster(unit)
	defer done()
	queues, err := cl.Queues(w.ctx, topic, false)
	require.NoError(w, err)
	for _, q := range queues {
		if off, err := cl.CommittedOffset(w.ctx, w.group, q); err == nil {
			sum += off
		}
	}
	return sum
}
