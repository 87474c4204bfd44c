package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// accepted is one compare-and-set that a store accepted.
type accepted struct {
	expected, revision msha.Revision
	value              string
}

// race lets writers change one document until each had n accepted compare-and-sets, and returns all of these.
func (c *caseRun) race(key string, writers, n int) []accepted {
	c.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	var mu sync.Mutex
	var all []accepted
	for _, err := range together(writers, func(i int) error {
		store, expected, conflicts := c.client(i), msha.Revision(0), 0
		for done := 0; done < n; {
			value := fmt.Sprintf("writer %d, change %d", i, done)
			revision, err := store.Put(ctx, key, []byte(value), expected)
			switch {
			case err == nil:
				mu.Lock()
				all = append(all, accepted{expected, revision, value})
				mu.Unlock()
				expected, conflicts = revision, 0
				done++
				continue
			case !errors.Is(err, msha.ErrConflict):
				cancel()
				return err
			}
			if conflicts++; conflicts > writers { // where reads are stale, trying faster does not help
				time.Sleep(time.Duration(min(conflicts, 20)) * time.Millisecond)
			}
			d, err := store.Get(ctx, key)
			if err != nil && !errors.Is(err, msha.ErrNotFound) {
				cancel()
				return err
			}
			expected = d.Revision
		}
		return nil
	}) {
		require.NoError(c, err)
	}
	return all
}

// linear checks that the accepted changes are one chain from nothing, in the order of their revisions, and returns the last.
func (c *caseRun) linear(all []accepted) accepted {
	c.Helper()
	slices.SortFunc(all, func(a, b accepted) int {
		if a.revision < b.revision {
			return -1
		}
		return min(1, int(a.revision-b.revision))
	})
	last := accepted{}
	for i, a := range all {
		if a.expected != last.revision {
			require.Fail(c, "the history is not linear", "accepted change %d of %d, %q, replaced revision %d, but revision %d was the newest (%q)",
				i+1, len(all), a.value, a.expected, last.revision, last.value)
		}
		require.Greater(c, a.revision, last.revision, "one revision was given twice")
		last = a
	}
	return last
}

var historyCases = []testCase{
	{"compare-and-set", "racing writers leave one linear history, which a watch follows in order to its end", func(c *caseRun) {
		const writers = 8
		k := c.key("k")
		ch := c.watch(c.Second, k)
		first, ok := next(c, ch)
		require.True(c, ok)
		require.Zero(c, first.Revision)
		var mu sync.Mutex
		var seen []msha.Document
		stop, stopped := make(chan struct{}), make(chan struct{})
		newest := func() msha.Revision {
			mu.Lock()
			defer mu.Unlock()
			if len(seen) == 0 {
				return 0
			}
			return seen[len(seen)-1].Revision
		}
		go func() {
			defer close(stopped)
			for {
				select {
				case d, ok := <-ch:
					if !ok {
						return
					}
					mu.Lock()
					seen = append(seen, d)
					mu.Unlock()
				case <-stop:
					return
				}
			}
		}()
		all := c.race(k, writers, c.Writes)
		require.Len(c, all, writers*c.Writes, "exactly as many changes were accepted as were made")
		last := c.linear(all)
		c.holds(c.Store, msha.Document{Key: k, Value: []byte(last.value), Revision: last.revision})
		c.eventually(func() bool { return newest() == last.revision }, "the watch has not delivered the last change")
		close(stop)
		<-stopped
		values := map[msha.Revision]string{}
		for _, a := range all {
			values[a.revision] = a.value
		}
		before := msha.Revision(0)
		for _, d := range seen {
			require.GreaterOrEqual(c, d.Revision, before, "never an older one after a newer one")
			require.Equal(c, values[d.Revision], string(d.Value), "what was watched was written")
			before = d.Revision
		}
	}, honoursCompareAndSet},
}
