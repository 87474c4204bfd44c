//go:build unix

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/internal/pair"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/manager"
	"github.com/go-msha/msha/metastore/memory"
	"github.com/go-msha/msha/metastore/open"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

const (
	unit1 = "unit-1"
	unit2 = "unit-2"

	topic  = "SMS"
	group  = "channel"
	queues = 4
	agents = 2   // consumers of each unit
	size   = 200 // bytes of a body
)

var (
	units  = []string{unit1, unit2}
	moving = []string{"guangzhou", "shenzhen"} // unit-2's in the beginning
	still  = []string{"beijing", "shanghai"}   // unit-1's
	quiet  = slog.New(slog.DiscardHandler)
)

func other(unit string) string {
	if unit == unit1 {
		return unit2
	}
	return unit1
}

// world is two units with all that runs in them. Servers are processes of their own, unless they are embedded; all else is in this one.
type world struct {
	clusters *pair.Clusters
	store    msha.MetaStore
	journal  *journal
	manager  *manager.Manager
	copying  map[string]*replicate.Replicator // by origin
	crew     map[string][]rocketmq.PushConsumer
	work     atomic.Int64    // nanoseconds a handler takes
	patience time.Duration   // until something that has to come is called missing
	ends     []func() error  // of servers
	leaves   []func() error  // of what runs in the units
	running  context.Context // ends before leaves are called
	cancel   context.CancelFunc
}

func start(ctx context.Context, embedded bool, patience time.Duration) (_ *world, err error) {
	w := &world{patience: patience, journal: newJournal(append(moving, still...)...), copying: map[string]*replicate.Replicator{}, crew: map[string][]rocketmq.PushConsumer{}}
	w.running, w.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	// Disks are not what is measured: few, large files are created.
	w.clusters, err = pair.Start(ctx, units, pair.Options{Embedded: embedded, Config: map[string]string{
		"mappedFileSizeCommitLog": fmt.Sprint(256 << 20), "mappedFileSizeConsumeQueue": "6000000", "maxIndexNum": "4000000", "maxHashSlotNum": "1000000",
	}})
	if err != nil {
		return nil, err
	}
	w.ends = append(w.ends, func() error { w.clusters.Stop(); return nil })
	if err := w.openStore(ctx, embedded); err != nil {
		return nil, err
	}
	if err := w.clusters.CreateTopic(ctx, topic, queues); err != nil {
		return nil, err
	}
	return w, w.populate(ctx)
}

func (w *world) openStore(ctx context.Context, embedded bool) error {
	if embedded {
		w.store = memory.New()
		w.ends = append(w.ends, w.store.Close)
		return nil
	}
	etcd, err := realstore.StartEtcd(ctx, nil)
	if err != nil {
		return err
	}
	w.ends = append(w.ends, func() error { etcd.Stop(); return nil })
	if w.store, err = open.Open(ctx, "etcd://"+etcd.Addr(), &open.Options{Logger: quiet}); err != nil {
		return err
	}
	w.ends = append(w.ends, w.store.Close)
	return nil
}

// populate starts replicators, consumers and the manager.
func (w *world) populate(ctx context.Context) error {
	infos := &msha.Units{}
	for _, unit := range units {
		infos.Units = append(infos.Units, msha.UnitInfo{Name: unit, NameServers: []string{w.clusters.NameServers[unit]}, State: "live"})
	}
	table, err := route.New(units, map[string][]string{unit1: still, unit2: moving})
	if err != nil {
		return err
	}
	if err := route.Init(ctx, w.store, table, infos); err != nil {
		return err
	}
	for _, unit := range units {
		if err := w.replicate(unit); err != nil {
			return err
		}
		for range agents {
			u, c, err := w.join(ctx, unit, group, topic, 0)
			if err != nil {
				return err
			}
			w.crew[unit] = append(w.crew[unit], c)
			w.leaves = append(w.leaves, func() error { return u.Close(context.WithoutCancel(ctx)) })
		}
	}
	w.manager, err = manager.New(ctx, w.store, &manager.Options{Logger: quiet, TakeOverTimeout: w.patience})
	if err == nil {
		w.leaves = append(w.leaves, w.manager.Close)
	}
	return err
}

func (w *world) replicate(origin string) error {
	r, err := replicate.New(origin, w.store, &replicate.Options{Topics: []string{topic}, Logger: quiet})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(w.running) }()
	w.copying[origin] = r
	w.leaves = append(w.leaves, func() error { return <-ended })
	return nil
}

