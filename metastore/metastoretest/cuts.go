package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// cutTime is how long the connections stay cut where the length does not matter.
const cutTime = 300 * time.Millisecond

func canCut(h Harness) bool { return h.Cut != nil }

func canCutExactly(h Harness) bool { return h.Cut != nil && !h.Unsafe }

// cut cuts the clients off for d. What meanwhile does with a client that is not cut happens during the cut, or right after it
// where the harness has no such client.
func (c *caseRun) cut(d time.Duration, meanwhile func(outside msha.MetaStore)) {
	c.Helper()
	heal := sync.OnceFunc(c.Cut())
	defer heal()
	if c.Outside != nil {
		meanwhile(c.Outside)
	}
	time.Sleep(d)
	heal()
	if c.Outside == nil {
		meanwhile(c.Second)
	}
}

// change is put for a time in which calls may fail: it repeats until the document is as wanted. Only the caller changes the document.
func (c *caseRun) change(store msha.MetaStore, key, value string, expect msha.Revision) msha.Revision {
	c.Helper()
	var revision msha.Revision
	var err error
	c.eventually(func() bool {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		if revision, err = store.Put(ctx, key, []byte(value), expect); err == nil {
			return true
		}
		if d, getErr := store.Get(ctx, key); getErr == nil && string(d.Value) == value { // stored without answer
			revision, err = d.Revision, nil
		}
		return err == nil
	}, "no change is possible after the interruption")
	require.Greater(c, revision, expect)
	return revision
}

var cutCases = []testCase{
	{"reconnect", "a watch that was cut off delivers the newest document, and never an older one after a newer one", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "0", 0)
		first, second := c.watch(c.Store, k), c.watch(c.Second, k)
		c.follow(first, 0, r)
		c.follow(second, 0, r)
		for round := range 3 {
			before := r
			c.cut(cutTime, func(outside msha.MetaStore) {
				for i := range 3 {
					r = c.change(outside, k, fmt.Sprintf("round %d, change %d", round, i), r)
				}
			})
			c.follow(first, before, r)
			c.follow(second, before, r)
		}
		last := r
		r = c.change(c.Store, k, "after", r)
		c.follow(first, last, r)
	}, canCut},
	{"reconnect", "a deletion during a cut is delivered", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		ch := c.watch(c.Store, k)
		c.follow(ch, 0, r)
		c.cut(cutTime, func(outside msha.MetaStore) {
			c.eventually(func() bool {
				ctx, cancel := context.WithTimeout(c.ctx, time.Second)
				defer cancel()
				err := outside.Delete(ctx, k, r)
				return err == nil || errors.Is(err, msha.ErrNotFound)
			}, "no deletion is possible after the cut")
		})
		c.follow(ch, r, 0)
	}, canCut},
	{"reconnect", "no call outlives its context during a cut, and none succeeds by pretending", func(c *caseRun) {
		k := c.key("k")
		r := c.put(c.Store, k, "v", 0)
		heal := sync.OnceFunc(c.Cut())
		defer heal()
		ctx, cancel := context.WithTimeout(c.ctx, 400*time.Millisecond)
		defer cancel()
		calls := c.eachCall(ctx, k, r)
		calls["Watch"] = func() error { _, err := c.Store.Watch(ctx, k); return err }
		if c.Members != nil {
			calls["Join"] = func() error { _, err := c.Members.Join(ctx, c.key("set"), msha.Member{ID: "a"}); return err }
			calls["WatchMembers"] = func() error { _, err := c.Members.WatchMembers(ctx, c.key("set")); return err }
		}
		type answer struct {
			name string
			err  error
		}
		answers := make(chan answer, len(calls))
		for name, call := range calls {
			go func() { answers <- answer{name, call()} }()
		}
		late := time.After(400*time.Millisecond + c.Patience) // on a slow machine a call may return later than its context ends
		for len(calls) > 0 {
			select {
			case a := <-answers:
				delete(calls, a.name)
				if a.name == "Put" || a.name == "Delete" {
					require.Error(c, a.err, a.name)
				}
				if errors.Is(a.err, context.DeadlineExceeded) {
					require.Equal(c, context.DeadlineExceeded, a.err, "%s: a context's error is returned unwrapped", a.name)
				}
			case <-late:
				require.Fail(c, "calls outlive their context", "%d of them", len(calls))
			}
		}
		heal()
		c.settled(k)
	}, canCut},
	{"reconnect", "what is accepted, refused and unanswered across cuts fits one linear history", (*caseRun).historyAcrossCuts, canCutExactly},
}

