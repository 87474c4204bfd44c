package filter

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// In these tests unit-2 loses set "s" to unit-1 by force; unit-3 is a third one. The group is "g".
var (
	queue1 = msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "T"}
	queue2 = msha.OriginQueue{Unit: "unit-2", Broker: "b", Topic: "T"}
	queue3 = msha.OriginQueue{Unit: "unit-3", Broker: "b", Topic: "T"}
)

func begins(q msha.OriginQueue, at int64) Record {
	return Record{Kind: Baseline, Group: "g", Queue: q, Offset: at}
}

func did(term uint64, q msha.OriginQueue, spans Offsets, next int64) Record {
	return Record{Kind: Done, Group: "g", Set: "s", Term: term, Queue: q, Spans: spans, Next: next}
}

func offsets(spans ...Span) Offsets { return spans }

// logOf is the fold of a log with these records.
func logOf(rs ...Record) *Facts {
	f := NewFacts()
	more(f, rs...)
	return f
}

func more(f *Facts, rs ...Record) {
	for i, r := range rs {
		r.LogOffset = int64(i)
		f.Apply("b", r)
	}
}

// lostLog is the log of unit-2; seen is what of it is copied.
func lostLog() (whole, seen *Facts) {
	begin := []Record{begins(queue1, 0), begins(queue2, 0), begins(queue3, 0)}
	first := []Record{did(1, queue1, Range(0, 3), 5), did(1, queue2, Range(0, 5), 12)}
	rest := []Record{did(1, queue1, Range(4, 5), 9), did(1, queue2, offsets(Span{6, 8}, Span{11, 14}), 16)}
	return logOf(slices.Concat(begin, first, rest)...), logOf(slices.Concat(begin, first)...)
}

func copiedTo(ends map[msha.OriginQueue]int64, pulled map[msha.OriginQueue]int64) Copied {
	return Copied{Unit: "unit-2", Ends: ends, Pulled: func(group string, q msha.OriginQueue) int64 {
		if group != "g" {
			return 0
		}
		return pulled[q]
	}}
}

// moving is a move of set "s" between two units, and the table that fences it.
func moving(from, to string, term uint64, hash string, notes ...msha.ForcedTerm) (*msha.Table, []msha.Move) {
	return noted(table(8, from, term, msha.SetFenced, hash), notes...), []msha.Move{{Set: "s", NewSet: "s", Whole: true, From: from, To: to, Term: term}}
}

// noted puts notes of forced terms on set "s".
func noted(t *msha.Table, notes ...msha.ForcedTerm) *msha.Table {
	s := t.Sets["s"]
	s.Forced = notes
	t.Sets["s"] = s
	return t.Index()
}

func lostBy(unit string, term uint64, hash string) msha.ForcedTerm {
	return msha.ForcedTerm{Unit: unit, Set: "s", Term: term, RemainingHash: hash}
}

// held reads from records which units are held back, and from where on their queues are.
func held(rs []Record) (units []string, limits map[msha.OriginQueue]int64) {
	limits = map[msha.OriginQueue]int64{}
	for _, r := range rs {
		if r.Group == "" && r.Queue.Unit != "" {
			units = append(units, r.Queue.Unit)
		}
		if r.Group != "" && r.Offset != 0 {
			limits[r.Queue] = r.Offset
		}
	}
	return units, limits
}

// remains is what facts say of a queue under a term of "s".
func remains(f *Facts, term uint64, hash string, q msha.OriginQueue) string {
	o, known := f.Group("g").Remaining(Key{"s", term}, hash, q)
	switch {
	case !known:
		return "unknown"
	case o.Empty():
		return "nothing"
	}
	return o.String()
}

func TestAPlannedHandOverHoldsNothingBack(t *testing.T) {
	_, losing := lostLog()
	fenced, moves := moving("unit-2", "unit-1", 1, "")
	h, err := RemainingAfter(losing, fenced, moves, []string{"g"})
	require.NoError(t, err)
	part := func(q msha.OriginQueue, from, next int64) Record {
		return Record{Kind: Baseline, Group: "g", Set: "s", Term: 2, Hash: h.Hashes["s"], Queue: q, Spans: From(from), Next: next}
	}
	require.Equal(t, []Record{
		{Kind: Baseline, Set: "s", Term: 2, Hash: h.Hashes["s"], Chunks: 4},
		part(queue1, 3, 5), part(queue2, 5, 12), part(queue3, 0, 0),
	}, h.Records)
	require.EqualValues(t, 2+7, h.Count)
	require.Zero(t, h.Repeated)
}

