package filter

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/go-msha/msha"
)

// placed puts records into a log at an offset, as one body.
func placed(at int64, rs []Record) []Record {
	rs = slices.Clone(rs)
	for i := range rs {
		rs[i].LogOffset = at
	}
	return rs
}

// Two agents begin with a topic at the same time, and one has seen queues that the other one had not. What is first in the log counts, as a whole and
// in whatever order it is read: the queues that it does not know were added later.
func TestTheFirstBeginningCounts(t *testing.T) {
	queue := func(id int) msha.OriginQueue {
		return msha.OriginQueue{Unit: "unit-1", Broker: "a", Topic: "SMS", Queue: id}
	}
	first := placed(3, Begin("g", "unit-1", "a", "SMS", Extent{"a": 2, "b": 2}, map[int]int64{0: 10}, nil))
	late := placed(5, Begin("g", "unit-1", "a", "SMS", Extent{"a": 4, "b": 4, "c": 1}, map[int]int64{0: 20, 1: 21, 2: 22, 3: 23}, nil))
	alone := placed(7, Baselines("g", queue(3), 0, nil))
	all := slices.Concat(first, late, alone)
	check := func(f *Facts) {
		t.Helper()
		g := f.Group("g")
		for id, want := range []int64{10, -1, -1, 0} {
			got, ok := g.Baseline(queue(id))
			if !ok {
				got = -1
			}
			if got != want {
				t.Fatalf("queue %d begins at %d, want %d", id, got, want)
			}
		}
		if n, ok := g.Begun("unit-1", "a", "SMS"); !ok || n != 2 {
			t.Fatalf("%d queues, %v", n, ok)
		}
		if n, ok := g.Begun("unit-1", "b", "SMS"); ok {
			t.Fatalf("b's own log says nothing, but %d", n)
		}
		x, ok := g.Extent("unit-1", "SMS")
		if maps.DeleteFunc(x, func(_ string, n int) bool { return n == 0 }); !ok || !maps.Equal(x, Extent{"a": 2, "b": 2}) {
			t.Fatalf("extent %v", x)
		}
		if got := g.Queues(); !slices.Equal(got, []msha.OriginQueue{queue(0), queue(3)}) {
			t.Fatalf("queues %v", got)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		rnd.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		f, copied := NewFacts(), NewFacts()
		for _, r := range all {
			f.Apply("a", r)
			copied.ApplyCopy(r)
		}
		check(f)
		check(copied)
		if rs := copied.Group("g").Snapshot("a", 9, nil); len(rs) > 0 {
			t.Fatalf("a snapshot of another unit's log: %v", rs)
		}
		again := NewFacts()
		for _, r := range f.Group("g").Snapshot("a", 9, nil) {
			back, err := DecodeRecords(EncodeRecords([]Record{r}))
			if err != nil {
				t.Fatal(err)
			}
			again.Apply("a", back[0])
		}
		check(again)
	}
}

// What several logs say of a broker whose own log says nothing: a queue that one of them has not seen was added later.
func TestExtentOfABrokerWhoseLogSaysNothing(t *testing.T) {
	f := NewFacts()
	for log, x := range map[string]Extent{"a": {"a": 1, "c": 3}, "b": {"a": 4, "b": 2, "c": 4, "d": 1}} {
		for _, r := range placed(1, Begin("g", "unit-1", log, "SMS", x, nil, nil)) {
			f.Apply(log, r)
		}
	}
	x, ok := f.Group("g").Extent("unit-1", "SMS")
	if want := (Extent{"a": 1, "b": 2, "c": 3, "d": 0}); !ok || !maps.Equal(x, want) {
		t.Fatalf("%v, want %v", x, want)
	}
	if x.Has(msha.OriginQueue{Broker: "c", Queue: 3}) || !x.Has(msha.OriginQueue{Broker: "c", Queue: 2}) {
		t.Fatal("Has")
	}
	if _, ok := f.Group("g").Extent("unit-2", "SMS"); ok {
		t.Fatal("of another unit")
	}
}
