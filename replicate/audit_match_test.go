package replicate

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

var auditFrom = msha.OriginQueue{Unit: "unit-1", Broker: "a", Topic: "SMS", Queue: 2}

// originals are n messages of mixed kind from offset first on.
func originals(first, n int64) []*remoting.Message {
	var out []*remoting.Message
	for o := first; o < first+n; o++ {
		m := &remoting.Message{Topic: "SMS", QueueID: 2, QueueOffset: o, Flag: int32(o), Body: fmt.Appendf(nil, "body %d", o), Properties: map[string]string{
			"UNIQ_KEY": fmt.Sprint("K", o), "user": fmt.Sprint("v", o), "empty": "", "TRAN_MSG": "true", "CLUSTER": "c1"}}
		switch o % 4 {
		case 1:
			m.Body = nil
			delete(m.Properties, "UNIQ_KEY")
		case 2:
			m.SysFlag = remoting.SysCompressed | 2<<8
			m.Properties[msha.PropertyUnit] = "unit-7"
		}
		out = append(out, m)
	}
	return out
}

func copiesOf(ms []*remoting.Message) []*remoting.Message {
	var out []*remoting.Message
	for _, m := range ms {
		out = append(out, copyOf(m, auditFrom, "SMS-from-unit-1"))
	}
	return out
}

// streams are what a comparison looks at: all of both queues.
type streams struct {
	origin, replica []*remoting.Message
	replicaMin      int64
	within          AuditRange
	batch           int
}

// compare is the comparison without I/O. between is called before each copy and may exchange the matcher.
func (s streams) compare(t testing.TB, between func(*matcher) *matcher) QueueAudit {
	if s.within.To == 0 {
		s.within.To = math.MaxInt64
	}
	if s.batch == 0 {
		s.batch = 256
	}
	low := s.origin[0].QueueOffset
	end := low + int64(len(s.origin))
	m := &matcher{within: s.within, batch: s.batch, listed: 1000, QueueAudit: &QueueAudit{Queue: auditFrom, Target: "unit-2", First: -1, Last: -1,
		Position: AuditPosition{Begun: true, Next: s.replicaMin, End: s.replicaMin + int64(len(s.replica)), OriginMin: low, OriginEnd: end, Lost: s.replicaMin > 0}}}
	for i, c := range s.replica {
		if between != nil {
			m = between(m)
		}
		copied := *c
		copied.QueueOffset = s.replicaMin + int64(i)
		offset, wanted := m.identify(&copied)
		switch {
		case !wanted:
		case offset >= end:
			m.foreign(&copied, offset, "beyond the end")
		case offset < low:
			require.NoError(t, m.add(offset, &copied, nil))
		default:
			require.NoError(t, m.add(offset, &copied, s.origin[offset-low]))
		}
		m.Position.Next = copied.QueueOffset + 1
	}
	m.finish()
	return *m.QueueAudit
}

// offsetsOf spreads the findings of each kind into offsets; foreign messages without an offset are given by their replica offset.
func offsetsOf(q QueueAudit) map[FindingKind][]int64 {
	out := map[FindingKind][]int64{}
	for kind, all := range q.Findings {
		for _, f := range all.List {
			for o := f.From; o < f.To; o++ {
				out[kind] = append(out[kind], o)
			}
		}
		slices.Sort(out[kind])
	}
	return out
}

func requireFound(t testing.TB, q QueueAudit, want map[FindingKind][]int64) {
	t.Helper()
	for kind, offsets := range want {
		slices.Sort(offsets)
		require.EqualValues(t, len(offsets), q.Findings[kind].Count, "count of %s", kind)
	}
	require.Equal(t, want, offsetsOf(q))
}

func TestAuditOfExactCopiesFindsNothing(t *testing.T) {
	ms := originals(10, 300)
	q := streams{origin: ms, replica: copiesOf(ms)}.compare(t, nil)
	requireFound(t, q, map[FindingKind][]int64{})
	require.EqualValues(t, 300, q.Compared)
	require.EqualValues(t, 10, q.First)
	require.EqualValues(t, 309, q.Last)
	require.Zero(t, q.Pending)
	bytes := 0
	for _, m := range ms {
		bytes += len(m.Body)
	}
	require.EqualValues(t, bytes, q.Bytes)
}