func TestAForcedHandOverHoldsBackWhatIsNotCopied(t *testing.T) {
	later := queue2
	later.Incarnation = 1
	for name, c := range map[string]struct {
		more     []Record // of the losing unit
		ends     map[msha.OriginQueue]int64
		pulled   map[msha.OriginQueue]int64
		want     map[msha.OriginQueue]string
		limits   map[msha.OriginQueue]int64
		repeated int64
		count    int64
	}{
		"the limit cuts the losing unit's queues and no others": {
			ends:   map[msha.OriginQueue]int64{queue1: 4, queue2: 9, queue3: 1}, // only those of the losing unit count
			want:   map[msha.OriginQueue]string{queue1: "[3,∞)", queue2: "[5,9)", queue3: "[0,∞)", later: "nothing"},
			limits: map[msha.OriginQueue]int64{queue2: 9}, repeated: 4, count: 2 + 4,
		},
		"of other queues may be repeated what the gaining unit has pulled": {
			ends: map[msha.OriginQueue]int64{queue2: 9}, pulled: map[msha.OriginQueue]int64{queue1: 6, queue2: 100, queue3: 2},
			want:   map[msha.OriginQueue]string{queue1: "[3,∞)", queue2: "[5,9)", queue3: "[0,∞)"},
			limits: map[msha.OriginQueue]int64{queue2: 9}, repeated: 3 + 4 + 2, count: 2 + 4,
		},
		"a queue of which nothing is copied is held back from its beginning": {
			want: map[msha.OriginQueue]string{queue1: "[3,∞)", queue2: "nothing", queue3: "[0,∞)"}, limits: map[msha.OriginQueue]int64{}, count: 2,
		},
		"what is done is not handed over even if its copy is late": {
			ends: map[msha.OriginQueue]int64{queue2: 4},
			want: map[msha.OriginQueue]string{queue2: "nothing"}, limits: map[msha.OriginQueue]int64{queue2: 4}, count: 2,
		},
		"each incarnation has its own limit": {
			more: []Record{did(1, later, Range(0, 2), 3)}, ends: map[msha.OriginQueue]int64{queue2: End, later: 6},
			want:   map[msha.OriginQueue]string{queue2: "[5,∞)", later: "[2,6)"},
			limits: map[msha.OriginQueue]int64{queue2: End, later: 6}, repeated: End - 5 + 4, count: 2 + 7 + 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, losing := lostLog()
			more(losing, c.more...)
			fenced, moves := moving("unit-2", "unit-1", 1, "")
			h, err := RemainingForced(losing, fenced, moves, []string{"g"}, copiedTo(c.ends, c.pulled))
			require.NoError(t, err)
			units, limits := held(h.Records)
			require.Equal(t, []string{"unit-2"}, units)
			require.Equal(t, c.limits, limits)
			if c.repeated < End-5 { // the length of a span without end says nothing
				require.Equal(t, c.repeated, h.Repeated)
			}
			require.Equal(t, c.count, h.Count)
			gaining := logOf(h.Records...)
			for q, want := range c.want {
				require.Equal(t, want, remains(gaining, 2, h.Hashes["s"], q), "%s", q)
			}
		})
	}
}

func TestWhatIsHeldBackWaitsForNothing(t *testing.T) {
	_, losing := lostLog()
	fenced, moves := moving("unit-2", "unit-1", 1, "")
	h, err := RemainingForced(losing, fenced, moves, nil, copiedTo(map[msha.OriginQueue]int64{queue2: 9}, nil))
	require.NoError(t, err)
	other, newQueue := queue3, queue2
	other.Queue, newQueue.Queue = 7, 7

	gaining := logOf(h.Records...)
	require.Equal(t, "nothing", remains(gaining, 2, h.Hashes["s"], newQueue), "a queue of the unit that is away, which nobody mentioned")
	require.Equal(t, "unknown", remains(gaining, 2, h.Hashes["s"], other), "one of another unit waits for its baseline")
	more(gaining, begins(newQueue, 3), begins(other, 3))
	require.Equal(t, "nothing", remains(gaining, 2, h.Hashes["s"], newQueue), "not even its baseline lets it begin")
	require.Equal(t, "[3,∞)", remains(gaining, 2, h.Hashes["s"], other))
	require.Equal(t, "[3,∞)", remains(gaining, 1, "", newQueue), "other terms are not concerned")

	r := newReader(noted(table(2, "unit-1", 2, msha.SetOpen, h.Hashes["s"]), lostBy("unit-2", 1, "")))
	r.read(h.Records...)
	for _, c := range []struct {
		queue  msha.OriginQueue
		offset int64
		want   Decision
	}{
		{queue2, 8, Decision{Verdict: Run, Key: Key{"s", 2}}},
		{queue2, 9, Decision{Verdict: Skip, Reason: "not in remaining"}},
		{newQueue, 0, Decision{Verdict: Skip, Reason: "not in remaining"}},
		{other, 0, Decision{Verdict: Wait, Reason: "no baseline"}},
	} {
		local := LocalQueue{Topic: "T-from-" + c.queue.Unit, Broker: "b", ID: c.queue.Queue}
		r.Acquire(local, c.queue, 0)
		m := Message{Origin: msha.Origin{OriginQueue: c.queue, Offset: c.offset}, Value: "v", Unit: c.queue.Unit}
		r.Pulled(local, c.queue, []Message{m}, 0)
		require.Equal(t, c.want, r.Start(m), "%s, %d", c.queue, c.offset)
	}
}

