package main

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/go-msha/msha/metastore/open"
)

// stores are the kinds of metastore.
var stores = []string{"memory", "etcd", "redis", "nacos"}

// openStore opens the metastore the configuration names.
func openStore(ctx context.Context, c config, log *slog.Logger) (open.Store, error) {
	return open.Open(ctx, c.commander, &open.Options{Namespace: c.namespace, Logger: log})
}

// storeKind is the kind of an msha.commander.addr; "" if there is no such kind. Package open looks at the rest.
func storeKind(commander string) string {
	scheme, _, isURL := strings.Cut(commander, "://")
	if !isURL {
		if commander == "memory" {
			return "memory"
		}
		return "nacos" // host:port, as in the published system
	}
	scheme, _, _ = strings.Cut(scheme, "+") // redis+sentinel
	if plain := strings.TrimSuffix(scheme, "s"); slices.Contains(stores, plain) {
		return plain // etcds, rediss and nacoss speak TLS
	}
	if slices.Contains(stores, scheme) {
		return scheme
	}
	return ""
}

// showAddr is an msha.commander.addr without its password.
func showAddr(commander string) string {
	u, err := url.Parse(commander)
	if err != nil || strings.ContainsAny(u.Host+u.Path, "@#") { // a password that was not escaped
		return storeKind(commander)
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}
