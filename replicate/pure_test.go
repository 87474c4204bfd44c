package replicate

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/parting"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/metastore/memory"
)

func TestNames(t *testing.T) {
	units := []string{"unit-1", "unit-2"}
	for topic, want := range map[string]bool{
		"SMS": true, "MSHA_PROGRESS": true, "SMS-from-unit-2": false, "MSHA_PROGRESS-from-unit-2": false, "%RETRY%g": false, "%DLQ%g": false,
		"TBW102": false, "RMQ_SYS_TRACE_TOPIC": false, "broker-a": false, "private": false, "DefaultCluster": false,
	} {
		require.Equal(t, want, copied(topic, []string{"*"}, []string{"priv*"}, units, map[string]string{"broker-a": ""}, map[string]bool{"DefaultCluster": true}), topic)
	}
	_, err := ReplicaName(strings.Repeat("x", 120), "unit-1")
	require.ErrorIs(t, err, msha.ErrTooLarge)
	_, err = ReplicaName("SMS", "unit 1")
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestLayoutOnlyGrows(t *testing.T) {
	q := func(id int) remoting.Queue { return remoting.Queue{Topic: "SMS", Broker: "a", ID: id} }
	one, changed := Layout{}.assign([]remoting.Queue{q(0), q(1), q(2)}, "R", []string{"x", "y"})
	require.True(t, changed)
	two, changed := one.assign([]remoting.Queue{q(0), q(1), q(2), q(3)}, "R", []string{"w", "x", "y"})
	require.True(t, changed)
	require.Equal(t, one.Queues, two.Queues[:3])
	require.Equal(t, map[string]int{"w": 1, "x": 2, "y": 1}, two.sizes("R"))
	_, changed = two.assign([]remoting.Queue{q(3)}, "R", []string{"z"})
	require.False(t, changed)
	seen := map[remoting.Queue]bool{}
	for _, a := range two.Queues {
		require.False(t, seen[a.Target])
		seen[a.Target] = true
	}
}

func TestResume(t *testing.T) {
	from := msha.OriginQueue{Unit: "u", Broker: "b", Topic: "SMS", Queue: 1}
	at := func(off int64, key string) *remoting.Message {
		return &remoting.Message{Properties: map[string]string{msha.PropertyOrigin: msha.Origin{OriginQueue: from, Offset: off}.Encode(), "UNIQ_KEY": key}}
	}
	next, err := resume(from, nil, nil, nil, 5, 9)
	require.NoError(t, err)
	require.EqualValues(t, 5, next)
	next, err = resume(from, nil, at(6, "k"), at(6, "k"), 5, 9)
	require.NoError(t, err)
	require.EqualValues(t, 7, next)
	_, err = resume(from, nil, at(6, "k"), at(6, "other"), 5, 9)
	require.ErrorIs(t, err, parting.ErrChanged, "another message at the copied offset")
	_, err = resume(from, nil, at(9, "k"), nil, 5, 9)
	require.ErrorIs(t, err, parting.ErrChanged, "copied beyond the origin's end")
	raised := &msha.Incarnations{Queues: []msha.RaisedQueue{{Queue: from, Raised: []msha.Raised{{From: 6}}}}}
	next, err = resume(from, raised, at(8, "k"), at(8, "other"), 5, 9)
	require.NoError(t, err, "somebody else has found out")
	require.EqualValues(t, 6, next)
	newer := at(6, "k")
	o := msha.Origin{OriginQueue: from, Offset: 6}
	o.Incarnation = 1
	newer.Properties[msha.PropertyOrigin] = o.Encode()
	next, err = resume(from, raised, newer, at(6, "k"), 5, 9)
	require.NoError(t, err)
	require.EqualValues(t, 7, next)
	_, err = resume(from, nil, newer, at(6, "k"), 5, 9)
	require.ErrorIs(t, err, msha.ErrInvalid, "of an incarnation that is not known")
	_, err = resume(from, nil, at(2, "k"), nil, 5, 9)
	require.ErrorIs(t, err, msha.ErrGap, "3 and 4 expired")
	require.ErrorIs(t, err, parting.ErrExpired)
	next, err = resume(from, nil, at(4, "k"), nil, 5, 9)
	require.NoError(t, err, "nothing is missing in between")
	require.EqualValues(t, 5, next)
	next, err = resume(from, nil, at(6, "made by the target"), at(6, ""), 5, 9)
	require.NoError(t, err, "the origin's message has no key")
	require.EqualValues(t, 7, next)
	_, err = resume(from, nil, &remoting.Message{}, nil, 5, 9)
	require.ErrorIs(t, err, msha.ErrInvalid, "a foreign message in the replica queue")
	other := from
	other.Queue = 2
	_, err = resume(other, nil, at(6, "k"), nil, 5, 9)
	require.ErrorIs(t, err, msha.ErrInvalid, "copies of another queue")
}

func TestCopyDropsWhatWouldChangeItsFate(t *testing.T) {
	from := msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS"}
	m := &remoting.Message{QueueOffset: 7, SysFlag: remoting.SysTransCommit | remoting.SysCompressed, Properties: map[string]string{
		"TRAN_MSG": "true", "DELAY": "3", "TIMER_OUT_MS": "1", "REAL_TOPIC": "x", "user": "v", msha.PropertyUnit: "unit-0",
	}}
	c := copyOf(m, from, "SMS-from-unit-1")
	require.Equal(t, map[string]string{"user": "v", msha.PropertyUnit: "unit-0", msha.PropertyOrigin: msha.Origin{OriginQueue: from, Offset: 7}.Encode()}, c.Properties)
	require.EqualValues(t, remoting.SysCompressed, c.SysFlag)
	require.Equal(t, "true", m.Properties["TRAN_MSG"], "the original is untouched")
}

func TestBatchesKeepOrderAndLimits(t *testing.T) {
	var ms []*remoting.Message
	for i := range 20 {
		m := &remoting.Message{Flag: int32(i), Body: make([]byte, 100)}
		if i%7 == 3 {
			m.SysFlag = remoting.SysCompressed
		}
		ms = append(ms, m)
	}
	c := newCopier(func(int64) msha.OriginQueue { return auditFrom })
	records := recordsOf(t, ms...)
	size, next := c.size(&records[0]), int32(0)
	require.Greater(t, size, 164)
	b := backlog{}
	b.add(pulled{ms: records})
	freed := 0
	for ; len(b.ms) > 0; freed += b.pop() {
		require.Equal(t, len(b.ms) > 2 || b.ms[0].SysFlag != 0, b.extend(c, 4, 3*size-1), "two fit, a compressed one goes alone")
		require.LessOrEqual(t, b.n, 2)
		for _, m := range b.batch() {
			require.Equal(t, next, m.Flag)
			next++
			require.True(t, m.SysFlag == 0 || b.n == 1)
		}
	}
	require.EqualValues(t, 20, next)
	require.Equal(t, memoryOf(records), freed)
	for range 3 {
		b.add(pulled{ms: recordsOf(t, &remoting.Message{})})
	}
	require.True(t, b.extend(c, 2, 1<<20), "two at most")
	require.Len(t, b.batch(), 2)
	require.Equal(t, 2*memoryOf(b.ms[:1]), b.pop())
	require.False(t, b.extend(c, 2, 1<<20), "more may come")
	require.Len(t, b.batch(), 1)
}

func TestAPullMustFollow(t *testing.T) {
	found := func(next int64, offsets ...int64) *remoting.PullResult {
		res := &remoting.PullResult{NextOffset: next}
		for _, o := range offsets {
			res.Records = append(res.Records, remoting.Record{QueueOffset: o})
		}
		return res
	}
	require.True(t, follows(5, found(8, 5, 6, 7)))
	require.False(t, follows(5, found(9, 6, 7, 8)), "5 is missing")
	require.False(t, follows(5, found(8, 5, 7)), "6 is missing")
	require.False(t, follows(5, found(9, 5, 6, 7)), "8 is skipped")
	require.False(t, follows(5, found(8)), "all are skipped")
	require.False(t, follows(5, &remoting.PullResult{Status: remoting.PullNoMatched, NextOffset: 90}), "old files are being removed")
	require.False(t, follows(5, &remoting.PullResult{Status: remoting.PullOffsetIllegal, NextOffset: 9}))
}

func TestCheckpointDocument(t *testing.T) {
	q := func(id int) remoting.Queue { return remoting.Queue{Topic: "SMS", Broker: "a", ID: id} }
	one, changed := checkpoint{}.with(map[remoting.Queue]mark{q(0): {Next: 5}})
	require.True(t, changed)
	_, changed = one.with(map[remoting.Queue]mark{q(0): {Next: 5}})
	require.False(t, changed)
	two, changed := one.with(map[remoting.Queue]mark{q(0): {Next: 7}, q(1): {Next: 1}})
	require.True(t, changed)
	next, ok := two.find(q(0))
	require.True(t, ok)
	require.EqualValues(t, 7, next.Next)
	_, ok = two.find(q(2))
	require.False(t, ok)
	next, _ = one.find(q(0))
	require.EqualValues(t, 5, next.Next, "the argument is not changed")
	three, changed := two.with(map[remoting.Queue]mark{q(1): {Next: 1, Incarnation: 2}})
	require.True(t, changed)
	value, err := json.Marshal(three)
	require.NoError(t, err)
	read, err := parseCheckpoint("k", value)
	require.NoError(t, err)
	require.Equal(t, three, read)
	_, err = parseCheckpoint("k", []byte("{"))
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestOptionsListEveryProblem(t *testing.T) {
	_, err := New("unit-1", memory.New(), &Options{Targets: []string{"unit-1"}, Topics: []string{"[a"}, Deny: []string{"[b"}, BatchBytes: 5 << 20})
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, want := range []string{"origin is among the targets", `"[a"`, `"[b"`, "BatchBytes"} {
		require.ErrorContains(t, err, want)
	}
}
