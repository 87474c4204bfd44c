package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/stretchr/testify/require"
)

// resumed counts the calls of Resume.
type resumed struct {
	rocketmq.PushConsumer
	times int
}

func (r *resumed) Resume() { r.times++ }

func TestControls(t *testing.T) {
	consumer, carrier := &resumed{}, &Carrier{Unit: "unit-2", Journal: NewJournal()}
	g := &gateway{units: map[string]*unit{
		"unit-1": {name: "unit-1"},
		"unit-2": {name: "unit-2", channel: &Channel{Carrier: carrier, Consumer: consumer}},
	}}
	mux := http.NewServeMux()
	g.addControls(mux)
	for _, step := range []struct {
		method, path string
		status       int
		down         bool
		resumed      int
	}{
		{"POST", "/carrier?unit=unit-2&down=true", http.StatusOK, true, 0},
		{"POST", "/carrier?unit=unit-2&down=maybe", http.StatusBadRequest, true, 0},
		{"POST", "/carrier?unit=unit-2", http.StatusBadRequest, true, 0},
		{"GET", "/carrier?unit=unit-2&down=false", http.StatusMethodNotAllowed, true, 0},
		{"POST", "/carrier?unit=unit-1&down=false", http.StatusNotFound, true, 0},
		{"POST", "/carrier?down=false", http.StatusNotFound, true, 0},
		{"POST", "/repair?unit=unit-9", http.StatusNotFound, true, 0},
		{"POST", "/carrier?unit=unit-2&down=false", http.StatusOK, false, 0},
		{"POST", "/repair?unit=unit-2", http.StatusOK, false, 1},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(step.method, step.path, nil))
		require.Equal(t, step.status, w.Code, step.path)
		require.Equal(t, step.down, carrier.Deliver(t.Context(), "x") != nil, step.path)
		require.Equal(t, step.resumed, consumer.times, step.path)
	}
}
