package filter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// table gives value "v" to a set with the given owner, term and hand-over, and "other" to unit-1's set "o".
func table(version uint64, owner string, term uint64, state msha.SetState, hash string) *msha.Table {
	s := msha.RouteSet{ID: "s", Owner: owner, Term: term, State: state, RemainingHash: hash}
	if state == msha.SetFenced {
		s.Switch, s.Deadline = "x", time.Second
	}
	t := &msha.Table{
		Version: version,
		Rules:   []msha.Rule{{Kind: msha.RuleExact, Value: "v", Set: "s"}, {Kind: msha.RuleExact, Value: "other", Set: "o"}},
		Sets:    map[string]msha.RouteSet{"s": s, "o": {ID: "o", Owner: "unit-1", Term: 1, State: msha.SetOpen}},
	}
	return t.Index()
}

// reader is a tracker that reads what a test writes into the log.
type reader struct {
	*Tracker
	end int64
}

func newReader(t *msha.Table) *reader {
	r := &reader{Tracker: NewTracker("unit-1", "g", "c1", "w1")}
	r.SetTable(t)
	r.CaughtUp(t.Version)
	r.read(Record{Kind: Baseline, Group: "g", Queue: homeQueue})
	r.Acquire(localHome, homeQueue, 0)
	return r
}

func (r *reader) read(rs ...Record) {
	for _, x := range rs {
		x.LogOffset = r.end
		r.Apply("b", x)
		r.end++
	}
}

// reacquire begins a generation in which everything below next was pulled before.
func (r *reader) reacquire(next int64) {
	r.Drop(localHome)
	r.Acquire(localHome, homeQueue, next)
}

func at(off int64) Message {
	return Message{Origin: msha.Origin{OriginQueue: homeQueue, Offset: off}, Value: "v", Unit: "unit-1"}
}

func copyOf(off int64, number string) Message {
	m := at(off)
	m.Retry = number
	return m
}

func opened(number, writer string, term uint64) Record {
	return Record{Kind: Open, Group: "g", Set: "s", Term: term, Queue: homeQueue, Offset: 3, Number: number, Writer: writer, Client: "c-" + writer}
}

func handOver(spans Offsets) []Record {
	return []Record{
		{Kind: Baseline, Set: "s", Term: 2, Hash: "h", Chunks: 3},
		{Kind: Baseline, Group: "g", Set: "s", Term: 2, Hash: "h", Queue: copyQueue, Spans: From(0)},
		{Kind: Baseline, Group: "g", Set: "s", Term: 2, Hash: "h", Queue: homeQueue, Spans: spans},
	}
}

func TestNothingStartsBeforeTheHandOverIsComplete(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.SetTable(table(2, "unit-1", 2, msha.SetOpen, "h"))
	r.Pulled(localHome, homeQueue, []Message{at(0), at(3)}, 4)
	for i, part := range handOver(Range(3, 9)) {
		d := r.Start(at(0))
		require.Equal(t, Wait, d.Verdict, "%d records read", i)
		require.Equal(t, "hand-over not read", d.Reason)
		require.Empty(t, r.Pending(homeQueue))
		r.read(part)
	}
	require.Equal(t, "not in remaining", r.Start(at(0)).Reason)
	require.Equal(t, Run, r.Start(at(3)).Verdict)
}

func TestMissingHandOverIsNeverReplayedFromTheBaseline(t *testing.T) {
	r := newReader(table(2, "unit-1", 2, msha.SetOpen, "h"))
	r.read(handOver(From(0))[:2]...)
	r.reacquire(4)
	r.cover("b", Key{"o", 1}, homeQueue, 0, 4)
	require.Equal(t, Decision{Verdict: Wait, Reason: MissingHandOver, Key: Key{"s", 2}}, r.Start(at(0)))
	require.Empty(t, r.Pending(homeQueue))

	_, err := RemainingAfter(r.facts, table(3, "unit-1", 2, msha.SetFenced, "h"), []msha.Move{{Set: "s", NewSet: "s", Whole: true, From: "unit-1", To: "unit-2", Term: 2}}, nil)
	require.ErrorIs(t, err, msha.ErrMissingFacts)
}

