package route

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func twoUnits(t *testing.T) *msha.Table {
	table, err := New([]string{"unit-1", "unit-2"}, map[string][]string{"unit-1": {"beijing"}, "unit-2": {"guangzhou", "shenzhen"}})
	require.NoError(t, err)
	return table
}

func owner(t *testing.T, table *msha.Table, value string) string {
	s, ok := table.Lookup(value, "")
	require.True(t, ok)
	return s.Owner
}

func TestAPartMovesThereAndTheRestStays(t *testing.T) {
	before := twoUnits(t)
	plan := &msha.Plan{ID: "s1", Moves: []msha.Move{{Set: "unit-2", NewSet: "unit-2.s1", Values: []string{"guangzhou"}, From: "unit-2", To: "unit-1", Term: 1}}}
	fenced, err := Fence(before, plan)
	require.NoError(t, err)
	require.EqualValues(t, 2, fenced.Version)
	part := fenced.Sets["unit-2.s1"]
	require.Equal(t, "unit-2", part.FactsSet(), "the part shares its facts until it moves")
	require.Equal(t, msha.SetFenced, part.State)
	require.Equal(t, msha.SetOpen, fenced.Sets["unit-2"].State)
	require.Equal(t, msha.SetOpen, before.Sets["unit-2"].State, "the argument is not changed")
	require.NotContains(t, before.Sets, "unit-2.s1")

	_, err = Fence(fenced, &msha.Plan{ID: "s2", Moves: []msha.Move{{Set: "unit-2.s1", NewSet: "unit-2.s1", Whole: true, Term: 1}}})
	require.ErrorIs(t, err, msha.ErrBusy)
	_, err = Commit(fenced, plan, nil)
	require.ErrorIs(t, err, msha.ErrConflict, "nothing handed over")

	reopened, err := Reopen(fenced, "s1")
	require.NoError(t, err)
	require.Equal(t, "unit-2", owner(t, reopened, "guangzhou"))
	require.Equal(t, msha.SetOpen, reopened.Sets["unit-2.s1"].State)

	done, err := Commit(fenced, plan, map[string]string{"unit-2.s1": "h"})
	require.NoError(t, err)
	require.Equal(t, "unit-1", owner(t, done, "guangzhou"))
	require.Equal(t, "unit-2", owner(t, done, "shenzhen"))
	require.Equal(t, msha.RouteSet{ID: "unit-2.s1", Owner: "unit-1", Term: 2, State: msha.SetOpen, RemainingHash: "h"}, done.Sets["unit-2.s1"])
}

func TestWatchKeepsTheLastGoodTable(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	_, err := Watch(ctx, store, nil)
	require.ErrorIs(t, err, msha.ErrNotFound)
	table := twoUnits(t)
	require.NoError(t, Init(ctx, store, table, &msha.Units{Units: []msha.UnitInfo{{Name: "unit-1"}}}))
	require.ErrorIs(t, Init(ctx, store, table, &msha.Units{}), msha.ErrConflict)
	w, err := Watch(ctx, store, nil)
	require.NoError(t, err)
	defer w.Close()
	doc, err := store.Get(ctx, msha.TableKey)
	require.NoError(t, err)
	rev, err := store.Put(ctx, msha.TableKey, []byte(`{"version":`), doc.Revision)
	require.NoError(t, err)
	b, err := Encode(next(table).Index())
	require.NoError(t, err)
	_, err = store.Put(ctx, msha.TableKey, b, rev)
	require.NoError(t, err)
	<-w.Changed(1)
	require.EqualValues(t, 2, w.Table().Version)
}

func TestDocumentsSurviveARoundTrip(t *testing.T) {
	table := twoUnits(t)
	b, err := Encode(table)
	require.NoError(t, err)
	again, err := Parse(b)
	require.NoError(t, err)
	require.Equal(t, table, again)
	require.Equal(t, `[Metadata.Router: unitName=unit-1, values=[beijing], Metadata.Router: unitName=unit-2, values=[guangzhou, shenzhen]]`, formatRouters(table.Routers()))
}

func TestRosterAndUnits(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	require.NoError(t, UpdateRoster(ctx, store, func(r msha.Roster) msha.Roster { return r.With(msha.RosterMember{ClientID: "c", Unit: "u"}) }))
	r, err := RosterFresh(ctx, store)
	require.NoError(t, err)
	require.Len(t, r.Members, 1)
	require.NoError(t, UpdateUnits(ctx, store, func(u *msha.Units) (*msha.Units, error) {
		return &msha.Units{Units: append(u.Units, msha.UnitInfo{Name: "u"})}, nil
	}))
	u, err := Units(ctx, store)
	require.NoError(t, err)
	require.Equal(t, []string{"u"}, u.Names())
}

func FuzzParse(f *testing.F) {
	table, err := New([]string{"u"}, map[string][]string{"u": {"v"}})
	if err != nil {
		f.Fatal(err)
	}
	b, err := Encode(table)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"rules":[{"kind":"slot","from":-5,"to":99999,"set":"x"}],"sets":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := Parse(b)
		if err != nil {
			return
		}
		if _, err := Encode(table); err != nil {
			t.Fatal(err)
		}
	})
}
