package replicate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// limits are the rates that one process may copy at, all its queues together. A batch goes when what was sent before is paid for, and is
// paid for afterwards, so a batch of any size goes, and the rate is exceeded by one batch at most.
type limits struct {
	messages, bytes *bucket // nil: no limit
}

func newLimits(o *Options) limits {
	return limits{newBucket(o.MessagesPerSecond), newBucket(o.BytesPerSecond)}
}

// bucket is one rate. It keeps the moment at which everything taken so far is paid for.
type bucket struct {
	perSecond float64

	mu   sync.Mutex
	paid time.Time
}

func newBucket(perSecond int) *bucket {
	if perSecond <= 0 {
		return nil
	}
	return &bucket{perSecond: float64(perSecond)}
}

// saved is for how long a bucket fills while nothing is sent. More would let an idle process begin above its rate.
const saved = 50 * time.Millisecond

// take waits until all that was taken before is paid for. If ctx ends first, nothing is taken.
func (b *bucket) take(ctx context.Context, n int) error {
	if b == nil || n <= 0 {
		return nil
	}
	price := time.Duration(float64(n) / b.perSecond * float64(time.Second))
	b.mu.Lock()
	now := time.Now()
	if least := now.Add(-saved); b.paid.Before(least) {
		b.paid = least
	}
	wait := b.paid.Sub(now)
	b.paid = b.paid.Add(price)
	b.mu.Unlock()
	if wait > 0 {
		sleep(ctx, wait)
	}
	if ctx.Err() != nil {
		b.mu.Lock()
		b.paid = b.paid.Add(-price)
		b.mu.Unlock()
	}
	return ctx.Err()
}

// of is what holds for a topic. The facts log is not limited: the other unit cannot take over without it.
func (l limits) of(topic string) limits {
	if topic == msha.ProgressTopic {
		return limits{}
	}
	return l
}

// wait blocks until a batch may go, or ctx ends.
func (l limits) wait(ctx context.Context, messages, bytes int) error {
	if err := l.messages.take(ctx, messages); err != nil {
		return err
	}
	return l.bytes.take(ctx, bytes)
}

// batch makes batches small where rates are low: no more than may go in a tenth of a second, but at least one message.
func (l limits) batch(messages, bytes int) (maxMessages, maxBytes int) {
	return l.messages.tenth(messages), l.bytes.tenth(bytes)
}

func (b *bucket) tenth(n int) int {
	if b == nil {
		return n
	}
	return min(n, max(int(b.perSecond/10), 1))
}

// rateProblems are part of the validation of options.
func (o *Options) rateProblems() (problems []string) {
	for name, n := range map[string]int{"MessagesPerSecond": o.MessagesPerSecond, "BytesPerSecond": o.BytesPerSecond} {
		if n < 0 {
			problems = append(problems, fmt.Sprintf("%s is %d, 0 stands for no limit", name, n))
		}
	}
	return problems
}

// deliver is send within the limits.
func (s *session) deliver(ctx context.Context, b []remoting.Record) error {
	size := 0
	for i := range b {
		size += s.copier.size(&b[i])
	}
	if s.limits != (limits{}) {
		start := time.Now()
		if err := s.limits.wait(ctx, len(b), size); err != nil {
			return err
		}
		s.count.limited.Add(int64(time.Since(start)))
	}
	err := s.send(ctx, b)
	s.counted(len(b), size, err)
	return err
}
