package tagging

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestWhereTheValueComesFrom(t *testing.T) {
	byCity := Config{Unit: "unit-1", Value: FromProperty("city"), Default: "other"}
	for _, c := range []struct {
		name, property, context, want string
	}{
		{"context before extractor", "beijing", "guangzhou", "guangzhou"},
		{"extractor", "beijing", "", "beijing"},
		{"default", "", "", "other"},
	} {
		msg := primitive.NewMessage("SMS", []byte("x"))
		if c.property != "" {
			msg.WithProperty("city", c.property)
		}
		require.NoError(t, Apply(With(context.Background(), c.context), msg, byCity), c.name)
		require.Equal(t, c.want, msg.GetProperty(msha.PropertyRoute), c.name)
		require.Equal(t, "unit-1", msg.GetProperty(msha.PropertyUnit), c.name)
	}
	msg := primitive.NewMessage("SMS", nil).WithKeys([]string{"k1", "k2"})
	msg.WithShardingKey("s")
	require.Equal(t, "k1", FromKeys()(context.Background(), msg))
	require.Equal(t, "s", FromShardingKey()(context.Background(), msg))
}

func TestAMessageOfAnEarlierLifeIsNew(t *testing.T) {
	msg := primitive.NewMessage("SMS", nil)
	for _, p := range []string{msha.PropertyOrigin, msha.PropertyRetry, msha.PropertyRoute, primitive.PropertyRetryTopic, primitive.PropertyOriginMessageId} {
		msg.WithProperty(p, "old")
	}
	msg.WithProperty("city", "beijing")
	require.NoError(t, Apply(context.Background(), msg, Config{Unit: "unit-2"}))
	require.Equal(t, map[string]string{"city": "beijing", msha.PropertyUnit: "unit-2"}, msg.GetProperties())
}

func TestBadValuesAreRefusedAndChangeNothing(t *testing.T) {
	for _, v := range []string{"a\x01b", "a\x02b", strings.Repeat("x", MaxValue+1)} {
		msg := withProperty(msha.PropertyOrigin, "old")
		require.ErrorIs(t, Apply(With(context.Background(), v), msg, Config{Unit: "u"}), msha.ErrInvalid)
		require.Equal(t, "old", msg.GetProperty(msha.PropertyOrigin))
	}
}

func withProperty(name, value string) *primitive.Message {
	msg := primitive.NewMessage("SMS", nil)
	msg.WithProperty(name, value)
	return msg
}

func TestApplyTwiceIsApplyOnce(t *testing.T) {
	msg := withProperty("city", "beijing")
	c := Config{Unit: "unit-1", Value: FromProperty("city")}
	require.NoError(t, Apply(context.Background(), msg, c))
	once := msg.GetProperties()
	require.NoError(t, Apply(context.Background(), msg, c), "the application may send a message again")
	require.Equal(t, once, msg.GetProperties())
}

func TestAnInnerContextDecides(t *testing.T) {
	ctx := With(context.Background(), "beijing")
	require.Equal(t, "beijing", Value(ctx))
	require.Equal(t, "guangzhou", Value(With(ctx, "guangzhou")))
	require.Empty(t, Value(With(ctx, "")))
	require.Empty(t, Value(context.Background()))
	msg := withProperty("city", "beijing")
	require.NoError(t, Apply(With(ctx, ""), msg, Config{Unit: "unit-1"}))
	require.Empty(t, msg.GetProperty(msha.PropertyRoute), "no value: the message belongs to its unit")
}

func TestTheLongestValueIsCarried(t *testing.T) {
	long := strings.Repeat("x", MaxValue)
	msg := withProperty("a", "b")
	require.NoError(t, Apply(With(context.Background(), long), msg, Config{Unit: "u"}))
	require.Equal(t, long, msg.GetProperty(msha.PropertyRoute))
}