// A log tells of groups that nobody manages any more, and of units that were taken away.
func TestAForcedHandOverPassesOverThePast(t *testing.T) {
	log := []Record{begins(queue2, 0), did(1, queue3, Range(0, 2), 2)}
	fenced, moves := moving("unit-2", "unit-1", 1, "")
	copied := copiedTo(map[msha.OriginQueue]int64{queue2: 9}, nil)
	_, err := RemainingForced(logOf(log...), fenced, moves, nil, copied)
	require.NoError(t, err, "the group is not listed")
	copied.Units = []string{"unit-1", "unit-2"}
	_, err = RemainingForced(logOf(log...), fenced, moves, []string{"g"}, copied)
	require.NoError(t, err, "the queue's unit is gone")
	copied.Units = append(copied.Units, "unit-3")
	_, err = RemainingForced(logOf(log...), fenced, moves, []string{"g"}, copied)
	require.ErrorIs(t, err, msha.ErrMissingFacts)
}

func TestAForcedHandOverNamesTheFactsItLacks(t *testing.T) {
	noBaseline := []Record{begins(queue2, 0), did(1, queue3, Range(0, 2), 2)}
	for name, c := range map[string]struct {
		log     []Record
		hash    string
		listed  []string
		says    string
		partial bool // is enough to go on
	}{
		"a queue was processed, and where the group begins is not known": {log: noBaseline, listed: []string{"g"}, says: "wait for the copy of the log of unit-3", partial: true},
		"a listed group of which nothing is known":                       {log: []Record{begins(queue2, 0)}, listed: []string{"g", "absent"}, says: "group absent", partial: true},
		"the hand-over that the term began with is not copied":           {log: []Record{begins(queue2, 0)}, hash: "h", says: "route set s", partial: false},
	} {
		t.Run(name, func(t *testing.T) {
			fenced, moves := moving("unit-2", "unit-1", 1, c.hash)
			copied := copiedTo(map[msha.OriginQueue]int64{queue2: 9}, nil)
			_, err := RemainingForced(logOf(c.log...), fenced, moves, c.listed, copied)
			require.ErrorIs(t, err, msha.ErrMissingFacts)
			require.ErrorContains(t, err, c.says)
			copied.Partial = true
			h, err := RemainingForced(logOf(c.log...), fenced, moves, c.listed, copied)
			if !c.partial {
				require.ErrorIs(t, err, msha.ErrMissingFacts)
				return
			}
			require.NoError(t, err)
			gaining := logOf(append(h.Records, begins(queue3, 4))...)
			require.Equal(t, "[0,9)", remains(gaining, 2, h.Hashes["s"], queue2))
			require.Equal(t, "[4,∞)", remains(gaining, 2, h.Hashes["s"], queue3), "it begins at its baseline")
		})
	}
}

func TestAHandOverThatOnlyAnotherLogHoldsNamesItsGroups(t *testing.T) {
	losing := NewFacts() // nothing of its own log is copied; unit-3, which had the route before, wrote the hand-over into its log too
	handed := []Record{
		{Kind: Baseline, Set: "s", Term: 1, Hash: "h", Chunks: 2},
		{Kind: Baseline, Group: "g", Set: "s", Term: 1, Hash: "h", Queue: queue3, Spans: Range(5, 8)},
	}
	for i, r := range []Record{handed[0], {Kind: Snapshot, Group: "g", Records: handed[1:]}} {
		r.LogOffset = int64(i)
		losing.ApplyCopy(r)
		losing.ApplyHandOver(r)
	}
	fenced, moves := moving("unit-2", "unit-1", 1, "h")
	h, err := RemainingForced(losing, fenced, moves, nil, copiedTo(nil, nil))
	require.NoError(t, err)
	gaining := logOf(append(h.Records, begins(queue3, 0))...)
	require.Equal(t, "[5,8)", remains(gaining, 2, h.Hashes["s"], queue3))
}

func TestApplyHandOverTakesNothingElse(t *testing.T) {
	f := NewFacts()
	for _, r := range []Record{begins(queue1, 1), did(1, queue1, Range(0, 4), 4), opened("n", "w", 1), {Kind: Ack, Client: "c", Version: 9},
		{Kind: Hold, Group: "g", Local: localHome, Writer: "w"}} {
		f.ApplyHandOver(r)
		f.ApplyHandOver(Record{Kind: Snapshot, Group: "g", Records: []Record{r}})
	}
	g := f.Group("g")
	_, begun := g.Baseline(queue1)
	_, holds := g.Holder(localHome)
	require.False(t, begun || holds)
	require.Empty(t, g.Done(firstTerm, queue1))
	require.Zero(t, g.Next(queue1))
	require.Zero(t, f.Acked([]string{"b"})["c"])
}

// force makes a forced switch of "s", and gives the log of the gaining unit with its hand-over and baselines.
func force(t *testing.T, seen *Facts, from string, term uint64, hash string, ends map[msha.OriginQueue]int64, notes ...msha.ForcedTerm) (*Facts, *HandOver) {
	t.Helper()
	fenced, moves := moving(from, "unit-1", term, hash, notes...)
	copied := copiedTo(ends, nil)
	copied.Unit = from
	h, err := RemainingForced(seen, fenced, moves, nil, copied)
	require.NoError(t, err)
	return logOf(append(h.Records, begins(queue1, 0), begins(queue2, 0), begins(queue3, 0))...), h
}