func TestLiveRetryCopyIsNeverAcknowledgedWithoutClose(t *testing.T) {
	for name, stale := range map[string]*msha.Table{
		"other unit":       table(1, "unit-2", 2, msha.SetOpen, "x"),
		"fenced":           table(1, "unit-1", 1, msha.SetFenced, ""),
		"fenced, this one": table(1, "unit-1", 3, msha.SetFenced, ""),
		"older term":       table(1, "unit-1", 1, msha.SetOpen, ""),
	} {
		r := newReader(stale)
		require.Equal(t, Wait, r.Start(copyOf(3, "n1")).Verdict, name)
		open := opened("n1", "w2", 3)
		r.read(open, SentOf(open))
		d := r.Start(copyOf(3, "n1"))
		require.Equal(t, Refuse, d.Verdict, name)
		require.Equal(t, Key{"s", 3}, d.Close.Key(), name)
		r.read(*d.Close)
		require.Equal(t, "retry copy of the past", r.Start(copyOf(3, "n1")).Reason, name)
	}
}

func TestUnknownRetryCopyWaitsForTheEndOfTheLog(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	m := copyOf(3, "n1")
	require.Equal(t, Wait, r.Start(m).Verdict)
	m.Fresh = true
	require.Equal(t, Skip, r.Start(m).Verdict)
}

func TestOnlyTheLastOpenCounts(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.reacquire(4)
	require.Equal(t, "[0,4)", r.Pending(homeQueue).String())
	first, second := opened("n1", "w2", 1), opened("n2", "w3", 1)
	r.read(first, SentOf(first), second)
	require.Equal(t, "retry copy of the past", r.Start(copyOf(3, "n1")).Reason, "it was consumed when n2 was opened")
	r.read(CloseOf(second))
	require.Empty(t, r.mine.Opens(firstTerm, homeQueue), "n1 does not come back")
	require.True(t, r.Pending(homeQueue).Contains(3))
}

func TestVoidCountsUnlessSentIsBeforeIt(t *testing.T) {
	open := opened("n1", "w2", 1)
	for name, c := range map[string]struct {
		log  []Record
		live bool
	}{
		"void alone":                    {[]Record{open, VoidOf(open)}, false},
		"void, then a late Sent":        {[]Record{open, VoidOf(open), SentOf(open)}, false},
		"Sent, then a void that missed": {[]Record{open, SentOf(open), VoidOf(open)}, true},
		"refused after all":             {[]Record{open, SentOf(open), VoidOf(open), CloseOf(open)}, false},
	} {
		r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
		r.read(c.log...)
		_, _, live := r.mine.OpenNumber(firstTerm, at(3).Origin)
		require.Equal(t, c.live, live, name)
	}
}

func TestOpensOfDeadWritersAreVoidable(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.read(opened("n1", "w2", 1))
	alive := func(client string) bool { return client == "c-w2" }
	require.Empty(t, r.Voidable(alive))
	require.Len(t, r.Voidable(func(string) bool { return false }), 1)
	r.read(Record{Kind: Ack, Group: "g", Client: "c-w2", Writer: "w9"})
	require.Len(t, r.Voidable(alive), 1, "another process has the name now")
}

func TestCopyStaysWhileItsMessageIsInFlightHere(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.Pulled(localHome, homeQueue, []Message{at(3)}, 4)
	require.Equal(t, Run, r.Start(at(3)).Verdict)
	open := opened("n1", "w2", 1) // written by a former holder that noticed late
	r.read(open, SentOf(open))
	require.Equal(t, Wait, r.Start(copyOf(3, "n1")).Verdict)
	r.Finish(at(3), firstTerm, "b")
	require.Equal(t, Skip, r.Start(copyOf(3, "n1")).Verdict)
}

func TestFailedMessageIsNotPendingBeforeItsRecordsAreReadBack(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.Pulled(localHome, homeQueue, []Message{at(3)}, 4)
	require.Equal(t, Run, r.Start(at(3)).Verdict)
	open := r.Fail(at(3), firstTerm, 1, "", "")
	r.Failed(at(3), firstTerm)
	require.False(t, r.Pending(homeQueue).Contains(3))
	require.Equal(t, "waits for its retry", r.Start(at(3)).Reason)
	r.read(open)
	require.False(t, r.Pending(homeQueue).Contains(3))
	r.read(CloseOf(open))
	require.True(t, r.Pending(homeQueue).Contains(3))
}

func TestRepeatedBatch(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.Pulled(localHome, homeQueue, []Message{at(3), at(3)}, 4)
	require.Equal(t, Run, r.Start(at(3)).Verdict)
	require.Equal(t, "in flight", r.Start(at(3)).Reason)
	r.Skipped(at(3))
	require.False(t, r.Pending(homeQueue).Contains(3))
	r.Finish(at(3), firstTerm, "b")
	require.Equal(t, "done", r.Start(at(3)).Reason)
	require.Equal(t, "[0,4)", r.mine.Done(Key{"o", 1}, homeQueue).String())
}

