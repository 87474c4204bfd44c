package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/agent"
	"github.com/go-msha/msha/consume"
	"github.com/go-msha/msha/tagging"
)

func TestBacklogTakenOver(t *testing.T) { t.Parallel(); backlogTakenOver(t, onEmbedded) }

// backlogTakenOver: the owner of a value has stopped working, many messages wait that the gaining unit has passed over already, and new ones
// arrive all the time. The value moves; later the old owner works again.
func backlogTakenOver(t *testing.T, clusters backend) {
	const n = 20_000
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	gaining := []*member{w.join("unit-1"), w.join("unit-1")}
	losing := []*member{w.join("unit-2"), w.join("unit-2")}
	for _, m := range losing {
		m.consumer.Suspend()
	}
	w.pile("unit-2", "guangzhou", n)
	w.eventually("backlog copied and passed over", func() bool { return counted(gaining, skipped) >= n })
	stop := w.everywhere(200, "guangzhou", "beijing", "shenzhen")
	w.eventually("new messages flow", func() bool { return w.journal.produces() >= n+100 })
	w.move("values=guangzhou")
	for _, m := range losing {
		m.consumer.Resume()
	}
	w.eventually("backlog taken over", func() bool { return counted(gaining, reread) >= n })
	more := w.journal.produces() + 100
	w.eventually("new messages flow on", func() bool { return w.journal.produces() >= more })
	stop()
	v := w.settled()
	w.exact(v)
	require.GreaterOrEqual(t, v.ByUnit["unit-1"], n)
}

func skipped(s consume.Stats) int64 { return s.Skipped }

func reread(s consume.Stats) int64 { return s.Reread }

// counted sums a counter of consumers.
func counted(members []*member, counter func(consume.Stats) int64) (sum int64) {
	for _, m := range members {
		for _, s := range m.unit.Stats() {
			sum += counter(s.Stats)
		}
	}
	return sum
}

// pile sends n messages of a value to a unit, in batches: one by one they would take most of a test's time.
func (w *world) pile(unit, value string, n int) {
	w.Helper()
	const batch = 100
	u, err := agent.Join(w.ctx, unit, w.store, &agent.Options{Logger: w.log, Access: access})
	require.NoError(w, err)
	defer func() { require.NoError(w, u.Close(w.ctx)) }()
	p, err := u.NewProducer(producer.WithGroupName("mtr"), producer.WithQueueSelector(w.selector), producer.WithSendMsgTimeout(time.Minute))
	require.NoError(w, err)
	require.NoError(w, p.Start())
	for range n / batch {
		var ms []*primitive.Message
		var keys []string
		for range batch {
			key := fmt.Sprintf("%s-%s-%06d", unit, value, w.serial.Add(1))
			keys = append(keys, key)
			ms = append(ms, primitive.NewMessage(w.topic, []byte("body of "+key)).WithKeys([]string{key}))
		}
		_, err := p.SendSync(tagging.With(w.ctx, value), ms...)
		require.NoError(w, err)
		for _, key := range keys {
			w.journal.produced(key, unit, value)
		}
	}
}
