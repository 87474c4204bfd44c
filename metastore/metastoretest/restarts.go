package metastoretest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func canRestart(h Harness) bool { return h.Restart != nil }

var restartCases = []testCase{
	{"reconnect", "documents, their revisions and watches survive a restart of the server", func(c *caseRun) {
		k, gone := c.key("k"), c.key("gone")
		old := c.put(c.Store, k, "1", 0)
		r := c.put(c.Store, k, "2", old)
		deleted := c.put(c.Store, gone, "v", 0)
		require.NoError(c, c.Store.Delete(c.ctx, gone, deleted))
		ch := c.watch(c.Second, k)
		c.follow(ch, 0, r)
		c.Restart()
		require.Equal(c, msha.Document{Key: k, Value: []byte("2"), Revision: r}, c.settled(k))
		if !c.Unsafe {
			_, err := c.Store.Put(c.ctx, k, []byte("other"), old)
			require.ErrorIs(c, err, msha.ErrConflict)
		}
		last := r
		r = c.change(c.Store, k, "3", r)
		c.follow(ch, last, r)
		require.Greater(c, c.change(c.Store, gone, "again", 0), deleted, "revisions go on after a restart")
		if !c.Unsafe {
			require.NoError(c, msha.Safe(c.Store), "a restart is no reason")
		}
	}, canRestart},
	{"reconnect", "a watch opened while the server restarts delivers the current document", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		restarted := make(chan struct{})
		go func() {
			defer close(restarted)
			c.Restart()
		}()
		var ch <-chan msha.Document
		c.eventually(func() bool {
			var err error
			ch, err = c.Store.Watch(c.ctx, k)
			return err == nil
		}, "no watch can be opened after a restart")
		c.follow(ch, 0, r)
		<-restarted
		again := c.change(c.Store, k, "w", r)
		c.follow(ch, r, again)
	}, canRestart},
}

// outsideMembers is a Membership that is not cut, or nil.
func (c *caseRun) outsideMembers() msha.Membership {
	m, _ := c.Outside.(msha.Membership)
	return m
}

// stays checks that a member is listed, and still is when what an earlier connection left at the server has expired.
func (c *caseRun) stays(set, id string) {
	c.Helper()
	c.lists(set, id)
	time.Sleep(c.MemberTTL + c.MemberTTL/2)
	c.lists(set, id)
}

// lists waits until a new watch lists exactly this member.
func (c *caseRun) lists(set string, ids ...string) {
	c.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	var ch <-chan []msha.Member
	c.eventually(func() bool {
		var err error
		ch, err = c.Members.WatchMembers(ctx, set)
		return err == nil
	}, "members cannot be watched after the interruption")
	c.expect(ch, ids...)
}

func membersAcross(possible func(Harness) bool) func(Harness) bool {
	return func(h Harness) bool { return possible(h) && h.Members != nil && h.MemberTTL > 0 }
}

var cutMemberCases = []testCase{
	{"reconnect", "a member is still listed after a cut shorter than the time to live, and can leave", func(c *caseRun) {
		set := c.key("agents")
		leave := c.join(c.ctx, set, "a")
		ch := c.watchMembers(set)
		c.expect(ch, "a")
		c.cut(c.MemberTTL/2, func(msha.MetaStore) {})
		c.stays(set, "a")
		require.NoError(c, leave(c.ctx))
		c.expect(ch)
	}, membersAcross(canCut)},
	{"reconnect", "a member cut off for longer than the time to live is not listed meanwhile, and is listed again afterwards", func(c *caseRun) {
		set := c.key("agents")
		leave := c.join(c.ctx, set, "a")
		ch := c.watchMembers(set)
		c.expect(ch, "a")
		c.cut(2*c.MemberTTL, func(msha.MetaStore) {
			if outside := c.outsideMembers(); outside != nil {
				list, err := outside.WatchMembers(c.ctx, set)
				require.NoError(c, err)
				c.expect(list)
			}
		})
		c.stays(set, "a")
		_, err := c.Members.Join(c.ctx, set, msha.Member{ID: "a"})
		require.ErrorIs(c, err, msha.ErrConflict, "the member has its id again")
		require.NoError(c, leave(c.ctx))
		c.expect(ch)
	}, membersAcross(canCut)},
	{"reconnect", "a watch of members that was cut off delivers the newest list", func(c *caseRun) {
		set := c.key("agents")
		ch := c.watchMembers(set)
		c.expect(ch)
		c.cut(cutTime, func(msha.MetaStore) {
			if outside := c.outsideMembers(); outside != nil {
				_, err := outside.Join(c.ctx, set, msha.Member{ID: "joined outside"})
				require.NoError(c, err)
			}
		})
		if c.outsideMembers() != nil {
			c.expect(ch, "joined outside")
		}
		c.join(c.ctx, set, "a")
		if c.outsideMembers() != nil {
			c.expect(ch, "a", "joined outside")
			return
		}
		c.expect(ch, "a")
	}, membersAcross(canCut)},
	{"reconnect", "a member is listed after a restart of the server, and can leave", func(c *caseRun) {
		set := c.key("agents")
		leave := c.join(c.ctx, set, "a")
		ch := c.watchMembers(set)
		c.expect(ch, "a")
		c.Restart()
		c.stays(set, "a")
		require.NoError(c, leave(c.ctx))
		c.expect(ch)
	}, membersAcross(canRestart)},
}
