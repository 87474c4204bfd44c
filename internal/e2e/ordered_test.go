package e2e

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/stretchr/testify/require"
)

// inOrder makes a member of an ordered group.
func inOrder(m *member) {
	m.opts = append(m.opts, consumer.WithConsumerOrder(true), consumer.WithSuspendCurrentQueueTimeMillis(50*time.Millisecond))
}

// orderedGroup: a group whose queues are ordered. Values move there and back while messages flow, handlers fail and consumers come and go:
// each message of a value is started after those that were produced before it in the same unit, in whichever unit.
func orderedGroup(t *testing.T, clusters backend) {
	w := start(t, clusters, ownership, "unit-1", "unit-2")
	w.selector = producer.NewHashQueueSelector()
	leaver := w.join("unit-2", inOrder, failing(5))
	for _, unit := range []string{"unit-1", "unit-1", "unit-2"} {
		w.join(unit, inOrder, failing(5))
	}
	w.produce("unit-2")("guangzhou", 200)
	var stops []func()
	for _, unit := range w.names {
		stops = append(stops, w.steadily(unit, 50, "beijing", "guangzhou", "shanghai", "shenzhen"))
	}
	time.Sleep(time.Second) // let work be under way everywhere
	w.move("values=guangzhou&to=unit-1")
	w.move("values=guangzhou,shenzhen&to=unit-2")
	leaver.leave()
	w.join("unit-2", inOrder, failing(5))
	w.move("values=beijing&to=unit-2")
	w.move("from=unit-2&to=unit-1")
	time.Sleep(time.Second)
	for _, stop := range stops {
		stop()
	}
	v := w.settled()
	w.exact(v)
	require.Positive(t, v.Failed, "handlers were to fail")
	w.startedInOrder()
}

// startedInOrder asserts that the messages of each value that a unit produced were first started in that order.
func (w *world) startedInOrder() {
	w.Helper()
	j := w.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := map[string][]string{} // keys have the serial of their production at the end
	for key := range j.runs {
		line := key[:len(key)-len("-000000")]
		lines[line] = append(lines[line], key)
	}
	require.Len(w, lines, 8)
	for line, keys := range lines {
		slices.Sort(keys)
		require.True(w, slices.IsSortedFunc(keys, func(a, b string) int {
			return cmp.Compare(j.runs[a][0].start.UnixNano(), j.runs[b][0].start.UnixNano())
		}), line)
	}
}
