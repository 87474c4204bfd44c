package tagging

import (
	"context"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// recorder notes the messages that reach the real producer, by method.
type recorder struct {
	rocketmq.Producer
	method string
	got    []*primitive.Message
}

func (r *recorder) note(method string, msgs ...*primitive.Message) {
	r.method, r.got = method, append(r.got, msgs...)
}

func (r *recorder) SendSync(_ context.Context, msgs ...*primitive.Message) (*primitive.SendResult, error) {
	r.note("sync", msgs...)
	return &primitive.SendResult{MsgID: "id"}, nil
}

func (r *recorder) SendAsync(ctx context.Context, f func(context.Context, *primitive.SendResult, error), msgs ...*primitive.Message) error {
	r.note("async", msgs...)
	f(ctx, &primitive.SendResult{MsgID: "id"}, nil)
	return nil
}

func (r *recorder) SendOneWay(_ context.Context, msgs ...*primitive.Message) error {
	r.note("oneway", msgs...)
	return nil
}

func (r *recorder) Request(_ context.Context, _ time.Duration, msg *primitive.Message) (*primitive.Message, error) {
	r.note("request", msg)
	return msg, nil
}

type transactions struct {
	rocketmq.TransactionProducer
	recorder *recorder
}

func (t transactions) SendMessageInTransaction(_ context.Context, msg *primitive.Message) (*primitive.TransactionSendResult, error) {
	t.recorder.note("transaction", msg)
	return &primitive.TransactionSendResult{}, nil
}

func TestEverySendModeTagsEveryMessage(t *testing.T) {
	config, ctx := Config{Unit: "unit-1", Value: FromProperty("city")}, context.Background()
	for _, mode := range []struct {
		name string
		send func(r *recorder, msgs ...*primitive.Message) error
		one  bool // takes a single message
	}{
		{"sync", func(r *recorder, msgs ...*primitive.Message) error {
			_, err := Wrap(r, config).SendSync(ctx, msgs...)
			return err
		}, false},
		{"async", func(r *recorder, msgs ...*primitive.Message) error {
			called := false
			err := Wrap(r, config).SendAsync(ctx, func(context.Context, *primitive.SendResult, error) { called = true }, msgs...)
			require.Equal(t, err == nil, called)
			return err
		}, false},
		{"oneway", func(r *recorder, msgs ...*primitive.Message) error { return Wrap(r, config).SendOneWay(ctx, msgs...) }, false},
		{"request", func(r *recorder, msgs ...*primitive.Message) error {
			_, err := Wrap(r, config).Request(ctx, time.Second, msgs[0])
			return err
		}, true},
		{"transaction", func(r *recorder, msgs ...*primitive.Message) error {
			_, err := WrapTransaction(transactions{recorder: r}, config).SendMessageInTransaction(ctx, msgs[0])
			return err
		}, true},
	} {
		t.Run(mode.name, func(t *testing.T) {
			r := &recorder{}
			msgs := []*primitive.Message{withProperty("city", "beijing"), withProperty("city", "guangzhou"), withProperty("town", "x")}
			if mode.one {
				msgs = msgs[:1]
			}
			msgs[0].WithProperty(msha.PropertyOrigin, "old")
			msgs[0].WithProperty(primitive.PropertyRetryTopic, "old")
			require.NoError(t, mode.send(r, msgs...))
			require.Equal(t, mode.name, r.method)
			require.Equal(t, msgs, r.got, "the same messages in the same order")
			for i, m := range msgs {
				require.Equal(t, m.GetProperty("city"), m.GetProperty(msha.PropertyRoute), i)
				require.Equal(t, "unit-1", m.GetProperty(msha.PropertyUnit), i)
				require.Empty(t, m.GetProperty(msha.PropertyOrigin)+m.GetProperty(primitive.PropertyRetryTopic), i)
			}
			r.got = nil
			require.ErrorIs(t, mode.send(r, withProperty("city", "a\x01"), withProperty("city", "beijing")), msha.ErrInvalid)
			require.Empty(t, r.got, "nothing is sent")
		})
	}
}

func TestInterceptorTagsSinglesAndLeavesBatches(t *testing.T) {
	intercept, sent := Interceptor(Config{Unit: "unit-1", Value: FromProperty("city")}), 0
	next := func(context.Context, any, any) error { sent++; return nil }
	msg := withProperty("city", "beijing")
	require.NoError(t, intercept(context.Background(), msg, nil, next))
	require.Equal(t, "beijing", msg.GetProperty(msha.PropertyRoute))
	batch := withProperty("city", "beijing")
	batch.Batch = true
	require.NoError(t, intercept(context.Background(), batch, nil, next))
	require.Empty(t, batch.GetProperty(msha.PropertyRoute), "a property of the envelope would be lost")
	require.Equal(t, 2, sent)
	require.ErrorIs(t, intercept(context.Background(), withProperty("city", "a\x02"), nil, next), msha.ErrInvalid)
	require.Equal(t, 2, sent)
}
