package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/metastore/memory"
)

// contested is a store in which somebody else writes first, a given number of times.
type contested struct {
	*memory.Store
	rivals int
	puts   int
	err    error // what a put fails with once the rivals are through; nil: it works
}

func (s *contested) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	s.puts++
	if s.rivals > 0 {
		s.rivals--
		d, _ := s.Store.Get(ctx, key)
		if _, err := s.Store.Put(ctx, key, d.Value, d.Revision); err != nil {
			return 0, err
		}
	} else if s.err != nil {
		return 0, s.err
	}
	return s.Store.Put(ctx, key, value, expect)
}

func initialized(t *testing.T) *memory.Store {
	t.Helper()
	store := memory.New()
	require.NoError(t, Init(context.Background(), store, twoUnits(t), &msha.Units{Units: []msha.UnitInfo{{Name: "unit-1"}, {Name: "unit-2"}}}))
	return store
}

func TestEditsAreTriedAgainAfterAConflict(t *testing.T) {
	ctx := context.Background()
	for name, edit := range map[string]func(store msha.MetaStore) error{
		"roster": func(store msha.MetaStore) error {
			return UpdateRoster(ctx, store, func(r msha.Roster) msha.Roster { return r.With(msha.RosterMember{ClientID: "c"}) })
		},
		"units": func(store msha.MetaStore) error {
			return UpdateUnits(ctx, store, func(u *msha.Units) (*msha.Units, error) {
				return &msha.Units{Units: append(u.Units, msha.UnitInfo{Name: "unit-3"})}, nil
			})
		},
		"table": func(store msha.MetaStore) error {
			_, err := Update(ctx, store, func(t *msha.Table) (*msha.Table, error) { return Reopen(t, "none") })
			return err
		},
	} {
		mem := initialized(t)
		require.NoError(t, UpdateRoster(ctx, mem, func(r msha.Roster) msha.Roster { return r.With(msha.RosterMember{ClientID: "first"}) }))
		store := &contested{Store: mem, rivals: 3}
		require.NoError(t, edit(store), name)
		require.Equal(t, 4, store.puts, name)
		broken := errors.New("disk full")
		require.ErrorIs(t, edit(&contested{Store: initialized(t), err: broken}), broken, name)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := Load(ended, store)
		require.Equal(t, context.Canceled, err)
	}
}

