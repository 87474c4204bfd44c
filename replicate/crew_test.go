package replicate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func all(session string, slot int) member {
	return member{Session: session, Name: session, Slot: slot, Generation: 1, Topics: []string{"*"}}
}

func manyShares(n int) []share {
	var out []share
	for i := range n {
		out = append(out, share{"unit-2", fmt.Sprintf("T%03d", i/2), fmt.Sprintf("broker-%d", i%2)})
	}
	return out
}

// settle lets every member hand over what it has too much of; it returns how many shares moved.
func (c *crew) settle() (moved int) {
	for again := true; again; {
		again = false
		for _, m := range slices.Clone(c.Members) {
			if surplus := c.surplus(m.Session); len(surplus) > 0 {
				c.hand(m.Session, surplus[:1])
				moved++
				again = true
			}
		}
	}
	return moved
}

func loads(c *crew) []int { return slices.Sorted(maps.Values(c.load())) }

func TestSharesAreBalancedWithFewMoves(t *testing.T) {
	var c crew
	c.join(all("a", 0))
	require.True(t, c.offer(manyShares(12)))
	require.False(t, c.offer(manyShares(12)), "known ones")
	require.Len(t, c.owned("a"), 12)
	for _, step := range []struct {
		do    func()
		moved int
		loads []int
	}{
		{func() { c.join(all("b", 1)) }, 6, []int{6, 6}},
		{func() { c.join(all("c", 2)) }, 4, []int{4, 4, 4}},
		{func() { c.join(all("d", 3)) }, 3, []int{3, 3, 3, 3}},
		{func() { c.leave("b") }, 0, []int{4, 4, 4}},
		{func() { c.offer(manyShares(14)) }, 0, []int{4, 5, 5}},
		{func() { require.True(t, c.bury(all("a", 0))) }, 0, []int{7, 7}},
		{func() { require.False(t, c.bury(all("a", 0))) }, 0, []int{7, 7}},
		{func() { require.True(t, c.died("c")) }, 0, []int{14}},
		{func() { require.False(t, c.died("c")) }, 0, []int{14}},
		{func() { c.leave("d") }, 0, nil},
		{func() { c.join(all("e", 1)) }, 0, []int{14}},
	} {
		step.do()
		require.Equal(t, step.moved, c.settle())
		require.Equal(t, step.loads, loads(&c))
	}
	require.True(t, c.takes(2), "the dead one's slot is not free yet")
}

func TestMembersCopyOnlyWhatTheyWereToldTo(t *testing.T) {
	some := all("some", 1)
	some.Topics, some.Deny, some.Targets = []string{"A*"}, []string{"AX"}, []string{"unit-2"}
	var c crew
	c.join(some)
	s := func(target, topic string) share { return share{target, topic, "b"} }
	c.offer([]share{s("unit-2", "A1"), s("unit-2", "AX"), s("unit-2", "B1"), s("unit-3", "A1"), s("unit-2", msha.ProgressTopic)})
	require.Equal(t, []share{s("unit-2", "A1"), s("unit-2", msha.ProgressTopic)}, c.owned("some"))
	require.Len(t, c.owned(""), 3, "nobody's")
	c.join(all("any", 0))
	require.Len(t, c.owned("any"), 3)
	require.Zero(t, c.settle())
	c.offer([]share{s("unit-3", "A2"), s("unit-3", "A3"), s("unit-3", "A4")})
	require.Len(t, c.owned("any"), 6, "the other one may not have them")
	require.Zero(t, c.settle())
}

func TestOnlyTheLeaseThatWasTakenBuries(t *testing.T) {
	var c crew
	c.join(all("a", 0))
	c.offer(manyShares(2))
	require.True(t, c.move("a", 3, 7))
	require.False(t, c.bury(all("a", 0)), "it has another lease by now")
	require.Len(t, c.owned("a"), 2)
	moved := all("a", 3)
	moved.Generation = 7
	require.True(t, c.bury(moved))
	require.False(t, c.move("a", 4, 8), "removed ones do not come back")
	require.Len(t, c.owned(""), 2)
}

func TestCrewDocument(t *testing.T) {
	var c crew
	m := all("a", 0)
	m.Place = here()
	c.join(m)
	c.offer(manyShares(3))
	value, err := json.Marshal(c)
	require.NoError(t, err)
	back, err := parseCrew("k", value)
	require.NoError(t, err)
	require.Equal(t, c, back)
	_, err = parseCrew("k", []byte("{"))
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorContains(t, err, "delete the document")
}
