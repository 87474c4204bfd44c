package consume

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/metastore/memory"
)

// losses is the unit's document of incarnations.
type losses struct {
	f  *fixture
	mu sync.Mutex
	in *msha.Incarnations

	store   *memory.Store
	changed chan struct{}
}

func newLosses(f *fixture) *losses {
	return &losses{f: f, store: memory.New(), changed: make(chan struct{})}
}

func (l *losses) known(m *member) {
	m.cfg.Incarnations = func() (*msha.Incarnations, <-chan struct{}) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.in, l.changed
	}
	m.lim.settle = 300 * time.Millisecond
}

// raise is what a replicator does that had copied the queue up to an offset.
func (l *losses) raise(from, copied int64) {
	l.f.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	in, raised, err := msha.Raise(l.f.ctx, l.store, from, msha.Origin{OriginQueue: l.in.At(origin(home(0)), copied), Offset: copied}, "")
	require.NoError(l.f, err)
	require.True(l.f, raised)
	l.in = in
	close(l.changed)
	l.changed = make(chan struct{})
}

// The broker loses its tail and stores other messages under its offsets; a replicator raises the incarnation. All that is there now is
// processed, and nothing again.
func TestIncarnationRaised(t *testing.T) {
	for name, c := range map[string]struct {
		after  int  // messages stored before the incarnation is raised
		leaves bool // the consumer, before the loss; another one joins at last
		late   bool // it joins before the incarnation is raised
	}{
		"nothing follows": {0, false, false}, "a few follow": {2, false, false}, "more follow": {6, false, false},
		"another process": {6, true, false}, "another process, a few follow": {2, true, false},
		"another process waits": {2, true, true}, "another process does not know": {6, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, nil)
			l := newLosses(f)
			m := f.join(l.known)
			f.send("beijing", 10, home(0))
			f.exact()
			if c.leaves {
				m.leave()
			}
			f.restart(broker, embedmq.LoseTail(3, topic))
			f.send("beijing", c.after, home(0))
			if c.leaves && c.late {
				f.join(l.known)
				f.eventually("the queue is looked at", func() bool {
					return f.out.says("queue not opened", "committed offset 10, the queue ends at 9") || f.out.says("queue acquired", "SMS", "offset=10")
				})
			}
			l.raise(7, 9)
			if c.leaves && !c.late {
				f.join(l.known)
			}
			f.exact()
			f.send("beijing", 5, home(0))
			f.exact()
			q := origin(home(0))
			require.Equal(t, "[0,10)", f.facts().Done(filter.Key{Set: unit, Term: 1}, q).Below(10).String())
			q.Incarnation = 1
			require.Equal(t, fmt.Sprintf("[7,%d)", 12+c.after), f.facts().Done(filter.Key{Set: unit, Term: 1}, q).String())
			base, ok := f.facts().Baseline(q)
			require.True(t, ok)
			require.EqualValues(t, 7, base)
		})
	}
}

// A consumer that had not read what was lost reads what was stored instead before anybody knows of the loss: it is not repeated.
func TestIncarnationRaisedBehindTheConsumer(t *testing.T) {
	f := start(t, 1, nil)
	l := newLosses(f)
	m := f.join(l.known)
	f.send("beijing", 13, home(0)) // of which the replicator had others from 7 to 9
	f.exact()
	l.raise(7, 9)
	f.eventually("taken again", func() bool { return f.out.says("queue has a new incarnation", "SMS/broker-a/0") })
	f.send("beijing", 3, home(0))
	f.exact()
	m.leave()
	f.join(l.known)
	f.send("beijing", 3, home(0))
	f.exact()
	q := origin(home(0))
	q.Incarnation = 1
	require.Equal(t, "[7,19)", f.facts().Done(filter.Key{Set: unit, Term: 1}, q).String())
}

// The loss repeats itself, also below the one before.
func TestIncarnationsRaised(t *testing.T) {
	f := start(t, 1, nil)
	l := newLosses(f)
	f.join(l.known)
	end := int64(0)
	for i, cut := range []int{3, 2, 9, 1, 4} {
		f.send("beijing", 10-i, home(0))
		end += int64(10 - i)
		f.exact()
		f.restart(broker, embedmq.LoseTail(cut, topic))
		f.send("beijing", i, home(0))
		l.raise(end-int64(cut), end-1)
		f.exact()
		end += int64(i - cut)
	}
}

// Copies of several incarnations are in a replica queue, some of which nobody here has processed: each is read again where it is.
func TestReplicaOfSeveralIncarnations(t *testing.T) {
	f := start(t, 1, nil)
	f.topic(replicaTopic, 1)
	f.topic(copyOfLog.Topic, 1)
	f.foreignBaseline(2)
	m := f.join(both)
	m.opens(3)
	put := func(incarnation, from, to int64, wanted bool) {
		for off := from; off < to; off++ {
			o := msha.Origin{OriginQueue: foreign(), Offset: off}
			o.Incarnation = incarnation
			key := o.String()
			msg := message(key, "guangzhou")
			msg.Properties[msha.PropertyUnit], msg.Properties[msha.PropertyOrigin] = other, o.Encode()
			f.put(replica, msg)
			if wanted {
				f.expect(key)
			}
		}
	}
	put(0, 0, 2, false)
	put(0, 2, 10, true)
	put(1, 7, 12, true)
	put(2, 3, 5, true)
	f.eventually("acknowledged", func() bool { return f.acknowledged(replicaTopic) })
	require.Zero(t, f.journal.started(), "guangzhou is the other unit's")
	table := *f.router.Table()
	table.Version++
	table.Sets = map[string]msha.RouteSet{}
	for name, s := range f.router.Table().Sets {
		s.Owner = unit
		table.Sets[name] = s
	}
	f.router.set(table.Index())
	f.eventually("read again", func() bool { return f.journal.succeeded() >= 15 && f.journal.running() == 0 })
	put(2, 5, 9, true)
	f.eventually("all", func() bool { return f.journal.succeeded() >= 19 && f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(f.keys()))
}

// The broker loses the tail of a replica queue and the replicator fills it again: what was processed is not repeated, the rest goes on.
func TestReplicaQueueLostItsTail(t *testing.T) {
	f := start(t, 1, nil)
	f.copies()
	f.join(both, func(m *member) { m.lim.settle = 300 * time.Millisecond })
	keys := copied(f, replica, "beijing", 0, 10)
	f.eventually("processed", func() bool { return f.journal.succeeded() == 10 && f.acknowledged(replicaTopic) })
	f.restart(broker, embedmq.LoseTail(3, replicaTopic))
	copied(f, replica, "beijing", 7, 3)
	keys = append(keys, copied(f, replica, "beijing", 10, 4)...)
	f.eventually("the rest", func() bool { return f.journal.succeeded() >= 14 && f.acknowledged(replicaTopic) })
	require.Empty(t, f.journal.wrong(keys))
}
