package route

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/go-msha/msha"
)

// Init creates the documents of an installation: units, roster, table. ErrConflict if the units or the table are there already; what
// is there is not changed. It completes an Init of the same units that was interrupted before the table.
func Init(ctx context.Context, store msha.MetaStore, t *msha.Table, units *msha.Units) error {
	b, err := Encode(t)
	if err != nil {
		return err
	}
	u, err := json.Marshal(units)
	if err != nil {
		return err
	}
	if _, err := store.Put(ctx, msha.UnitsKey, u, 0); err != nil {
		have, getErr := store.Get(ctx, msha.UnitsKey)
		if !errors.Is(err, msha.ErrConflict) || getErr != nil || !bytes.Equal(have.Value, u) {
			return err
		}
	}
	// An existing roster makes "no such document" no answer that a stale read could give to a switch.
	if _, err := store.Put(ctx, msha.RosterKey, []byte(`{"members":[]}`), 0); err != nil && !errors.Is(err, msha.ErrConflict) {
		return err
	}
	_, err = store.Put(ctx, msha.TableKey, b, 0)
	return err
}

// Load reads the table. ErrNotFound if the installation was not initialized.
func Load(ctx context.Context, store msha.MetaStore) (*msha.Table, error) {
	t, _, err := load(ctx, store)
	return t, err
}

func load(ctx context.Context, store msha.MetaStore) (*msha.Table, msha.Revision, error) {
	doc, err := store.Get(ctx, msha.TableKey)
	if err != nil {
		return nil, 0, err
	}
	t, err := Parse(doc.Value)
	return t, doc.Revision, err
}

// LoadFresh reads the table linearizably.
func LoadFresh(ctx context.Context, store msha.MetaStore) (*msha.Table, error) {
	doc, err := msha.GetFresh(ctx, store, msha.TableKey)
	if err != nil {
		return nil, err
	}
	return Parse(doc.Value)
}

// Update replaces the table by compare-and-set, calling edit again after every conflict. An edit that returns its argument changes
// nothing.
func Update(ctx context.Context, store msha.MetaStore, edit func(*msha.Table) (*msha.Table, error)) (t *msha.Table, err error) {
	err = msha.Update(ctx, store, msha.TableKey, func(doc msha.Document) ([]byte, error) {
		if doc.Revision == 0 {
			return nil, msha.Errorf("route.update", msha.TableKey, "initialize the installation first", "document %w", msha.ErrNotFound)
		}
		old, err := Parse(doc.Value)
		if err != nil {
			return nil, err
		}
		if t, err = edit(old); err != nil {
			return nil, err
		}
		if t == old {
			return doc.Value, nil
		}
		return Encode(t)
	})
	return t, err
}

// ParseUnits reads a unit document. ErrInvalid if it is not one.
func ParseUnits(value []byte) (*msha.Units, error) {
	units := &msha.Units{}
	return units, decode(msha.UnitsKey, value, units)
}

// Units reads the unit document.
func Units(ctx context.Context, store msha.MetaStore) (*msha.Units, error) {
	units := &msha.Units{}
	_, err := readJSON(ctx, store, msha.UnitsKey, units)
	return units, err
}

// UpdateUnits edits the unit document by compare-and-set; an edit that changes nothing writes nothing.
func UpdateUnits(ctx context.Context, store msha.MetaStore, edit func(*msha.Units) (*msha.Units, error)) error {
	return msha.Update(ctx, store, msha.UnitsKey, func(old msha.Document) ([]byte, error) {
		units, err := ParseUnits(old.Value)
		if err != nil {
			return nil, err
		}
		if units, err = edit(units); err != nil {
			return nil, err
		}
		return json.Marshal(units)
	})
}

// RosterFresh reads the roster linearizably; it is empty before the first process joined.
func RosterFresh(ctx context.Context, store msha.MetaStore) (msha.Roster, error) {
	var r msha.Roster
	doc, err := msha.GetFresh(ctx, store, msha.RosterKey)
	if errors.Is(err, msha.ErrNotFound) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	return r, decode(msha.RosterKey, doc.Value, &r)
}

// UpdateRoster edits the roster by compare-and-set.
func UpdateRoster(ctx context.Context, store msha.MetaStore, edit func(msha.Roster) msha.Roster) error {
	return msha.Update(ctx, store, msha.RosterKey, func(old msha.Document) ([]byte, error) {
		var r msha.Roster
		if err := decode(msha.RosterKey, old.Value, &r); err != nil {
			return nil, err
		}
		return json.Marshal(edit(r))
	})
}

func readJSON(ctx context.Context, store msha.MetaStore, key string, into any) (msha.Revision, error) {
	doc, err := store.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	return doc.Revision, decode(key, doc.Value, into)
}

func decode(key string, value []byte, into any) error {
	if len(value) == 0 {
		return nil
	}
	if err := json.Unmarshal(value, into); err != nil {
		return msha.Errorf("metadata.read", key, "repair the document", "%w: %v", msha.ErrInvalid, err)
	}
	return nil
}
