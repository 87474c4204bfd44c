package consume

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/route"
)

var (
	errDown = errors.New("the metastore is down")
	errFull = errors.New("the metastore takes no writes")
)

// metastore is what an engine asks of it.
type metastore struct {
	down  atomic.Bool
	full  atomic.Bool                // nothing can be written
	hung  atomic.Bool                // nothing is answered
	table atomic.Pointer[msha.Table] // if it is newer than what the router has
}

// gated gives an engine a short gate.
func (s *metastore) gated(m *member) {
	m.cfg.GateWindow = time.Second
	enter, read := m.cfg.Enter, m.cfg.Fresh
	m.cfg.Enter = func(ctx context.Context) error {
		if s.down.Load() {
			return errDown
		}
		if s.full.Load() {
			return errFull
		}
		if s.hung.Load() {
			<-ctx.Done()
			return ctx.Err()
		}
		return enter(ctx)
	}
	m.cfg.Fresh = func(ctx context.Context) (*msha.Table, error) {
		if s.down.Load() {
			return nil, errDown
		}
		if s.hung.Load() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		t, err := read(ctx)
		if newer := s.table.Load(); newer != nil {
			return newer, err
		}
		return t, err
	}
}

// unseen makes brokers refuse what keeps an engine's gate open, and waits until it is closed. The result undoes it.
func (f *fixture) unseen(m *member) (undo func()) {
	f.Helper()
	beats := f.Inject(embedmq.Fault{Code: remoting.ReqHeartbeat, Error: remoting.RespSystemBusy})
	lists := f.Inject(embedmq.Fault{Code: remoting.ReqGetConsumerListByGroup, Error: remoting.RespSystemBusy})
	f.eventually("gate closed", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.Engine.cfg.Now().Sub(m.lastSeen) >= m.Engine.cfg.GateWindow+time.Second // and a beat that was under way is done
	})
	return func() {
		beats.Remove()
		lists.Remove()
	}
}

// waiting stores messages and waits until the engine has read them without starting one.
func (f *fixture) waiting(m *member, send func()) {
	f.Helper()
	ran := f.journal.started()
	send()
	f.eventually("read", func() bool { return m.GetOffsetDiffMap()[topic] == 5 })
	require.Equal(f, ran, f.journal.started())
}

// shutOut closes a process's gate while something of the metastore fails; five messages wait behind it. The result has brokers list it again.
func (f *fixture) shutOut(s *metastore, fails *atomic.Bool, change ...func(*member)) (m *member, undo func()) {
	f.Helper()
	m = f.join(append(change, s.gated)...)
	m.opens(2)
	fails.Store(true)
	undo = f.unseen(m)
	f.waiting(m, func() { f.send("beijing", 5, home(0)) })
	return m, undo
}

// Nobody sees this process for longer than the window: it starts nothing more, finishes what runs, and joins anew before it goes on.
func TestGateLapses(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	m := f.join(s.gated)
	f.send("beijing", 5, home(0))
	f.exact()
	undo := f.unseen(m)
	entered, read := m.enters.Load(), m.freshes.Load()
	f.waiting(m, func() { f.send("beijing", 5, home(0)) })
	require.Equal(t, read, m.freshes.Load(), "joining ends with the table")
	undo()
	f.exact()
	require.Greater(t, m.enters.Load(), entered)
	require.Greater(t, m.freshes.Load(), read)
}

// The table that is read on joining decides, whatever the watch has delivered: the routes have moved meanwhile.
func TestGateReopensUnderTheNewestTable(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	m := f.join(s.gated)
	m.opens(2)
	undo := f.unseen(m)
	f.waiting(m, func() { f.skip("beijing", 5, home(0)) })
	fenced, err := route.Fence(f.router.Table(), away)
	require.NoError(t, err)
	s.table.Store(fenced)
	undo()
	f.send("shanghai", 3, home(0))
	f.exact()
	require.Equal(t, fenced.Version, m.currentTable().Version)
}

