package follow

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
)

func TestWhatIsNotWantedAnyMoreIsNoSignOfTheServer(t *testing.T) {
	out := &logtest.Log{}
	h := NewHealth("fake", "here", out.Logger())
	h.Lost("a", errDown)
	h.Forget("a")
	require.Len(t, lines(out), 1, "nothing is back: %v", lines(out))
	h.Lost("b", errDown)
	require.Len(t, lines(out), 1, "still the same loss: %v", lines(out))
	h.Lost("c", errDown)
	h.Fine("a")
	h.Fine("b")
	require.Len(t, lines(out), 1, "c does not work: %v", lines(out))
	h.Forget("c")
	h.Fine("d")
	require.Len(t, lines(out), 2)
	require.Contains(t, lines(out)[1], "metastore is back")
	h.Fine("d")
	require.Len(t, lines(out), 2)
}

func TestWatchesThatEndDuringAnOutageDoNotReportItsEnd(t *testing.T) {
	var log *logtest.Log
	play(t, Options{}, func(t *testing.T, s *fakeServer, h *Hub[msha.Document], out *logtest.Log, _ *Health) {
		log = out
		a, err := h.Watch(t.Context(), "a")
		require.NoError(t, err)
		take(t, a)
		s.fail()
		time.Sleep(time.Second)
	})
	require.Len(t, lines(log), 1, "%v", lines(log))
	require.Contains(t, lines(log)[0], "metastore lost")
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
	require.Eventually(t, func() bool { return errors.Is(safeSoon(t, h), msha.ErrUnsafe) }, time.Minute, time.Millisecond, "its line is not written yet")
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
	case <-time.After(time.Minute):
		require.Fail(t, "blocked")
		return nil
	}
}
