package consume

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// lateSecondRetry has the first retry copy come soon, and the second one never.
func lateSecondRetry() *embedmq.Options {
	delays := slices.Repeat([]time.Duration{30 * time.Millisecond}, 18)
	delays[firstDelayLevel] = time.Hour
	return &embedmq.Options{DelayLevels: delays}
}

// failsTwice lets each message fail before it succeeds.
func failsTwice() func(*member) {
	var runs atomic.Int64
	return doing(func(context.Context, *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if runs.Add(1) <= 2 {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	})
}

// loseFrom kills the broker, once its log is at rest, and starts it again without the records from the n-th of a kind on. Committed offsets stay.
func (f *fixture) loseFrom(kind filter.Kind, n int, meanwhile func()) {
	f.Helper()
	stored := f.stored(factLog())
	keep, found := 0, 0
	for i, m := range stored {
		rs, err := filter.DecodeLog(m.Body, m.QueueOffset)
		require.NoError(f, err)
		for _, r := range rs {
			if r.Kind == kind {
				found++
			}
		}
		if found >= n {
			break
		}
		keep = i + 1
	}
	require.Equal(f, n, found)
	require.NoError(f, f.Kill(broker))
	meanwhile()
	f.restart(broker, embedmq.LoseTail(len(stored)-keep, factLog().Topic))
}

// A retry copy has failed, and is acknowledged because the log knows of the next one. The broker loses both: the copy is read again.
func TestRetryAndItsFactsAreLost(t *testing.T) {
	for name, c := range map[string]struct {
		killed bool // the process, with the broker
	}{
		"by the process that knew of it": {},
		"by the next one":                {killed: true}, // which finds an offset that has outlived what it rests on
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, lateSecondRetry())
			do := failsTwice()
			m := f.join(do)
			f.send("beijing", 1, home(0))
			retries := remoting.Queue{Topic: retryTopic, Broker: broker}
			f.eventually("the first retry copy is acknowledged", func() bool { return f.count(filter.Sent) == 2 && f.committed(retries) == 1 })
			f.loseFrom(filter.Open, 2, func() {
				if c.killed {
					m.kill()
				}
			})
			if c.killed {
				f.join(do)
			}
			f.exact()
			require.Equal(t, 3, f.journal.started())
		})
	}
}

// What others have written is gone for all: this process believes it no longer, though it has read it.
func TestFactsOfOthersAreLost(t *testing.T) {
	f := start(t, 1, nil)
	m := f.join()
	f.send("beijing", 2, home(0))
	f.exact()
	f.write(factLog(), filter.Record{Kind: filter.Done, Group: group, Set: unit, Term: 1, Queue: origin(home(0)), Spans: filter.Range(2, 5)})
	f.eventually("believed", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.tracker.Facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).Contains(4)
	})
	f.restart(broker, embedmq.LoseTail(1, factLog().Topic))
	f.send("beijing", 3, home(0))
	f.exact()
}

// A retry was announced and sent, and the process has not read that when its broker loses it. Its message does not wait for ever.
func TestUnreadRetryIsLost(t *testing.T) {
	delays := slices.Repeat([]time.Duration{30 * time.Millisecond}, 18)
	delays[firstDelayLevel-1] = time.Hour
	f := start(t, 1, &embedmq.Options{DelayLevels: delays})
	gate := newBlocker(f)
	var runs atomic.Int64
	f.join(doing(func(ctx context.Context, _ *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if runs.Add(1) > 1 {
			return consumer.ConsumeSuccess, nil
		}
		if result, err := gate.wait(ctx); err != nil {
			return result, err
		}
		return consumer.ConsumeRetryLater, nil
	}))
	f.send("beijing", 1, home(0))
	f.eventually("runs", func() bool { return f.journal.running() == 1 })
	log := f.Inject(embedmq.Fault{Code: remoting.ReqPullMessage, Delay: time.Hour, Match: func(cmd *remoting.Command) bool {
		return cmd.Ext["topic"] == msha.ProgressTopic && cmd.Ext["consumerGroup"] == readerGroup
	}})
	f.write(factLog(), filter.Record{Kind: filter.Ack, Client: "another", Version: 1}) // ends the read under way
	f.eventually("the log is read late", func() bool { return log.Hits() > 0 })
	gate.release()
	f.eventually("announced and sent", func() bool { return f.count(filter.Sent) == 1 })
	f.loseFrom(filter.Open, 1, log.Remove)
	f.exact()
}
