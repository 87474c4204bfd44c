package metastoretest

import (
	"bytes"
	"math/rand/v2"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// largest is the size every store must take: that of the largest routing table.
const largest = 1 << 20

// noise is n bytes that do not compress, the same for each seed.
func noise(n int, seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	b := make([]byte, n)
	src := rand.NewChaCha8(key)
	_, _ = src.Read(b)
	return b
}

var largeCases = []testCase{
	{"large", "a document of 1 MiB is stored and watched byte by byte", func(c *caseRun) {
		k, value := c.key("k"), noise(largest, 1)
		r, err := c.Store.Put(c.ctx, k, value, 0)
		require.NoError(c, err)
		c.holds(c.Second, msha.Document{Key: k, Value: value, Revision: r})
		ch := c.watch(c.Store, k)
		require.True(c, bytes.Equal(value, c.follow(ch, 0, r).Value))
		value = noise(largest, 2)
		r, err = c.Store.Put(c.ctx, k, value, r)
		require.NoError(c, err)
		require.True(c, bytes.Equal(value, c.follow(ch, 0, r).Value))
	}, nil},
	{"large", "every byte may occur in a value", func(c *caseRun) {
		value := make([]byte, 256)
		for i := range value {
			value[i] = byte(i)
		}
		k := c.key("k")
		r, err := c.Store.Put(c.ctx, k, value, 0)
		require.NoError(c, err)
		c.holds(c.Store, msha.Document{Key: k, Value: value, Revision: r})
	}, nil},
	{"large", "a document beyond the server's limit is ErrTooLarge and changes nothing", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		_, err := c.Store.Put(c.ctx, k, make([]byte, c.TooLarge), r)
		require.ErrorIs(c, err, msha.ErrTooLarge)
		c.holds(c.Store, msha.Document{Key: k, Value: []byte("v"), Revision: r})
	}, func(h Harness) bool { return h.TooLarge > 0 }},
}
