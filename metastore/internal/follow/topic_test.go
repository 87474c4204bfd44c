package follow

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
)

// slowLists answers each read with the list there was when it began, once a test lets it.
type slowLists struct {
	mu      sync.Mutex
	members []msha.Member
	gates   []chan struct{} // of the reads begun; it does not look at their contexts, as a client whose answer has arrived
}

func (s *slowLists) Read(context.Context, string) (Version[[]msha.Member], error) {
	s.mu.Lock()
	list, gate := s.members, make(chan struct{})
	s.gates = append(s.gates, gate)
	s.mu.Unlock()
	<-gate
	return Version[[]msha.Member]{Value: list}, nil
}

func (s *slowLists) Subscribe(ctx context.Context, _ string, _ Feed[[]msha.Member]) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *slowLists) set(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = nil
	for _, id := range ids {
		s.members = append(s.members, msha.Member{ID: id, Metadata: map[string]string{"unit": "1"}})
	}
}

func (s *slowLists) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gates)
}

func (s *slowLists) answer(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.gates[i])
}

// Lists have no version: the answer to a read for watches that are gone must not reach one that began later.
func TestALateAnswerForFormerWatchesIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowLists{}
		h := Members(s, NewHealth("fake", "here", nil), Options{})
		defer h.Close()
		s.set("old")
		ctx, cancel := context.WithCancel(t.Context())
		_, err := h.Watch(ctx, "set")
		require.NoError(t, err)
		synctest.Wait() // its read has begun
		cancel()
		synctest.Wait()
		s.set("new")
		ch, err := h.Watch(t.Context(), "set")
		require.NoError(t, err)
		synctest.Wait()
		s.answer(1)
		require.Equal(t, "new", (<-ch)[0].ID)
		s.answer(0)
		synctest.Wait()
		select {
		case list := <-ch:
			require.Fail(t, "an older list after a newer one", "%v", list)
		default:
		}
	})
}

func TestWatchesDoNotShareWhatTheyDeliver(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, _ *Health) {
		s.put("k", "value", 1)
		a, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		b, err := h.Watch(t.Context(), "k")
		require.NoError(t, err)
		take(t, a).Value[0] = 'X'
		require.Equal(t, "value", string(take(t, b).Value))
	})
	synctest.Test(t, func(t *testing.T) {
		s := &slowLists{}
		h := Members(s, NewHealth("fake", "here", nil), Options{})
		defer h.Close()
		s.set("a")
		first, err := h.Watch(t.Context(), "set")
		require.NoError(t, err)
		second, err := h.Watch(t.Context(), "set")
		require.NoError(t, err)
		synctest.Wait()
		s.answer(0)
		list := <-first
		list[0].ID, list[0].Metadata["unit"] = "X", "X"
		synctest.Wait()
		if s.asked() > 1 { // the first read had begun before the second watch did
			s.answer(1)
		}
		require.Equal(t, []msha.Member{{ID: "a", Metadata: map[string]string{"unit": "1"}}}, <-second)
	})
}

func TestAVersionOnlyHeardOfCounts(t *testing.T) {
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], _ *logtest.Log, health *Health) {
		s.put("k", "2", 2)
		h.Note("k", 3)
		h.Note("k", 1)
		require.Equal(t, uint64(3), h.Newest("k"))
		_, err := h.Read(t.Context(), "k")
		require.NoError(t, err)
		require.ErrorContains(t, health.Safe(), "went back from 3 to 2")
	})
}
