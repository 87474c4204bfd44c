package metastoretest

import (
	"context"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func (c *caseRun) watch(store msha.MetaStore, key string) <-chan msha.Document {
	c.Helper()
	ch, err := store.Watch(c.ctx, key)
	require.NoError(c, err)
	return ch
}

// follow checks the order of what a watch delivers until a document has the revision wanted; 0 stands for a deletion.
func (c *caseRun) follow(ch <-chan msha.Document, last, want msha.Revision) msha.Document {
	c.Helper()
	return until(c, ch, func(d msha.Document) bool {
		if d.Revision != 0 {
			require.GreaterOrEqual(c, d.Revision, last, "never an older one after a newer one")
			last = d.Revision
		}
		return d.Revision == want
	})
}

var watchCases = []testCase{
	{"watch", "the first delivery for a missing document has revision 0 and no value", func(c *caseRun) {
		k := c.key("k")
		d, ok := next(c, c.watch(c.Store, k))
		require.True(c, ok)
		require.Equal(c, msha.Document{Key: k}, d)
	}, nil},
	{"watch", "the current document comes first, then newer ones", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "1", 0)
		ch := c.watch(c.Store, k)
		require.Equal(c, msha.Document{Key: k, Value: []byte("1"), Revision: r}, c.follow(ch, 0, r))
		for i := range 5 {
			v := strconv.Itoa(i)
			last := r
			r = c.put(c.client(i), k, v, r)
			require.Equal(c, msha.Document{Key: k, Value: []byte(v), Revision: r}, c.follow(ch, last, r))
		}
	}, nil},
	{"watch", "deliveries may be coalesced but the newest document always arrives, in order", func(c *caseRun) {
		k := c.key("k")
		ch := c.watch(c.Second, k)
		first, last := make(chan struct{}), make(chan msha.Revision, 1)
		go func() {
			defer close(last)
			<-first
			r := msha.Revision(0)
			for i := range 60 {
				var err error
				if r, err = c.Store.Put(c.ctx, k, []byte(strconv.Itoa(i)), r); err != nil {
					return
				}
			}
			last <- r
		}()
		_, ok := next(c, ch)
		require.True(c, ok)
		close(first)
		seen := msha.Revision(0)
		got := until(c, ch, func(d msha.Document) bool {
			require.GreaterOrEqual(c, d.Revision, seen, "never an older one after a newer one")
			seen = d.Revision
			return string(d.Value) == "59"
		})
		r, ok := next(c, last)
		require.True(c, ok, "a put failed")
		require.Equal(c, r, got.Revision)
	}, nil},
	{"watch", "a slow reader holds up no writer and still gets the newest document", func(c *caseRun) {
		k, r := c.key("k"), msha.Revision(0)
		ch := c.watch(c.Store, k)
		for i := range 40 {
			r = c.put(c.Store, k, strconv.Itoa(i), r)
		}
		require.Equal(c, "39", string(c.follow(ch, 0, r).Value))
	}, nil},
	{"watch", "nothing is missed between subscribing and reading", func(c *caseRun) {
		for round := range 15 {
			k := c.key(strconv.Itoa(round))
			r := c.put(c.Store, k, "before", 0)
			put := make(chan msha.Revision, 1)
			go func() {
				defer close(put)
				if r, err := c.Second.Put(c.ctx, k, []byte("meanwhile"), r); err == nil {
					put <- r
				}
			}()
			ch := c.watch(c.Store, k)
			want, ok := next(c, put)
			require.True(c, ok, "the put failed")
			c.follow(ch, 0, want)
		}
	}, nil},
	{"watch", "a deletion is delivered as revision 0, a new document has a larger revision than any before", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "1", 0)
		ch := c.watch(c.Store, k)
		c.follow(ch, 0, r)
		require.NoError(c, c.Store.Delete(c.ctx, k, r))
		gone := c.follow(ch, r, 0)
		require.Empty(c, gone.Value)
		require.Equal(c, k, gone.Key)
		again := c.put(c.Store, k, "2", 0)
		require.Greater(c, again, r)
		c.follow(ch, r, again)
	}, nil},
	{"watch", "each watch delivers its own document to its own reader", func(c *caseRun) {
		a, b := c.key("a"), c.key("b")
		chA, chA2, chB := c.watch(c.Store, a), c.watch(c.Second, a), c.watch(c.Store, b)
		for _, ch := range []<-chan msha.Document{chA, chA2, chB} {
			_, ok := next(c, ch)
			require.True(c, ok)
		}
		c.put(c.Store, b, "b", 0)
		r := c.put(c.Store, a, "a", 0)
		for _, ch := range []<-chan msha.Document{chA, chA2} {
			d := c.follow(ch, 0, r)
			require.Equal(c, msha.Document{Key: a, Value: []byte("a"), Revision: r}, d)
		}
		require.Equal(c, "b", string(until(c, chB, func(d msha.Document) bool { return d.Revision != 0 }).Value))
	}, nil},
	{"watch", "no older document follows a newer one", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "0", 0)
		ch := c.watch(c.Store, k)
		c.follow(ch, 0, r)
		for i := range 20 {
			last := r
			r = c.put(c.client(i), k, strconv.Itoa(i), r)
			c.follow(ch, last, r)
		}
		select {
		case d, ok := <-ch: // nothing changed any more: at most a repeat may come
			require.True(c, ok)
			require.Equal(c, r, d.Revision)
		case <-time.After(quiet):
		}
	}, nil},
	{"watch", "the channel is closed when ctx ends", func(c *caseRun) {
		ctx, cancel := context.WithCancel(c.ctx)
		ch, err := c.Store.Watch(ctx, c.key("k"))
		require.NoError(c, err)
		unread, err := c.Store.Watch(ctx, c.key("k"))
		require.NoError(c, err)
		_, ok := next(c, ch)
		require.True(c, ok)
		cancel()
		ends(c, ch)
		ends(c, unread)
	}, nil},
}

// quiet is how long a watch is listened to for what must not come.
const quiet = 100 * time.Millisecond
