package lease

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func quietly() *Options { return &Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))} }

// scripted is a memory store whose Put a test replaces.
type scripted struct {
	*memory.Store
	mu     sync.Mutex
	put    func(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error)
	unsafe atomic.Bool
}

func (s *scripted) on(put func(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put = put
}

func (s *scripted) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	s.mu.Lock()
	put := s.put
	s.mu.Unlock()
	if put != nil {
		return put(ctx, key, value, expect)
	}
	return s.Store.Put(ctx, key, value, expect)
}

func (s *scripted) Safe() error {
	if s.unsafe.Load() {
		return msha.Errorf("probe", "", "", "%w: told so", msha.ErrUnsafe)
	}
	return nil
}

// inBubble runs f with a store, a held lease of default options and the bubble's clock at the moment of its acquisition.
func inBubble(t *testing.T, f func(t *testing.T, s *scripted, l *Lease)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{Store: memory.New()}
		l, err := Acquire(t.Context(), s, "k", "first", quietly())
		require.NoError(t, err)
		defer func() {
			l.lose(errors.New("the test ends"))
			<-l.renewed
			require.NoError(t, s.Close())
		}()
		f(t, s, l)
	})
}

func isLost(l *Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

func TestAHolderRenews(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
		for range 20 {
			time.Sleep(time.Minute)
			require.NoError(t, l.Check())
		}
		synctest.Wait()
		d, err := s.Get(t.Context(), "k")
		require.NoError(t, err)
		require.EqualValues(t, 241, d.Revision, "one write to acquire, one every TTL/3")
	})
}

func TestTrustEndsWhileTheStoreHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
		s.on(func(ctx context.Context, _ string, _ []byte, _ msha.Revision) (msha.Revision, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		time.Sleep(12*time.Second - 1)
		require.NoError(t, l.Check())
		require.False(t, isLost(l))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.True(t, isLost(l), "by a timer, nobody called Check")
		require.ErrorIs(t, l.Check(), ErrLost)
	})
}

func TestAnAttemptWithoutAnswerIsReadBack(t *testing.T) {
	for name, stored := range map[string]bool{"stored": true, "not stored": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
				s.on(func(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
					if stored {
						_, err := s.Store.Put(ctx, key, value, expect)
						require.NoError(t, err)
					}
					<-ctx.Done()
					return 0, ctx.Err()
				})
				time.Sleep(30 * time.Second)
				require.Equal(t, stored, l.Check() == nil)
			})
		})
	}
}

func TestALostLeaseDoesNotComeBack(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
		s.on(func(context.Context, string, []byte, msha.Revision) (msha.Revision, error) {
			return 0, errors.New("down")
		})
		time.Sleep(11 * time.Second)
		s.on(func(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
			time.Sleep(2 * time.Second) // an answer just too late
			return s.Store.Put(context.WithoutCancel(ctx), key, value, expect)
		})
		time.Sleep(time.Minute)
		require.ErrorIs(t, l.Check(), ErrLost)
		s.on(nil)
		next, err := TryAcquire(t.Context(), s, "k", "second", quietly())
		require.ErrorIs(t, err, msha.ErrBusy, "a look cannot tell that the holder is gone")
		require.Nil(t, next)
		require.NoError(t, l.Release(t.Context()))
		next, err = TryAcquire(t.Context(), s, "k", "second", quietly())
		require.NoError(t, err, "what was lost can still be released")
		require.Equal(t, l.Generation()+1, next.Generation())
		require.NoError(t, next.Release(t.Context()))
	})
}

func TestAnotherSessionsDocumentEndsTheTrustAtOnce(t *testing.T) {
	for name, change := range map[string]func(s *scripted, d msha.Document) error{
		"written": func(s *scripted, d msha.Document) error {
			_, err := s.Store.Put(context.Background(), "k", document{Holder: "thief", Session: "x", Generation: 9, TTL: duration(time.Second)}.encode(), d.Revision)
			return err
		},
		"deleted": func(s *scripted, d msha.Document) error { return s.Delete(context.Background(), "k", d.Revision) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
				d, err := s.Get(t.Context(), "k")
				require.NoError(t, err)
				require.NoError(t, change(s, d))
				time.Sleep(5*time.Second - 1)
				require.NoError(t, l.Check())
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				require.True(t, isLost(l), "with the next renewal")
				require.ErrorIs(t, l.Check(), ErrLost)
				require.NoError(t, l.Release(t.Context()))
			})
		})
	}
}

func TestAnUnsafeStore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
		s.unsafe.Store(true)
		_, err := Acquire(t.Context(), s, "other", "first", quietly())
		require.ErrorIs(t, err, msha.ErrUnsafe)
		_, err = s.Get(t.Context(), "other")
		require.ErrorIs(t, err, msha.ErrNotFound, "nothing was written")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.True(t, isLost(l), "without a call of Check")
		require.ErrorIs(t, l.Check(), ErrLost)
		require.ErrorIs(t, l.Check(), msha.ErrUnsafe)
	})
	inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
		s.unsafe.Store(true)
		require.ErrorIs(t, l.Check(), msha.ErrUnsafe, "at once")
	})
}

func TestTakeOverTimes(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(l *Lease)
		want time.Duration // until the second has it
	}{
		"of a dead holder":  {func(l *Lease) { l.cancel() }, 18 * time.Second},
		"after its release": {func(l *Lease) { _ = l.Release(context.Background()) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *scripted, l *Lease) {
				got := make(chan *Lease)
				go func() {
					next, _ := Acquire(t.Context(), s, "k", "second", quietly())
					got <- next
				}()
				synctest.Wait()
				start := time.Now()
				c.end(l)
				next := <-got
				require.Equal(t, c.want, time.Since(start))
				require.Equal(t, l.Generation()+1, next.Generation())
				require.Error(t, l.Check())
				require.NoError(t, next.Release(t.Context()))
				require.NoError(t, next.Release(t.Context()), "again")
			})
		})
	}
}

func TestAcquireGoesOnThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, calls := &scripted{Store: memory.New()}, 0
		s.on(func(context.Context, string, []byte, msha.Revision) (msha.Revision, error) {
			calls++
			return 0, errors.New("down")
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := Acquire(ctx, s, "k", "first", quietly())
		require.Equal(t, context.DeadlineExceeded, err)
		require.InDelta(t, 60, calls, 2, "one attempt every Renew/5")
		time.AfterFunc(time.Minute, func() { s.on(nil) })
		l, err := Acquire(t.Context(), s, "k", "first", quietly())
		require.NoError(t, err)
		require.NoError(t, l.Release(t.Context()))
		require.NoError(t, s.Close())
	})
}

func TestInputIsChecked(t *testing.T) {
	s, ctx := memory.New(), context.Background()
	_, err := Acquire(ctx, s, "", "", &Options{TTL: time.Second, Renew: time.Second})
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, problem := range []string{"key is empty", "name is empty", "renewing every 1s"} {
		require.ErrorContains(t, err, problem)
	}
	_, err = s.Put(ctx, "k", []byte("no lease"), 0)
	require.NoError(t, err)
	_, err = Acquire(ctx, s, "k", "h", quietly())
	require.ErrorIs(t, err, msha.ErrInvalid, "it is not taken for a free one")
	require.NoError(t, s.Close())
	_, err = Acquire(ctx, s, "k", "h", quietly())
	require.ErrorIs(t, err, msha.ErrClosed)
}
