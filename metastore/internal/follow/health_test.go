package follow

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestWhatIsNotWantedAnyMoreIsNoSignOfTheServer(t *testing.T) {
	out := &logs{}
	h := NewHealth("fake", "here", slog.New(slog.NewTextHandler(out, nil)))
	h.Lost("a", errDown)
	h.Forget("a")
	require.Len(t, out.lines(), 1, "nothing is back: %v", out.lines())
	h.Lost("b", errDown)
	require.Len(t, out.lines(), 1, "still the same loss: %v", out.lines())
	h.Lost("c", errDown)
	h.Fine("a")
	h.Fine("b")
	require.Len(t, out.lines(), 1, "c does not work: %v", out.lines())
	h.Forget("c")
	h.Fine("d")
	require.Len(t, out.lines(), 2)
	require.Contains(t, out.lines()[1], "metastore is back")
	h.Fine("d")
	require.Len(t, out.lines(), 2)
}

func TestWatchesThatEndDuringAnOutageDoNotReportItsEnd(t *testing.T) {
	var log *logs
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], out *logs, _ *Health) {
		log = out
		a, err := h.Watch(t.Context(), "a")
		require.NoError(t, err)
		take(t, a)
		s.fail()
		time.Sleep(time.Second)
	})
	require.Len(t, log.lines(), 1, "%v", log.lines())
	require.Contains(t, log.lines()[0], "metastore lost")
}

// stuck is a log output that blocks.
type stuck chan struct{}

func (s stuck) Write(p []byte) (int, error) {
	s <- struct{}{}
	return len(p), nil
}

func TestSafeDoesNotWaitForTheLogger(t *testing.T) {
	out := make(stuck)
	h := NewHealth("fake", "here", slog.New(slog.NewTextHandler(out, nil)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Lost("a", errDown)
		h.MarkUnsafe("k", "first")
	}()
	require.NoError(t, safeSoon(t, h))
	<-out
	require.Eventually(t, func() bool { return errors.Is(safeSoon(t, h), msha.ErrUnsafe) }, 10*time.Second, time.Millisecond, "its line is not written yet")
	<-out
	<-done
	h.MarkUnsafe("k", "second")
	require.ErrorContains(t, h.Safe(), "first")
}

func safeSoon(t *testing.T, h *Health) error {
	t.Helper()
	got := make(chan error, 1)
	go func() { got <- h.Safe() }()
	select {
	case err := <-got:
		return err
	case <-time.After(10 * time.Second):
		require.Fail(t, "blocked")
		return nil
	}
}
