package switchplan_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// shortened is a log that has lost the acknowledgement of c1 after it was looked at: so many times, something is computed without it.
type shortened struct {
	*process
	times int
}

func (s *shortened) cut(r *switchplan.Remaining, err error) (*switchplan.Remaining, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.times > 0 {
		s.times--
		delete(r.Acks, "c1")
		r.Facts = "less than there was"
	}
	return r, err
}

func (s *shortened) Remaining(ctx context.Context, unit string, t *msha.Table, moves []msha.Move) (*switchplan.Remaining, error) {
	return s.cut(s.process.Remaining(ctx, unit, t, moves))
}

func (s *shortened) RemainingAgain(ctx context.Context, unit string, t *msha.Table, moves []msha.Move, replay *msha.Replay) (*switchplan.Remaining, error) {
	return s.cut(s.process.RemainingAgain(ctx, unit, t, moves, replay))
}

func (s *shortened) RemainingRejoined(ctx context.Context, owner, unit string, t *msha.Table, sets []string, lost bool) (*switchplan.Remaining, error) {
	return s.cut(s.process.RemainingRejoined(ctx, owner, unit, t, sets, lost))
}

const forever = 1 << 30

func TestNothingIsHandedOverByALogThatForgotWhoAcknowledged(t *testing.T) {
	for name, c := range map[string]struct {
		times int
		ends  error
	}{"acknowledged again": {3, nil}, "never again": {forever, msha.ErrNotConfirmed}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := &process{world: w}
				var waited []string
				_, err := p.executor(t, func(o *switchplan.Options) {
					o.Facts = &shortened{p, c.times}
					o.Observer.Waiting = func(_, phase, why string) { waited = append(waited, phase+": "+why) }
				}).Run(t.Context(), w.plan(t, guangzhou))
				require.Equal(t, []string{"hand over: the log of unit-2 lost the acknowledgements of c1"}, waited)
				s := w.set("guangzhou")
				require.Equal(t, msha.SetOpen, s.State)
				if c.ends != nil {
					require.ErrorIs(t, err, c.ends)
					require.ErrorIs(t, err, msha.ErrAborted)
					require.ErrorContains(t, err, "c1")
					require.Equal(t, "unit-2", s.Owner)
					require.Empty(t, w.handed)
					return
				}
				require.NoError(t, err)
				require.Equal(t, "unit-1", s.Owner)
				for _, facts := range w.handed {
					require.Equal(t, "unit-2", facts)
				}
			})
		})
	}
}

func TestAReplayWaitsForALogThatForgotWhoAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := &process{world: w}
		facts := &shortened{process: p}
		_, err := p.executor(t, func(o *switchplan.Options) {
			o.Facts = facts
			o.Observer.Phase = func(_, phase string) {
				if phase == switchplan.HandOver { // check asks too
					facts.times = 3
				}
			}
		}).Run(t.Context(), w.plan(t, replay()))
		require.NoError(t, err)
		require.Zero(t, facts.times)
		require.Len(t, w.handed, 1)
		for _, facts := range w.handed {
			require.Equal(t, "unit-2", facts)
		}
	})
}

func TestAUnitThatForgotWhoAcknowledgedRejoinsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := awayWorld()
		w.acknowledge("c1", "c2")
		p := &process{world: w}
		facts := &shortened{p, forever}
		r := w.rejoin(t, p, func(o *switchplan.Options) { o.Facts = facts })
		r.waits(t, time.Minute, "c1", "any more")
		w.do(func() {
			require.Empty(t, w.handed)
			require.True(t, slices.ContainsFunc(w.asked, func(what string) bool { return strings.HasPrefix(what, "remaining") }))
			facts.times = 0
		})
		r.ends(t)
		require.Len(t, w.handed, 2)
		for _, facts := range w.handed {
			require.Equal(t, "log of unit-2", facts)
		}
	})
}
