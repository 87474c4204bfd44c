package nacos

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/nacostest"
)

func TestAWatchSurvivesRestartAndLostConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	log := &logtest.Log{}
	o := quick()
	o.Poll, o.Logger = time.Hour, log.Logger()
	watcher, writer := open(t, s.Addr(), o), open(t, s.Addr(), quick())
	r := put(t, writer, "k", "0", 0)
	ch, err := watcher.Watch(t.Context(), "k")
	require.NoError(t, err)
	await(t, ch, 0, r)
	for i, disturb := range []func(){s.DropConnections, func() { require.NoError(t, s.Restart()) }} {
		disturb()
		last := r
		eventually(t, "written", func() bool { // the connection may be lost under the first attempt
			d, err := writer.GetFresh(t.Context(), "k")
			if err == nil {
				r, err = writer.Put(t.Context(), "k", []byte{byte('1' + i)}, d.Revision)
			}
			return err == nil
		})
		await(t, ch, last, r)
		eventually(t, "noticed", func() bool { return log.Count("metastore is back") == i+1 })
		require.Equal(t, i+1, log.Count("metastore lost"), log.String())
	}
}

// TestACutOfTenSeconds: nothing arrives, and nothing says so. One line on the loss, one on the recovery, few attempts in between.
func TestACutOfTenSeconds(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	log := &logtest.Log{}
	o, p := behind(t, s.GRPCAddr(), quick())
	o.Poll, o.RequestTimeout, o.Logger = time.Hour, 3*time.Second, log.Logger()
	cut, writer := open(t, s.Addr(), o), open(t, s.Addr(), quick())
	r := put(t, writer, "k", "0", 0)
	ch, err := cut.Watch(t.Context(), "k")
	require.NoError(t, err)
	await(t, ch, 0, r)
	leave, err := cut.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	began, before := time.Now(), p.Accepted()
	p.Blackhole()
	over := time.After(10 * time.Second)
	last := r
	for range 20 {
		r = put(t, writer, "k", "during", r)
	}
	_, err = cut.Get(t.Context(), "k")
	require.ErrorContains(t, err, "nacos")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = cut.Put(ctx, "k", []byte("lost"), r)
	require.Equal(t, context.DeadlineExceeded, err)
	<-over
	eventually(t, "silence is noticed", func() bool { return log.Count("metastore lost") > 0 })
	p.Cut()
	require.Less(t, p.Accepted()-before, few(began), "attempts to connect during the cut")
	p.Heal()
	require.Equal(t, "during", string(await(t, ch, last, r).Value))
	eventually(t, "one line on the recovery", func() bool { return log.Count("metastore is back") == 1 })
	require.Equal(t, 1, log.Count("metastore lost"), log.String())
	require.NoError(t, leave(t.Context()))
}

// few attempts to connect are these; a loop without pause would make thousands.
func few(since time.Time) int { return 15 + int(time.Since(since)/time.Second) }

func TestAServerThatIsDownIsTriedWithPatience(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o, p := behind(t, s.GRPCAddr(), quick())
	log := &logtest.Log{}
	o.Logger = log.Logger()
	a := open(t, s.Addr(), o)
	r := put(t, a, "k", "0", 0)
	ch, err := a.Watch(t.Context(), "k")
	require.NoError(t, err)
	await(t, ch, 0, r)
	began, before := time.Now(), p.Accepted()
	s.Kill()
	time.Sleep(5 * time.Second)
	require.Less(t, p.Accepted()-before, few(began))
	require.NoError(t, s.Restart())
	eventually(t, "back", func() bool { return log.Count("metastore is back") == 1 })
	require.Equal(t, 1, log.Count("metastore lost"), log.String())
	require.Greater(t, put(t, a, "k", "1", r), r)
}

func TestCloseDoesNotWaitForADeadServer(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o, p := behind(t, s.GRPCAddr(), quick())
	o.RequestTimeout, o.DialTimeout = time.Hour, time.Hour
	a := open(t, s.Addr(), o)
	put(t, a, "k", "0", 0)
	ch, err := a.Watch(t.Context(), "k")
	require.NoError(t, err)
	members, err := a.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	_, err = a.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	p.Blackhole()
	failed := make(chan error, 1)
	go func() {
		_, err := a.Get(context.Background(), "k")
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond) // the Get is under way, or will find the store closed: the same answer
	began := time.Now()
	require.NoError(t, a.Close())
	require.Less(t, time.Since(began), patience)
	require.ErrorIs(t, <-failed, msha.ErrClosed)
	for range ch { //nolint:revive // until it is closed
	}
	for range members { //nolint:revive // until it is closed
	}
}

