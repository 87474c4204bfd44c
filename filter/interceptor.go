package filter

import (
	"context"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
)

// Interceptor makes a plain client-go push consumer acknowledge other units' messages without processing them. It works where a group
// cannot use package agent yet, and promises less (design section 7):
//
//   - It sees the topics the consumer subscribes. Subscribe the replica topics too, or the unit never processes what other units
//     produced for it.
//   - It only skips. The group is unmanaged: nobody records what it did, so a switch names it, does not wait for it, and cannot tell
//     the new owner what is left; around a switch messages may be lost to the group or processed twice.
//   - While a route is fenced its owner goes on, because what was skipped would never be looked at again.
//   - Keep the batch size at 1, client-go's default: of a larger batch the handler gets only the unit's own messages, but if it asks for
//     a retry, client-go sends the whole batch to the retry topic.
//
// Messages no rule covers are skipped. The interceptor never blocks and is safe for concurrent use.
func Interceptor(unit string, router msha.Router) primitive.Interceptor {
	return func(ctx context.Context, req, reply any, next primitive.Invoker) error {
		msgs, ok := req.([]*primitive.MessageExt)
		if !ok {
			return next(ctx, req, reply)
		}
		table := router.Table()
		var own []*primitive.MessageExt
		for _, m := range msgs {
			if owns(table, unit, m) {
				own = append(own, m)
			}
		}
		if len(own) > 0 {
			return next(ctx, own, reply)
		}
		if holder, ok := reply.(*consumer.ConsumeResultHolder); ok {
			holder.ConsumeResult = consumer.ConsumeSuccess
		}
		return nil
	}
}

func owns(table *msha.Table, unit string, m *primitive.MessageExt) bool {
	producer := m.GetProperty(msha.PropertyUnit)
	if producer == "" {
		producer = unit // the replicator puts it on copies
	}
	set, ok := table.Lookup(m.GetProperty(msha.PropertyRoute), producer)
	return ok && set.Owner == unit
}
