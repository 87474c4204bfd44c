package filter

import (
	"fmt"
	"testing"

	"github.com/go-msha/msha"
)

// BenchmarkDecision is what a message costs apart from its handler: registered as pulled, decided about, finished.
func BenchmarkDecision(b *testing.B) {
	const pull = 32
	q := msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS"}
	local := LocalQueue{Topic: "SMS", Broker: "b"}
	for name, owner := range map[string]string{"own": "unit-1", "other unit's": "unit-2"} {
		b.Run(name, func(b *testing.B) {
			t := NewTracker("unit-1", "g", "c", "w")
			t.Apply("b", Record{Kind: Baseline, Group: "g", Queue: q})
			t.SetTable(table(1, owner, 1, msha.SetOpen, ""))
			t.CaughtUp(1)
			t.Acquire(local, q, 0)
			ms, keys := make([]Message, pull), make([]Key, pull)
			next := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range ms {
					ms[i] = Message{Origin: msha.Origin{OriginQueue: q, Offset: next + int64(i)}, Value: "v", Unit: "unit-1"}
				}
				next += pull
				t.Pulled(local, q, ms, next)
				running := 0
				for _, m := range ms {
					if d := t.Start(m); d.Verdict == Run {
						keys[running] = d.Key
						running++
					} else {
						t.Skipped(m)
					}
				}
				for i, key := range keys[:running] {
					t.Finish(ms[i], key, "b")
				}
				if next%(pull*1000) == 0 {
					t.Publish()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(next), "ns/message")
		})
	}
}

// BenchmarkLookup finds the route of a value among 100,000 exact ones, as a decision does.
func BenchmarkLookup(b *testing.B) {
	t := &msha.Table{Version: 1, Sets: map[string]msha.RouteSet{"s": {ID: "s", Owner: "unit-1", Term: 1, State: msha.SetOpen}}}
	values := make([]string, 100_000)
	for i := range values {
		values[i] = fmt.Sprintf("value-%d", i)
		t.Rules = append(t.Rules, msha.Rule{Kind: msha.RuleExact, Value: values[i], Set: "s"})
	}
	t = t.Index()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if t.Set(values[i%len(values)], "unit-1") == nil {
			b.Fatal("not found")
		}
	}
}
