// Package tagging puts the routing value and the unit onto messages on the producer side (design section 4). The value comes from the
// context (With), from an Extractor, or from a default; a message without one belongs to the unit that produced it.
package tagging

import (
	"context"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
)

// MaxValue is the longest routing value in bytes.
const MaxValue = 1024

type valueKey struct{}

// With returns a context whose messages carry value. An empty value takes an outer one away.
func With(ctx context.Context, value string) context.Context {
	return context.WithValue(ctx, valueKey{}, value)
}

// Value is the routing value of a context, "" if there is none. A handler's context has its message's value.
func Value(ctx context.Context) string {
	v, _ := ctx.Value(valueKey{}).(string)
	return v
}

// Extractor finds the routing value of a message whose context has none; "" if it has none either. It must be safe for concurrent use.
type Extractor func(ctx context.Context, msg *primitive.Message) string

// FromProperty takes a user property.
func FromProperty(name string) Extractor {
	return func(_ context.Context, msg *primitive.Message) string { return msg.GetProperty(name) }
}

// FromKeys takes the first of the message's KEYS.
func FromKeys() Extractor {
	return func(_ context.Context, msg *primitive.Message) string {
		first, _, _ := strings.Cut(msg.GetKeys(), primitive.PropertyKeySeparator)
		return first
	}
}

// FromShardingKey takes the sharding key.
func FromShardingKey() Extractor {
	return func(_ context.Context, msg *primitive.Message) string { return msg.GetShardingKey() }
}

// Config says how messages are tagged.
type Config struct {
	Unit    string    // unit that produces; required
	Value   Extractor // nil: only the context's value and Default
	Default string    // value of a message without one; "": none
}

// Apply tags one message in place. Properties of an earlier life (MSHA_*, RETRY_TOPIC, ORIGIN_MESSAGE_ID) are removed, because a
// forwarded or re-driven message is a new message. ErrInvalid for a value that cannot be carried; the message is unchanged then.
func Apply(ctx context.Context, msg *primitive.Message, c Config) error {
	value := Value(ctx)
	if value == "" && c.Value != nil {
		value = c.Value(ctx, msg)
	}
	if value == "" {
		value = c.Default
	}
	if err := checkValue(msg.Topic, value); err != nil {
		return err
	}
	for name := range msg.GetProperties() {
		if strings.HasPrefix(name, "MSHA_") || name == primitive.PropertyRetryTopic || name == primitive.PropertyOriginMessageId {
			msg.RemoveProperty(name)
		}
	}
	msg.WithProperty(msha.PropertyUnit, c.Unit)
	if value != "" {
		msg.WithProperty(msha.PropertyRoute, value)
	}
	return nil
}

func checkValue(topic, value string) error {
	if len(value) > MaxValue {
		return msha.Errorf("tagging", topic, "", "routing value of %d bytes is %w: the limit is %d", len(value), msha.ErrInvalid, MaxValue)
	}
	if i := strings.IndexAny(value, "\x00\x01\x02"); i >= 0 {
		return msha.Errorf("tagging", topic, "", "%w: routing value %q has a control character at byte %d", msha.ErrInvalid, value, i)
	}
	return nil
}
