package replicate

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

func TestMain(m *testing.M) {
	if replicateIfChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// site is one unit's embedded cluster with a client of its own.
type site struct {
	*embedmq.Cluster
	mq *remoting.Cluster
}

func startSites(t *testing.T, store msha.MetaStore, names ...string) map[string]*site {
	t.Helper()
	client := remoting.NewClient(nil)
	t.Cleanup(client.Close)
	sites, units := map[string]*site{}, msha.Units{}
	for _, name := range names {
		c, err := embedmq.Start(&embedmq.Options{Brokers: []string{"broker-" + name}})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		sites[name] = &site{c, remoting.NewCluster([]string{c.NameServer()}, client)}
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{c.NameServer()}, State: "live"})
	}
	value, err := json.Marshal(units)
	require.NoError(t, err)
	_, err = store.Put(context.Background(), msha.UnitsKey, value, 0)
	require.NoError(t, err)
	return sites
}

func (s *site) createTopic(t *testing.T, topic string, queues int) {
	brokers, err := s.mq.Brokers(context.Background())
	require.NoError(t, err)
	for _, addr := range brokers {
		require.NoError(t, s.mq.CreateTopic(context.Background(), addr, remoting.TopicConfig{Name: topic, Read: queues, Write: queues}))
	}
}

// produce sends n messages of mixed kind over the topic's queues.
func (s *site) produce(t *testing.T, topic string, n int) {
	queues, err := s.mq.Queues(context.Background(), topic, true)
	require.NoError(t, err)
	for i := range n {
		m := &remoting.Message{Body: fmt.Appendf(nil, "body %d", i), Flag: int32(i), Properties: map[string]string{
			"UNIQ_KEY": fmt.Sprintf("%s-%s-%d", s.NameServer(), topic, i), "KEYS": "k", "TAGS": "t", "user": "ü" + fmt.Sprint(i),
		}}
		switch i % 5 {
		case 1:
			m.Body = nil
		case 2:
			m.SysFlag, m.Body = remoting.SysCompressed|1<<8, []byte{4, 34, 77, 24, 0, 255}
		case 3:
			m.Body = make([]byte, 20_000)
		}
		if len(m.Body) == 0 {
			_, err = s.mq.SendBatch(context.Background(), queues[i%len(queues)], "p", []*remoting.Message{m})
		} else {
			_, err = s.mq.Send(context.Background(), queues[i%len(queues)], "p", m)
		}
		require.NoError(t, err)
	}
}

// replicaQueue is a queue of the copies that unit-2 has from unit-1.
func replicaQueue(topic string, id int) remoting.Queue {
	return remoting.Queue{Topic: topic + "-from-unit-1", Broker: "broker-unit-2", ID: id}
}

// end is a queue's maximum offset.
func (s *site) end(t *testing.T, q remoting.Queue) int64 {
	t.Helper()
	n, err := s.mq.MaxOffset(context.Background(), q)
	require.NoError(t, err)
	return n
}

func (s *site) readAll(t *testing.T, q remoting.Queue) []*remoting.Message {
	high, err := s.mq.MaxOffset(context.Background(), q)
	require.NoError(t, err)
	low, err := s.mq.MinOffset(context.Background(), q)
	require.NoError(t, err)
	var out []*remoting.Message
	for low < high {
		res, err := s.mq.Pull(context.Background(), remoting.PullRequest{Queue: q, Group: "audit", Offset: low})
		require.NoError(t, err)
		require.Greater(t, res.NextOffset, low)
		out = append(out, res.Messages...)
		low = res.NextOffset
	}
	return out
}

// requireExact compares every replica queue with its origin queue: count, order, body, flags and properties.
func requireExact(t *testing.T, store msha.MetaStore, from, to string, sites map[string]*site, topic string) {
	t.Helper()
	doc, err := store.Get(context.Background(), msha.LayoutKey+"."+from+"."+to)
	require.NoError(t, err)
	layout, err := parseLayout("", doc.Value)
	require.NoError(t, err)
	queues, err := sites[from].mq.Queues(context.Background(), topic, false)
	require.NoError(t, err)
	for _, q := range queues {
		target, ok := layout.find(q)
		require.True(t, ok)
		want, got := sites[from].readAll(t, q), sites[to].readAll(t, target)
		require.Len(t, got, len(want), q.String())
		for i := range want {
			w, g := want[i], got[i]
			require.Equal(t, w.Body, g.Body)
			require.Equal(t, w.Flag, g.Flag)
			require.Equal(t, w.SysFlag&(remoting.SysCompressed|remoting.SysCompressionMask), g.SysFlag&(remoting.SysCompressed|remoting.SysCompressionMask))
			o, err := msha.ParseOrigin(g.Properties[msha.PropertyOrigin])
			require.NoError(t, err)
			require.Equal(t, msha.Origin{OriginQueue: msha.OriginQueue{Unit: from, Broker: q.Broker, Topic: topic, Queue: q.ID}, Offset: w.QueueOffset}, o)
			for _, name := range []string{"UNIQ_KEY", "KEYS", "TAGS", "user"} {
				require.Equal(t, w.Properties[name], g.Properties[name])
			}
			require.Equal(t, from, g.Properties[msha.PropertyUnit])
		}
	}
}

func run(t *testing.T, origin string, store msha.MetaStore, o *Options) (*Replicator, func()) {
	t.Helper()
	if o == nil {
		o = &Options{Topics: []string{"SMS"}}
	}
	o.Discover, o.Logger = 20*time.Millisecond, slog.New(slog.DiscardHandler)
	if o.timeout == 0 {
		o.timeout = 3 * time.Second
	}
	o.settle = 300 * time.Millisecond
	r, err := New(origin, store, o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	return r, stop
}

func syncTopic(t *testing.T, r *Replicator, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, r.Sync(ctx, topic))
}