// owned is the table in which a unit owns "s" with notes of forced terms.
func owned(by string, term uint64, hash string, notes ...msha.ForcedTerm) *msha.Table {
	return noted(table(9, by, term, msha.SetOpen, hash), notes...)
}

func TestAUnitThatIsBackGivesWhatWasHeldBackLessWhatItDid(t *testing.T) {
	whole, seen := lostLog()
	owner, h := force(t, seen, "unit-2", 1, "", map[msha.OriginQueue]int64{queue2: 9})
	now := owned("unit-1", 2, h.Hashes["s"], lostBy("unit-2", 1, ""))
	h2, err := RemainingRejoined(owner, []*Facts{seen, whole}, now, []string{"s"}, "unit-2")
	require.NoError(t, err)
	require.NotEqual(t, h.Hashes, h2.Hashes)
	units, limits := held(h2.Records)
	require.Empty(t, units)
	require.Empty(t, limits)
	require.EqualValues(t, 1+2, h2.Repeated, "4 of queue1, 6 and 7 of queue2 had been handed over")
	pulled := map[msha.OriginQueue]int64{}
	for _, r := range h2.Records {
		require.Equal(t, Key{"s", 2}, r.Key(), "the term goes on")
		if r.Group != "" {
			pulled[r.Queue] = r.Next
		}
	}
	require.Equal(t, map[msha.OriginQueue]int64{queue1: 5, queue2: 16, queue3: 0}, pulled, "of its own queues counts how far it had pulled in the end")

	more(owner, h2.Records...)
	for q, want := range map[msha.OriginQueue]string{queue1: "[3,4) [5,∞)", queue2: "[5,6) [8,11) [14,∞)", queue3: "[0,∞)"} {
		require.Equal(t, want, remains(owner, 2, h2.Hashes["s"], q), "%s", q)
	}
	require.Equal(t, "[5,9)", remains(owner, 2, h.Hashes["s"], queue2), "the hand-over of before is what it was")
	newQueue := queue2
	newQueue.Queue = 7
	later := logOf(append(h2.Records, begins(newQueue, 3))...)
	require.Equal(t, "[3,∞)", remains(later, 2, h2.Hashes["s"], newQueue), "its queues begin at their baselines again")

	// Another executor, or the same one again, finds the same: nothing changes.
	more(whole, h2.Records...)
	before := answersOf(owner, 2, h2.Hashes["s"])
	h3, err := RemainingRejoined(owner, []*Facts{whole, seen}, now, []string{"s"}, "unit-2")
	require.NoError(t, err)
	require.Equal(t, h2, h3)
	more(owner, h3.Records...)
	require.Equal(t, before, answersOf(owner, 2, h2.Hashes["s"]))
}

func TestNothingIsGivenOutForAUnitThatIsNotAway(t *testing.T) {
	whole, seen := lostLog()
	owner, h := force(t, seen, "unit-2", 1, "", map[msha.OriginQueue]int64{queue2: 9})
	for what, now := range map[string]*msha.Table{
		"it has rejoined": owned("unit-1", 2, h.Hashes["s"]), "another one is": owned("unit-1", 2, h.Hashes["s"], lostBy("unit-3", 1, "")),
	} {
		_, err := RemainingRejoined(owner, []*Facts{whole}, now, []string{"s"}, "unit-2")
		require.ErrorIs(t, err, msha.ErrConflict, what)
	}
}

// answersOf is what the facts say of the term that began with a hand-over.
func answersOf(f *Facts, term uint64, hash string) map[string]string {
	out := map[string]string{}
	for _, group := range f.Groups() {
		for _, q := range []msha.OriginQueue{queue1, queue2, queue3, {Unit: "unit-2", Topic: "new"}, {Unit: "unit-3", Topic: "new"}} {
			o, known := f.Group(group).Remaining(Key{"s", term}, hash, q)
			out[group+" "+q.String()] = o.String()
			if !known {
				out[group+" "+q.String()] = "unknown"
			}
		}
		out[group] = map[bool]string{true: "complete", false: "incomplete"}[f.Group(group).HandedOver(Key{"s", term}, hash)]
	}
	return out
}

// twoAway is what two forced switches leave: unit-3 lost "s" in term 1 to unit-2, and unit-2 in term 2 to unit-1.
func twoAway(t *testing.T) (owner *Facts, logs map[string]*Facts, hash string, notes []msha.ForcedTerm) {
	third := logOf(begins(queue1, 0), begins(queue2, 0), begins(queue3, 0), did(1, queue3, Range(0, 2), 9), did(1, queue3, Range(5, 7), 0), did(1, queue1, Range(0, 2), 3))
	seen := logOf(begins(queue1, 0), begins(queue2, 0), begins(queue3, 0), did(1, queue3, Range(0, 2), 9))
	second, h := force(t, seen, "unit-3", 1, "", map[msha.OriginQueue]int64{queue3: 4})
	require.Equal(t, "[2,4)", remains(second, 2, h.Hashes["s"], queue3))
	more(second, did(2, queue3, Range(2, 3), 4), did(2, queue2, Range(0, 6), 8))
	notes = []msha.ForcedTerm{lostBy("unit-3", 1, "")}
	owner, h2 := force(t, second, "unit-2", 2, h.Hashes["s"], map[msha.OriginQueue]int64{queue2: 7}, notes...)
	more(second, did(2, queue2, Range(6, 10), 10)) // not known elsewhere
	notes = append(notes, lostBy("unit-2", 2, h.Hashes["s"]))
	units, limits := held(h2.Records)
	require.Equal(t, []string{"unit-2", "unit-3"}, units)
	require.Equal(t, map[msha.OriginQueue]int64{queue2: 7, queue3: 4}, limits)
	return owner, map[string]*Facts{"unit-2": second, "unit-3": third}, h2.Hashes["s"], notes
}

