package filter

import (
	"context"
	"errors"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

type fixedRouter struct{ table *msha.Table }

func (r fixedRouter) Table() *msha.Table             { return r.table }
func (r fixedRouter) Changed(uint64) <-chan struct{} { return nil }

func routed(value, unit string) *primitive.MessageExt {
	m := &primitive.MessageExt{}
	if value != "" {
		m.WithProperty(msha.PropertyRoute, value)
	}
	if unit != "" {
		m.WithProperty(msha.PropertyUnit, unit)
	}
	return m
}

func TestInterceptorSkipsOtherUnitsMessages(t *testing.T) {
	table := (&msha.Table{
		Rules: []msha.Rule{
			{Kind: msha.RuleExact, Value: "beijing", Set: "unit-1"}, {Kind: msha.RuleExact, Value: "guangzhou", Set: "unit-2"},
			{Kind: msha.RuleUnit, Value: "unit-1", Set: "unit-1"}, {Kind: msha.RuleUnit, Value: "unit-2", Set: "unit-2"},
		},
		Sets: map[string]msha.RouteSet{
			"unit-1": {ID: "unit-1", Owner: "unit-1", Term: 1, State: msha.SetFenced, Switch: "s"}, "unit-2": {ID: "unit-2", Owner: "unit-2", Term: 1, State: msha.SetOpen},
		},
	}).Index()
	intercept := Interceptor("unit-1", fixedRouter{table})
	failure := errors.New("handler")
	call := func(msgs ...*primitive.MessageExt) (passed []*primitive.MessageExt, result consumer.ConsumeResult, err error) {
		holder := &consumer.ConsumeResultHolder{ConsumeResult: consumer.ConsumeRetryLater}
		err = intercept(t.Context(), msgs, holder, func(_ context.Context, req, _ any) error {
			passed = req.([]*primitive.MessageExt)
			return failure
		})
		return passed, holder.ConsumeResult, err
	}

	for _, foreign := range []*primitive.MessageExt{routed("guangzhou", ""), routed("guangzhou", "unit-1"), routed("", "unit-2"), routed("atlantis", "unit-1")} {
		passed, result, err := call(foreign)
		require.NoError(t, err)
		require.Empty(t, passed)
		require.Equal(t, consumer.ConsumeSuccess, result, "acknowledged")
	}
	for _, own := range []*primitive.MessageExt{routed("beijing", "unit-2"), routed("", "unit-1"), routed("", "")} {
		passed, result, err := call(own)
		require.ErrorIs(t, err, failure)
		require.Equal(t, []*primitive.MessageExt{own}, passed)
		require.Equal(t, consumer.ConsumeRetryLater, result, "the handler's own")
	}
	own := routed("beijing", "")
	passed, _, _ := call(routed("guangzhou", ""), own)
	require.Equal(t, []*primitive.MessageExt{own}, passed)
}
