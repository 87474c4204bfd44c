package replicate

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestThreeShareEvenlyJoinAndLeave(t *testing.T) {
	f := startFleet(t)
	stop := f.sending()
	a := f.worker(patient)
	f.balanced(1)
	f.each(1, a)
	b, c := f.worker(patient), f.worker(patient)
	f.balanced(3)
	f.each(1, a, b, c)
	b.stop()
	f.balanced(2)
	f.each(1, a, c)
	d := f.worker(patient)
	f.balanced(3)
	f.each(1, a, c, d)
	a.stop()
	c.stop()
	f.balanced(1)
	stop()
	syncTopic(t, d.Replicator, "SMS")
	require.Empty(t, f.exact(), "graceful moves repeat nothing")
}

func TestAKilledOnesWorkMovesWithinALease(t *testing.T) {
	f := startFleet(t)
	stop := f.sending()
	a, b, c := f.worker(), f.worker(), f.worker()
	f.balanced(3)
	killed := time.Now()
	b.kill()
	f.balanced(2)
	took := time.Since(killed)
	t.Logf("taken over after %v with a lease of %v", took, fleetLease)
	require.Greater(t, took, fleetLease/2, "the lease was waited for")
	require.Less(t, took, 10*fleetLease)
	f.each(1, a, c)
	stop()
	syncTopic(t, c.Replicator, "MAIL")
	f.requireRepeats(f.exact(), 1)
}

func TestSyncWaitsForWhatOthersCopy(t *testing.T) {
	f := startFleet(t)
	a, b := f.worker(patient), f.worker(patient)
	f.balanced(2)
	f.each(1, a, b)
	f.send(300)
	for _, topic := range fleetTopics {
		syncTopic(t, a.Replicator, topic)
	}
	require.Empty(t, f.exact())
}

func TestWithoutTheMetastoreCopyingGoesOnBeyondTheLease(t *testing.T) {
	f := startFleet(t)
	a := f.worker()
	f.balanced(1)
	f.send(60)
	f.exact()
	a.link.cut.Store(true)
	stop := f.sending()
	eventually(t, "the lease ends", func() bool { return a.mode() != trusted })
	eventually(t, "it goes on with care", func() bool { return a.mode() == careful })
	before := f.sent.Load()
	eventually(t, "messages flow", func() bool { return f.sent.Load() > before+500 })
	stop()
	require.Empty(t, f.exact(), "with the metastore still away")
	a.link.cut.Store(false)
	eventually(t, "it has a lease again", func() bool { return a.mode() == trusted })
	f.balanced(1)
	f.send(60)
	require.Empty(t, f.exact())
}

// mode is what the pipes of a worker may do.
func (w *worker) mode() mode {
	for _, p := range w.list("") {
		return p.turn.look()
	}
	return doubt
}

func TestOneCutOffFromTheMetastoreStopsWhenItMeetsItsSuccessor(t *testing.T) {
	f := startFleet(t)
	a := f.worker()
	f.balanced(1)
	stop := f.sending()
	b := f.worker()
	f.balanced(2)
	f.each(1, a, b)
	a.link.cut.Store(true)
	eventually(t, "b has everything", func() bool {
		c := f.crew()
		return len(c.Members) == 1 && len(c.owned(c.Members[0].Session)) == fleetShares
	})
	rest(t, 2*fleetLease)
	eventually(t, "it still would like to", func() bool { return a.mode() == careful })
	a.link.cut.Store(false)
	f.balanced(2)
	f.each(1, a, b)
	stop()
	f.requireRepeats(f.exact(), 4)
}

// rest lets traffic flow for a while.
func rest(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}

func TestTwoWithoutMetastoreTakeTurns(t *testing.T) {
	f := startFleet(t)
	a := f.worker()
	f.balanced(1)
	f.send(60)
	f.exact()
	a.link.cut.Store(true)
	b := f.worker()
	eventually(t, "b has everything", func() bool {
		c := f.crew()
		return len(c.Members) == 1 && len(c.owned(c.Members[0].Session)) == fleetShares
	})
	f.each(1, b)
	b.link.cut.Store(true)
	eventually(t, "both have no lease", func() bool { return a.mode() == careful && b.mode() == careful })
	stop := f.sending()
	rest(t, 2*fleetLease)
	stop()
	f.requireRepeats(f.exact(), 4)
	a.link.cut.Store(false)
	b.link.cut.Store(false)
	f.balanced(2)
	f.each(1, a, b)
	f.send(60)
	f.exact()
}

// unsafeLink is a store that does not keep its promises.
type unsafeLink struct{ *storeLink }

func (unsafeLink) Safe() error { return msha.Errorf("test", "store", "", "%w", msha.ErrUnsafe) }

func TestOnAnUnsafeStoreOneCopiesAlone(t *testing.T) {
	f := startFleet(t)
	f.send(60)
	o := fleetOptions()
	r, err := New("unit-1", unsafeLink{&storeLink{Store: f.store}}, o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	require.Empty(t, f.exact())
	cancel()
	wg.Wait()
	require.Empty(t, f.crew().Members)
}