func TestUnitsThatAreBackLeaveToTheOthersWhatIsHeldBackForThem(t *testing.T) {
	var ends []map[string]string
	for _, order := range [][]string{{"unit-2", "unit-3"}, {"unit-3", "unit-2"}} {
		owner, logs, hash, notes := twoAway(t)
		require.Equal(t, "[6,7)", remains(owner, 3, hash, queue2))
		require.Equal(t, "[3,4)", remains(owner, 3, hash, queue3))
		for i, unit := range order {
			h, err := RemainingRejoined(owner, []*Facts{logs[unit]}, owned("unit-1", 3, hash, notes...), []string{"s"}, unit)
			require.NoError(t, err)
			hash = h.Hashes["s"]
			more(owner, h.Records...)
			notes = slices.DeleteFunc(notes, func(f msha.ForcedTerm) bool { return f.Unit == unit })
			if i == 1 {
				break
			}
			still, queue := order[1], map[string]msha.OriginQueue{"unit-2": queue2, "unit-3": queue3}[order[1]]
			units, limits := held(h.Records)
			require.Equal(t, []string{still}, units)
			require.Equal(t, map[msha.OriginQueue]int64{queue: map[string]int64{"unit-2": 7, "unit-3": 4}[still]}, limits)
			require.Equal(t, map[string]string{"unit-2": "[6,7)", "unit-3": "[3,4)"}[still], remains(owner, 3, hash, queue), "as before")
			require.Equal(t, "nothing", remains(owner, 3, hash, msha.OriginQueue{Unit: still, Topic: "new"}))
		}
		require.Equal(t, "[10,∞)", remains(owner, 3, hash, queue2))
		require.Equal(t, "[3,5) [7,∞)", remains(owner, 3, hash, queue3))
		require.Equal(t, "[2,∞)", remains(owner, 3, hash, queue1))
		ends = append(ends, answersOf(owner, 3, hash))
	}
	require.Equal(t, ends[0], ends[1], "the order does not matter")
}

func TestPlannedMovesCarryWhatIsHeldBack(t *testing.T) {
	whole, seen := lostLog()
	gained, h := force(t, seen, "unit-2", 1, "", map[msha.OriginQueue]int64{queue2: 9})
	note := lostBy("unit-2", 1, "")
	more(gained, did(2, queue2, Range(5, 6), 9), did(2, queue1, Range(3, 5), 20))
	fenced, moves := moving("unit-1", "unit-3", 2, h.Hashes["s"], note)
	h2, err := RemainingAfter(gained, fenced, moves, nil)
	require.NoError(t, err)
	units, limits := held(h2.Records)
	require.Equal(t, []string{"unit-2"}, units)
	require.Equal(t, map[msha.OriginQueue]int64{queue2: 9}, limits)

	owner := logOf(append(h2.Records, begins(queue1, 0), begins(queue2, 0), begins(queue3, 0))...)
	hash := h2.Hashes["s"]
	require.Equal(t, "[6,9)", remains(owner, 3, hash, queue2))
	newQueue := queue2
	newQueue.Queue = 7
	more(gained, begins(newQueue, 0))
	require.Equal(t, "nothing", remains(owner, 3, hash, newQueue), "queues that are not mentioned stay held back")

	h3, err := RemainingRejoined(owner, []*Facts{whole}, owned("unit-3", 3, hash, note), []string{"s"}, "unit-2")
	require.NoError(t, err)
	more(owner, h3.Records...)
	hash = h3.Hashes["s"]
	require.Equal(t, "[8,11) [14,∞)", remains(owner, 3, hash, queue2), "what the first owner did is not given out again")
	require.Equal(t, "[5,∞)", remains(owner, 3, hash, queue1))
	require.EqualValues(t, 2, h3.Repeated)
}

