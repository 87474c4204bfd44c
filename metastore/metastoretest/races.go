package metastoretest

import (
	"errors"
	"strconv"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func isAny(err error, sentinels ...error) bool {
	for _, s := range sentinels {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// client alternates between the two clients of the server.
func (c *caseRun) client(i int) msha.MetaStore {
	if i%2 == 0 {
		return c.Store
	}
	return c.Second
}

// together runs f in n goroutines and collects what they return.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errs
}

var raceCases = []testCase{
	{"compare-and-set", "of racing creators one wins, the others get ErrConflict", func(c *caseRun) {
		for round := range 10 {
			k := c.key(strconv.Itoa(round))
			won := 0
			for _, err := range together(8, func(i int) error {
				_, err := c.client(i).Put(c.ctx, k, []byte(strconv.Itoa(i)), 0)
				return err
			}) {
				if err == nil {
					won++
					continue
				}
				require.ErrorIs(c, err, msha.ErrConflict)
			}
			require.Equal(c, 1, won)
		}
	}, honoursCompareAndSet},
	{"compare-and-set", "of racing deleters one wins", func(c *caseRun) {
		for round := range 10 {
			k := c.key(strconv.Itoa(round))
			r := c.put(c.Store, k, "v", 0)
			won := 0
			for _, err := range together(8, func(i int) error { return c.client(i).Delete(c.ctx, k, r) }) {
				if err == nil {
					won++
					continue
				}
				require.True(c, isAny(err, msha.ErrConflict, msha.ErrNotFound), "%v", err)
			}
			require.Equal(c, 1, won)
			c.absent(c.Store, k)
		}
	}, honoursCompareAndSet},
}
