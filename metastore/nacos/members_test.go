package nacos

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/nacostest"
)

// expect receives from a watch until the list has exactly these ids.
func expect(t *testing.T, ch <-chan []msha.Member, ids ...string) {
	t.Helper()
	end := time.After(patience)
	var got []string
	for {
		select {
		case list := <-ch:
			got = got[:0]
			for _, m := range list {
				got = append(got, m.ID)
			}
			if strings.Join(got, " ") == strings.Join(ids, " ") {
				return
			}
		case <-end:
			require.Fail(t, "not listed", "wanted %v, have %v", ids, got)
		}
	}
}

func TestMembersOfOneProcessDoNotReplaceEachOther(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	a, b := open(t, s.Addr(), quick()), open(t, s.Addr(), quick())
	ch, err := b.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	leave := map[string]func() error{}
	for _, id := range []string{"1", "2", "3"} {
		for _, set := range []string{"agents", "managers"} {
			l, err := a.Join(t.Context(), set, msha.Member{ID: id})
			require.NoError(t, err)
			leave[set+id] = func() error { return l(t.Context()) }
		}
	}
	expect(t, ch, "1", "2", "3")
	require.Len(t, a.members.all, 3, "connections")
	require.NoError(t, leave["agents2"]())
	expect(t, ch, "1", "3")
	for _, name := range []string{"agents1", "agents3", "managers1", "managers2", "managers3"} {
		require.NoError(t, leave[name]())
	}
	expect(t, ch)
	require.Len(t, a.members.all, 1)
}

func TestOfRacingJoinersOneWins(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{0, 30 * time.Millisecond} {
		s := startServer(t, nacostest.Options{Faults: nacostest.Faults{LateInstances: late}})
		var stores []*Store
		for range 4 {
			stores = append(stores, open(t, s.Addr(), quick()))
		}
		for round := range 12 {
			var won atomic.Int32
			var wg sync.WaitGroup
			for _, store := range stores {
				wg.Go(func() {
					time.Sleep(rand.N(10 * time.Millisecond))
					_, err := store.Join(t.Context(), "agents", msha.Member{ID: strconv.Itoa(round)})
					if err == nil {
						won.Add(1)
					} else if !errors.Is(err, msha.ErrConflict) {
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
			require.Equal(t, int32(1), won.Load())
		}
	}
}

func TestAMemberJoinsAgainAfterRestartAndCut(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{KeepAlive: keepAlive})
	o, p := behind(t, s.GRPCAddr(), quick())
	a, outside := open(t, s.Addr(), o), open(t, s.Addr(), quick())
	ch, err := outside.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	leave, err := a.Join(t.Context(), "agents", msha.Member{ID: "a", Metadata: map[string]string{"unit": "unit-1"}})
	require.NoError(t, err)
	expect(t, ch, "a")
	require.NoError(t, s.Restart())
	eventually(t, "registered again", func() bool {
		list, err := memberSource{outside}.Read(t.Context(), "agents")
		return err == nil && len(list.Value) == 1 && list.Value[0].Metadata["unit"] == "unit-1"
	})
	p.Blackhole()
	expect(t, ch) // after the time to live
	p.Cut()
	p.Heal()
	expect(t, ch, "a")
	require.NoError(t, leave(t.Context()))
	expect(t, ch)
}

// TestAMemberDoesNotTakeItsIDBack: while it was cut off, another process took it.
func TestAMemberDoesNotTakeItsIDBack(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{KeepAlive: 3 * keepAlive}) // the one that took it must not lose it on a slow machine
	log := &logtest.Log{}
	o, p := behind(t, s.GRPCAddr(), quick())
	o.Logger = log.Logger()
	a, b := open(t, s.Addr(), o), open(t, s.Addr(), quick())
	ch, err := b.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	_, err = a.Join(t.Context(), "agents", msha.Member{ID: "id", Metadata: map[string]string{"of": "a"}})
	require.NoError(t, err)
	expect(t, ch, "id")
	p.Blackhole()
	expect(t, ch)
	leave, err := b.Join(t.Context(), "agents", msha.Member{ID: "id", Metadata: map[string]string{"of": "b"}})
	require.NoError(t, err)
	p.Cut()
	p.Heal()
	eventually(t, "the loser says so", func() bool { return log.Count("member id was taken by another process") == 1 })
	owner := func() string {
		list, err := memberSource{b}.Read(t.Context(), "agents")
		require.NoError(t, err)
		if len(list.Value) != 1 {
			return ""
		}
		return list.Value[0].Metadata["of"]
	}
	require.Equal(t, "b", owner())
	require.NoError(t, leave(t.Context()))
	eventually(t, "and joins once the other one left", func() bool { return owner() == "a" })
	require.Equal(t, 1, log.Count("member id was taken by another process"))
}

func TestAMemberTooLargeForNacos(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	a := open(t, s.Addr(), quick())
	_, err := a.Join(t.Context(), "agents", msha.Member{ID: "a", Metadata: map[string]string{"k": strings.Repeat("x", 1024)}})
	require.ErrorIs(t, err, msha.ErrTooLarge)
	_, err = a.Join(t.Context(), "agents", msha.Member{})
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestMembersWithoutNaming(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{NoNaming: true}})
	a := open(t, s.Addr(), quick())
	_, err := a.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.ErrorContains(t, err, "RequestHandler Not Found")
	put(t, a, "k", "documents work", 0)
}

// TestJoinOfAStoreThatCloses: a member that is let in while the store closes is one whose end nobody would wait for.
func TestJoinOfAStoreThatCloses(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	a := open(t, s.Addr(), quick())
	require.True(t, a.members.hold(func() {}))
	require.NoError(t, a.Close())
	require.False(t, a.members.hold(func() { require.Fail(t, "kept") }))
	_, err := a.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.ErrorIs(t, err, msha.ErrClosed)
}

func TestAJoinThatIsNeverListedIsNotTheCallersTimeout(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{LateInstances: time.Minute}})
	o := quick()
	o.RequestTimeout = 5 * time.Second
	_, err := open(t, s.Addr(), o).Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.ErrorContains(t, err, "not joined within 5s")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}
