package consume

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

func bySQL(expression string) consumer.MessageSelector {
	return consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}
}

// highOnly subscribes what graded sends with a high grade.
func highOnly(m *member) {
	m.sql = "grade > 5 AND city IN ('b', 'c') -- the others are for somebody else"
}

func filtering() *embedmq.Options { return &embedmq.Options{PropertyFilter: true} }

// graded stores messages of a value, one per grade, and returns the keys of those with a high one. In a replica queue they are copies of
// the other unit's from the origin offset from on.
func graded(f *fixture, q remoting.Queue, value string, from int64, grades ...int) (keys []string) {
	f.Helper()
	for i, grade := range grades {
		key := fmt.Sprintf("%s-%s-%d", q.Topic, value, f.serial.Add(1))
		m := message(key, value)
		m.Properties["grade"], m.Properties["city"] = fmt.Sprint(grade), "b"
		if q.Topic == replicaTopic {
			o := msha.Origin{OriginQueue: foreign(), Offset: from + int64(i)}
			m.Properties[msha.PropertyUnit], m.Properties[msha.PropertyOrigin] = other, o.Encode()
		}
		f.put(q, m)
		if grade > 5 {
			keys = append(keys, key)
		}
	}
	return keys
}

// pending lists what a member's re-scans would look for.
func (m *member) pending() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.tracker.Held() {
		if p := m.tracker.Pending(q); !p.Empty() {
			out = append(out, q.String()+p.String())
		}
	}
	return out
}

// Only what matches arrives, and comes back after it failed; the rest is covered, at the beginning, between and at the end of a queue.
func TestSubscribeSQL(t *testing.T) {
	f := start(t, 1, filtering())
	f.expect(graded(f, home(0), "beijing", 0, 1, 2, 9, 3, 8, 7, 1)...)
	m := f.join(highOnly, failing(1))
	f.expect(graded(f, home(0), "beijing", 0, 6, 5, 9, 0, 1)...)
	f.exact()
	f.eventually("covered", func() bool {
		return f.facts().Done(filter.Key{Set: unit, Term: 1}, origin(home(0))).String() == "[0,12)"
	})
	require.Empty(t, m.pending())
	require.EqualValues(t, 5, m.Stats().Failed)
	require.Zero(t, m.Stats().Unfiltered)
}

// A value comes to this unit in the middle of queues that were read long ago with most of their messages filtered out. What matches is
// taken over, nothing else, and nothing stays pending; the same when the process is another one by then.
func TestTakeOverBySQL(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted=%v", restarted), func(t *testing.T) {
			f := start(t, 1, filtering())
			f.copies()
			m := f.join(both, highOnly)
			m.opens(3)
			grades := []int{1, 9, 2, 3, 8, 8, 1, 4, 9, 2, 2}
			homes, copies := graded(f, home(0), "guangzhou", 0, grades...), graded(f, replica, "guangzhou", 0, grades...)
			f.eventually("all skipped", func() bool { return m.Stats().Skipped == 8 && f.acknowledged(topic, replicaTopic) })
			if restarted {
				m.leave()
				m = f.join(both, highOnly)
				m.opens(3)
			}
			takeOver(f, map[msha.OriginQueue]filter.Offsets{origin(home(0)): filter.From(3), foreign(): filter.From(2)})
			f.settled(m)
			want := slices.Concat(homes[1:], copies[1:], graded(f, home(0), "guangzhou", 0, 1, 7, 1), graded(f, replica, "guangzhou", 11, 2, 7, 3))
			f.eventually("processed", func() bool { return f.journal.succeeded() >= len(want) && f.acknowledged(topic, replicaTopic) })
			key := filter.Key{Set: "guangzhou", Term: 2}
			f.eventually("covered", func() bool {
				facts := f.facts()
				return len(m.pending()) == 0 && filter.Range(3, 14).Minus(facts.Done(key, origin(home(0)))).Empty() &&
					filter.Range(2, 13).Minus(facts.Done(key, foreign())).Empty() // the last one of a replica queue waits for the next that matches
			})
			rest()
			require.Empty(t, f.journal.wrong(want))
			require.Zero(t, m.Stats().Expired)
		})
	}
}

