package metastoretest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

var safetyCases = []testCase{
	{"safety", "a store that honours compare-and-set does not report itself as unsafe", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		_, err := c.Store.Put(c.ctx, k, []byte("w"), r+1)
		require.ErrorIs(c, err, msha.ErrConflict)
		for _, store := range []msha.MetaStore{c.Store, c.Second} {
			require.NoError(c, msha.Safe(store), "an honest conflict is no reason")
		}
	}, honoursCompareAndSet},
	{"safety", "a store that does not honour compare-and-set reports ErrUnsafe, with a reason, and still serves documents", func(c *caseRun) {
		k := c.key("k")
		c.put(c.Store, k, "v", 0)
		d, err := c.Store.Get(c.ctx, k)
		for end := time.Now().Add(c.Patience); err != nil && c.StaleReads && time.Now().Before(end); {
			time.Sleep(pollEvery)
			d, err = c.Store.Get(c.ctx, k)
		}
		require.NoError(c, err)
		require.Equal(c, "v", string(d.Value))
		err = msha.Safe(c.Store)
		require.ErrorIs(c, err, msha.ErrUnsafe)
		require.NotEqual(c, msha.ErrUnsafe, err, "it names a reason")
	}, func(h Harness) bool { return h.Unsafe }},
}
