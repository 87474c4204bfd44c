package msha_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestPlanJSON(t *testing.T) {
	plan := msha.Plan{
		ID: "id", Deadline: 10 * time.Second, Request: msha.SwitchRequest{Values: []string{"beijing"}, Deadline: 90 * time.Second, By: "alice"},
		Moves: []msha.Move{{Set: "a", NewSet: "a", Values: []string{"beijing"}, Whole: true, From: "unit-1", To: "unit-2", Term: 1}},
		Steps: []msha.Step{{Name: "check"}, {Name: "freeze", Timeout: 2 * time.Second, Attempts: 3, Pause: 5 * time.Millisecond, SkipOnError: true}, {Name: "ok", Kind: msha.StepApproval}},
	}
	b, err := json.Marshal(plan)
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"id","deadline":"10s","request":{"values":["beijing"],"deadline":"1m30s","by":"alice"},
		"moves":[{"set":"a","newSet":"a","values":["beijing"],"whole":true,"from":"unit-1","to":"unit-2","term":1}],
		"steps":[{"name":"check"},{"name":"freeze","timeout":"2s","attempts":3,"pause":"5ms","skipOnError":true},{"name":"ok","kind":"approval"}]}`, string(b))
	var back msha.Plan
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, plan, back)

	require.NoError(t, json.Unmarshal([]byte(`{"deadline":10000000000,"steps":[{"timeout":1000000000}],"request":{"deadline":5}}`), &back), "of an older version")
	require.Equal(t, 10*time.Second, back.Deadline)
	require.Equal(t, time.Second, back.Steps[0].Timeout)
	require.EqualValues(t, 5, back.Request.Deadline)
	for _, bad := range []string{`{"deadline":"soon"}`, `{"deadline":{}}`, `{"steps":[{"timeout":true}]}`, `{"request":{"deadline":"1"}}`, `[]`} {
		require.Error(t, json.Unmarshal([]byte(bad), &back), bad)
	}
	code := msha.Step{Name: "x", Do: func(context.Context) error { return nil }}
	b, err = json.Marshal(code)
	require.NoError(t, err, "code is not written")
	require.JSONEq(t, `{"name":"x"}`, string(b))
}
