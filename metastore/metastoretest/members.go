package metastoretest

import (
	"context"
	"fmt"
	"sort"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func hasMembers(h Harness) bool { return h.Members != nil }

func (c *caseRun) watchMembers(set string) <-chan []msha.Member {
	c.Helper()
	ch, err := c.Members.WatchMembers(c.ctx, set)
	require.NoError(c, err)
	return ch
}

func (c *caseRun) join(ctx context.Context, set, id string) func(context.Context) error {
	c.Helper()
	leave, err := c.Members.Join(ctx, set, msha.Member{ID: id, Metadata: map[string]string{"unit": "unit-1", "addr": "10.0.0.1:80|" + id}})
	require.NoError(c, err)
	return leave
}

// expect receives until exactly these members are listed, sorted.
func (c *caseRun) expect(ch <-chan []msha.Member, ids ...string) []msha.Member {
	c.Helper()
	return until(c, ch, func(list []msha.Member) bool {
		got := make([]string, len(list))
		for i, m := range list {
			got[i] = m.ID
		}
		require.True(c, sort.StringsAreSorted(got), "%v", got)
		return fmt.Sprint(got) == fmt.Sprint(ids)
	})
}

var memberCases = []testCase{
	{"membership", "the current members come first, sorted by ID, then every change", func(c *caseRun) {
		set := c.key("agents")
		ch := c.watchMembers(set)
		c.expect(ch)
		leaveB := c.join(c.ctx, set, "b")
		c.expect(ch, "b")
		leaveA := c.join(c.ctx, set, "a")
		list := c.expect(ch, "a", "b")
		require.Equal(c, map[string]string{"unit": "unit-1", "addr": "10.0.0.1:80|a"}, list[0].Metadata)
		c.expect(c.watchMembers(set), "a", "b")
		require.NoError(c, leaveB(c.ctx))
		c.expect(ch, "a")
		require.NoError(c, leaveA(c.ctx))
		c.expect(ch)
	}, hasMembers},
	{"membership", "an id that a living member has is ErrConflict, and free again once it left", func(c *caseRun) {
		set := c.key("agents")
		leave := c.join(c.ctx, set, "a")
		_, err := c.Members.Join(c.ctx, set, msha.Member{ID: "a"})
		require.ErrorIs(c, err, msha.ErrConflict)
		leaveOther := c.join(c.ctx, c.key("other"), "a")
		require.NoError(c, leave(c.ctx))
		leave = c.join(c.ctx, set, "a")
		require.NoError(c, leave(c.ctx))
		require.NoError(c, leaveOther(c.ctx))
	}, hasMembers},
	{"membership", "a member leaves when the context of its join ends", func(c *caseRun) {
		set := c.key("agents")
		ch := c.watchMembers(set)
		ctx, cancel := context.WithCancel(c.ctx)
		c.join(ctx, set, "a")
		c.expect(ch, "a")
		cancel()
		c.expect(ch)
	}, hasMembers},
	{"membership", "changes may be coalesced but the newest list always arrives", func(c *caseRun) {
		set := c.key("agents")
		ch := c.watchMembers(set)
		var ids []string
		for i := range 12 {
			id := fmt.Sprintf("member %02d", i)
			leave := c.join(c.ctx, set, id)
			if i%3 == 0 {
				require.NoError(c, leave(c.ctx))
				continue
			}
			ids = append(ids, id)
		}
		c.expect(ch, ids...)
	}, hasMembers},
	{"membership", "sets are independent", func(c *caseRun) {
		a, b := c.watchMembers(c.key("a")), c.watchMembers(c.key("b"))
		c.join(c.ctx, c.key("b"), "in b")
		c.expect(b, "in b")
		c.join(c.ctx, c.key("a"), "in a")
		c.expect(a, "in a")
	}, hasMembers},
	{"membership", "a cancelled context's error is returned unwrapped", func(c *caseRun) {
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		_, err := c.Members.Join(ctx, c.key("agents"), msha.Member{ID: "a"})
		require.Equal(c, context.Canceled, err)
		c.expect(c.watchMembers(c.key("agents")))
	}, hasMembers},
	{"membership", "the channel is closed when ctx ends", func(c *caseRun) {
		ctx, cancel := context.WithCancel(c.ctx)
		ch, err := c.Members.WatchMembers(ctx, c.key("agents"))
		require.NoError(c, err)
		_, ok := next(c, ch)
		require.True(c, ok)
		cancel()
		ends(c, ch)
	}, hasMembers},
}