func TestConcurrentEditsAllArrive(t *testing.T) {
	store, ctx := initialized(t), context.Background()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			id := fmt.Sprint(i)
			if err := UpdateRoster(ctx, store, func(r msha.Roster) msha.Roster { return r.With(msha.RosterMember{ClientID: id}) }); err != nil {
				t.Error(err)
			}
			if err := UpdateUnits(ctx, store, func(u *msha.Units) (*msha.Units, error) {
				return &msha.Units{Units: append(u.Units, msha.UnitInfo{Name: id})}, nil
			}); err != nil {
				t.Error(err)
			}
			if _, err := Update(ctx, store, func(t *msha.Table) (*msha.Table, error) { return Reopen(t, "none") }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := RosterFresh(ctx, store)
	require.NoError(t, err)
	require.Len(t, r.Members, 8)
	u, err := Units(ctx, store)
	require.NoError(t, err)
	require.Len(t, u.Names(), 10)
	table, err := Load(ctx, store)
	require.NoError(t, err)
	require.EqualValues(t, 9, table.Version)
}

func TestAnEditThatChangesNothingWritesNothing(t *testing.T) {
	store, ctx := &contested{Store: initialized(t)}, context.Background()
	require.NoError(t, UpdateUnits(ctx, store, func(u *msha.Units) (*msha.Units, error) { return u, nil }))
	same, err := Update(ctx, store, func(t *msha.Table) (*msha.Table, error) { return t, nil })
	require.NoError(t, err)
	require.EqualValues(t, 1, same.Version)
	refused := errors.New("no")
	require.ErrorIs(t, UpdateUnits(ctx, store, func(*msha.Units) (*msha.Units, error) { return nil, refused }), refused)
	_, err = Update(ctx, store, func(*msha.Table) (*msha.Table, error) { return nil, refused })
	require.ErrorIs(t, err, refused)
	_, err = Update(ctx, store, func(t *msha.Table) (*msha.Table, error) {
		return &msha.Table{Version: t.Version + 1, Rules: []msha.Rule{{}}}, nil
	})
	require.ErrorIs(t, err, msha.ErrInvalid, "an illegal table is not stored")
	require.Zero(t, store.puts)
}

func TestDocumentsThatDoNotParse(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	for _, key := range []string{msha.UnitsKey, msha.RosterKey, msha.TableKey} {
		_, err := store.Put(ctx, key, []byte("{"), 0)
		require.NoError(t, err)
	}
	_, err := Units(ctx, store)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = RosterFresh(ctx, store)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = Load(ctx, store)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = LoadFresh(ctx, store)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = Watch(ctx, store, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
	require.ErrorIs(t, UpdateRoster(ctx, store, func(r msha.Roster) msha.Roster { return r }), msha.ErrInvalid, "and it is not overwritten")
}

func TestAnInterruptedInitIsCompleted(t *testing.T) {
	store, ctx := memory.New(), context.Background()
	units := &msha.Units{Units: []msha.UnitInfo{{Name: "unit-1"}, {Name: "unit-2"}}}
	broken := errors.New("connection lost")
	require.ErrorIs(t, Init(ctx, &tableFails{store, broken}, twoUnits(t), units), broken)
	require.ErrorIs(t, Init(ctx, store, twoUnits(t), &msha.Units{}), msha.ErrConflict, "other units")
	require.NoError(t, Init(ctx, store, twoUnits(t), units))
	require.ErrorIs(t, Init(ctx, store, twoUnits(t), units), msha.ErrConflict)
}

type tableFails struct {
	*memory.Store
	err error
}

func (s *tableFails) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if key == msha.TableKey {
		return 0, s.err
	}
	return s.Store.Put(ctx, key, value, expect)
}

func TestWatchSurvivesWhateverIsStored(t *testing.T) {
	store, ctx := initialized(t), context.Background()
	log := &logtest.Log{}
	w, err := Watch(ctx, store, &Options{Logger: log.Logger()})
	require.NoError(t, err)
	defer w.Close()
	replace := func(value []byte) {
		doc, err := store.Get(ctx, msha.TableKey)
		if err != nil {
			require.ErrorIs(t, err, msha.ErrNotFound)
		}
		_, err = store.Put(ctx, msha.TableKey, value, doc.Revision)
		require.NoError(t, err)
	}
	logged := func(what string) {
		require.Eventually(t, func() bool { return log.Contains(what) }, time.Minute, time.Millisecond, what)
	}
	second, err := Reopen(twoUnits(t), "none")
	require.NoError(t, err)
	encoded, err := Encode(second)
	require.NoError(t, err)
	first, err := Encode(twoUnits(t))
	require.NoError(t, err)

	changed := w.Changed(1)
	replace(encoded)
	<-changed
	replace(append(bytes.Clone(encoded), ' '))
	logged("two routing tables of one version")
	replace(first)
	logged("went back in time")
	replace([]byte(`{"version":9,"rules":[{"kind":"exact","value":"v","set":"none"}],"sets":{}}`))
	logged("unknown set")
	doc, err := store.Get(ctx, msha.TableKey)
	require.NoError(t, err)
	require.NoError(t, store.Delete(ctx, msha.TableKey, doc.Revision))
	logged("is gone")
	require.EqualValues(t, 2, w.Table().Version)
	require.Equal(t, "unit-2", owner(t, w.Table(), "guangzhou"))
	select {
	case <-w.Changed(2):
		t.Fatal("nothing newer was applied")
	default:
	}
	third, err := Reopen(second, "none")
	require.NoError(t, err)
	encoded, err = Encode(third)
	require.NoError(t, err)
	replace(encoded)
	<-w.Changed(2)
	<-w.Changed(0)
}

func TestAWatchEndsWithItsContextOrStore(t *testing.T) {
	store, ctx := initialized(t), context.Background()
	w, err := Watch(ctx, store, nil)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	w.Close()
	require.EqualValues(t, 1, w.Table().Version, "the table outlives the store")
	_, err = Watch(ctx, store, nil)
	require.ErrorIs(t, err, msha.ErrClosed)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = Watch(ended, initialized(t), nil)
	require.ErrorIs(t, err, context.Canceled)
}
