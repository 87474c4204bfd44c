package msha_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func incarnations(froms ...int64) *msha.Incarnations {
	q := msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS", Queue: 1}
	in := &msha.Incarnations{Queues: []msha.RaisedQueue{{Queue: q}}}
	for _, from := range froms {
		in.Queues[0].Raised = append(in.Queues[0].Raised, msha.Raised{From: from})
	}
	return in
}

func TestIncarnations(t *testing.T) {
	q := msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS", Queue: 1, Incarnation: 7}
	at := func(inc, off int64) msha.Origin {
		o := msha.Origin{OriginQueue: q, Offset: off}
		o.Incarnation = inc
		return o
	}
	for name, c := range map[string]struct {
		in    *msha.Incarnations
		split []msha.Incarnation
		after map[msha.Origin]int64 // used offsets only
		free  []msha.Origin
	}{
		"none": {nil, []msha.Incarnation{{at(0, 0).OriginQueue, 0, math.MaxInt64}}, nil, []msha.Origin{at(0, 0), at(0, 99)}},
		"one": {incarnations(90), []msha.Incarnation{{at(0, 0).OriginQueue, 0, 90}, {at(1, 0).OriginQueue, 90, math.MaxInt64}},
			map[msha.Origin]int64{at(0, 97): 90, at(0, 90): 90}, []msha.Origin{at(0, 89), at(1, 90), at(1, 97)}},
		"the second above": {incarnations(90, 95), []msha.Incarnation{{at(0, 0).OriginQueue, 0, 90}, {at(1, 0).OriginQueue, 90, 95}, {at(2, 0).OriginQueue, 95, math.MaxInt64}},
			map[msha.Origin]int64{at(0, 97): 90, at(1, 97): 95, at(0, 93): 90}, []msha.Origin{at(1, 94), at(2, 95)}},
		"the second below": {incarnations(90, 50), []msha.Incarnation{{at(0, 0).OriginQueue, 0, 50}, {at(2, 0).OriginQueue, 50, math.MaxInt64}},
			map[msha.Origin]int64{at(0, 97): 50, at(1, 97): 50, at(0, 60): 50}, []msha.Origin{at(0, 49), at(2, 51)}},
		"recreated": {incarnations(0), []msha.Incarnation{{at(1, 0).OriginQueue, 0, math.MaxInt64}}, map[msha.Origin]int64{at(0, 97): 0}, []msha.Origin{at(1, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.split, c.in.All(q))
			for o, want := range c.after {
				next, used := c.in.After(o)
				require.True(t, used, o)
				require.Equal(t, want, next, o)
			}
			for _, o := range c.free {
				next, used := c.in.After(o)
				require.False(t, used, o)
				require.Equal(t, o.Offset+1, next)
			}
		})
	}
	require.Equal(t, at(0, 0).OriginQueue, incarnations(3).At(msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS", Queue: 1, Incarnation: 2}, 2))
	other := q
	other.Queue, other.Incarnation = 2, 0
	require.Equal(t, other, incarnations(3).At(other, 9))
}

// A queue that is written, cut off and written again: what each offset holds is known by its incarnation, whoever copied it up to where.
func TestIncarnationsTellWhatIsStoredWhere(t *testing.T) {
	q := msha.OriginQueue{Unit: "unit-1", Broker: "b", Topic: "SMS", Queue: 1}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		store := memory.New()
		stored := []int{}               // by offset: serial of the message
		copies := map[msha.Origin]int{} // by identity
		var in *msha.Incarnations
		for serial := range 60 {
			if n := len(stored); n > 0 && r.IntN(8) == 0 {
				from := r.IntN(n)
				seen := msha.Origin{OriginQueue: in.At(q, int64(n-1)), Offset: int64(n - 1)}
				var raised bool
				var err error
				in, raised, err = msha.Raise(context.Background(), store, int64(from), seen, "")
				require.NoError(t, err)
				require.True(t, raised)
				again, raised, err := msha.Raise(context.Background(), store, int64(from), seen, "")
				require.NoError(t, err)
				require.False(t, raised, "somebody else saw the same")
				require.Equal(t, in, again)
				stored = stored[:from]
			}
			off := int64(len(stored))
			stored = append(stored, serial)
			o := msha.Origin{OriginQueue: in.At(q, off), Offset: off}
			require.NotContains(t, copies, o)
			copies[o] = serial
		}
		for o, serial := range copies {
			next, used := in.After(o)
			if used {
				require.NotContains(t, stored, serial, o)
				require.LessOrEqual(t, next, o.Offset)
				continue
			}
			require.Equal(t, serial, stored[o.Offset], o)
		}
		require.Equal(t, in.Newest(q), int64(in.Count()))
	}
}

func TestIncarnationsThatCannotBe(t *testing.T) {
	for _, value := range []string{`{`, `{"queues":[{"queue":{"unit":"u","incarnation":1},"raised":[{"from":1}]}]}`, `{"queues":[{"queue":{"unit":"u"}}]}`,
		`{"queues":[{"queue":{"unit":"u"},"raised":[{"from":-1}]}]}`, `{"queues":[{"queue":{"unit":"u"},"raised":[{"from":1}]},{"queue":{"unit":"u"},"raised":[{"from":1}]}]}`} {
		_, err := msha.ParseIncarnations(msha.Document{Key: "k", Value: []byte(value)})
		require.ErrorIs(t, err, msha.ErrInvalid, value)
	}
	_, _, err := msha.Raise(context.Background(), memory.New(), 5, msha.Origin{OriginQueue: msha.OriginQueue{Unit: "u"}, Offset: 4}, "")
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func FuzzParseIncarnations(f *testing.F) {
	f.Add([]byte(`{"queues":[{"queue":{"unit":"u","broker":"b","topic":"t"},"raised":[{"from":9},{"from":4}]}]}`), int64(5))
	f.Fuzz(func(t *testing.T, value []byte, offset int64) {
		in, err := msha.ParseIncarnations(msha.Document{Value: value})
		if err != nil || in == nil || offset < 0 {
			return
		}
		for _, q := range in.Queues {
			at := int64(0)
			for _, part := range in.All(q.Queue) {
				require.Equal(t, at, part.From)
				require.Equal(t, part.Queue, in.At(q.Queue, part.From))
				at = part.To
			}
			require.EqualValues(t, math.MaxInt64, at)
			_, used := in.After(msha.Origin{OriginQueue: in.At(q.Queue, offset), Offset: offset})
			require.False(t, used, "what is stored now is the newest")
		}
	})
}