func TestAQueueThatNoHandOverMentionsStaysHeldBackByPlannedMoves(t *testing.T) {
	_, seen := lostLog()
	newQueue := queue2
	newQueue.Queue = 7
	gained, h := force(t, seen, "unit-2", 1, "", map[msha.OriginQueue]int64{queue2: 9})
	more(gained, begins(newQueue, 4)) // its copies arrived since
	fenced, moves := moving("unit-1", "unit-3", 2, h.Hashes["s"], lostBy("unit-2", 1, ""))
	h2, err := RemainingAfter(gained, fenced, moves, nil)
	require.NoError(t, err)
	for _, r := range h2.Records {
		require.NotEqual(t, newQueue, r.Queue)
	}
	owner := logOf(append(h2.Records, begins(newQueue, 4))...)
	require.Equal(t, "nothing", remains(owner, 3, h2.Hashes["s"], newQueue))

	whole, _ := lostLog()
	more(whole, begins(newQueue, 4), did(1, newQueue, Range(4, 6), 8))
	h3, err := RemainingRejoined(owner, []*Facts{whole}, owned("unit-3", 3, h2.Hashes["s"], lostBy("unit-2", 1, "")), []string{"s"}, "unit-2")
	require.NoError(t, err)
	more(owner, h3.Records...)
	require.Equal(t, "[6,∞)", remains(owner, 3, h3.Hashes["s"], newQueue))
}

func TestPartsOfASplitShareWhatRemainsOnceAUnitIsBack(t *testing.T) {
	whole, seen := lostLog()
	owner, h := force(t, seen, "unit-2", 1, "", map[msha.OriginQueue]int64{queue2: 9})
	now := owned("unit-1", 2, h.Hashes["s"], lostBy("unit-2", 1, ""))
	part := now.Sets["s"]
	part.ID, part.Parent = "s.1", "s"
	now.Sets["s.1"] = part
	both, err := RemainingRejoined(owner, []*Facts{whole}, now, []string{"s", "s.1"}, "unit-2")
	require.NoError(t, err)
	one, err := RemainingRejoined(owner, []*Facts{whole}, now, []string{"s"}, "unit-2")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"s": one.Hashes["s"], "s.1": one.Hashes["s"]}, both.Hashes)
	require.Equal(t, one.Records, both.Records)
	require.Equal(t, one.Repeated, both.Repeated)

	// A part that has moved since has a hand-over of its own.
	part.Term, part.Parent = 3, ""
	now.Sets["s.1"] = part
	fenced, moves := moving("unit-1", "unit-1", 2, h.Hashes["s"])
	moves[0].NewSet = "s.1"
	fenced.Sets["s.1"] = msha.RouteSet{ID: "s.1", Parent: "s", Owner: "unit-1", Term: 2, State: msha.SetFenced, RemainingHash: h.Hashes["s"]}
	moved, err := RemainingAfter(owner, fenced, moves, nil)
	require.NoError(t, err)
	more(owner, moved.Records...)
	part.RemainingHash = moved.Hashes["s.1"]
	now.Sets["s.1"] = part
	apart, err := RemainingRejoined(owner, []*Facts{whole}, now, []string{"s", "s.1"}, "unit-2")
	require.NoError(t, err)
	require.NotEqual(t, apart.Hashes["s"], apart.Hashes["s.1"])
	more(owner, apart.Records...)
	o, known := owner.Group("g").Remaining(Key{"s.1", 3}, apart.Hashes["s.1"], queue2)
	require.True(t, known)
	require.Equal(t, "[5,6) [8,11) [14,∞)", o.String())
}

func TestWhatIsGivenOutWhereNotEverybodyKnowsAll(t *testing.T) {
	later := queue2
	later.Incarnation = 1
	unknown, unheard := msha.OriginQueue{Unit: "unit-3", Broker: "b", Topic: "U"}, msha.OriginQueue{Unit: "unit-2", Broker: "b", Topic: "U"}
	for name, c := range map[string]struct {
		seen, whole, owner []Record // what is copied when the switch is made, the whole log, and what the owner knows besides
		queue              msha.OriginQueue
		want               string
	}{
		"a queue of the unit that nobody else had heard of": {
			whole: []Record{begins(queue2, 4), did(1, queue2, Range(4, 6), 7)}, queue: queue2, want: "[6,∞)",
		},
		"a queue of a third unit that only the unit that is back knows": {
			whole: []Record{begins(unknown, 4), did(1, unknown, Range(4, 6), 7)}, queue: unknown, want: "[6,∞)",
		},
		"a queue of a third unit that the owner begins at its baseline": {
			whole: []Record{did(1, unknown, Range(4, 6), 7)}, owner: []Record{begins(unknown, 1)}, queue: unknown, want: "[1,4) [6,∞)",
		},
		"a queue of which nobody knows where the group begins": {
			whole: []Record{did(2, unknown, Range(4, 6), 7)}, queue: unknown, want: "unknown",
		},
		"a queue of the unit of which nobody knows where the group begins": {
			whole: []Record{did(2, unheard, Range(4, 6), 7)}, queue: unheard, want: "unknown",
		},
		"an incarnation that began meanwhile": {
			seen: []Record{begins(queue2, 4)}, whole: []Record{begins(queue2, 4), did(1, later, Range(0, 2), 3)}, queue: later, want: "[2,∞)",
		},
		"the unit's log has lost where the group begins": {
			seen: []Record{begins(queue2, 4)}, whole: []Record{did(1, queue2, Range(4, 12), 12)}, queue: queue2, want: "[12,∞)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			fenced, moves := moving("unit-2", "unit-1", 1, "")
			seen := logOf(c.seen...)
			h, err := RemainingForced(seen, fenced, moves, nil, copiedTo(map[msha.OriginQueue]int64{queue2: 9}, nil))
			require.NoError(t, err)
			owner := logOf(append(h.Records, c.owner...)...)
			h2, err := RemainingRejoined(owner, []*Facts{logOf(c.whole...)}, owned("unit-1", 2, h.Hashes["s"], lostBy("unit-2", 1, "")), []string{"s"}, "unit-2")
			require.NoError(t, err)
			more(owner, h2.Records...)
			require.Equal(t, c.want, remains(owner, 2, h2.Hashes["s"], c.queue))
		})
	}
}

