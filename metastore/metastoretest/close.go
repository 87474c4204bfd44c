package metastoretest

import (
	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

var closeCases = []testCase{
	{"close", "a closed store answers ErrClosed and its watches end", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		read, unread := c.watch(c.Store, k), c.watch(c.Store, k)
		c.follow(read, 0, r)
		done := make(chan error, 1)
		go func() { done <- c.Store.Close() }()
		err, _ := next(c, done)
		require.NoError(c, err)
		ends(c, read)
		ends(c, unread)
		for name, call := range c.eachCall(c.ctx, k, r) {
			require.ErrorIs(c, call(), msha.ErrClosed, name)
		}
		_, err = c.Store.Watch(c.ctx, k)
		require.ErrorIs(c, err, msha.ErrClosed)
	}, nil},
	{"close", "closing one client leaves the documents to the others", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		ch := c.watch(c.Second, k)
		require.NoError(c, c.Store.Close())
		c.holds(c.Second, msha.Document{Key: k, Value: []byte("v"), Revision: r})
		c.follow(ch, 0, r)
		r = c.put(c.Second, k, "w", r)
		c.follow(ch, 0, r)
	}, func(h Harness) bool { return h.Second != nil }},
}