// The metastore fails slowly, as etcd does without a quorum: it counts as down before the gate closes again.
func TestGateReopensWhileTheMetastoreHangs(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	_, undo := f.shutOut(s, &s.hung, func(m *member) { m.lim.store = 50 * time.Millisecond })
	undo()
	f.exact()
	require.True(t, f.out.says("joined again without the metastore"))
}

// A heartbeat is on its way while the gate closes: that it is answered does not open it, since a switch may have passed this process over meanwhile.
func TestHeartbeatThatOutlastsTheGate(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	var ahead atomic.Int64 // of the process's clock
	m := f.join(s.gated, func(m *member) {
		m.cfg.GateWindow = time.Hour
		m.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	m.opens(2)
	entered, read := m.enters.Load(), m.freshes.Load()
	f.Inject(embedmq.Fault{Code: remoting.ReqHeartbeat, Error: remoting.RespSystemBusy, Times: 1, Match: func(*remoting.Command) bool {
		ahead.CompareAndSwap(0, int64(50*time.Minute)) // the gate closes in ten minutes
		return true
	}})
	f.eventually("the clock has gone on", func() bool { return ahead.Load() > 0 })
	f.Inject(embedmq.Fault{Code: remoting.ReqHeartbeat, Match: func(*remoting.Command) bool {
		ahead.CompareAndSwap(int64(50*time.Minute), int64(70*time.Minute)) // it is closed before the answer
		return false
	}})
	f.eventually("joined again", func() bool { return m.enters.Load() > entered && m.freshes.Load() > read })
	f.send("beijing", 5, home(0))
	f.exact()
}

// The roster cannot be written although the table can be read: a switch that comes now would not wait for this process, so it stays out until it has
// entered.
func TestGateStaysClosedOutsideTheRoster(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	_, undo := f.shutOut(s, &s.full)
	undo()
	f.eventually("kept out", func() bool { return f.out.says("rebalance failed", "roster not entered", errFull.Error()) })
	require.Zero(t, f.journal.started())
	s.full.Store(false)
	f.exact()
}

// A process that has joined by its unit's log enters the roster once the metastore is there again.
func TestRosterIsEnteredLater(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	m, undo := f.shutOut(s, &s.down)
	entered := m.enters.Load()
	undo()
	f.exact()
	require.Equal(t, entered, m.enters.Load())
	s.down.Store(false)
	f.eventually("entered", func() bool { return m.enters.Load() == entered+1 })
}

// The metastore is down too: the unit's log shows no newer table, so the process goes on.
func TestGateReopensByTheLog(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	_, undo := f.shutOut(s, &s.down)
	undo()
	f.exact()
	require.True(t, f.out.says("joined again without the metastore", "no newer table", errDown.Error()))
}

// A switch has left its version in the log: the process stays closed until it can read that table.
func TestGateStaysClosedBehindANewerTable(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	_, undo := f.shutOut(s, &s.down)
	f.write(factLog(), filter.Record{Kind: filter.Ack, Client: "manager", Writer: "w", Version: 2})
	undo()
	f.eventually("refused", func() bool { return f.out.says("table version 1 is not the newest (2)", errDown.Error()) })
	require.Zero(t, f.journal.started())
	newer := *f.router.Table()
	newer.Version = 2
	f.router.set(newer.Index())
	s.down.Store(false)
	f.exact()
}

// A process that has never worked needs the roster and the table.
func TestStartNeedsTheMetastore(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	s.down.Store(true)
	m := f.member(s.gated)
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, m.handle))
	require.ErrorIs(t, m.Start(), errDown)
	require.ErrorIs(t, m.Start(), msha.ErrClosed)
	s.down.Store(false)
	m = f.member(s.gated, func(m *member) { m.cfg.Fresh = func(context.Context) (*msha.Table, error) { return nil, errDown } })
	require.NoError(t, m.Subscribe(topic, consumer.MessageSelector{}, m.handle))
	require.ErrorIs(t, m.Start(), errDown)
	require.EqualValues(t, 1, m.enters.Load())
}
