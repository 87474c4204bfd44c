// Package metastoretest is the conformance suite for drivers of msha.MetaStore and msha.Membership. The rules are the doc comments of
// these interfaces; each case names the one it checks. A driver's test is a few lines:
//
//	func TestConformance(t *testing.T) {
//		metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
//			store := open(t) // a client of a running server
//			return metastoretest.Harness{Store: store, Members: store, Second: open(t)}
//		})
//	}
//
// Cases use names of their own, so all of them may share one server.
package metastoretest

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

// Harness is what a driver's test provides for one case. A field left out leaves out the cases that need it.
type Harness struct {
	Store   msha.MetaStore  // required; the case may close it
	Second  msha.MetaStore  // another client of the same server; nil: Store
	Members msha.Membership // nil: the driver offers none

	StaleReads bool          // Get may return an older document for a while, also after an own Put
	Unsafe     bool          // the server does not honour compare-and-set; the cases about it are left out, and Store must report it
	TooLarge   int           // a document size the server refuses; 0: it has no limit
	Patience   time.Duration // how long a change may take to be seen, also after a heal or a restart; 0: 30 s
	Writes     int           // accepted compare-and-sets of each of 8 racing writers; 0: 1,000. Lower it for slow servers only

	// Cut cuts Store, Second and Members off the server, so that requests go unanswered or fail and no new connection is made, until heal
	// is called. The server keeps running. Heal may be called once only. Nil: the cases about cuts are left out.
	Cut func() (heal func())
	// Restart takes the server down and up again with its documents, and returns once it accepts connections. Nil: no such cases.
	Restart func()
	// Outside is a client of the same server that Cut does not cut. Where it implements msha.Membership too, it watches the members.
	// Nil: what the cases change during a cut is changed right after it.
	Outside msha.MetaStore
	// MemberTTL is how long the server lists a member it no longer hears of. Cuts are made shorter and longer than that. 0: the cases
	// about members across a cut or a restart are left out.
	MemberTTL time.Duration
}

// T is what a case needs of a *testing.T.
type T interface {
	require.TestingT
	Helper()
	Cleanup(func())
}

type testCase struct {
	area, rule string
	run        func(c *caseRun)
	applies    func(h Harness) bool // nil: always
}

// caseRun is one run of a case.
type caseRun struct {
	T
	Harness
	ctx context.Context
	id  string
}

func cases() []testCase {
	var all []testCase
	for _, area := range [][]testCase{
		documentCases, raceCases, historyCases, watchCases, largeCases, nameCases, contextCases, closeCases, safetyCases, fencingCases,
		memberCases, cutCases, restartCases, cutMemberCases,
	} {
		all = append(all, area...)
	}
	return all
}

// Run plays every case as a subtest with a harness of its own. Harnesses clean up through t.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	offered := open(t)
	for _, c := range cases() {
		if c.applies == nil || c.applies(offered) {
			t.Run(c.area+"/"+c.rule, func(t *testing.T) { play(t, c, open(t)) })
		}
	}
}

func play(t T, c testCase, h Harness) {
	if h.Second == nil {
		h.Second = h.Store
	}
	if h.Patience <= 0 {
		h.Patience = 30 * time.Second
	}
	if h.Writes <= 0 {
		h.Writes = 1000
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c.run(&caseRun{T: t, Harness: h, ctx: ctx, id: rand.Text()})
}

// key is a document or set name that no other case uses.
func (c *caseRun) key(name string) string { return "metastoretest." + c.id + "." + name }

func (c *caseRun) put(store msha.MetaStore, key, value string, expect msha.Revision) msha.Revision {
	c.Helper()
	revision, err := store.Put(c.ctx, key, []byte(value), expect)
	require.NoError(c, err)
	require.Greater(c, revision, expect, "a new revision is larger")
	return revision
}

// holds checks the stored document, waiting where reads may be stale.
func (c *caseRun) holds(store msha.MetaStore, want msha.Document) {
	c.Helper()
	got, err := store.Get(c.ctx, want.Key)
	for end := time.Now().Add(c.Patience); (err != nil || got.Revision != want.Revision) && c.StaleReads && time.Now().Before(end); {
		time.Sleep(pollEvery)
		got, err = store.Get(c.ctx, want.Key)
	}
	require.NoError(c, err)
	require.Equal(c, want.Revision, got.Revision)
	require.Equal(c, string(want.Value), string(got.Value))
	require.Equal(c, want.Key, got.Key)
}

// absent checks that there is no document, waiting where reads may be stale.
func (c *caseRun) absent(store msha.MetaStore, key string) {
	c.Helper()
	_, err := store.Get(c.ctx, key)
	for end := time.Now().Add(c.Patience); err == nil && c.StaleReads && time.Now().Before(end); {
		time.Sleep(pollEvery)
		_, err = store.Get(c.ctx, key)
	}
	require.ErrorIs(c, err, msha.ErrNotFound)
}

// pollEvery is the pace of reads that wait for a stale server.
const pollEvery = 5 * time.Millisecond

// next receives within the harness' patience; ok is false if the channel was closed.
func next[V any](c *caseRun, ch <-chan V) (v V, ok bool) {
	c.Helper()
	select {
	case v, ok = <-ch:
		return v, ok
	case <-time.After(c.Patience):
		require.Fail(c, "nothing was delivered in time")
		return v, false
	}
}

// until receives until done says so.
func until[V any](c *caseRun, ch <-chan V, done func(V) bool) V {
	c.Helper()
	for {
		v, ok := next(c, ch)
		require.True(c, ok, "the channel was closed")
		if done(v) {
			return v
		}
	}
}

// ends checks that a channel is closed soon.
func ends[V any](c *caseRun, ch <-chan V) {
	c.Helper()
	for {
		if _, ok := next(c, ch); !ok {
			return
		}
	}
}

// eventually checks that something becomes true within the harness' patience.
func (c *caseRun) eventually(done func() bool, otherwise string) {
	c.Helper()
	for end := time.Now().Add(c.Patience); !done(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			require.Fail(c, otherwise)
		}
	}
}

func honoursCompareAndSet(h Harness) bool { return !h.Unsafe }
