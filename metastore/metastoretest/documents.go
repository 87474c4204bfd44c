package metastoretest

import (
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

var documentCases = []testCase{
	{"documents", "get of a missing document is ErrNotFound", func(c *caseRun) {
		_, err := c.Store.Get(c.ctx, c.key("k"))
		require.ErrorIs(c, err, msha.ErrNotFound)
	}, nil},
	{"documents", "put with revision 0 creates and get returns what was put", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("v"), Revision: r})
	}, nil},
	{"documents", "put with the current revision replaces and revisions grow", func(c *caseRun) {
		k, r := c.key("k"), msha.Revision(0)
		for _, v := range []string{"1", "2", "2", "3"} { // an equal value is a new version too
			r = c.put(c.Store, k, v, r)
			c.holds(c.Store, msha.Document{Key: k, Value: []byte(v), Revision: r})
		}
	}, nil},
	{"documents", "a get after an own put is not stale", func(c *caseRun) {
		k, r := c.key("k"), msha.Revision(0)
		for i := range 30 {
			r = c.put(c.Store, k, string(rune('A'+i)), r)
			d, err := c.Store.Get(c.ctx, k)
			require.NoError(c, err)
			require.Equal(c, r, d.Revision)
		}
	}, func(h Harness) bool { return !h.StaleReads }},
	{"documents", "another client sees what was put", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		c.holds(c.Second, msha.Document{Key: k, Value: []byte("v"), Revision: r})
		r = c.put(c.Second, k, "w", r)
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("w"), Revision: r})
	}, nil},
	{"documents", "put with revision 0 of an existing document is ErrConflict", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		_, err := c.Store.Put(c.ctx, k, []byte("other"), 0)
		require.ErrorIs(c, err, msha.ErrConflict)
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("v"), Revision: r})
	}, honoursCompareAndSet},
	{"documents", "put with a revision that is not the current one is ErrConflict", func(c *caseRun) {
		k := c.key("k")
		old := c.put(c.Store, k, "1", 0)
		r := c.put(c.Store, k, "2", old)
		for _, wrong := range []msha.Revision{old, r + 1, r + 1000} {
			_, err := c.Store.Put(c.ctx, k, []byte("other"), wrong)
			require.ErrorIs(c, err, msha.ErrConflict, "revision %d, not %d", wrong, r)
		}
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("2"), Revision: r})
	}, honoursCompareAndSet},
	{"documents", "put with a revision of a missing document is ErrConflict", func(c *caseRun) {
		_, err := c.Store.Put(c.ctx, c.key("k"), []byte("v"), 1)
		require.ErrorIs(c, err, msha.ErrConflict)
		c.absent(c.Store, c.key("k"))
	}, honoursCompareAndSet},
	{"documents", "delete removes the current revision only", func(c *caseRun) {
		k := c.key("k")
		old := c.put(c.Store, k, "1", 0)
		r := c.put(c.Store, k, "2", old)
		require.ErrorIs(c, c.Store.Delete(c.ctx, k, old), msha.ErrConflict)
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("2"), Revision: r})
		require.NoError(c, c.Store.Delete(c.ctx, k, r))
		c.absent(c.Store, k)
	}, honoursCompareAndSet},
	{"documents", "delete of a missing document is ErrNotFound or ErrConflict", func(c *caseRun) {
		err := c.Store.Delete(c.ctx, c.key("k"), 1)
		require.Error(c, err)
		if !isAny(err, msha.ErrNotFound, msha.ErrConflict) {
			require.Fail(c, "another error", "%v", err)
		}
	}, nil},
	{"documents", "a put after a delete continues with a larger revision", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "1", 0)
		for range 3 {
			r = c.put(c.Store, k, "2", r)
			require.NoError(c, c.Store.Delete(c.ctx, k, r))
			again := c.put(c.Store, k, "3", 0)
			require.Greater(c, again, r)
			_, err := c.Store.Put(c.ctx, k, []byte("other"), r)
			require.ErrorIs(c, err, msha.ErrConflict, "a revision of the deleted document is not current")
			r = again
		}
	}, honoursCompareAndSet},
	{"documents", "an empty document is a document", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "", 0)
		c.holds(c.Store, msha.Document{Key: k, Revision: r})
	}, nil},
	{"documents", "values are copied", func(c *caseRun) {
		k, value := c.key("k"), []byte("value")
		r, err := c.Store.Put(c.ctx, k, value, 0)
		require.NoError(c, err)
		value[0] = 'X'
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("value"), Revision: r})
		d, err := c.Store.Get(c.ctx, k)
		require.NoError(c, err)
		d.Value[0] = 'Y'
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("value"), Revision: r})
	}, nil},
	{"documents", "documents are independent", func(c *caseRun) {
		a, b := c.key("a"), c.key("b")
		ra := c.put(c.Store, a, "1", 0)
		rb := c.put(c.Store, b, "2", 0)
		rb = c.put(c.Store, b, "3", rb)
		c.holds(c.Store, msha.Document{Key: a, Value: []byte("1"), Revision: ra})
		require.NoError(c, c.Store.Delete(c.ctx, a, ra))
		c.holds(c.Store, msha.Document{Key: b, Value: []byte("3"), Revision: rb})
	}, nil},
	{"documents", "a fresh get is at least as new as any change that ended before", func(c *caseRun) {
		k, r := c.key("k"), msha.Revision(0)
		fresh := c.Second.(msha.FreshGetter)
		_, err := fresh.GetFresh(c.ctx, k)
		require.ErrorIs(c, err, msha.ErrNotFound)
		for i := range 30 {
			v := strconv.Itoa(i)
			r = c.put(c.Store, k, v, r)
			d, err := fresh.GetFresh(c.ctx, k)
			require.NoError(c, err)
			require.Equal(c, msha.Document{Key: k, Value: []byte(v), Revision: r}, d)
		}
	}, func(h Harness) bool {
		_, ok := h.Store.(msha.FreshGetter)
		return ok
	}},
}
