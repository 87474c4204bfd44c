package filter

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

var (
	homeQueue = msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "T", Queue: 0}
	copyQueue = msha.OriginQueue{Unit: "unit-2", Broker: "b", Topic: "T", Queue: 1}
	localHome = LocalQueue{Topic: "T", Broker: "b", ID: 0}
	firstTerm = Key{"s", 1}
)

// randomLog is a log of one broker as several processes could have written it, in bodies.
func randomLog(rng *rand.Rand, n int) [][]Record {
	var bodies [][]Record
	numbers := 0
	queues := []msha.OriginQueue{homeQueue, copyQueue}
	for len(bodies) < n {
		q, k := queues[rng.IntN(2)], Key{"s", uint64(1 + rng.IntN(2))}
		off := int64(rng.IntN(12))
		one := Record{Group: "g", Set: k.Set, Term: k.Term, Queue: q, Offset: off, Number: fmt.Sprint("n", rng.IntN(numbers+1)), Writer: "w", Client: "c"}
		writer := fmt.Sprint("w", rng.IntN(3))
		switch rng.IntN(10) {
		case 0:
			one = Record{Kind: Baseline, Group: "g", Queue: q, Offset: off}
		case 1:
			from := int64(rng.IntN(12))
			one = Record{Kind: Done, Group: "g", Set: k.Set, Term: k.Term, Queue: q, Spans: Range(from, from+int64(1+rng.IntN(2))), Next: off}
		case 2, 3:
			numbers++
			one.Kind, one.Number, one.Attempt = Open, fmt.Sprint("n", numbers), 1+rng.IntN(5)
		case 4, 5, 6:
			open, found := openOf(bodies, one.Number)
			if !found {
				continue
			}
			one = follow(open, []Kind{Sent, Close, Void}[rng.IntN(3)])
		case 7:
			one = Record{Kind: []Kind{Hold, Release}[rng.IntN(2)], Group: "g", Local: localHome, Client: "c" + writer, Writer: writer}
		case 9:
			one = Record{Kind: Done, Group: "g", Local: localHome, Next: off}
		case 8:
			bodies = append(bodies, []Record{{Kind: Baseline, Set: "s", Term: 2, Hash: "h", Chunks: 3}},
				[]Record{{Kind: Baseline, Group: "g", Set: "s", Term: 2, Hash: "h", Queue: homeQueue, Spans: Range(2, 9)}})
			one = Record{Kind: Baseline, Group: "g", Set: "s", Term: 2, Hash: "h", Queue: copyQueue, Spans: From(3)}
		}
		bodies = append(bodies, []Record{one})
	}
	return bodies
}

func openOf(bodies [][]Record, number string) (Record, bool) {
	for _, body := range bodies {
		if r := body[0]; r.Kind == Open && r.Number == number {
			return r, true
		}
	}
	return Record{}, false
}

// fold applies bodies that begin at an offset of the log, through the codec.
func fold(t *testing.T, f *Facts, bodies [][]Record, at int64) {
	t.Helper()
	for i, body := range bodies {
		rs, err := DecodeLog(EncodeRecords(body), at+int64(i))
		require.NoError(t, err)
		for _, r := range rs {
			f.Apply("b", r)
		}
	}
}

// answers is everything a fold can be asked.
func answers(f *Facts) string {
	g := f.Group("g")
	s := ""
	holder, held := g.Holder(localHome)
	read, known := g.Read(localHome)
	s += fmt.Sprint(holder.Writer, held, g.HandedOver(Key{"s", 2}, "h"), read, known, "\n")
	for _, q := range []msha.OriginQueue{homeQueue, copyQueue} {
		base, known := g.Baseline(q)
		s += fmt.Sprint(base, known, g.Next(q), g.Unsent(q), "\n")
		for term := uint64(1); term <= 2; term++ {
			k := Key{"s", term}
			remaining, ok := g.Remaining(k, map[uint64]string{2: "h"}[term], q)
			s += fmt.Sprint(k, g.Done(k, q), g.Opens(k, q), remaining, ok)
			for off := range int64(14) {
				n, sent, open := g.OpenNumber(k, msha.Origin{OriginQueue: q, Offset: off})
				s += fmt.Sprint(" ", n, sent, open)
			}
			s += "\n"
		}
	}
	return s
}

