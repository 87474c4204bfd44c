//go:build real

package copychaos

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/realmq"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/open"
	"github.com/go-msha/msha/replicate"
)

// TestChaos: three units copy everything to each other while their replicators are killed and frozen and brokers die. In the end
// every message has one copy in each other unit, and what is there twice was on its way when a replicator was killed or frozen.
func TestChaos(t *testing.T) {
	begun := time.Now()
	w, url := startMesh(t)
	t.Logf("started after %.0f seconds", time.Since(begun).Seconds())
	c := w.crew(url, 2)
	var producers []*producer
	steps := *seconds / 2
	for range w.units {
		producers = append(producers, w.producer(w.units[len(producers)], 1+*messages/10_000))
	}
	share := *messages/len(producers)/steps + 1
	var producing, restarting sync.WaitGroup
	turns := make([]chan int, len(producers)) // one for each step: sending lasts as long as the faults
	for i, p := range producers {
		turns[i] = make(chan int, steps)
		producing.Go(func() {
			for upTo := range turns[i] {
				p.send(upTo)
			}
		})
	}
	restarts, thaw := 0, func() {}
	c.every(2*time.Second, steps, func(step int) {
		for _, turn := range turns {
			turn <- (step + 1) * share
		}
		switch step {
		case 1:
			thaw = c.freeze()
		case 1 + int(*frozen/(2*time.Second)):
			thaw()
		case 3:
			c.hang(w.units[1], "broker-2b")
		case 4:
			c.outage(w.units[1], "broker-2b", &restarting)
			restarts++
		case steps/2 - 1:
			c.hang(w.units[0], "broker-1")
		case steps / 2:
			c.outage(w.units[0], "broker-1", &restarting)
			restarts++
		}
		c.kill()
	})
	thaw()
	for _, turn := range turns {
		close(turn)
	}
	producing.Wait()
	restarting.Wait()
	t.Logf("all sent and all brokers up after %.0f seconds", time.Since(begun).Seconds())
	sent := w.stored(producers)
	copied, repeated := c.verdict(sent)
	t.Logf("RocketMQ %s: %d sent, %d copied, %d repeated, %d kills, %d freezes, %d broker restarts, %.0f seconds",
		*version, sent, copied, repeated, c.kills, c.freezes, restarts, time.Since(begun).Seconds())
}

func startMesh(t *testing.T) (w *world, url string) {
	ctx := within(t, 25*time.Minute)
	etcd := realstore.Etcd(t, nil)
	url = "etcd://" + etcd.Addr() + "/msha/chaos"
	store, err := open.Open(ctx, url, &open.Options{Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	var options []*realmq.Options
	for _, brokers := range [][]string{{"broker-1"}, {"broker-2a", "broker-2b"}, {"broker-3"}} {
		options = append(options, &realmq.Options{Version: *version, Brokers: brokers, DelayLevels: []time.Duration{time.Second}})
	}
	cs := clusters(t, options...)
	w = newWorld(t, ctx, store, on("unit-1", cs[0]), on("unit-2", cs[1]), on("unit-3", cs[2]))
	for _, u := range w.units {
		for _, topic := range topics {
			w.createTopic(u, topic, 2)
		}
	}
	return w, url
}

// stored waits until delayed messages came due, and returns how many messages the origins hold: all that were acknowledged, and perhaps
// some of those whose send was not answered, or that a restarted broker took for due a second time.
func (w *world) stored(producers []*producer) (all int64) {
	w.Helper()
	for _, p := range producers {
		p.awaitDelayed()
		n, err := w.held(p.unit, p.queues)
		require.NoError(w, err)
		require.GreaterOrEqual(w, n, int64(p.acked), p.unit.name)
		require.LessOrEqual(w, n, int64(p.acked+p.unsure+2*p.delayed), p.unit.name)
		w.Logf("%s: %d messages, %d of unanswered sends, %d delayed, %d rolled back", p.unit.name, n, p.unsure, p.delayed, p.rolledBack)
		require.Positive(w, p.rolledBack)
		all += n
	}
	return all
}

// verdict audits every pair.
func (c *crew) verdict(sent int64) (copied, repeated int64) {
	c.Helper()
	for _, origin := range c.units {
		for _, target := range c.units {
			if origin == target {
				continue
			}
			report := c.audited(origin, target, replicate.AuditOptions{Batch: batch, Listed: 1000}, topics...)
			copied += compared(report)
			repeated += report.Count(replicate.Repeated)
			replicas := c.layout(origin, target)
			for _, q := range report.Queues {
				replica := replicas[remoting.Queue{Topic: q.Queue.Topic, Broker: q.Queue.Broker, ID: q.Queue.Queue}]
				for _, f := range q.Findings[replicate.Repeated].List {
					require.True(c, c.explained(target, replica, f.Replica), "%s -> %s: %s is repeated at %d, the queue's ends at kills: %v",
						q.Queue, target.name, f, f.Replica, c.marks[target.name][replica])
				}
			}
		}
	}
	require.Equal(c, 2*sent, copied)
	return copied, repeated
}