// settled reads a document once the interruption is over.
func (c *caseRun) settled(key string) msha.Document {
	c.Helper()
	var d msha.Document
	c.eventually(func() bool {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		var err error
		d, err = c.Store.Get(ctx, key)
		return err == nil || errors.Is(err, msha.ErrNotFound)
	}, "no read is possible after the interruption")
	d.Key = key
	return d
}

// historyAcrossCuts lets writers append a name of their own to the document with every attempt: what the document ends with is the
// history. A refused attempt must not be in it. In particular a driver must not repeat a Put that had no answer: the repetition would be
// refused because of the first, and its caller be told that nothing was stored.
func (c *caseRun) historyAcrossCuts() {
	const writers, attempts = 4, 40
	k := c.key("k")
	r := c.put(c.Store, k, "", 0)
	var mu sync.Mutex
	outcome := map[string]error{}
	felt := false // a call had no answer; of a Put with a revision that is known to be old a driver need not ask
	stop := make(chan struct{})
	cuts := make(chan struct{})
	go func() {
		defer close(cuts)
		for range 4 {
			select {
			case <-stop:
				return
			case <-time.After(cutTime / 3):
			}
			heal := c.Cut()
			time.Sleep(cutTime)
			heal()
		}
	}()
	accepts := make([]int, writers)
	errs := together(writers, func(i int) error {
		var expect msha.Revision
		var value string
		for n, end := 0, time.Now().Add(2*c.Patience); ; n++ {
			select {
			case <-cuts:
				if n >= attempts && accepts[i] > 0 {
					return nil
				}
			default:
			}
			if time.Now().After(end) {
				return errors.New("nothing was accepted after the last cut")
			}
			ctx, cancel := context.WithTimeout(c.ctx, cutTime/2)
			d, err := c.client(i).Get(ctx, k)
			cancel()
			if err == nil {
				expect, value = d.Revision, string(d.Value)
			}
			mu.Lock()
			felt = felt || err != nil
			mu.Unlock()
			ctx, cancel = context.WithTimeout(c.ctx, cutTime)
			name := fmt.Sprintf("%d.%d", i, n)
			if err = nil; expect != 0 {
				_, err = c.client(i).Put(ctx, k, []byte(value+name+" "), expect)
				mu.Lock()
				outcome[name] = err
				mu.Unlock()
			}
			cancel()
			if err == nil && expect != 0 {
				accepts[i]++
			}
			time.Sleep(pollEvery)
		}
	})
	close(stop)
	<-cuts
	for _, err := range errs {
		require.NoError(c, err)
	}
	// An unanswered attempt may still be on its way. The next change makes it too late for all of them.
	var final msha.Document
	c.eventually(func() bool {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		d, err := c.Store.Get(ctx, k)
		if err != nil {
			return false
		}
		d.Revision, err = c.Store.Put(ctx, k, d.Value, d.Revision)
		final = d
		return err == nil
	}, "no change is possible after the cuts")
	require.Greater(c, final.Revision, r)
	history, stored := strings.Fields(string(final.Value)), map[string]int{}
	for _, name := range history {
		stored[name]++
	}
	for name, err := range outcome {
		switch {
		case err == nil:
			require.Equal(c, 1, stored[name], "%s was accepted", name)
		case errors.Is(err, msha.ErrConflict):
			require.Zero(c, stored[name], "%s was refused: %v", name, err)
		default:
			felt = true
			require.LessOrEqual(c, stored[name], 1, name)
		}
	}
	require.True(c, felt, "the cuts were not felt")
}
