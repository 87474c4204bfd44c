package msha_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func TestOriginRoundTripIsStrict(t *testing.T) {
	o := msha.Origin{OriginQueue: msha.OriginQueue{Unit: "unit|1", Broker: "broker a", Topic: "SMS", Queue: 3, Incarnation: 2}, Offset: 42}
	got, err := msha.ParseOrigin(o.Encode())
	require.NoError(t, err)
	require.Equal(t, o, got)
	for _, bad := range []string{"", "1|u|b|t|0|0", "2|u|b|t|0|0|0", "1|u|b|t|-1|0|0", "1|u|b|t|00|0|0", "1||b|t|0|0|0", "1|u|b|t|0|0|+1"} {
		_, err := msha.ParseOrigin(bad)
		require.ErrorIs(t, err, msha.ErrInvalid, bad)
	}
}

func FuzzParseOrigin(f *testing.F) {
	for _, seed := range []string{"1|unit-1|broker-a|SMS|0|0|7", "1|u%7C|b|t|0|0|7", "1|u|b|t|2147483648|0|0", "1|u|b|t|0|0|9223372036854775808", "1|%zz|b|t|0|0|0", "||||||"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := msha.ParseOrigin(s)
		if err != nil {
			require.ErrorIs(t, err, msha.ErrInvalid)
			require.Equal(t, msha.Origin{}, o)
			return
		}
		require.Equal(t, s, o.Encode())
		require.True(t, o.Offset >= 0 && o.Queue >= 0 && o.Incarnation >= 0 && o.Unit != "" && o.Broker != "" && o.Topic != "")
	})
}

func FuzzOriginEncode(f *testing.F) {
	f.Add("unit|1", "broker a", "%RETRY%g", 3, int64(1), int64(42))
	f.Fuzz(func(t *testing.T, unit, broker, topic string, queue int, incarnation, offset int64) {
		o := msha.Origin{OriginQueue: msha.OriginQueue{Unit: unit, Broker: broker, Topic: topic, Queue: queue, Incarnation: incarnation}, Offset: offset}
		got, err := msha.ParseOrigin(o.Encode())
		valid := unit != "" && broker != "" && topic != "" && queue >= 0 && queue <= math.MaxInt32 && incarnation >= 0 && offset >= 0
		require.Equal(t, valid, err == nil)
		if valid {
			require.Equal(t, o, got)
		}
	})
}

func TestLookupTriesExactRangeSlotDefault(t *testing.T) {
	tb := (&msha.Table{
		Rules: []msha.Rule{
			{Kind: msha.RuleDefault, Set: "d"},
			{Kind: msha.RuleSlot, From: msha.Slot("slotted"), To: msha.Slot("slotted") + 1, Set: "s"},
			{Kind: msha.RuleRange, Low: "m", High: "n", Set: "r"},
			{Kind: msha.RuleExact, Value: "mm", Set: "e"},
			{Kind: msha.RuleUnit, Value: "unit-1", Set: "u"},
		},
		Sets: map[string]msha.RouteSet{"d": {ID: "d"}, "s": {ID: "s"}, "r": {ID: "r"}, "e": {ID: "e"}, "u": {ID: "u"}},
	}).Index()
	for _, c := range []struct{ value, unit, want string }{
		{"mm", "", "e"}, {"mx", "", "r"}, {"slotted", "", "s"}, {"n", "", "d"}, {"", "unit-1", "u"},
	} {
		set, ok := tb.Lookup(c.value, c.unit)
		require.True(t, ok, c.value)
		require.Equal(t, c.want, set.ID, c.value)
	}
	_, ok := tb.Lookup("", "unit-9")
	require.False(t, ok)
}
