package metastoretest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// eachCall names the store's methods that take a context.
func (c *caseRun) eachCall(ctx context.Context, key string, r msha.Revision) map[string]func() error {
	return map[string]func() error{
		"Get":    func() error { _, err := c.Store.Get(ctx, key); return err },
		"Put":    func() error { _, err := c.Store.Put(ctx, key, []byte("other"), r); return err },
		"Delete": func() error { return c.Store.Delete(ctx, key, r) },
	}
}

var contextCases = []testCase{
	{"contexts", "a cancelled context's error is returned unwrapped and nothing changes", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		for name, call := range c.eachCall(ctx, k, r) {
			require.Equal(c, context.Canceled, call(), name)
		}
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("v"), Revision: r})
	}, nil},
	{"contexts", "an expired context's error is returned unwrapped", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		ctx, cancel := context.WithDeadline(c.ctx, time.Unix(1, 0))
		defer cancel()
		for name, call := range c.eachCall(ctx, k, r) {
			require.Equal(c, context.DeadlineExceeded, call(), name)
		}
	}, nil},
	{"contexts", "a watch with a cancelled context is refused or ends at once", func(c *caseRun) {
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		ch, err := c.Store.Watch(ctx, c.key("k"))
		if err != nil {
			require.Equal(c, context.Canceled, err)
			return
		}
		ends(c, ch)
	}, nil},
}