func TestAuditFindsEachFaultAtItsOffset(t *testing.T) {
	clean := func() []*remoting.Message { return copiesOf(originals(0, 20)) }
	set := func(name, value string) func(ms []*remoting.Message) []*remoting.Message {
		return func(ms []*remoting.Message) []*remoting.Message { ms[5].Properties[name] = value; return ms }
	}
	other := auditFrom
	other.Queue = 3
	for name, c := range map[string]struct {
		fault func(ms []*remoting.Message) []*remoting.Message
		batch int
		want  map[FindingKind][]int64
	}{
		"missing":           {func(ms []*remoting.Message) []*remoting.Message { return slices.Delete(ms, 5, 8) }, 0, map[FindingKind][]int64{Missing: {5, 6, 7}}},
		"first missing":     {func(ms []*remoting.Message) []*remoting.Message { return ms[1:] }, 0, map[FindingKind][]int64{Missing: {0}}},
		"one twice":         {func(ms []*remoting.Message) []*remoting.Message { return slices.Insert(ms, 6, ms[5]) }, 0, map[FindingKind][]int64{Repeated: {5}}},
		"batch twice":       {func(ms []*remoting.Message) []*remoting.Message { return slices.Insert(ms, 9, ms[5:9]...) }, 4, map[FindingKind][]int64{Repeated: {5, 6, 7, 8}}},
		"more than a batch": {func(ms []*remoting.Message) []*remoting.Message { return slices.Insert(ms, 9, ms[5:9]...) }, 3, map[FindingKind][]int64{Doubled: {5, 6, 7, 8}}},
		"late batch":        {func(ms []*remoting.Message) []*remoting.Message { return slices.Insert(ms, 15, ms[5:9]...) }, 4, map[FindingKind][]int64{Repeated: {5, 6, 7, 8}}},
		"swapped":           {func(ms []*remoting.Message) []*remoting.Message { ms[5], ms[6] = ms[6], ms[5]; return ms }, 0, map[FindingKind][]int64{Swapped: {5}}},
		"far too late": {func(ms []*remoting.Message) []*remoting.Message {
			return append(slices.Delete(slices.Clone(ms), 5, 6), ms[5])
		}, 0, map[FindingKind][]int64{Swapped: {5}}},
		"body":                  {func(ms []*remoting.Message) []*remoting.Message { ms[4].Body = []byte("body 5"); return ms }, 0, map[FindingKind][]int64{AlteredBody: {4}}},
		"body cut":              {func(ms []*remoting.Message) []*remoting.Message { ms[4].Body = ms[4].Body[:3]; return ms }, 0, map[FindingKind][]int64{AlteredBody: {4}}},
		"body of an empty one":  {func(ms []*remoting.Message) []*remoting.Message { ms[5].Body = []byte{0}; return ms }, 0, map[FindingKind][]int64{AlteredBody: {5}}},
		"flag":                  {func(ms []*remoting.Message) []*remoting.Message { ms[5].Flag++; return ms }, 0, map[FindingKind][]int64{AlteredFlag: {5}}},
		"compression flag lost": {func(ms []*remoting.Message) []*remoting.Message { ms[6].SysFlag = 0; return ms }, 0, map[FindingKind][]int64{AlteredFlag: {6}}},
		"property":              {set("user", "other"), 0, map[FindingKind][]int64{AlteredProperty: {5}}},
		"property added":        {set("new", ""), 0, map[FindingKind][]int64{AlteredProperty: {5}}},
		"half message":          {set("TRAN_MSG", "true"), 0, map[FindingKind][]int64{AlteredProperty: {5}}},
		"no origin":             {set(msha.PropertyOrigin, ""), 0, map[FindingKind][]int64{Foreign: {-1}, Missing: {5}}},
		"bad origin":            {set(msha.PropertyOrigin, "1|x"), 0, map[FindingKind][]int64{Foreign: {-1}, Missing: {5}}},
		"copy of another queue": {set(msha.PropertyOrigin, msha.Origin{OriginQueue: other, Offset: 5}.Encode()), 0, map[FindingKind][]int64{Foreign: {-1}, Missing: {5}}},
		"beyond the end":        {set(msha.PropertyOrigin, msha.Origin{OriginQueue: auditFrom, Offset: 20}.Encode()), 0, map[FindingKind][]int64{Foreign: {20}, Missing: {5}}},
		"all of it": {func(ms []*remoting.Message) []*remoting.Message {
			ms[5].Body, ms[5].Flag = []byte("x"), -1
			delete(ms[5].Properties, "user")
			return append(slices.Delete(slices.Clone(ms), 5, 6), ms[5], ms[5])
		}, 0, map[FindingKind][]int64{Swapped: {5}, AlteredBody: {5, 5}, AlteredFlag: {5, 5}, AlteredProperty: {5, 5}, Repeated: {5}}},
	} {
		t.Run(name, func(t *testing.T) {
			q := streams{origin: originals(0, 20), replica: c.fault(clean()), batch: c.batch}.compare(t, nil)
			requireFound(t, q, c.want)
			want := 20 - int64(len(c.want[Missing]))
			require.Equal(t, want, q.Compared)
		})
	}
}

func TestAuditOfARange(t *testing.T) {
	ms := originals(10, 40)
	replica := slices.Delete(copiesOf(ms), 10, 30) // 20 to 39
	q := streams{origin: ms, replica: replica, within: AuditRange{From: 15, To: 25}}.compare(t, nil)
	requireFound(t, q, map[FindingKind][]int64{})
	require.EqualValues(t, 5, q.Compared)
	require.EqualValues(t, 5, q.Pending, "nothing in the range stands behind them")

	q = streams{origin: ms, replica: replica, within: AuditRange{From: 15, To: 45}}.compare(t, nil)
	requireFound(t, q, map[FindingKind][]int64{Missing: seq(20, 40)})
	require.EqualValues(t, 15, q.First)
	require.EqualValues(t, 44, q.Last)

	q = streams{origin: ms, replica: copiesOf(ms[:20])}.compare(t, nil)
	requireFound(t, q, map[FindingKind][]int64{})
	require.EqualValues(t, 20, q.Pending, "not copied when the audit began")

	all := copiesOf(ms)
	q = streams{origin: ms, replica: append(copiesOf(ms), all[5], all[0], all[6]), within: AuditRange{From: 15}, batch: 1}.compare(t, nil)
	requireFound(t, q, map[FindingKind][]int64{Repeated: {15, 16}})
}

