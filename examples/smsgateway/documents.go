package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/route"
)

// documentsTimeout is how long a process without -units waits for another one to create the documents, so that the order in which
// processes are started does not matter.
const documentsTimeout = 30 * time.Second

// unitDocument returns the unit document once it and the routing table are there. With -units it creates the documents that are
// missing; what is there already counts.
func unitDocument(ctx context.Context, store msha.MetaStore, c config, log *slog.Logger) (*msha.Units, error) {
	var given *msha.Units
	if c.units != "" {
		var err error
		if given, err = initDocuments(ctx, store, c); err != nil {
			return nil, err
		}
	}
	if _, err := awaitDocument(ctx, store, msha.TableKey, log); err != nil {
		return nil, err
	}
	doc, err := awaitDocument(ctx, store, msha.UnitsKey, log)
	if err != nil {
		return nil, err
	}
	units, err := route.ParseUnits(doc.Value)
	if err != nil {
		return nil, err
	}
	if given != nil && !sameUnits(given, units) {
		log.Warn("the metastore has other units than -units says; its own count", "key", msha.UnitsKey, "units", units.Names())
	}
	return units, nil
}

func initDocuments(ctx context.Context, store msha.MetaStore, c config) (*msha.Units, error) {
	nameServers, names, err := parseLists("units", c.units)
	if err != nil {
		return nil, err
	}
	values, _, err := parseLists("values", c.values)
	if err != nil {
		return nil, err
	}
	units := &msha.Units{}
	for _, name := range names {
		units.Units = append(units.Units, msha.UnitInfo{Name: name, NameServers: nameServers[name], State: "live"})
	}
	table, err := route.New(names, values)
	if err != nil {
		return nil, err
	}
	if err := route.Init(ctx, store, table, units); err != nil && !errors.Is(err, msha.ErrConflict) {
		return nil, err
	}
	return units, nil
}

// sameUnits compares what -units can say.
func sameUnits(a, b *msha.Units) bool {
	servers := func(units *msha.Units) map[string][]string {
		all := map[string][]string{}
		for _, u := range units.Units {
			all[u.Name] = u.NameServers
		}
		return all
	}
	return reflect.DeepEqual(servers(a), servers(b))
}

// awaitDocument returns a document once it exists.
func awaitDocument(ctx context.Context, store msha.MetaStore, key string, log *slog.Logger) (msha.Document, error) {
	watchCtx, cancel := context.WithTimeout(ctx, documentsTimeout)
	defer cancel()
	docs, err := store.Watch(watchCtx, key)
	if err != nil {
		return msha.Document{}, err
	}
	for doc := range docs {
		if doc.Revision != 0 {
			return doc, nil
		}
		log.Info("waiting for another process to create the documents", "key", key)
	}
	if ctx.Err() != nil {
		return msha.Document{}, ctx.Err()
	}
	return msha.Document{}, msha.Errorf("smsgateway.start", key, "start one process with -units", "document %w", msha.ErrNotFound)
}
