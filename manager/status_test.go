package manager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

func TestStatusOfASwitchThatFailed(t *testing.T) {
	for err, status := range map[error]int{
		msha.ErrMissingFacts:     http.StatusConflict,
		msha.ErrGap:              http.StatusConflict,
		msha.ErrNotFound:         http.StatusConflict,
		switchplan.ErrCalledOff:  http.StatusConflict,
		msha.ErrTooLarge:         http.StatusRequestEntityTooLarge,
		msha.ErrNotConfirmed:     http.StatusGatewayTimeout,
		context.DeadlineExceeded: http.StatusGatewayTimeout,
		msha.ErrUnsafe:           http.StatusServiceUnavailable,
		msha.ErrInvalid:          http.StatusInternalServerError, // a document that must be repaired
		errors.New("no luck"):    http.StatusInternalServerError,
	} {
		require.Equal(t, status, runStatus(fmt.Errorf("%w: %w", msha.ErrAborted, err)), "%v", err)
		if err == msha.ErrInvalid {
			status = http.StatusBadRequest
		}
		require.Equal(t, status, refusedStatus(err), "%v", err)
	}
}
