package consume

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/filter"
)

// The facts outlive what retention removes from the log: a snapshot carries them forward, and who joins later knows what is done.
func TestSnapshotReplacesTheLogsBeginning(t *testing.T) {
	f := start(t, 2, nil)
	m := f.join(failing(1), func(m *member) { m.cfg.SnapshotEvery = 50 * time.Millisecond })
	f.send("beijing", 10, home(0), home(1))
	f.skip("guangzhou", 10, home(0), home(1))
	f.exact()
	written := f.records(broker)
	end := written[len(written)-1].LogOffset
	var at int64 // of the last whole snapshot, which reflects everything
	f.eventually("snapshot", func() bool {
		log := f.stored(factLog())
		for _, msg := range slices.Backward(log) {
			rs, err := filter.DecodeLog(msg.Body, msg.QueueOffset)
			require.NoError(f, err)
			if r := rs[0]; r.Kind == filter.Snapshot && r.Chunk == 0 && r.LogOffset >= end {
				at = msg.QueueOffset
				return true
			}
		}
		return false
	})
	m.leave()
	require.NoError(t, f.RaiseMinOffset(factLog(), at))
	f.commit(home(0), 0)
	f.commit(home(1), 0)
	again := f.join()
	f.send("beijing", 4, home(0), home(1))
	f.exact()
	require.Equal(t, 4, f.journal.by(again.name))
	require.Equal(t, 2, len(f.facts().Queues()))
}