func seq(from, to int64) (out []int64) {
	for o := from; o < to; o++ {
		out = append(out, o)
	}
	return out
}

func TestAuditSaysWhatExpired(t *testing.T) {
	ms := originals(0, 40)
	t.Run("originals", func(t *testing.T) {
		q := streams{origin: ms[15:], replica: copiesOf(ms)}.compare(t, nil)
		requireFound(t, q, map[FindingKind][]int64{Expired: seq(0, 15)})
		require.EqualValues(t, 25, q.Compared)
	})
	t.Run("originals before they were copied", func(t *testing.T) {
		q := streams{origin: ms[15:], replica: append(copiesOf(ms[:10]), copiesOf(ms[15:])...)}.compare(t, nil)
		requireFound(t, q, map[FindingKind][]int64{Expired: seq(0, 15)})
		require.Equal(t, detailNoCopyEither, q.Findings[Expired].List[1].Detail)
	})
	t.Run("copies", func(t *testing.T) {
		q := streams{origin: ms, replica: copiesOf(ms[20:]), replicaMin: 20}.compare(t, nil)
		requireFound(t, q, map[FindingKind][]int64{Expired: seq(0, 20)})
		require.EqualValues(t, 20, q.Compared)
	})
	t.Run("all copies", func(t *testing.T) {
		q := streams{origin: ms, replicaMin: 40}.compare(t, nil)
		requireFound(t, q, map[FindingKind][]int64{Expired: seq(0, 40)})
		require.Zero(t, q.Pending)
	})
	t.Run("copies up to a repeated batch", func(t *testing.T) {
		replica := append(copiesOf(ms[3:6]), copiesOf(ms[20:])...)
		q := streams{origin: ms, replica: replica, replicaMin: 20, batch: 3}.compare(t, nil)
		requireFound(t, q, map[FindingKind][]int64{Expired: append(seq(0, 3), seq(6, 20)...)})
		q = streams{origin: ms, replica: replica, replicaMin: 20, batch: 2}.compare(t, nil)
		requireFound(t, q, map[FindingKind][]int64{Expired: seq(0, 3), Missing: seq(6, 20)})
	})
}

func TestAuditAcrossALoss(t *testing.T) {
	ms := originals(0, 40)
	raised := &msha.Incarnations{Queues: []msha.RaisedQueue{{Queue: auditFrom, Raised: []msha.Raised{{From: 8}}}}}
	replica := append(copiesOf(ms[:8]), copiesOf(originals(8, 4))...) // four that were lost
	for i, c := range copiesOf(ms[8:]) {
		c.Properties[msha.PropertyOrigin] = msha.Origin{OriginQueue: raised.At(auditFrom, 8), Offset: int64(8 + i)}.Encode()
		replica = append(replica, c)
	}
	got := streams{origin: ms, replica: replica}.compare(t, func(m *matcher) *matcher { m.in = raised; return m })
	requireFound(t, got, map[FindingKind][]int64{Lost: seq(8, 12)})
	require.EqualValues(t, 40, got.Compared)
	require.Equal(t, auditFrom, got.Queue)
	got = streams{origin: ms, replica: append(replica[:12:12], replica[13:]...)}.compare(t, func(m *matcher) *matcher { m.in = raised; return m })
	requireFound(t, got, map[FindingKind][]int64{Lost: seq(8, 12), Missing: {8}})
	got = streams{origin: ms, replica: replica[12:]}.compare(t, nil)
	require.EqualValues(t, 32, got.Findings[Foreign].Count, "nobody has raised it")
}

func TestAuditCountsWhatItDoesNotList(t *testing.T) {
	q := QueueAudit{}
	for o := int64(0); o < 10; o += 2 {
		q.found(Missing, Finding{o, o + 1, -1, ""}, 3)
	}
	require.EqualValues(t, 5, q.Findings[Missing].Count)
	require.Equal(t, []Finding{{0, 1, -1, ""}, {2, 3, -1, ""}, {4, 5, -1, ""}}, q.Findings[Missing].List)
}

func TestAuditEndsWhereNothingFits(t *testing.T) {
	m := &matcher{within: AuditRange{To: math.MaxInt64}, batch: 1, listed: 1, QueueAudit: &QueueAudit{}}
	var err error
	for o := int64(1); err == nil && o < 3*maxHoles; o += 2 {
		err = m.add(o, &remoting.Message{}, nil)
	}
	require.ErrorIs(t, err, msha.ErrTooLarge)
	require.Len(t, m.Position.Holes, maxHoles+1)
}
