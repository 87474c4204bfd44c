package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/replicate"
)

var ownership = map[string][]string{"unit-1": {"beijing", "shanghai"}, "unit-2": {"guangzhou", "shenzhen"}}

// closedLoop: without a switch each message is processed once, in the unit that owns its value, wherever it was produced.
func closedLoop(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	for _, unit := range w.names {
		w.join(unit)
		w.join(unit)
	}
	var wg sync.WaitGroup
	for _, unit := range w.names {
		send := w.produce(unit)
		wg.Go(func() {
			for range 250 {
				for _, value := range []string{"beijing", "shanghai", "guangzhou", "shenzhen"} {
					send(value, 1)
				}
			}
		})
	}
	wg.Wait()
	v := w.settled()
	w.exact(v)
	require.Equal(t, 2000, v.Sent)
	owner := map[string]string{"beijing": "unit-1", "shanghai": "unit-1", "guangzhou": "unit-2", "shenzhen": "unit-2"}
	for key, runs := range w.journal.runs {
		for _, r := range runs {
			require.Equal(t, owner[r.value], r.unit, key)
		}
	}
	w.ordered()
}

// underLoad: switches there, straight back, and on to a third unit, while messages flow, handlers fail and consumers come and go.
func underLoad(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2", "unit-3")
	leaver := w.join("unit-2", failing(5), slow(2*time.Millisecond))
	for _, unit := range []string{"unit-1", "unit-1", "unit-2", "unit-3", "unit-3"} {
		w.join(unit, failing(5), slow(2*time.Millisecond))
	}
	backlog := w.produce("unit-2")
	backlog("guangzhou", 1000)
	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, 200, "beijing", "guangzhou", "shanghai", "shenzhen"))
	}
	time.Sleep(time.Second) // let work be under way everywhere
	w.move("values=guangzhou&to=unit-1")
	w.move("values=guangzhou&to=unit-2")
	w.join("unit-1", failing(5), slow(2*time.Millisecond))
	w.move("values=guangzhou,beijing&to=unit-3")
	leaver.leave()
	w.move("from=unit-3&to=unit-1")
	w.move("values=guangzhou&to=unit-2")
	time.Sleep(time.Second)
	for _, stop := range stops {
		stop()
	}
	v := w.settled()
	w.exact(v)
	require.Greater(t, v.Failed, v.Sent/50, "handlers were to fail")
	w.ordered()
	w.audited(w.names...)
}

// audited asserts that the copies are exact, as a user would.
func (w *world) audited(origins ...string) {
	w.Helper()
	for _, origin := range origins {
		report, err := replicate.Audit(w.ctx, origin, w.store, &replicate.AuditOptions{Topics: []string{w.topic}, Batch: -1, Access: access, Logger: w.log})
		require.NoError(w, err)
		require.True(w, report.Exact(), "%s: %s", origin, report.Verdict())
		w.Logf("%s: %s", origin, report.Verdict())
	}
}

// ordered asserts that each replica queue holds an origin queue's messages in order, each once.
func (w *world) ordered() {
	w.Helper()
	checked := 0
	for _, unit := range w.names {
		cl, done := w.cluster(unit)
		for _, origin := range w.names {
			if origin == unit {
				continue
			}
			queues, err := cl.Queues(w.ctx, msha.ReplicaTopic(w.topic, origin), false)
			require.NoError(w, err)
			for _, q := range queues {
				checked += w.orderedQueue(cl, q)
			}
		}
		done()
	}
	all := len(w.journal.sent) * (len(w.names) - 1)
	require.GreaterOrEqual(w, checked, all, "copies")
	require.LessOrEqual(w, checked, all+len(w.journal.maybe)*(len(w.names)-1), "copies")
}

func (w *world) orderedQueue(cl *remoting.Cluster, q remoting.Queue) int {
	w.Helper()
	var last msha.Origin
	n, next := 0, int64(0)
	for {
		res, err := cl.Pull(w.ctx, remoting.PullRequest{Queue: q, Group: "MSHA_TEST", Offset: next, Max: 256})
		require.NoError(w, err)
		for _, m := range res.Messages {
			o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
			require.NoError(w, err)
			if n > 0 {
				require.Equal(w, last.OriginQueue, o.OriginQueue, q)
				require.Equal(w, last.Offset+1, o.Offset, q)
			}
			last = o
			n++
		}
		if res.Status == remoting.PullNoNew {
			return n
		}
		next = res.NextOffset
	}
}