// What the copies know counts even if the log that came back has lost it, and where the log is gone it is all there is.
func TestCopiesStandForALogThatIsLost(t *testing.T) {
	whole, seen := lostLog()
	for name, c := range map[string]struct {
		lost           []*Facts
		want1, want2   string
		repeatedAtMost int64
	}{
		"copies alone":                       {[]*Facts{seen}, "[3,∞)", "[5,∞)", 0},
		"a log that lost its tail, and more": {[]*Facts{seen, logOf(begins(queue2, 0), did(1, queue2, Range(6, 7), 7))}, "[3,∞)", "[5,6) [7,∞)", 1},
		"the copies have what the log lost":  {[]*Facts{whole, logOf(begins(queue2, 0), did(1, queue2, Range(0, 2), 2))}, "[3,4) [5,∞)", "[5,6) [8,11) [14,∞)", 3},
		"nothing at all":                     {nil, "[3,∞)", "[5,∞)", 0},
	} {
		t.Run(name, func(t *testing.T) {
			owner, h := force(t, seen, "unit-2", 1, "", map[msha.OriginQueue]int64{queue2: 9})
			h2, err := RemainingRejoined(owner, c.lost, owned("unit-1", 2, h.Hashes["s"], lostBy("unit-2", 1, "")), []string{"s"}, "unit-2")
			require.NoError(t, err)
			more(owner, h2.Records...)
			require.Equal(t, c.want1, remains(owner, 2, h2.Hashes["s"], queue1))
			require.Equal(t, c.want2, remains(owner, 2, h2.Hashes["s"], queue2))
			require.Equal(t, c.repeatedAtMost, h2.Repeated)
		})
	}
}

func TestAUnitCannotRejoinWithoutTheHandOversThatItRestsOn(t *testing.T) {
	_, seen := lostLog()
	started := []Record{
		{Kind: Baseline, Set: "s", Term: 1, Hash: "then", Chunks: 2},
		{Kind: Baseline, Group: "g", Set: "s", Term: 1, Hash: "then", Queue: queue2, Spans: Range(2, 40)},
	}
	all := logOf(append(started, begins(queue2, 0), did(1, queue2, Range(2, 5), 6))...)
	owner, h := force(t, all, "unit-2", 1, "then", map[msha.OriginQueue]int64{queue2: 9})
	now := owned("unit-1", 2, h.Hashes["s"], lostBy("unit-2", 1, "then"))
	rejoin := func(owner *Facts, lost ...*Facts) (*HandOver, error) {
		return RemainingRejoined(owner, lost, now, []string{"s"}, "unit-2")
	}

	_, err := rejoin(logOf(h.Records[1:]...), all)
	require.ErrorIs(t, err, msha.ErrMissingFacts)
	require.ErrorContains(t, err, "term 2", "the owner's own")
	_, err = rejoin(owner, seen, logOf(started[0]))
	require.ErrorIs(t, err, msha.ErrMissingFacts)
	require.ErrorContains(t, err, "term 1")
	for what, lost := range map[string][]*Facts{"in the log": {all}, "in a copy": {seen, logOf(started...)}} {
		h2, err := rejoin(owner, lost...)
		require.NoError(t, err, what)
		again := logOf(append(h2.Records, h.Records...)...)
		require.Equal(t, "[5,40)", remains(again, 2, h2.Hashes["s"], queue2), what)
	}
	more(owner, started...)
	_, err = rejoin(owner, seen)
	require.NoError(t, err, "in the owner's log: a planned switch wrote it there when the unit gained the route")
}

func TestSnapshotsAndBodiesCarryWhatIsHeldBack(t *testing.T) {
	owner, logs, hash, notes := twoAway(t)
	other := Record{Kind: Done, Group: "h", Set: "o", Term: 1, Queue: queue1, Spans: Range(0, 1)} // of a group the hand-over does not mention
	more(owner, other)
	again, decoded := NewFacts(), NewFacts()
	for _, name := range owner.Groups() {
		rs := owner.Group(name).Snapshot("b", 1000, nil)
		more(again, rs...)
		body, err := DecodeLog(EncodeRecords(rs), 7)
		require.NoError(t, err)
		for _, r := range body {
			decoded.Apply("b", r)
		}
	}
	want, err := RemainingRejoined(owner, []*Facts{logs["unit-2"]}, owned("unit-1", 3, hash, notes...), []string{"s"}, "unit-2")
	require.NoError(t, err)
	for what, f := range map[string]*Facts{"records": again, "bodies": decoded} {
		require.Equal(t, answersOf(owner, 3, hash), answersOf(f, 3, hash), what)
		h, err := RemainingRejoined(f, []*Facts{logs["unit-2"]}, owned("unit-1", 3, hash, notes...), []string{"s"}, "unit-2")
		require.NoError(t, err, what)
		require.Equal(t, want, h, "%s: limits and pull positions count in what follows", what)
	}

	// A copy of the log gives the same to others.
	copied := NewFacts()
	for _, name := range owner.Groups() {
		for _, r := range owner.Group(name).Snapshot("b", 1000, nil) {
			copied.ApplyHandOver(r)
			copied.ApplyCopy(r)
		}
	}
	require.Equal(t, answersOf(owner, 3, hash)["g "+queue2.String()], answersOf(copied, 3, hash)["g "+queue2.String()])
	require.True(t, copied.handed.has(handover{Key{"s", 3}, hash}))
}

