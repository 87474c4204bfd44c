package follow

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("server is down")

// fakeServer is a source whose faults a test chooses.
type fakeServer struct {
	mu       sync.Mutex
	docs     map[string]msha.Document
	at       map[string]uint64
	down     bool
	deaf     bool // changes are stored without a notice
	carry    bool // notices carry the document
	hold     chan struct{}
	reads    int
	attempts int // of subscribing
	feeds    map[string]Feed[msha.Document]
	drop     chan struct{} // closed: subscriptions end
}

func newFakeServer() *fakeServer {
	return &fakeServer{docs: map[string]msha.Document{}, at: map[string]uint64{}, feeds: map[string]Feed[msha.Document]{}, drop: make(chan struct{})}
}

func (s *fakeServer) Read(_ context.Context, name string) (Version[msha.Document], error) {
	s.mu.Lock()
	s.reads++
	down, hold := s.down, s.hold
	d, ok := s.docs[name]
	if !ok {
		d.Key = name
	}
	v := Version[msha.Document]{Value: d, At: s.at[name]}
	s.mu.Unlock()
	if hold != nil {
		<-hold // the answer is on its way for a long time
	}
	if down {
		return v, errDown
	}
	return v, nil
}

func (s *fakeServer) Subscribe(ctx context.Context, name string, feed Feed[msha.Document]) error {
	s.mu.Lock()
	s.attempts++
	down, drop := s.down, s.drop
	if !down {
		s.feeds[name] = feed
	}
	s.mu.Unlock()
	if down {
		return errDown
	}
	feed.Changed()
	select {
	case <-drop:
		return errDown
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeServer) put(name, value string, at uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.docs[name] = msha.Document{Key: name, Value: []byte(value), Revision: msha.Revision(at)}
	s.at[name] = at
	if s.deaf || s.down {
		return
	}
	if feed, ok := s.feeds[name]; ok && s.carry {
		feed.Seen(Version[msha.Document]{Value: s.docs[name], At: at})
	} else if ok {
		feed.Changed()
	}
}

func (s *fakeServer) counts() (reads, attempts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.attempts
}

func (s *fakeServer) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	close(s.drop)
	s.feeds = map[string]Feed[msha.Document]{}
}

func (s *fakeServer) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.drop = false, make(chan struct{})
}

func (s *fakeServer) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func lines(l *logtest.Log) []string { return strings.Split(strings.TrimSpace(l.String()), "\n") }

// play runs f in a bubble of virtual time.
func play(t *testing.T, o Options, f func(t *testing.T, s *fakeServer, h *Hub[msha.Document], out *logtest.Log, health *Health)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, out := newFakeServer(), &logtest.Log{}
		health := NewHealth("fake", "here", out.Logger())
		h := Documents(s, health, o)
		f(t, s, h, out, health)
		h.Close()
		_, err := h.Watch(t.Context(), "late")
		require.ErrorIs(t, err, msha.ErrClosed)
	})
}

func take(t *testing.T, ch <-chan msha.Document) msha.Document {
	t.Helper()
	synctest.Wait()
	select {
	case d, ok := <-ch:
		require.True(t, ok, "closed")
		return d
	default:
		require.Fail(t, "nothing to take")
		return msha.Document{}
	}
}

func none(t *testing.T, ch <-chan msha.Document) {
	t.Helper()
	synctest.Wait()
	select {
	case d, ok := <-ch:
		require.Fail(t, "not expected", "%v %v", d, ok)
	default:
	}
}

func TestCurrentFirstThenNewer(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, _ *Health) {
		a, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, msha.Document{Key: "k"}, take(t, a))
		s.put("k", "1", 1)
		require.Equal(t, "1", string(take(t, a).Value))
		b, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "1", string(take(t, b).Value))
		s.with(func() { s.carry = true })
		s.put("k", "2", 2)
		require.Equal(t, "2", string(take(t, a).Value))
		require.Equal(t, "2", string(take(t, b).Value))
		s.put("k", "3", 3)
		s.put("k", "4", 4)
		require.Equal(t, "4", string(take(t, a).Value), "coalesced")
		h.Observe("k", Version[msha.Document]{Value: msha.Document{Key: "k", Value: []byte("3"), Revision: 3}, At: 3})
		none(t, a)
		_, attempts := s.counts()
		require.Equal(t, 1, attempts, "one subscription for all watches of a name")
		require.Equal(t, "4", string(take(t, b).Value))
	})
}

func TestASecondWatchDoesNotBeginWithWhatWasReadBefore(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, _ *Health) {
		s.put("k", "1", 1)
		a, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "1", string(take(t, a).Value))
		s.with(func() { s.deaf = true })
		s.put("k", "2", 2)
		b, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "2", string(take(t, b).Value))
		require.Equal(t, "2", string(take(t, a).Value))
	})
}