func TestTermGainedWhileMessagesAreBuffered(t *testing.T) {
	r := newReader(table(1, "unit-2", 1, msha.SetOpen, ""))
	r.Pulled(localHome, homeQueue, []Message{at(0), at(1)}, 2)
	require.Equal(t, "other unit", r.Start(at(0)).Reason)
	r.Skipped(at(0))
	r.SetTable(table(2, "unit-1", 2, msha.SetOpen, "h"))
	r.read(handOver(From(0))...)
	r.CaughtUp(2)
	require.Equal(t, "[0,1)", r.Pending(homeQueue).String(), "1 is still buffered")
	require.Equal(t, Run, r.Start(at(1)).Verdict)
}

func TestLateFinishDoesNotCoverTheTermTheRouteHasNow(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.Pulled(localHome, homeQueue, []Message{at(0)}, 1)
	require.Equal(t, Run, r.Start(at(0)).Verdict)
	r.SetTable(table(9, "unit-1", 3, msha.SetOpen, "h")) // frozen meanwhile; the route moved away and back
	r.Fail(at(0), firstTerm, 1, "", "")
	r.Failed(at(0), firstTerm)
	require.Empty(t, r.mine.Done(Key{"s", 3}, homeQueue))
}

func TestRestoredRecordsAreLostByNobody(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	r.Pulled(localHome, homeQueue, []Message{at(0)}, 1)
	r.Start(at(0))
	r.Finish(at(0), firstTerm, "b")
	parts := r.Publish()
	require.Len(t, parts, 1)
	require.Empty(t, r.Publish())
	r.Restore(parts[0])
	require.Equal(t, parts, r.Publish())
}

func TestHandOverOfWhatTheLosingUnitDoesNotKnow(t *testing.T) {
	fenced := table(2, "unit-1", 1, msha.SetFenced, "")
	move := []msha.Move{{Set: "s", NewSet: "s", Whole: true, From: "unit-1", To: "unit-2", Term: 1}}
	losing := NewFacts()
	losing.Apply("b", Record{Kind: Baseline, Group: "g", Queue: homeQueue, Offset: 2})
	losing.Apply("b", Record{Kind: Done, Group: "g", Set: "s", Term: 1, Queue: homeQueue, Spans: Range(2, 5), Next: 9})
	losing.Apply("b", Record{Kind: Done, Group: "g", Set: "s", Term: 1, Queue: copyQueue, Spans: Range(0, 1)}) // other routes; its baseline is not known
	h, err := RemainingAfter(losing, fenced, move, []string{"g"})
	require.NoError(t, err)
	require.EqualValues(t, 4, h.Count)

	gaining := NewFacts()
	for _, r := range h.Records {
		gaining.Apply("b", r)
	}
	gaining.Apply("b", Record{Kind: Baseline, Group: "g", Queue: copyQueue, Offset: 7})
	gaining.Apply("b", Record{Kind: Baseline, Group: "new", Queue: copyQueue, Offset: 4})
	remaining := func(group string, q msha.OriginQueue) string {
		o, ok := gaining.Group(group).Remaining(Key{"s", 2}, h.Hashes["s"], q)
		require.True(t, ok)
		return o.String()
	}
	require.Equal(t, "[5,∞)", remaining("g", homeQueue))
	require.Equal(t, "[7,∞)", remaining("g", copyQueue), "a queue nobody can have started begins at its baseline")
	require.Equal(t, "[4,∞)", remaining("new", copyQueue), "a group the losing unit has never run begins at its baseline")

	_, err = RemainingAfter(losing, fenced, move, []string{"g", "absent"})
	require.ErrorIs(t, err, msha.ErrMissingFacts)
}

func TestLateReleaseOfAFormerHolder(t *testing.T) {
	r := newReader(table(1, "unit-1", 1, msha.SetOpen, ""))
	hold := func(kind Kind, writer string) Record {
		return Record{Kind: kind, Group: "g", Local: localHome, Client: writer, Writer: writer}
	}
	r.read(hold(Hold, "w2"), hold(Hold, "w3"), hold(Release, "w2"))
	holder, held := r.mine.Holder(localHome)
	require.True(t, held)
	require.Equal(t, "w3", holder.Writer)
	r.read(hold(Release, "w3"))
	_, held = r.mine.Holder(localHome)
	require.False(t, held)
}

// What a generation remembers of what it has done does not grow with its failures.
func TestWhatAGenerationHasDoneIsBounded(t *testing.T) {
	s := &queueState{}
	for off := int64(0); off < 10*maxDone; off += 2 {
		s.did(firstTerm, off, off+1)
		require.LessOrEqual(t, len(*s.done[firstTerm]), maxDone)
	}
	require.True(t, s.done[firstTerm].Contains(10*maxDone-2), "the newest is kept")
	require.True(t, s.done[firstTerm].Valid())
}
