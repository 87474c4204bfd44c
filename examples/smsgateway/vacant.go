package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/go-msha/msha"
)

// checkStore refuses a metastore that cannot be used for the demo.
func checkStore(ctx context.Context, c config, log *slog.Logger) error {
	store, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // nothing was written
	if err := msha.Safe(store); err != nil {
		return err // it could serve tables and no switch
	}
	return requireVacant(ctx, store)
}

// requireVacant makes sure that the demo's documents would not mix with an installation's.
func requireVacant(ctx context.Context, store msha.MetaStore) error {
	for _, key := range demoKeys() {
		switch _, err := store.Get(ctx, key); {
		case err == nil:
			return msha.Errorf("demo", key, "choose another msha.commander.namespace, or delete the document", "%w: the metastore holds documents already", msha.ErrConflict)
		case !errors.Is(err, msha.ErrNotFound):
			return err
		}
	}
	return nil
}

// removeDocuments deletes what the demo's processes wrote, so that the demo can run again.
func removeDocuments(ctx context.Context, c config, log *slog.Logger) error {
	store, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	var all error
	for _, key := range demoKeys() {
		all = errors.Join(all, remove(ctx, store, key))
	}
	return errors.Join(all, store.Close())
}

func remove(ctx context.Context, store msha.MetaStore, key string) error {
	for {
		doc, err := msha.GetFresh(ctx, store, key)
		if err == nil {
			err = store.Delete(ctx, key, doc.Revision)
		}
		switch {
		case errors.Is(err, msha.ErrNotFound):
			return nil
		case !errors.Is(err, msha.ErrConflict):
			return err
		}
	}
}

// demoKeys are the documents of an installation of two units.
func demoKeys() []string {
	keys := []string{msha.UnitsKey, msha.RosterKey, msha.TableKey, msha.SwitchKey}
	for _, pair := range []string{"unit-1.unit-2", "unit-2.unit-1"} {
		keys = append(keys, msha.LayoutKey+"."+pair, "metadata.positions."+pair)
	}
	return keys
}
