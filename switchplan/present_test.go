package switchplan_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// A broker that is away is found before the fence: the hand-over needs it, and would fail behind it each time.
func TestABrokerThatIsAwayRefusesTheSwitch(t *testing.T) {
	for name, tc := range map[string]struct {
		req     msha.SwitchRequest
		unit    string
		refused bool
	}{
		"of the losing unit":                  {guangzhou, "unit-2", true},
		"of the gaining unit":                 {guangzhou, "unit-1", true},
		"of a replay's unit":                  {replay(), "unit-2", true},
		"of the losing unit, which is forced": {forcedGuangzhou, "unit-2", false},
		"of the gaining unit, by force":       {forcedGuangzhou, "unit-1", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.away = map[string][]string{tc.unit: {"broker-b"}}
				if tc.req.Forced {
					w.loseUnit2()
				}
				version := w.table.Version
				e := (&process{world: w}).executor(t)
				w.dry = true
				forecast, err := e.DryRun(t.Context(), w.plan(t, tc.req))
				require.NoError(t, err)
				require.Equal(t, !tc.refused, forecast.Ready, forecast.String())
				w.dry = false
				_, err = e.Run(t.Context(), w.plan(t, tc.req))
				if !tc.refused {
					require.NoError(t, err)
					return
				}
				require.Contains(t, forecast.Problems, "master not found: broker-b")
				require.ErrorIs(t, err, msha.ErrNotFound)
				require.ErrorContains(t, err, "broker-b")
				require.NotErrorIs(t, err, msha.ErrAborted)
				require.Equal(t, version, w.table.Version, "there was no fence")
			})
		})
	}
}

// A unit that does not answer at the moment is asked again, not for ever.
func TestBrokersAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := &process{world: w}
		silent := &silentBrokers{p, errors.New("connection refused")}
		e := p.executor(t, func(o *switchplan.Options) { o.Facts = silent })
		begun := time.Now()
		_, err := e.Run(t.Context(), w.plan(t, guangzhou))
		require.ErrorIs(t, err, msha.ErrNotConfirmed)
		require.ErrorContains(t, err, "unit-1 does not answer: connection refused")
		require.Equal(t, 10*time.Second, time.Since(begun))
		time.AfterFunc(time.Second, func() { w.do(func() { silent.err = nil }) })
		_, err = e.Run(t.Context(), w.plan(t, guangzhou))
		require.NoError(t, err)
	})
}

type silentBrokers struct {
	*process
	err error
}

func (s *silentBrokers) Present(ctx context.Context, unit string) error {
	return s.do(ctx, func() error { return s.err })
}
