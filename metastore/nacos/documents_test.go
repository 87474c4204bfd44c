package nacos

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/nacostest"
)

// TestCreationIsExact: the embedded storage of the real server tells two creators that race that both succeeded.
func TestCreationIsExact(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{SloppyInserts: true}})
	a, b := open(t, s.Addr(), quick()), open(t, s.Addr(), quick())
	for round := range 20 {
		k := "k" + strconv.Itoa(round)
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				_, err := []*Store{a, b}[i%2].Put(t.Context(), k, []byte(strconv.Itoa(i)), 0)
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

func TestAFreshReadIsOneRequestWithoutAStaleAnswer(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{StaleReads: time.Hour}})
	a, b := open(t, s.Addr(), quick()), open(t, s.Addr(), quick())
	r := put(t, a, "k", "one", 0)
	d, err := a.Get(t.Context(), "k")
	require.NoError(t, err, "what the store has written it remembers")
	require.Equal(t, msha.Document{Key: "k", Value: []byte("one"), Revision: r}, d)
	before := s.Requests()
	d, err = a.GetFresh(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, r, d.Revision)
	after := s.Requests()
	require.Equal(t, before["ConfigQueryRequest"], after["ConfigQueryRequest"])
	require.Equal(t, before["ConfigPublishRequest"]+1, after["ConfigPublishRequest"])

	_, err = b.Get(t.Context(), "k")
	require.ErrorIs(t, err, msha.ErrNotFound, "another client is served what was there before")
	s.Set(func(f *nacostest.Faults) { f.StaleReads = 0 })
}

// TestAStaleReadIsNoConflict: a client that is served an old version still replaces the current one, whose revision it was told.
func TestAStaleReadIsNoConflict(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	a, b := open(t, s.Addr(), quick()), open(t, s.Addr(), quick())
	r := put(t, a, "k", "one", 0)
	_, err := b.Get(t.Context(), "k")
	require.NoError(t, err)
	s.Set(func(f *nacostest.Faults) { f.StaleReads = 300 * time.Millisecond })
	r = put(t, a, "k", "two", r)
	r2 := put(t, b, "k", "three", r) // b has seen "one" only, and is served it still
	require.Greater(t, r2, r)
	_, err = a.Put(t.Context(), "k", []byte("four"), r)
	require.ErrorIs(t, err, msha.ErrConflict)
	d, err := a.GetFresh(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "three", string(d.Value))
	require.Equal(t, r2, d.Revision)
}

func TestADeletedDocumentKeepsItsRevisions(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Faults: nacostest.Faults{StaleReads: 50 * time.Millisecond}})
	a, b := open(t, s.Addr(), quick()), open(t, s.Addr(), quick())
	r := put(t, a, "k", "one", 0)
	require.NoError(t, a.Delete(t.Context(), "k", r))
	require.Zero(t, s.Requests()["ConfigRemoveRequest"])
	require.Greater(t, put(t, b, "k", "two", 0), r, "another client, which may be served the deleted one still")
	_, err := b.GetFresh(t.Context(), "nothing")
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.Equal(t, msha.Revision(1), put(t, a, "nothing", "something", 0))
	require.ErrorIs(t, b.Delete(t.Context(), "never", 3), msha.ErrNotFound)
	require.ErrorIs(t, b.Delete(t.Context(), "never", 0), msha.ErrConflict)
}

func TestARestoredBackupMakesTheStoreUnsafe(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	a := open(t, s.Addr(), quick())
	r := put(t, a, "k", "one", 0)
	old, _ := s.Content("", defaultGroup, "k")
	r = put(t, a, "k", "two", r)
	require.NoError(t, a.Safe())
	s.Overwrite("", defaultGroup, "k", old)
	d, err := a.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, r, d.Revision, "a plain read may be stale: no reason to go back")
	d, err = a.GetFresh(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "one", string(d.Value))
	require.ErrorIs(t, a.Safe(), msha.ErrUnsafe)
	require.ErrorContains(t, a.Safe(), "revision went back from 2 to 1")
}

// TestALostHistoryIsFoundByReading: nobody asks for a fresh read, but the server serves an older version for too long.
func TestALostHistoryIsFoundByReading(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	a := open(t, s.Addr(), quick())
	r := put(t, a, "k", "one", 0)
	old, _ := s.Content("", defaultGroup, "k")
	put(t, a, "k", "two", r)
	s.Overwrite("", defaultGroup, "k", old)
	_, err := a.Get(t.Context(), "k")
	require.NoError(t, err)
	a.seen.mu.Lock()
	require.False(t, a.seen.keys["k"].behind.IsZero())
	a.seen.keys["k"].behind = time.Now().Add(-2 * staleLimit)
	a.seen.mu.Unlock()
	_, err = a.Get(t.Context(), "k")
	require.NoError(t, err)
	require.ErrorIs(t, a.Safe(), msha.ErrUnsafe)
}

