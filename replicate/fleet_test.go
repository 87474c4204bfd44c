package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

var errCut = errors.New("the metastore is out of reach")

// storeLink is one process's way to the metastore, which can be cut.
type storeLink struct {
	*memory.Store
	cut atomic.Bool
}

func (l *storeLink) Get(ctx context.Context, key string) (msha.Document, error) {
	if l.cut.Load() {
		return msha.Document{}, errCut
	}
	return l.Store.Get(ctx, key)
}

func (l *storeLink) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return l.Get(ctx, key)
}

func (l *storeLink) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if l.cut.Load() {
		return 0, errCut
	}
	return l.Store.Put(ctx, key, value, expect)
}

func (l *storeLink) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	if l.cut.Load() {
		return nil, errCut
	}
	in, err := l.Store.Watch(ctx, key)
	if err != nil {
		return nil, err
	}
	out := make(chan msha.Document)
	go func() {
		defer close(out)
		for doc := range in {
			if l.cut.Load() {
				return
			}
			select {
			case out <- doc:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// fleet is several replicators of unit-1, which has two brokers and three topics.
type fleet struct {
	*testing.T
	store *memory.Store
	sites map[string]*site
	sent  atomic.Int64
}

const (
	fleetLease = 3 * time.Second
	fleetBatch = 8
	// fleetShares are 2 brokers × 3 topics and the fact log, which was not created.
	fleetShares = 6
)

var fleetTopics = []string{"SMS", "MAIL", "PUSH"}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{T: t, store: memory.New(), sites: map[string]*site{}}
	client := remoting.NewClient(nil)
	t.Cleanup(client.Close)
	units := msha.Units{}
	for name, brokers := range map[string][]string{"unit-1": {"broker-a", "broker-b"}, "unit-2": {"broker-c"}} {
		c, err := embedmq.Start(&embedmq.Options{Brokers: brokers})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		f.sites[name] = &site{c, remoting.NewCluster([]string{c.NameServer()}, client)}
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: []string{c.NameServer()}, State: "live"})
	}
	value, err := json.Marshal(units)
	require.NoError(t, err)
	_, err = f.store.Put(context.Background(), msha.UnitsKey, value, 0)
	require.NoError(t, err)
	for _, topic := range fleetTopics {
		f.sites["unit-1"].createTopic(t, topic, 2)
	}
	return f
}

func fleetOptions() *Options {
	return &Options{
		Topics: fleetTopics, Discover: 50 * time.Millisecond, Lease: fleetLease, BatchMessages: fleetBatch, timeout: 3 * time.Second, noPlace: true,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// patient workers lose no lease on a slow machine, and who waited for the end of theirs would wait for too long.
func patient(o *Options) { o.Lease = patience }

// worker is one replicator in this process.
type worker struct {
	*Replicator
	link *storeLink
	stop func() // gracefully
}

func (f *fleet) worker(change ...func(*Options)) *worker {
	f.Helper()
	o := fleetOptions()
	for _, c := range change {
		c(o)
	}
	w := &worker{link: &storeLink{Store: f.store}}
	r, err := New("unit-1", w.link, o)
	require.NoError(f, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	w.Replicator = r
	w.stop = func() {
		if cancel != nil {
			cancel()
			cancel = nil
			require.NoError(f, <-done)
		}
	}
	f.Cleanup(w.stop)
	return w
}

// kill ends a worker without a trace in the metastore.
func (w *worker) kill() {
	w.link.cut.Store(true)
	w.stop()
}

func (f *fleet) crew() crew {
	f.Helper()
	doc, err := f.store.Get(context.Background(), crewKey("unit-1"))
	if errors.Is(err, msha.ErrNotFound) {
		return crew{}
	}
	require.NoError(f, err)
	c, err := parseCrew(doc.Key, doc.Value)
	require.NoError(f, err)
	return c
}

// balanced waits until n members have all shares evenly.
func (f *fleet) balanced(n int) {
	f.Helper()
	eventually(f.T, fmt.Sprintf("%d members share evenly", n), func() bool {
		c := f.crew()
		ls := loads(&c)
		return len(ls) == n && len(c.Members) == n && len(c.Shares) == fleetShares && len(c.owned("")) == 0 && ls[n-1]-ls[0] <= 1
	})
}

// copiers is by how many workers each queue is copied.
func copiers(workers ...*worker) map[remoting.Queue]int {
	n := map[remoting.Queue]int{}
	for _, w := range workers {
		for _, p := range w.list("") {
			n[p.source]++
		}
	}
	return n
}

func (f *fleet) each(times int, workers ...*worker) {
	f.Helper()
	eventually(f.T, "each queue has one copier", func() bool {
		n := copiers(workers...)
		for _, c := range n {
			if c != times {
				return false
			}
		}
		return len(n) == 2*fleetShares
	})
}

// send stores n messages, over all queues in turn.
func (f *fleet) send(n int) {
	f.Helper()
	for range n {
		i := int(f.sent.Add(1))
		q := remoting.Queue{Topic: fleetTopics[i%3], Broker: []string{"broker-a", "broker-b"}[i/3%2], ID: i / 6 % 2}
		_, err := f.sites["unit-1"].mq.Send(context.Background(), q, "p", &remoting.Message{Body: fmt.Appendf(nil, "message %d", i)})
		require.NoError(f, err)
	}
}

// sending sends all the time.
func (f *fleet) sending() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			f.send(24)
			sleep(ctx, 5*time.Millisecond)
		}
	}()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	f.Cleanup(stop)
	return stop
}

// exact waits until everything is copied, and checks that every replica queue is its origin queue after dropping repeats. It returns the
// number of repeats per queue.
func (f *fleet) exact() map[remoting.Queue]int {
	f.Helper()
	layout := func() Layout {
		doc, err := f.store.Get(context.Background(), msha.LayoutKey+".unit-1.unit-2")
		if errors.Is(err, msha.ErrNotFound) {
			return Layout{}
		}
		require.NoError(f, err)
		l, err := parseLayout("", doc.Value)
		require.NoError(f, err)
		return l
	}
	repeats := map[remoting.Queue]int{}
	for _, topic := range fleetTopics {
		queues, err := f.sites["unit-1"].mq.Queues(context.Background(), topic, false)
		require.NoError(f, err)
		for _, q := range queues {
			want := f.sites["unit-1"].end(f.T, q)
			var target remoting.Queue
			eventually(f.T, "all of "+q.String()+" is copied", func() bool {
				var ok bool
				if target, ok = layout().find(q); !ok {
					return false
				}
				tail, _, err := lastCopy(context.Background(), f.sites["unit-2"].mq, target, fleetBatch)
				return err == nil && nextOf(tail, nil) == want
			})
			next := int64(0)
			for _, m := range f.sites["unit-2"].readAll(f.T, target) {
				o, err := msha.ParseOrigin(m.Properties[msha.PropertyOrigin])
				require.NoError(f, err)
				require.LessOrEqual(f, o.Offset, next, "%s: a hole, or out of order", target)
				if o.Offset < next {
					repeats[q]++
					continue
				}
				next++
			}
			require.Equal(f, want, next, q.String())
		}
	}
	return repeats
}

// requireRepeats checks that no queue has more repeats than one batch for each move.
func (f *fleet) requireRepeats(repeats map[remoting.Queue]int, moves int) {
	f.Helper()
	for q, n := range repeats {
		require.LessOrEqual(f, n, moves*fleetBatch, q.String())
	}
	f.Logf("%d messages; repeats: %v", f.sent.Load(), repeats)
}
