package contract

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/go-msha/msha/internal/remoting"
)

func init() { rlog.SetLogLevel("fatal") }

// ClientGo lists the scenarios in which an unmodified rocketmq-client-go talks to the cluster. The library leaks goroutines, and it
// races with itself: it reads a queue's tree of messages and the state of its rebalancing without their locks. So under the race
// detector there are none.
func ClientGo() []Scenario {
	if raceDetector {
		return nil
	}
	return []Scenario{
		{name: "client-go producer", run: goProducer},
		{name: "client-go consumer", run: goConsumer},
		{name: "client-go SQL", run: goSQL},
		{name: "client-go rebalance", run: goRebalance},
		{name: "client-go orderly", run: goOrderly},
	}
}

func (e *env) producer() rocketmq.Producer {
	e.Helper()
	p, err := rocketmq.NewProducer(producer.WithNameServer([]string{e.NameServer}), producer.WithInstanceName(e.name("p")),
		producer.WithGroupName(e.name("pg")), producer.WithQueueSelector(producer.NewManualQueueSelector()), producer.WithRetry(0))
	e.must(err)
	e.must(p.Start())
	e.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func (e *env) consumer(g string, opts ...consumer.Option) rocketmq.PushConsumer {
	e.Helper()
	opts = append([]consumer.Option{consumer.WithNameServer([]string{e.NameServer}), consumer.WithInstance(e.name("c")), consumer.WithGroupName(g),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, opts...)
	c, err := rocketmq.NewPushConsumer(opts...)
	e.must(err)
	return c
}

// journal counts bodies.
type journal struct {
	mu     sync.Mutex
	bodies map[string]int
	seen   chan struct{} // one token per change, at most one waiting
}

func newJournal() *journal { return &journal{bodies: map[string]int{}, seen: make(chan struct{}, 1)} }

func (j *journal) add(body string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bodies[body]++
	select {
	case j.seen <- struct{}{}:
	default:
	}
	return j.bodies[body]
}

func (j *journal) size() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.bodies)
}

func (j *journal) wait(e *env, what string, n int) {
	e.Helper()
	for j.size() < n {
		select {
		case <-j.seen:
		case <-e.ctx.Done():
			e.Fatalf("%s: %d of %d", what, j.size(), n)
		}
	}
}

func goProducer(e *env) {
	topic, qs := e.topic(2)
	p := e.producer()
	message := func(body string, queue int) *primitive.Message {
		m := primitive.NewMessage(topic, []byte(body)).WithTag("a").WithKeys([]string{"k"})
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: e.Broker, QueueId: queue}
		return m
	}
	res, err := p.SendSync(e.ctx, message("sync", 0))
	e.must(err)
	equal(e, "status", res.Status, primitive.SendOK)
	equal(e, "offset", res.QueueOffset, 0)
	done := make(chan error, 1)
	e.must(p.SendAsync(e.ctx, func(_ context.Context, _ *primitive.SendResult, err error) { done <- err }, message("async", 0)))
	e.must(<-done)
	e.must(p.SendOneWay(e.ctx, message("oneway", 0)))
	_ = e.all(qs[0], 2, 1)
	_, err = p.SendSync(e.ctx, message("batch 0", 0), message("batch 1", 0))
	e.must(err)
	var got []string
	for _, m := range e.all(qs[0], 0, 5) {
		got = append(got, string(m.Body))
	}
	equal(e, "stored", strings.Join(got, ", "), "sync, async, oneway, batch 0, batch 1")
	_, err = p.SendSync(e.ctx, message(strings.Repeat("compress me ", 1000), 1))
	e.must(err)
	m := e.all(qs[1], 0, 1)[0]
	plain, err := m.PlainBody()
	e.must(err)
	equal(e, "compressed", len(m.Body) < 6000, true)
	equal(e, "plain length", len(plain), 12000)
	auto := e.name("auto")
	p2, err := rocketmq.NewProducer(producer.WithNameServer([]string{e.NameServer}), producer.WithInstanceName(e.name("p")), producer.WithGroupName("auto"))
	e.must(err)
	e.must(p2.Start())
	defer p2.Shutdown() //nolint:errcheck // nothing depends on it
	_, err = p2.SendSync(e.ctx, primitive.NewMessage(auto, []byte("x")))
	e.must(err)
	e.queues(auto, 4)
}

