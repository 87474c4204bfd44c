package replicate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

type fakeLease struct{ err error }

func (l *fakeLease) Check() error { return l.err }

func TestRightToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held, tu := &fakeLease{}, newTurn()
		require.Equal(t, doubt, tu.look(), "no lease yet")
		tu.hold(held)
		require.Equal(t, trusted, tu.look())
		held.err = errors.New("lost")
		require.Equal(t, doubt, tu.look(), "the metastore was not asked yet: this is where a frozen process wakes")
		waited := make(chan mode)
		go func() {
			m, err := tu.wait(t.Context())
			require.NoError(t, err)
			waited <- m
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Fatal("nothing may be sent")
		default:
		}
		tu.allow(time.Now().Add(time.Second))
		require.Equal(t, careful, <-waited)
		time.Sleep(time.Second)
		require.Equal(t, doubt, tu.look(), "what was learned does not last: it may have been frozen since")
		tu.hold(&fakeLease{})
		require.Equal(t, trusted, tu.look())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := tu.wait(ctx)
		require.Equal(t, context.Canceled, err)
		require.Equal(t, trusted, (*turn)(nil).look())

		start := time.Now()
		tu.pause(t.Context(), time.Hour)
		require.Zero(t, time.Since(start), "a trusted lease needs no pause")
		tu.hold(held)
		tu.pause(t.Context(), time.Hour)
		require.Equal(t, time.Hour, time.Since(start))
	})
}

func TestALateBatchOfAReplacedProcessHidesNoCopies(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-1"].createTopic(t, "SMS", 1)
	sites["unit-1"].produce(t, "SMS", 100)
	o := func() *Options { return &Options{Topics: []string{"SMS"}, BatchMessages: 10} }
	r, stop := run(t, "unit-1", store, o())
	syncTopic(t, r, "SMS")
	stop()
	q := replicaQueue("SMS", 0)
	from := msha.OriginQueue{Unit: "unit-1", Broker: "broker-unit-1", Topic: "SMS"}
	originals := sites["unit-1"].readAll(t, remoting.Queue{Topic: "SMS", Broker: "broker-unit-1"})
	var late []*remoting.Message
	for _, m := range originals[40:50] {
		m.SysFlag, m.Body = 0, nil // what it holds does not matter
		late = append(late, copyOf(m, from, q.Topic))
	}
	_, err := sites["unit-2"].mq.SendBatch(ctx, q, "p", late)
	require.NoError(t, err)
	tail, end, err := lastCopy(ctx, sites["unit-2"].mq, q, 10)
	require.NoError(t, err)
	require.EqualValues(t, 110, end)
	require.EqualValues(t, 100, nextOf(tail, nil))

	sites["unit-1"].produce(t, "SMS", 5)
	r, _ = run(t, "unit-1", store, o())
	syncTopic(t, r, "SMS")
	require.EqualValues(t, 115, sites["unit-2"].end(t, q), "50 to 99 are not copied again")
}

func TestAForeignWriteEndsACarefulSessionOnly(t *testing.T) {
	store := memory.New()
	sites := startSites(t, store, "unit-1", "unit-2")
	sites["unit-2"].createTopic(t, "SMS-from-unit-1", 1)
	o := (&Options{}).withDefaults()
	p := &pipe{target: replicaQueue("SMS", 0), opts: &o, log: o.Logger, turn: newTurn()}
	s := &session{pipe: p, remote: sites["unit-2"].mq, end: 0}
	p.turn.always = true
	right, err := s.mayWrite(t.Context())
	require.NoError(t, err)
	require.Equal(t, careful, right)
	require.NoError(t, s.wrote(0, 3, careful))
	require.EqualValues(t, 3, s.end)
	require.ErrorIs(t, s.wrote(4, 2, careful), errForeign)
	require.EqualValues(t, 6, s.end)
	require.NoError(t, s.wrote(9, 1, trusted), "a batch that was on its way: the rightful owner goes on")

	s.end = 0
	sites["unit-2"].produce(t, "SMS-from-unit-1", 1)
	_, err = s.mayWrite(t.Context())
	require.ErrorIs(t, err, errForeign, "seen before anything is sent")
	p.turn.hold(&fakeLease{})
	_, err = s.mayWrite(t.Context())
	require.NoError(t, err)
}