func TestAHandOverIsCompleteOnlyWithEveryUnitThatIsHeldBack(t *testing.T) {
	owner, _, hash, _ := twoAway(t)
	rs := owner.handed[handover{Key{"s", 3}, hash}].recordsOf(handover{Key{"s", 3}, hash}, "g")
	require.Len(t, rs, 6)
	for i := range rs {
		f := logOf(slices.Delete(slices.Clone(rs), i, i+1)...)
		require.Equal(t, "unknown", remains(f, 3, hash, queue2), "without %+v", rs[i])
	}
	body, err := DecodeRecords(EncodeRecords(rs))
	require.NoError(t, err)
	require.Equal(t, rs, body)
}

// taken gives value "w" to a part of "s" that stays in unit-1, while "v" was taken from unit-1 by force.
func taken(version uint64, notes ...msha.ForcedTerm) *msha.Table {
	t := &msha.Table{
		Version: version,
		Rules:   []msha.Rule{{Kind: msha.RuleExact, Value: "v", Set: "s.1"}, {Kind: msha.RuleExact, Value: "w", Set: "s"}},
		Sets: map[string]msha.RouteSet{
			"s":   {ID: "s", Owner: "unit-1", Term: 1, State: msha.SetOpen},
			"s.1": {ID: "s.1", Owner: "unit-2", Term: 2, State: msha.SetOpen, RemainingHash: "h", Forced: notes},
		},
	}
	return t.Index()
}

func TestWhatAUnitLeavesOfALostRouteStaysAnException(t *testing.T) {
	before := table(1, "unit-1", 1, msha.SetOpen, "")
	note := lostBy("unit-1", 1, "")
	tagged := func(off int64, value string) Message {
		m := at(off)
		m.Value = value
		return m
	}
	r := newReader(before)
	r.Pulled(localHome, homeQueue, []Message{at(0), at(1), tagged(2, "w"), at(3)}, 4)
	require.Equal(t, Run, r.Start(at(0)).Verdict)
	r.SetTable(taken(2, note))
	r.Finish(at(0), firstTerm, "b") // it ran under the term before it was lost
	require.Equal(t, Decision{Verdict: Skip, Reason: "other unit"}, r.Start(at(1)))
	r.Skipped(at(1))
	require.Equal(t, Decision{Verdict: Run, Key: firstTerm}, r.Start(tagged(2, "w")))
	r.Finish(tagged(2, "w"), firstTerm, "b")
	require.Equal(t, "[0,1) [2,3)", r.Facts().Done(firstTerm, homeQueue).String(), "1 may have to be processed where the route is now")

	// A retry copy that is refused is left too, in whatever queue it lies.
	open := opened("n1", "w2", 1)
	open.Offset = 3
	r.read(open, SentOf(open))
	d := r.Start(copyOf(3, "n1"))
	require.Equal(t, Refuse, d.Verdict)
	r.read(*d.Close)
	r.Failed(copyOf(3, "n1"), Key{})
	require.False(t, r.Facts().Done(firstTerm, homeQueue).Contains(3))

	// Once the unit has rejoined, the term that stays is all that is left of it.
	r.SetTable(taken(3))
	r.Skipped(at(3))
	require.Equal(t, "[0,1) [2,4)", r.Facts().Done(firstTerm, homeQueue).String())
}

func TestANewHandOverOfTheSameTermIsGained(t *testing.T) {
	note := lostBy("unit-2", 1, "")
	r := newReader(owned("unit-1", 2, "h", note))
	r.read(handOver(Range(0, 1))...)
	r.Pulled(localHome, homeQueue, []Message{at(0), at(1)}, 2)
	require.Equal(t, Run, r.Start(at(0)).Verdict)
	r.Finish(at(0), Key{"s", 2}, "b")
	require.Equal(t, "not in remaining", r.Start(at(1)).Reason)
	r.Skipped(at(1))
	require.Empty(t, r.Pending(homeQueue))

	require.False(t, r.SetTable(owned("unit-1", 2, "h", note)), "nothing changed")
	next := table(10, "unit-1", 2, msha.SetOpen, "h2")
	require.True(t, r.SetTable(next))
	for _, x := range handOver(Range(0, 2)) {
		x.Hash = "h2"
		r.read(x)
	}
	r.CaughtUp(10)
	require.Equal(t, "[1,2)", r.Pending(homeQueue).String(), "what it did before counts, what it left does not")
}
