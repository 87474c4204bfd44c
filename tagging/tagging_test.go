package tagging

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/rocketmq-client-go/v2"
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

// recorder notes the messages that reach the real producer.
type recorder struct {
	rocketmq.Producer
	got []*primitive.Message
}

func (r *recorder) SendSync(_ context.Context, msgs ...*primitive.Message) (*primitive.SendResult, error) {
	r.got = append(r.got, msgs...)
	return &primitive.SendResult{}, nil
}

func TestEveryMessageOfABatchIsTagged(t *testing.T) {
	r := &recorder{}
	p := Wrap(r, Config{Unit: "unit-1", Value: FromProperty("city")})
	_, err := p.SendSync(context.Background(),
		withProperty("city", "beijing"), withProperty("city", "guangzhou"))
	require.NoError(t, err)
	require.Len(t, r.got, 2)
	require.Equal(t, "beijing", r.got[0].GetProperty(msha.PropertyRoute))
	require.Equal(t, "guangzhou", r.got[1].GetProperty(msha.PropertyRoute))

	_, err = p.SendSync(context.Background(), withProperty("city", "a\x01"))
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.Len(t, r.got, 2, "nothing is sent")
}

func withProperty(name, value string) *primitive.Message {
	msg := primitive.NewMessage("SMS", nil)
	msg.WithProperty(name, value)
	return msg
}