func TestBothDirectionsAreExactAndDoNotLoop(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	var rs []*Replicator
	for _, name := range []string{"unit-1", "unit-2"} {
		sites[name].createTopic(t, "SMS", 4)
		sites[name].produce(t, "SMS", 300)
		r, _ := run(t, name, store, nil)
		rs = append(rs, r)
	}
	for i, name := range []string{"unit-1", "unit-2"} {
		syncTopic(t, rs[i], "SMS")
		sites[name].produce(t, "SMS", 200) // copied while running
		syncTopic(t, rs[i], "SMS")
	}
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
	requireExact(t, store, "unit-2", "unit-1", sites, "SMS")
	for _, s := range sites {
		topics, err := s.mq.TopicList(context.Background())
		require.NoError(t, err)
		for _, topic := range topics {
			require.NotContains(t, topic, "-from-unit-1-from-", "a copy of a copy")
			require.NotContains(t, topic, "-from-unit-2-from-", "a copy of a copy")
		}
	}
	lag, err := rs[0].Lag(context.Background())
	require.NoError(t, err)
	require.Len(t, lag, 4)
	for _, l := range lag {
		require.Zero(t, l.Messages)
		require.NoError(t, l.Err)
	}
}

func TestAnUnansweredSendIsNotRepeated(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 2)
	sites["unit-1"].produce(t, "SMS", 100)
	fault := sites["unit-2"].Inject(embedmq.Fault{Code: remoting.ReqSendBatchMessage, Drop: true, StoredButTimedOut: true, Times: 3})
	r, _ := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 5})
	syncTopic(t, r, "SMS")
	require.Positive(t, fault.Hits())
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}

func TestRestartsOfReplicatorAndTargetBroker(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 3)
	for range 3 {
		sites["unit-1"].produce(t, "SMS", 60)
		r, stop := run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, BatchMessages: 7})
		syncTopic(t, r, "SMS")
		require.NoError(t, sites["unit-2"].Kill("broker-unit-2"))
		sites["unit-1"].produce(t, "SMS", 60)
		require.NoError(t, sites["unit-2"].Restart("broker-unit-2", embedmq.KeepAll))
		syncTopic(t, r, "SMS")
		stop()
	}
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
}

func TestExpiredBeforeCopiedStopsTheQueue(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	s := sites["unit-1"]
	s.createTopic(t, "SMS", 1)
	s.produce(t, "SMS", 10)
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop()
	s.produce(t, "SMS", 20)
	require.NoError(t, s.RaiseMinOffset(remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"}, 15))

	r, stop = run(t, "unit-1", store, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := r.Sync(ctx, "SMS")
	require.ErrorIs(t, err, msha.ErrGap)
	require.ErrorContains(t, err, "offsets 10 to 14")
	stop()

	r, _ = run(t, "unit-1", store, &Options{Topics: []string{"SMS"}, OnGap: Skip})
	syncTopic(t, r, "SMS")
	copies := sites["unit-2"].readAll(t, remoting.Queue{Topic: "SMS-from-unit-1", Broker: "broker-unit-2"})
	require.Len(t, copies, 25)
}

func TestPauseHoldsOneTopic(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	for _, topic := range []string{"SMS", "MAIL"} {
		sites["unit-1"].createTopic(t, topic, 1)
	}
	r, _ := run(t, "unit-1", store, &Options{})
	syncTopic(t, r, "SMS")
	syncTopic(t, r, "MAIL")
	r.Pause("SMS")
	sites["unit-1"].produce(t, "SMS", 10)
	sites["unit-1"].produce(t, "MAIL", 10)
	syncTopic(t, r, "MAIL")
	require.Zero(t, sites["unit-2"].end(t, replicaQueue("SMS", 0)))
	r.Resume("SMS")
	syncTopic(t, r, "SMS")
	requireExact(t, store, "unit-1", "unit-2", sites, "SMS")
	requireExact(t, store, "unit-1", "unit-2", sites, "MAIL")
}

func TestUnknownOrigin(t *testing.T) {
	store := memory.New()
	startSites(t, store, "unit-1")
	r, err := New("unit-9", store, nil)
	require.NoError(t, err)
	err = r.Run(context.Background())
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.ErrorContains(t, err, "unit-1")
	_, err = New("", store, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
}

// A broker that was killed while it stored copies may keep one of them without its properties.
func TestATornCopyAtTheEndIsPassedOver(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	s := sites["unit-1"]
	s.createTopic(t, "SMS", 1)
	s.produce(t, "SMS", 10)
	r, stop := run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	stop()
	for range 2 {
		_, err := sites["unit-2"].mq.Send(t.Context(), replicaQueue("SMS", 0), "p", &remoting.Message{Body: []byte("torn")})
		require.NoError(t, err)
	}
	s.produce(t, "SMS", 10)
	r, _ = run(t, "unit-1", store, nil)
	syncTopic(t, r, "SMS")
	var copied []*remoting.Message
	for _, m := range sites["unit-2"].readAll(t, replicaQueue("SMS", 0)) {
		if string(m.Body) != "torn" {
			copied = append(copied, m)
		}
	}
	require.Len(t, copied, 20, "neither missing nor twice")
	for i, m := range copied {
		o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
		require.NoError(t, err)
		require.EqualValues(t, i, o.Offset)
	}
}