func goConsumer(e *env) {
	topic, qs := e.topic(4)
	g := e.newGroup()
	for _, q := range qs {
		e.put(q, 10, "foreign")
	}
	p := e.producer()
	for i := range 40 {
		m := primitive.NewMessage(topic, fmt.Appendf(nil, "c%d", i)).WithTag("mine")
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: e.Broker, QueueId: i % 4}
		_, err := p.SendSync(e.ctx, m)
		e.must(err)
	}
	first, done := newJournal(), newJournal()
	var retried sync.Map
	c := e.consumer(g)
	e.must(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "mine || other"},
		func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range ms {
				body := string(m.Body)
				if n := first.add(body); n == 1 && strings.HasSuffix(body, "5") {
					return consumer.ConsumeRetryLater, nil
				} else if n > 1 {
					retried.Store(body, fmt.Sprint(m.ReconsumeTimes, " ", m.Topic, " ", m.GetTags()))
				}
				done.add(body)
			}
			return consumer.ConsumeSuccess, nil
		}))
	e.must(c.Start())
	done.wait(e, "consumed", 40)
	for body, n := range done.bodies {
		equal(e, "times "+body, n, 1)
	}
	for _, body := range []string{"c5", "c15", "c25", "c35"} {
		how, _ := retried.Load(body)
		equal(e, "retry of "+body, how, any("1 "+topic+" mine"))
	}
	e.eventually("committed offsets", func() bool {
		for _, q := range qs {
			if off, err := e.cl.CommittedOffset(e.ctx, g, q); err != nil || off != 20 {
				return false
			}
		}
		return true
	})
	e.must(c.Shutdown()) // before, because it sends the last offsets one way and closes
}

// goSQL: a consumer that pulls by what its heartbeats have registered gets what matches, again after it failed, and commits the rest.
func goSQL(e *env) {
	topic, qs := e.topic(1)
	g := e.newGroup()
	for i := range 40 {
		_, err := e.cl.Send(e.ctx, qs[0], "producers", &remoting.Message{Body: fmt.Appendf(nil, "m%d", i), Properties: map[string]string{"n": fmt.Sprint(i)}})
		e.must(err)
	}
	e.all(qs[0], 0, 40)
	first, done := newJournal(), newJournal()
	c := e.consumer(g)
	e.must(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.SQL92, Expression: "n BETWEEN 10 AND 19"},
		func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range ms {
				if first.add(string(m.Body)) == 1 && string(m.Body) == "m15" {
					return consumer.ConsumeRetryLater, nil
				}
				done.add(string(m.Body))
			}
			return consumer.ConsumeSuccess, nil
		}))
	e.must(c.Start())
	done.wait(e, "consumed", 10)
	e.eventually("committed offset", func() bool { off, err := e.cl.CommittedOffset(e.ctx, g, qs[0]); return err == nil && off == 40 })
	equal(e, "messages", first.size(), 10)
	e.must(c.Shutdown())
}

func goRebalance(e *env) {
	topic, qs := e.topic(4)
	g := e.newGroup()
	all := newJournal()
	start := func(own *journal) rocketmq.PushConsumer {
		c := e.consumer(g)
		e.must(c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range ms {
				all.add(string(m.Body))
				own.add(fmt.Sprint(m.Queue.QueueId))
			}
			return consumer.ConsumeSuccess, nil
		}))
		e.must(c.Start())
		return c
	}
	sent := 0
	round := func() {
		for _, q := range qs {
			_, err := e.cl.Send(e.ctx, q, "producers", msg(fmt.Sprint("r", sent)))
			e.must(err)
			sent++
		}
		all.wait(e, "consumed", sent)
	}
	one, two := newJournal(), newJournal()
	c1 := start(one)
	round()
	c2 := start(two)
	e.eventually("two members", func() bool { ids, _ := e.cl.ConsumerIDs(e.ctx, e.Addr(), g); return len(ids) == 2 })
	e.eventually("a share for the second", func() bool { round(); return two.size() == 2 })
	e.must(c1.Shutdown())
	e.eventually("one member", func() bool { ids, _ := e.cl.ConsumerIDs(e.ctx, e.Addr(), g); return len(ids) == 1 })
	e.eventually("everything for the second", func() bool { round(); return two.size() == 4 })
	e.must(c2.Shutdown())
}

func goOrderly(e *env) {
	topic, qs := e.topic(2)
	g := e.newGroup()
	for _, q := range qs {
		e.put(q, 20, "")
	}
	var mu sync.Mutex
	order := map[int][]int64{}
	done := newJournal()
	c := e.consumer(g, consumer.WithConsumerOrder(true))
	e.must(c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range ms {
			order[m.Queue.QueueId] = append(order[m.Queue.QueueId], m.QueueOffset)
			done.add(fmt.Sprint(m.Queue.QueueId, "/", m.QueueOffset))
		}
		return consumer.ConsumeSuccess, nil
	}))
	e.must(c.Start())
	done.wait(e, "consumed", 40)
	got, err := e.cl.Lock(e.ctx, e.Addr(), g, "intruder", qs)
	e.must(err)
	equal(e, "queues an intruder can lock", len(got), 0)
	e.must(c.Shutdown())
	for id, offs := range order {
		equal(e, fmt.Sprint("in order in queue ", id), slices.IsSorted(offs), true)
	}
}
