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

var errDown = errors.New("the metastore is down")

// metastore is what an engine asks of it.
type metastore struct {
	down  atomic.Bool
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
		return enter(ctx)
	}
	m.cfg.Fresh = func(ctx context.Context) (*msha.Table, error) {
		if s.down.Load() {
			return nil, errDown
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

// The metastore is down too: the unit's log shows no newer table, so the process goes on.
func TestGateReopensByTheLog(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	m := f.join(s.gated)
	m.opens(2)
	s.down.Store(true)
	undo := f.unseen(m)
	f.waiting(m, func() { f.send("beijing", 5, home(0)) })
	undo()
	f.exact()
	require.True(t, f.out.says("joined again without the metastore", "no newer table", errDown.Error()))
}

// A switch has left its version in the log: the process stays closed until it can read that table.
func TestGateStaysClosedBehindANewerTable(t *testing.T) {
	f := start(t, 1, nil)
	s := &metastore{}
	m := f.join(s.gated)
	m.opens(2)
	s.down.Store(true)
	undo := f.unseen(m)
	f.waiting(m, func() { f.send("beijing", 5, home(0)) })
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
