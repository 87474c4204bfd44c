package consume

import (
	"context"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

const retryTopic = "%RETRY%" + group

// count is how many records of a kind the log of the broker holds.
func (f *fixture) count(kind filter.Kind) (n int) {
	f.Helper()
	for _, r := range f.records(broker) {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

// Whatever goes wrong on the way of a failed message to its retry: it is processed once.
func TestRetryPathFaults(t *testing.T) {
	send := remoting.ReqSendMessageV2
	for name, fault := range map[string]embedmq.Fault{
		"open not written":         {Code: send, Match: appends(filter.Open), Error: remoting.RespSystemBusy, Times: 6},
		"open written, answer bad": {Code: send, Match: appends(filter.Open), StoredButTimedOut: true, Times: 6},
		"copy not sent":            {Code: send, Match: sendsTo(retryTopic), Error: remoting.RespSystemBusy, Times: 6},
		"copy flushed late":        {Code: send, Match: sendsTo(retryTopic), StoredButTimedOut: true, Times: 6},
		"sent not written":         {Code: send, Match: appends(filter.Sent), Error: remoting.RespSystemBusy, Times: 6},
		"done not written":         {Code: send, Match: appends(filter.Done), Error: remoting.RespSystemBusy, Times: 12},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 2, nil)
			injected := f.Inject(fault)
			f.join(failing(1))
			f.send("beijing", 12, home(0), home(1))
			f.exact()
			require.Equal(t, fault.Times, injected.Hits())
			for _, key := range f.keys() {
				require.GreaterOrEqual(t, len(f.journal.of(key)), 2, key)
			}
		})
	}
}

// The broker stores the copies but its answers get lost: their numbers are closed, the messages read again from their own queue, the
// copies refused when they come due.
func TestRetryCopyStoredAnswerLost(t *testing.T) {
	f := start(t, 1, nil)
	injected := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Match: sendsTo(retryTopic), StoredButTimedOut: true, Drop: true, Times: 4})
	m := f.join(func(m *member) { m.lim.call = 3 * time.Second }, failing(1), doing(func(_ context.Context, msg *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if len(f.journal.of(msg.GetKeys())) == 1 {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	}))
	f.send("beijing", 8, home(0))
	f.exact()
	require.Equal(t, 4, injected.Hits())
	f.eventually("every copy stored", func() bool { return len(f.stored(remoting.Queue{Topic: retryTopic, Broker: broker})) == 8 })
	f.exact()
	require.Equal(t, 4, f.count(filter.Close))
	require.EqualValues(t, 4, m.Stats().Reread)
}

// The same with the number already closed and the message not yet run again: its copy must not be taken for the live one.
func TestClosedCopyComesFirst(t *testing.T) {
	f := start(t, 1, nil)
	gate := newBlocker(f)
	f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Match: sendsTo(retryTopic), StoredButTimedOut: true, Drop: true, Times: 1})
	f.join(func(m *member) { m.lim.call = 3 * time.Second }, doing(func(ctx context.Context, msg *primitive.MessageExt) (consumer.ConsumeResult, error) {
		if len(f.journal.of(msg.GetKeys())) == 1 {
			return consumer.ConsumeRetryLater, nil
		}
		select {
		case <-gate.open:
		case <-ctx.Done():
		}
		return consumer.ConsumeSuccess, ctx.Err()
	}))
	f.send("beijing", 1, home(0))
	retry := remoting.Queue{Topic: retryTopic, Broker: broker}
	f.eventually("copy acknowledged while the message runs again", func() bool {
		return f.journal.running() == 1 && len(f.journal.all()) == 2 && f.committed(retry) == 1
	})
	require.Zero(t, f.journal.succeeded())
	gate.release()
	f.exact()
}

// Attempts count even when every copy gets lost: the message is dead-lettered in the end.
func TestAttemptsCountWithoutCopies(t *testing.T) {
	f := start(t, 1, nil)
	f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Match: sendsTo(retryTopic), Error: remoting.RespSystemBusy})
	m := f.join(with(consumer.WithMaxReconsumeTimes(2)), failing(100))
	f.put(home(0), message("poison", "beijing"))
	f.eventually("dead letter", func() bool { return len(f.stored(deadLetters())) == 1 })
	f.eventually("acknowledged", func() bool { return f.acknowledged(topic) })
	require.Len(t, f.journal.of("poison"), 3)
	require.EqualValues(t, 1, m.Stats().DeadLettered)
}

// The dead-letter topic does not take the message for a while: it is not lost, and counted once.
func TestDeadLetterFault(t *testing.T) {
	f := start(t, 1, nil)
	injected := f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Match: sendsTo("%DLQ%" + group), Error: remoting.RespSystemBusy, Times: 2})
	m := f.join(with(consumer.WithMaxReconsumeTimes(0)), failing(100))
	f.put(home(0), message("poison", "beijing"))
	require.NoError(t, injected.Wait(f.ctx))
	require.Negative(t, f.committed(home(0))-1, "not acknowledged before it is stored")
	f.eventually("acknowledged", func() bool { return f.acknowledged(topic) && f.committed(home(0)) == 1 })
	require.Len(t, f.stored(deadLetters()), 1)
	require.Len(t, f.journal.of("poison"), 1)
	require.Equal(t, Stats{Started: 1, Failed: 1, DeadLettered: 1}, m.Stats())
}

// A process dies between Open and the copy: another one voids the Open and runs the message.
func TestOpenOfADeadProcess(t *testing.T) {
	f := start(t, 1, &embedmq.Options{LockExpiry: lockExpiry})
	f.Inject(embedmq.Fault{Code: remoting.ReqSendMessageV2, Match: sendsTo(retryTopic), Drop: true, Times: 3})
	first := f.join(brief, failing(1))
	f.send("beijing", 3, home(0))
	f.eventually("opens written", func() bool { return f.count(filter.Open) == 3 })
	first.kill()
	f.join(brief)
	f.exact()
	require.Equal(t, 3, f.count(filter.Void))
}

const lockExpiry = 6 * time.Second

// brief lets an engine wait for dead ones no longer than a test can.
func brief(m *member) { m.lim.trust, m.lim.margin = lockExpiry-time.Second, time.Second }