// join starts a consumer in a process of its own, as far as the toolkit can tell. publishEvery 0: as usual.
func (w *world) join(ctx context.Context, unit, group, topic string, publishEvery time.Duration) (*agent.Unit, rocketmq.PushConsumer, error) {
	u, err := agent.Join(ctx, unit, w.store, &agent.Options{Logger: quiet, PublishEvery: publishEvery})
	if err != nil {
		return nil, nil, err
	}
	c, err := u.NewPushConsumer(consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err == nil {
		err = c.Subscribe(topic, consumer.MessageSelector{}, w.handler(unit))
	}
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, nil, errors.Join(err, u.Close(context.WithoutCancel(ctx)))
	}
	return u, c, nil
}

func (w *world) handler(unit string) func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	journal := w.journal
	return func(_ context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range ms {
			r := run{unit: unit, start: time.Now()}
			if work := w.work.Load(); work > 0 {
				time.Sleep(time.Duration(work))
			}
			r.end = time.Now()
			id := -1
			if len(m.Body) == size {
				id = int(binary.BigEndian.Uint64(m.Body))
			}
			journal.ran(id, m.GetProperty(msha.PropertyRoute), r)
		}
		return consumer.ConsumeSuccess, nil
	}
}

// leave ends what runs in the units; the servers go on.
func (w *world) leave() (all error) {
	w.cancel()
	for i := len(w.leaves) - 1; i >= 0; i-- {
		all = errors.Join(all, w.leaves[i]())
	}
	w.leaves = nil
	return all
}

func (w *world) stop() error {
	all := w.leave()
	for i := len(w.ends) - 1; i >= 0; i-- {
		all = errors.Join(all, w.ends[i]())
	}
	return all
}

// send sends messages of a value as one batch to some queue of a unit.
func (w *world) send(ctx context.Context, unit, topic, value string, ids span) error {
	ms := make([]*remoting.Message, ids.len())
	for i := range ms {
		body := make([]byte, size)
		binary.BigEndian.PutUint64(body, uint64(ids.from+i))
		ms[i] = &remoting.Message{Body: body, Properties: map[string]string{
			"UNIQ_KEY": fmt.Sprintf("7F0000010B7818B4AAC2%012X", ids.from+i), "WAIT": "true", msha.PropertyRoute: value, msha.PropertyUnit: unit,
		}}
	}
	q := remoting.Queue{Topic: topic, Broker: "broker-" + unit, ID: rand.IntN(queues)}
	_, err := w.clusters.ByUnit[unit].SendBatch(ctx, q, "mtr", ms)
	w.journal.answered(ids, err == nil)
	return err
}

// flow sends perSecond messages a second in each unit, of all values in turn, until stop is called. A send that fails is not repeated: nobody
// knows whether it was stored.
func (w *world) flow(ctx context.Context, perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, unit := range units {
		wg.Go(func() {
			values, begun := append(moving[:len(moving):len(moving)], still...), time.Now()
			for i := 0; sleep(ctx, time.Until(begun.Add(time.Duration(i)*time.Second/time.Duration(perSecond)))) == nil; i++ {
				w.send(context.WithoutCancel(ctx), unit, topic, values[i%len(values)], w.journal.numbers(1)) //nolint:errcheck // noted in the journal
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// move switches values and fails unless they have moved and nothing is left to take over.
func (w *world) move(ctx context.Context, to string, values ...string) (*switchplan.Report, error) {
	report, err := w.manager.Switch(ctx, msha.SwitchRequest{Values: values, To: to, Deadline: time.Minute})
	switch {
	case err != nil:
		return nil, err
	case report.Pending > 0:
		return nil, fmt.Errorf("%s", report)
	}
	return report, nil
}

// await waits until the messages of a span were processed.
func (w *world) await(ctx context.Context, s span) error {
	select {
	case <-w.journal.processed(s):
		return nil
	case <-time.After(w.patience):
		return fmt.Errorf("not processed within %v: %s", w.patience, w.journal.count())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits until all that is known to be stored was processed, and a little longer, for what may come twice. What is lost stays away.
func (w *world) settle(ctx context.Context) count {
	const calm = 3 * time.Second
	last, since, begun := w.journal.count(), time.Now(), time.Now()
	for time.Since(since) < calm || last.lost > 0 && time.Since(begun) < time.Minute {
		if sleep(ctx, 100*time.Millisecond) != nil {
			break
		}
		if c := w.journal.count(); c != last {
			last, since = c, time.Now()
		}
	}
	return last
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
