package msha_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestOpErrorSaysWhatWhereAndWhatToDo(t *testing.T) {
	for want, err := range map[string]error{
		"switch.check guangzhou: busy: fenced by s1 (wait)": msha.Errorf("switch.check", "guangzhou", "wait", "%w: fenced by s1", msha.ErrBusy),
		"switch.check: busy":     msha.Errorf("switch.check", "", "", "%w", msha.ErrBusy),
		"switch.check x: busy":   msha.Errorf("switch.check", "x", "", "%w", msha.ErrBusy),
		"switch.check: busy (h)": msha.Errorf("switch.check", "", "h", "%w", msha.ErrBusy),
	} {
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, msha.ErrBusy)
		require.NotErrorIs(t, err, msha.ErrConflict)
	}
}

func TestOpErrorKeepsItsCausesReachable(t *testing.T) {
	inner := msha.Errorf("replicate.resume", "q", "", "%w: %w", msha.ErrGap, context.Canceled)
	err := error(msha.Errorf("outer", "", "", "%w", inner))
	require.ErrorIs(t, err, msha.ErrGap)
	require.ErrorIs(t, err, context.Canceled)
	var op *msha.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "outer", op.Op)
	require.ErrorAs(t, errors.Unwrap(err), &op)
	require.Equal(t, "replicate.resume", op.Op)
	require.Equal(t, "q", op.Resource)
}
