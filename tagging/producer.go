package tagging

import (
	"context"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// Wrap returns p with every message tagged before it is sent, each message of a batch included. Like client-go itself it changes the
// message given. It is as safe for concurrent use as p. RequestAsync is passed through untagged, because its callback's type cannot be
// named outside client-go: its messages belong to the unit where they are stored; tag them with Apply before the call.
func Wrap(p rocketmq.Producer, c Config) rocketmq.Producer {
	return &taggingProducer{Producer: p, config: c}
}

type taggingProducer struct {
	rocketmq.Producer
	config Config
}

func (p *taggingProducer) apply(ctx context.Context, msgs []*primitive.Message) error {
	for _, m := range msgs {
		if m == nil {
			continue // client-go reports it
		}
		if err := Apply(ctx, m, p.config); err != nil {
			return err
		}
	}
	return nil
}

func (p *taggingProducer) SendSync(ctx context.Context, msgs ...*primitive.Message) (*primitive.SendResult, error) {
	if err := p.apply(ctx, msgs); err != nil {
		return nil, err
	}
	return p.Producer.SendSync(ctx, msgs...)
}

func (p *taggingProducer) SendAsync(ctx context.Context, f func(context.Context, *primitive.SendResult, error), msgs ...*primitive.Message) error {
	if err := p.apply(ctx, msgs); err != nil {
		return err
	}
	return p.Producer.SendAsync(ctx, f, msgs...)
}

func (p *taggingProducer) SendOneWay(ctx context.Context, msgs ...*primitive.Message) error {
	if err := p.apply(ctx, msgs); err != nil {
		return err
	}
	return p.Producer.SendOneWay(ctx, msgs...)
}

func (p *taggingProducer) Request(ctx context.Context, ttl time.Duration, msg *primitive.Message) (*primitive.Message, error) {
	if err := p.apply(ctx, []*primitive.Message{msg}); err != nil {
		return nil, err
	}
	return p.Producer.Request(ctx, ttl, msg)
}

// WrapTransaction is Wrap for a producer of transactional messages.
func WrapTransaction(p rocketmq.TransactionProducer, c Config) rocketmq.TransactionProducer {
	return &taggingTransactions{TransactionProducer: p, config: c}
}

type taggingTransactions struct {
	rocketmq.TransactionProducer
	config Config
}

func (p *taggingTransactions) SendMessageInTransaction(ctx context.Context, msg *primitive.Message) (*primitive.TransactionSendResult, error) {
	if msg != nil {
		if err := Apply(ctx, msg, p.config); err != nil {
			return nil, err
		}
	}
	return p.TransactionProducer.SendMessageInTransaction(ctx, msg)
}

// Interceptor tags the single messages of a plain client-go producer. It cannot tag batches: client-go has encoded them before
// interceptors run, so their messages stay untagged and belong to the unit where they are stored. Nor does client-go's Request work with any interceptor:
// it returns no answer. Use Wrap where either is needed.
func Interceptor(c Config) primitive.Interceptor {
	return func(ctx context.Context, req, reply any, next primitive.Invoker) error {
		if m, ok := req.(*primitive.Message); ok && !m.Batch {
			if err := Apply(ctx, m, c); err != nil {
				return err
			}
		}
		return next(ctx, req, reply)
	}
}