func TestDeletedAndAbsentAreOrderedToo(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, _ *Health) {
		s.put("k", "1", 1)
		a, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "1", string(take(t, a).Value))
		gone := Version[msha.Document]{Value: msha.Document{Key: "k"}, At: 5}
		h.Observe("k", gone)
		require.Equal(t, msha.Document{Key: "k"}, take(t, a))
		h.Observe("k", Version[msha.Document]{Value: msha.Document{Key: "k", Revision: 4}, At: 4})
		none(t, a)
		gone.At = 9
		h.Observe("k", gone)
		none(t, a)
		h.Observe("k", Version[msha.Document]{Value: msha.Document{Key: "k", Revision: 8}, At: 8})
		none(t, a)
	})
}

func TestALostNoticeIsFoundByTheNextRead(t *testing.T) {
	play(t, Options{Poll: 10 * time.Second}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, _ *Health) {
		a, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		take(t, a)
		s.with(func() { s.deaf = true })
		s.put("k", "1", 1)
		none(t, a)
		time.Sleep(12 * time.Second)
		require.Equal(t, "1", string(take(t, a).Value))
	})
}

func TestAnOutageIsLoggedOnceAndPaced(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], out *logtest.Log, _ *Health) {
		var all []<-chan msha.Document
		for _, name := range []string{"a", "b", "c"} {
			ch, err := h.Watch(t.Context(), name)
			require.NoError(t, err)
			take(t, ch)
			all = append(all, ch)
		}
		reads, attempts := s.counts()
		before := reads + attempts
		s.fail()
		s.put("a", "1", 1)
		time.Sleep(60 * time.Second)
		synctest.Wait()
		reads, attempts = s.counts()
		tries := reads + attempts - before
		require.Less(t, tries, 150, "bounded backoff")
		require.Greater(t, tries, 30, "it keeps trying")
		require.Len(t, lines(out), 1, "%v", lines(out))
		s.recover()
		time.Sleep(6 * time.Second)
		require.Equal(t, "1", string(take(t, all[0]).Value))
		require.Len(t, lines(out), 2, "%v", lines(out))
		require.Contains(t, lines(out)[0], "metastore lost")
		require.Contains(t, lines(out)[1], "metastore is back")
	})
}

func TestARevisionThatGoesBackIsUnsafe(t *testing.T) {
	for _, stale := range []bool{false, true} {
		play(t, Options{StaleReads: stale}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, health *Health) {
			a, err := h.Watch(t.Context(), "k")
			require.NoError(t, err)
			take(t, a)
			s.put("k", "7", 7)
			require.Equal(t, "7", string(take(t, a).Value))
			require.NoError(t, health.Safe())
			s.put("k", "6", 6)
			none(t, a)
			if stale {
				require.NoError(t, health.Safe())
				return
			}
			require.ErrorIs(t, health.Safe(), msha.ErrUnsafe)
			require.ErrorContains(t, health.Safe(), "went back from 7 to 6")
		})
	}
}

func TestAnAnswerThatWasLongOnItsWayIsNoLostHistory(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, health *Health) {
		s.put("k", "1", 1)
		hold := make(chan struct{})
		s.with(func() { s.hold = hold })
		done := make(chan Version[msha.Document], 1)
		go func() {
			v, _ := h.Read(t.Context(), "k")
			done <- v
		}()
		synctest.Wait()
		h.Observe("k", Version[msha.Document]{Value: msha.Document{Key: "k", Revision: 2}, At: 2})
		close(hold)
		require.Equal(t, uint64(1), (<-done).At)
		require.NoError(t, health.Safe())
	})
}

func TestTheLastWatchToLeaveEndsTheSubscription(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, _ *Health) {
		ctx, cancel := context.WithCancel(t.Context())
		a, err := h.Watch(ctx, "k")
		require.NoError(t, err)
		b, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		take(t, a)
		take(t, b)
		cancel()
		synctest.Wait()
		_, ok := <-a
		require.False(t, ok)
		s.put("k", "1", 1)
		require.Equal(t, "1", string(take(t, b).Value))
		reads, _ := s.counts()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		later, _ := s.counts()
		require.Greater(t, later, reads)
	})
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, _ *Health) {
		ctx, cancel := context.WithCancel(t.Context())
		a, err := h.Watch(ctx, "k")
		require.NoError(t, err)
		take(t, a)
		cancel()
		synctest.Wait()
		reads, _ := s.counts()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		later, _ := s.counts()
		require.Equal(t, reads, later, "nobody watches any more")
	})
}

func TestMembersAreDeliveredWhenTheyChange(t *testing.T) {
	a := []msha.Member{{ID: "a", Metadata: map[string]string{"unit": "1"}}}
	require.True(t, sameMembers(a, []msha.Member{{ID: "a", Metadata: map[string]string{"unit": "1"}}}))
	require.False(t, sameMembers(a, []msha.Member{{ID: "a", Metadata: map[string]string{"unit": "2"}}}))
	require.False(t, sameMembers(a, nil))
}

func TestBackoffIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
		for i := range 20 {
			began := time.Now()
			require.NoError(t, b.Wait(t.Context()))
			limit := min(100*time.Millisecond<<min(i, 5), time.Second)
			require.GreaterOrEqual(t, time.Since(began), limit/2)
			require.LessOrEqual(t, time.Since(began), limit)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, context.Canceled, b.Wait(ctx))
	})
}