func TestACorruptDocument(t *testing.T) {
	t.Parallel()
	log := &logtest.Log{}
	s := startServer(t, nacostest.Options{})
	o := quick()
	o.Logger = log.Logger()
	a := open(t, s.Addr(), o)
	r := put(t, a, "k", "one", 0)
	ch, err := a.Watch(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "one", string(await(t, ch, 0, r).Value))
	good, _ := s.Content("", defaultGroup, "k")
	s.Overwrite("", defaultGroup, "k", good+" edited")
	eventually(t, "the watch reports it", func() bool { return log.Count("metastore lost") == 1 })
	_, err = a.Get(t.Context(), "k")
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, part := range []string{"nacos", "metastore.get k", "edited by hand", "restore it from its history"} {
		require.ErrorContains(t, err, part)
	}
	other := put(t, a, "other", "works", 0)
	require.NotZero(t, other)
	select {
	case d := <-ch:
		require.Fail(t, "the watch keeps the last good version", "%v", d)
	default:
	}
	s.Overwrite("", defaultGroup, "k", good)
	put(t, a, "k", "two", r)
	require.Equal(t, "two", string(await(t, ch, r, r+1).Value))
	eventually(t, "the watch is well again", func() bool { return log.Count("metastore is back") == 1 })
	require.Equal(t, 1, log.Count("metastore lost"), log.String())
}

func TestADocumentOverTheServersLimit(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]nacostest.Options{"of characters": {MaxContent: 1000}, "of the wire": {MaxMessage: 4000}} {
		s := startServer(t, o)
		a := open(t, s.Addr(), quick())
		r := put(t, a, "k", "one", 0)
		_, err := a.Put(t.Context(), "k", make([]byte, 5000), r)
		require.ErrorIs(t, err, msha.ErrTooLarge, name)
		require.ErrorContains(t, err, "use ranges or slots")
		_, err = a.Put(t.Context(), "k", make([]byte, defaultMaxValue+1), r)
		require.ErrorIs(t, err, msha.ErrTooLarge)
		require.ErrorContains(t, err, strconv.Itoa(defaultMaxValue))
		d, err := a.Get(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "one", string(d.Value))
	}
}

func TestNamespaceAndGroupSeparate(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{Namespaces: []string{"n1", "n2"}})
	in := func(namespace, group string) *Store {
		o := quick()
		o.Namespace, o.Group = namespace, group
		return open(t, s.Addr(), o)
	}
	put(t, in("n1", ""), "k", "n1", 0)
	put(t, in("n2", ""), "k", "n2", 0)
	put(t, in("", ""), "k", "public", 0)
	put(t, in("", "other"), "k", "other group", 0)
	d, err := in("public", defaultGroup).Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "public", string(d.Value))
	require.ElementsMatch(t, []string{"k", probeKey}, s.DataIDs("n1", defaultGroup))
}

// TestARepairedDocumentIsReadAtOnce: a write that an edit by hand made fail is no sign of a newer version, once the old one is back.
func TestARepairedDocumentIsReadAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, nacostest.Options{})
	a := open(t, s.Addr(), quick())
	r := put(t, a, "k", "one", 0)
	good, _ := s.Content("", defaultGroup, "k")
	s.Overwrite("", defaultGroup, "k", good+" edited")
	_, err := a.Put(t.Context(), "k", []byte("two"), r)
	require.ErrorIs(t, err, msha.ErrConflict)
	s.Overwrite("", defaultGroup, "k", good)
	_, err = a.Get(t.Context(), "k")
	require.NoError(t, err)
	a.seen.mu.Lock()
	require.False(t, a.seen.keys["k"].behind.IsZero(), "it looks as if a newer one had to come")
	a.seen.keys["k"].behind = time.Now().Add(-2 * staleLimit)
	a.seen.mu.Unlock()
	_, err = a.Get(t.Context(), "k")
	require.NoError(t, err)
	const read = "ConfigQueryRequest"
	before := s.Requests()[read]
	d, err := a.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, r, d.Revision)
	require.Equal(t, before+1, s.Requests()[read], "it did not wait for another version")
	require.NoError(t, a.Safe())
}
