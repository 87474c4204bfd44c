package lease

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

var errNoAnswer = errors.New("no answer")

func TestTrustComesFromTheAttemptThatWasStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, start := &scripted{Store: memory.New()}, time.Now()
		c, err := newContender(s, "k", "h", quietly())
		require.NoError(t, err)
		s.on(func(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
			_, err := s.Store.Put(ctx, key, value, expect)
			return 0, errors.Join(errNoAnswer, err)
		})
		c.claim.doc.Generation = 1
		_, err = c.put(t.Context(), &c.claim, 0)
		require.ErrorIs(t, err, errNoAnswer)
		time.Sleep(4 * time.Second)
		_, err = c.put(t.Context(), &c.claim, 0)
		require.ErrorIs(t, err, msha.ErrConflict, "the first one was stored")
		got, err := c.read(t.Context())
		require.NoError(t, err)
		require.Equal(t, start.Add(12*time.Second), c.adopt(&c.claim, got), "not from the second one, 4 s later")
		require.True(t, c.adopt(&c.claim, got).IsZero(), "nor a second time")
		require.NoError(t, s.Close())
	})
}

func TestAnAcquisitionWithoutAnswerIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{Store: memory.New()}
		s.on(func(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
			s.on(nil)
			_, err := s.Store.Put(ctx, key, value, expect)
			return 0, errors.Join(errNoAnswer, err)
		})
		l, err := TryAcquire(t.Context(), s, "k", "h", quietly())
		require.NoError(t, err)
		require.EqualValues(t, 1, l.Generation(), "it was not written again")
		require.NoError(t, l.Check())
		require.NoError(t, l.Release(t.Context()))
		require.NoError(t, s.Close())
	})
}

func TestAnAcquisitionAnsweredTooLateIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{Store: memory.New()}
		s.on(func(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
			s.on(nil)
			r, err := s.Store.Put(ctx, key, value, expect)
			time.Sleep(12 * time.Second) // a driver that does not look at its context
			return r, err
		})
		l, err := Acquire(t.Context(), s, "k", "h", quietly())
		require.NoError(t, err)
		require.NoError(t, l.Check())
		require.EqualValues(t, 2, l.Generation())
		require.NoError(t, l.Release(t.Context()))
		require.NoError(t, s.Close())
	})
}

// still is a clock whose timers never fire, as those of a process that was just thawed.
type still struct{ now time.Time }

func (c *still) Now() time.Time { return c.now }

func (c *still) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

func TestAThawedHolderIsLostWhateverItDoesFirst(t *testing.T) {
	for name, first := range map[string]func(l *Lease){
		"Check":             func(l *Lease) { _ = l.Check() },
		"an answer's trust": func(l *Lease) { l.extend(l.Clock.Now().Add(time.Hour)) },
	} {
		s, o, clock := memory.New(), quietly(), &still{now: t0}
		o.Clock = clock
		l, err := Acquire(t.Context(), s, "k", "h", o)
		require.NoError(t, err)
		clock.now = t0.Add(12 * time.Second)
		first(l)
		require.True(t, isLost(l), name)
		require.ErrorIs(t, l.Check(), ErrLost)
		require.NoError(t, l.Release(t.Context()))
		require.NoError(t, s.Close())
	}
}