// What a broker refuses is an error at once, and nothing is consumed.
func TestSQLRefused(t *testing.T) {
	f := start(t, 1, filtering())
	graded(f, home(0), "beijing", 0, 1, 2, 3)
	for _, bad := range []string{"grade >", "grade LIKE '5%'", "grade > 5 AND", "grade > 0.0"} {
		m := f.member()
		require.NoError(t, m.Subscribe(topic, bySQL(bad), m.handle))
		err := m.Start()
		require.ErrorIs(t, err, msha.ErrInvalid, bad)
		require.ErrorContains(t, err, fmt.Sprintf("SQL92 filter %q of group %s", bad, group))
		require.ErrorContains(t, err, "not one this version of RocketMQ can read")
	}
	m := f.join(highOnly)
	f.topic("Mail", 1)
	require.ErrorIs(t, m.Subscribe("Mail", bySQL("grade >"), m.handle), msha.ErrInvalid, "after Start")
	require.NoError(t, m.Subscribe("Mail", bySQL("grade > 5"), m.handle))
	m.opens(3)
	f.expect(graded(f, remoting.Queue{Topic: "Mail", Broker: broker}, "beijing", 0, 1, 9)...)
	f.exact()
}

func TestSQLSwitchedOff(t *testing.T) {
	f := start(t, 1, nil)
	m := f.member()
	require.NoError(t, m.Subscribe(topic, bySQL("grade > 5"), m.handle))
	err := m.Start()
	require.ErrorIs(t, err, msha.ErrUnsupported)
	require.ErrorContains(t, err, "set enablePropertyFilter=true at this broker")
	require.ErrorContains(t, err, f.BrokerAddr(broker))
	require.Empty(t, f.journal.all())
}

// The broker was away when the group started, or changed its mind later: the queue waits, which is said once and counted; nothing is
// skipped.
func TestSQLRefusedLater(t *testing.T) {
	for name, code := range map[string]int{"before it is opened": remoting.ReqCheckClientConfig, "while it is read": remoting.ReqPullMessage} {
		t.Run(name, func(t *testing.T) {
			f := start(t, 1, filtering())
			ofTopic := func(cmd *remoting.Command) bool {
				return code == remoting.ReqCheckClientConfig || cmd.Ext["topic"] == topic
			}
			m := f.member(highOnly)
			require.NoError(t, m.Start())
			if code == remoting.ReqPullMessage {
				require.NoError(t, m.Subscribe(topic, m.selector(), m.handle))
				m.opens(2)
				f.expect(graded(f, home(0), "beijing", 0, 1, 9, 2)...)
				f.exact()
			}
			fault := f.Inject(embedmq.Fault{Code: code, Match: ofTopic, Error: remoting.RespSubscriptionParseFailed})
			if code == remoting.ReqCheckClientConfig { // as if it was away when it was asked
				m.mu.Lock()
				m.subs[topic] = &subscription{topic: topic, selector: m.selector(), handler: m.handle, version: time.Now().UnixMilli()}
				m.mu.Unlock()
				m.poke(m.notify)
			}
			f.expect(graded(f, home(0), "beijing", 0, 1, 9, 2)...)
			f.eventually("refused", func() bool { return fault.Hits() >= 3 && m.Stats().Unfiltered > 0 })
			require.EqualValues(t, 1, m.Stats().Unfiltered)
			require.Equal(t, 1, f.out.count("queue is not read: its broker does not filter as subscribed"))
			fault.Remove()
			f.exact()
			require.True(t, f.out.says("broker filters as subscribed now", "SMS/broker-a/0"))
			require.Empty(t, m.pending())
		})
	}
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	for given, want := range map[consumer.MessageSelector]string{
		{}:                                    "",
		{Expression: "a || b"}:                "a || b",
		{Type: consumer.TAG, Expression: "*"}: "*",
		bySQL("a > 1"):                        "(a > 1)",
		bySQL("a > 1 -- why"):                 "(a > 1 -- why\n)",
	} {
		s := &subscription{selector: given, version: 7}
		require.Equal(t, want, s.expression())
		p := s.filter(remoting.PullRequest{})
		require.Equal(t, want, p.SubExpression)
		require.EqualValues(t, 7, p.SubVersion)
		require.Equal(t, given.Type == consumer.SQL92, p.ExpressionType == remoting.SQL92)
	}
	sql := (&subscription{selector: bySQL("a > 1")}).data("T-from-unit-2")
	require.Equal(t, remoting.SubscriptionData{Topic: "T-from-unit-2", SubString: "(a > 1)", ExpressionType: "SQL92", Tags: []string{}, Codes: []int32{}}, sql)
	tags := (&subscription{selector: consumer.MessageSelector{Expression: "a"}}).data("T")
	require.Equal(t, remoting.SubscriptionData{Topic: "T", SubString: "a", ExpressionType: "TAG", Tags: []string{"a"}, Codes: []int32{97}}, tags)
}
