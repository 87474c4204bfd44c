package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/tagging"
)

// sqlFilter: a group that filters by properties, in all units alike. Values move there and back and on while messages flow, most of which
// do not match, handlers fail and consumers come and go: each message that matches is processed once, no other one ever, and
// nothing is left to be done.
func sqlFilter(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2", "unit-3")
	const expression = "grade > 5 AND (city IN ('beijing', 'guangzhou') OR urgent = 'it''s') AND note IS NULL"
	leaver := w.joinBySQL("unit-2", expression, failing(10), slow(2*time.Millisecond))
	for _, unit := range []string{"unit-1", "unit-1", "unit-2", "unit-3"} {
		w.joinBySQL(unit, expression, failing(10), slow(2*time.Millisecond))
	}
	w.grade("unit-2")("guangzhou", 600)
	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.gradeSteadily(unit, "beijing", "guangzhou", "shanghai", "shenzhen"))
	}
	time.Sleep(time.Second) // let work be under way everywhere
	w.move("values=guangzhou&to=unit-1")
	w.move("values=guangzhou&to=unit-2")
	leaver.leave()
	w.move("values=guangzhou,beijing&to=unit-3")
	w.joinBySQL("unit-2", expression, failing(10), slow(2*time.Millisecond))
	w.move("from=unit-3&to=unit-1")
	w.move("values=guangzhou&to=unit-2")
	time.Sleep(time.Second)
	for _, stop := range stops {
		stop()
	}
	v := w.settled()
	w.exact(v)
	require.Positive(t, v.Failed, "handlers were to fail")
	w.caughtUp()
	w.audited(w.names...)
}

// joinBySQL starts one more consumer instance that filters.
func (w *world) joinBySQL(unit, expression string, change ...func(*member)) *member {
	w.Helper()
	m := &member{w: w, name: fmt.Sprintf("%s/%d", unit, w.serial.Add(1))}
	for _, f := range change {
		f(m)
	}
	var err error
	m.unit, err = agent.Join(w.ctx, unit, w.connect(), &agent.Options{Logger: w.log.With("member", m.name), Access: access})
	require.NoError(w, err)
	m.consumer, err = m.unit.NewPushConsumer(consumer.WithGroupName(w.group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	require.NoError(w, err)
	require.NoError(w, m.consumer.Subscribe(w.topic, consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}, m.handle))
	require.NoError(w, m.consumer.Start())
	w.Cleanup(func() { m.leave() })
	return m
}

// grade returns a function that sends messages of a unit one by one; only some of them match the group's expression and are expected to be
// processed.
func (w *world) grade(unit string) func(value string, n int) {
	w.Helper()
	u, err := agent.Join(w.ctx, unit, w.store, &agent.Options{Logger: w.log, Access: access})
	require.NoError(w, err)
	p, err := u.NewProducer(producer.WithGroupName("mtr"), producer.WithRetry(0), producer.WithSendMsgTimeout(time.Minute))
	require.NoError(w, err)
	require.NoError(w, p.Start())
	w.Cleanup(func() { require.NoError(w, u.Close(w.ctx)) })
	return func(value string, n int) {
		for range n {
			serial := w.serial.Add(1)
			key := fmt.Sprintf("%s-%s-%06d", unit, value, serial)
			m := primitive.NewMessage(w.topic, []byte("body of "+key)).WithKeys([]string{key})
			city, grade, urgent, noted := value, serial%10, serial%3 == 0, serial%7 == 0
			m.WithProperty("city", city)
			m.WithProperty("grade", fmt.Sprint(grade))
			if urgent {
				m.WithProperty("urgent", "it's")
			}
			if noted {
				m.WithProperty("note", "n")
			}
			if _, err := p.SendSync(tagging.With(w.ctx, value), m); err != nil {
				w.Errorf("send %s: %v", key, err)
				return
			}
			if grade > 5 && (city == "beijing" || city == "guangzhou" || urgent) && !noted {
				w.journal.produced(key, unit, value)
			}
		}
	}
}

// gradeSteadily sends round robin over values until the returned function is called.
func (w *world) gradeSteadily(unit string, values ...string) (stop func()) {
	send, ended := w.grade(unit), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				send(values[i%len(values)], 1)
			case <-ended:
				return
			}
		}
	})
	return func() {
		close(ended)
		wg.Wait()
	}
}

// caughtUp waits until the group has committed everything there is, in home and replica queues of all units, what does not match
// included.
func (w *world) caughtUp() {
	w.Helper()
	for _, unit := range w.names {
		cl, done := w.cluster(unit)
		for _, origin := range w.names {
			topic := w.topic
			if origin != unit {
				topic = msha.ReplicaTopic(w.topic, origin)
			}
			queues, err := cl.Queues(w.ctx, topic, false)
			require.NoError(w, err)
			for _, q := range queues {
				w.eventually("acknowledged "+q.String()+" in "+unit, func() bool { return w.committedAll(cl, q) })
			}
		}
		done()
	}
}

func (w *world) committedAll(cl *remoting.Cluster, q remoting.Queue) bool {
	end, err := cl.MaxOffset(w.ctx, q)
	require.NoError(w, err)
	committed, err := cl.CommittedOffset(w.ctx, w.group, q)
	return err == nil && committed == end || end == 0
}