func TestASilentClientGivesASignOfLife(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{KeepAlive: 6 * time.Second}) // it has a quarter of that to answer
	o := quick()
	o.KeepAlive = time.Hour // so the server has to ask
	a := open(t, s.Addr(), o)
	eventually(t, "asked", func() bool { return s.Requests()["ClientDetectionRequest"] >= 2 })
	require.Equal(t, 1, s.Requests()["ConnectionSetupRequest"], "the client answered the first time, so the connection is the same")
	put(t, a, "k", "v", 0)
}

// TestALostAnswerIsNoConflict: repeating a write whose answer got lost would find it done and call it a conflict.
func TestALostAnswerIsNoConflict(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o, p := behind(t, s.GRPCAddr(), quick())
	a, b := open(t, s.Addr(), o), open(t, s.Addr(), quick())
	r := put(t, a, "k", "one", 0)
	s.Set(func(f *nacostest.Faults) { f.LostAnswers = true })
	failed := make(chan error, 1)
	go func() {
		_, err := a.Put(t.Context(), "k", []byte("two"), r)
		failed <- err
	}()
	eventually(t, "stored", func() bool {
		content, _ := s.Content("", defaultGroup, "k")
		return content == encode(uint64(r)+1, []byte("two"), true).raw
	})
	s.Set(func(f *nacostest.Faults) { f.LostAnswers = false })
	p.Cut()
	p.Heal()
	err := <-failed
	require.ErrorContains(t, err, "whether it was carried out is unknown")
	require.NotErrorIs(t, err, msha.ErrConflict)
	d, err := b.GetFresh(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "two", string(d.Value))
}

func TestAWriteWithoutAnAnswerSaysThatItIsUnknown(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o := quick()
	o.RequestTimeout = 5 * time.Second
	a := open(t, s.Addr(), o)
	r := put(t, a, "k", "one", 0)
	s.Set(func(f *nacostest.Faults) { f.LostAnswers = true })
	_, err := a.Put(t.Context(), "k", []byte("two"), r)
	require.ErrorContains(t, err, "whether it was carried out is unknown")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context has not ended")
}

func TestAConnectionThatIsNotAnsweredIsNotTheCallersTimeout(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o, p := behind(t, s.GRPCAddr(), quick())
	o.DialTimeout, o.RequestTimeout = 5*time.Second, time.Second
	a := open(t, s.Addr(), o)
	p.Cut()
	p.Blackhole()
	eventually(t, "tried again in vain", func() bool {
		_, err := a.Get(t.Context(), "k")
		require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context has not ended")
		return err != nil && strings.Contains(err.Error(), "no answer within 5s")
	})
}

// TestAServerThatForgotTheConnectionGetsAnother: nothing else would be asked of it by members and watches, which have to be told again.
func TestAServerThatForgotTheConnectionGetsAnother(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	o := quick()
	o.Poll = time.Hour
	a, b := open(t, s.Addr(), o), open(t, s.Addr(), quick())
	r := put(t, b, "k", "0", 0)
	ch, err := a.Watch(t.Context(), "k")
	require.NoError(t, err)
	await(t, ch, 0, r)
	for _, id := range []string{"a", "b"} { // each has a connection of its own
		_, err = a.Join(t.Context(), "agents", msha.Member{ID: id})
		require.NoError(t, err)
	}
	before := s.Requests()["ConnectionSetupRequest"]
	s.ForgetConnections()
	eventually(t, "listed again", func() bool {
		all, err := b.list(t.Context(), b.link, "agents")
		return err == nil && len(all) == 2 && !all[0].joining && !all[1].joining
	})
	require.GreaterOrEqual(t, s.Requests()["ConnectionSetupRequest"], before+3)
	await(t, ch, r, put(t, b, "k", "1", r))
}