func TestFoldDoesNotDependOnHowItIsRead(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		log := randomLog(rng, 60)
		once := NewFacts()
		fold(t, once, log, 0)
		want := answers(once)

		twice := NewFacts()
		fold(t, twice, log, 0)
		fold(t, twice, log, 0)
		require.Equal(t, want, answers(twice), "seed %d, applied twice", seed)

		cut := rng.IntN(len(log))
		chunks := NewFacts()
		fold(t, chunks, log[:cut], 0)
		fold(t, chunks, log[max(0, cut-5):], int64(max(0, cut-5)))
		require.Equal(t, want, answers(chunks), "seed %d, read again from %d", seed, cut)

		prefix := NewFacts()
		fold(t, prefix, log[:cut], 0)
		snapshot := prefix.Group("g").Snapshot("b", int64(cut-1), nil)

		first := NewFacts()
		fold(t, first, [][]Record{snapshot}, 0)
		fold(t, first, log[cut:], int64(cut))
		require.Equal(t, want, answers(first), "seed %d, snapshot at %d first", seed, cut)

		retained := rng.IntN(cut + 1) // what is older has expired; the snapshot comes somewhere behind what it reflects
		later := NewFacts()
		fold(t, later, log[retained:], int64(retained))
		fold(t, later, [][]Record{snapshot}, int64(len(log)))
		require.Equal(t, want, answers(later), "seed %d, retained from %d, snapshot at %d last", seed, retained, cut)
	}
}

func TestSnapshotIsCutIntoBodies(t *testing.T) {
	f := NewFacts()
	for i := range int64(300_000) {
		f.Apply("b", Record{Kind: Done, Group: "g", Set: "s", Term: 1, Queue: homeQueue, Spans: Range(1000*i, 1000*i+1), LogOffset: i})
	}
	f.Apply("other", Record{Kind: Done, Group: "g", Set: "s", Term: 1, Queue: copyQueue, Spans: Range(0, 1)})
	g := f.Group("g")
	again := NewFacts()
	for i, r := range g.Snapshot("b", 1, nil) {
		body := EncodeRecords([]Record{r})
		require.Less(t, len(body), 4<<20)
		require.Equal(t, i, r.Chunk)
		fold(t, again, [][]Record{{r}}, 0)
	}
	require.True(t, g.Done(firstTerm, homeQueue).Equal(again.Group("g").Done(firstTerm, homeQueue)))
	require.Empty(t, again.Group("g").Done(firstTerm, copyQueue), "another broker's log has its own snapshot")
}

// A route moves to and fro a thousand times: a snapshot stays as small as after the first times, and says the same of what is still asked.
func TestSnapshotLeavesPastTermsOut(t *testing.T) {
	f := NewFacts()
	f.Apply("b", Record{Kind: Baseline, Group: "g", Queue: homeQueue})
	at, hash := int64(1), ""
	apply := func(r Record) {
		r.LogOffset = at
		at++
		f.Apply("b", r)
	}
	sizes := map[uint64]int{}
	var state msha.RouteSet
	const away, moves = 7, 1000
	for term := uint64(1); term <= moves; term++ {
		off := int64(term) * 10
		apply(Record{Kind: Done, Group: "g", Set: "s", Term: term, Queue: homeQueue, Spans: Range(off, off+5), Next: off + 10})
		apply(Record{Kind: Open, Group: "g", Set: "s", Term: term, Queue: homeQueue, Offset: off + 5, Number: fmt.Sprint("n", term), Writer: "w", Client: "c", Attempt: 1})
		state = msha.RouteSet{ID: "s", Owner: "unit-1", Term: term, State: msha.SetOpen, RemainingHash: hash}
		if term > away {
			state.Forced = []msha.ForcedTerm{{Unit: "unit-2", Set: "s", Term: away}}
		}
		now := &msha.Table{Version: term, Sets: map[string]msha.RouteSet{"s": state}}
		for _, r := range f.Group("g").Snapshot("b", at-1, Past(now.Index())) {
			sizes[term] += len(EncodeRecords([]Record{r}))
		}
		fenced, move := moving("unit-1", "unit-2", term, hash)
		next, err := RemainingAfter(f, fenced, move, nil)
		require.NoError(t, err)
		hash = next.Hashes["s"]
		for _, r := range next.Records {
			apply(r)
		}
	}
	require.Less(t, sizes[moves], 2*sizes[away+3]+64*moves, "the spans of what was left grow, nothing else does")

	last := Key{"s", moves}
	part := msha.RouteSet{ID: "p", Parent: "s", Owner: "unit-1", Term: 500, State: msha.SetOpen}
	past := Past((&msha.Table{Version: 1, Sets: map[string]msha.RouteSet{"s": state, "p": part}}).Index())
	again := NewFacts()
	for _, r := range f.Group("g").Snapshot("b", at-1, past) {
		again.Apply("b", r)
	}
	for _, k := range []Key{last, {"s", away}, {"s", 500}, {"s", moves + 1}} {
		require.Equal(t, f.Group("g").Done(k, homeQueue), again.Group("g").Done(k, homeQueue), k)
	}
	want, ok := f.Group("g").Remaining(last, state.RemainingHash, homeQueue)
	require.True(t, ok)
	got, ok := again.Group("g").Remaining(last, state.RemainingHash, homeQueue)
	require.True(t, ok)
	require.Equal(t, want, got)
	require.Empty(t, again.Group("g").Done(Key{"s", 499}, homeQueue))
	require.EqualValues(t, moves*10+10, again.Group("g").Next(homeQueue))
}
