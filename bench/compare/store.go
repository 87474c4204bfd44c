package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/farstore"
	"github.com/go-msha/msha/metastore/open"
)

// openStore opens a side's part of the metastore.
func openStore(ctx context.Context, address, namespace string) (msha.MetaStore, error) {
	if !strings.HasPrefix(address, "http://") {
		return open.Open(ctx, address, &open.Options{Namespace: namespace, Logger: quiet})
	}
	closed, end := context.WithCancel(context.Background())
	return &farStore{Client: farstore.Client{URL: address}, namespace: namespace + ".", closed: closed, end: end}, nil
}

// serveStore serves a store to other processes: what farstore does, and watches as streams of documents.
func serveStore(store msha.MetaStore) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", farstore.Handler(store))
	mux.HandleFunc("/watch", func(w http.ResponseWriter, r *http.Request) {
		docs, err := store.Watch(r.Context(), r.URL.Query().Get("key"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		for doc := range docs {
			if json.NewEncoder(w).Encode(doc) != nil {
				return // the client is gone
			}
			w.(http.Flusher).Flush()
		}
	})
	return mux
}

// farStore is the client of serveStore.
type farStore struct {
	farstore.Client
	namespace string
	closed    context.Context // ends with Close
	end       context.CancelFunc
}

func (s *farStore) Get(ctx context.Context, key string) (msha.Document, error) {
	doc, err := s.Client.Get(ctx, s.namespace+key)
	doc.Key = key
	return doc, err
}

func (s *farStore) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	return s.Client.Put(ctx, s.namespace+key, value, expect)
}

func (s *farStore) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(s.closed, cancel)
	resp, err := s.watch(ctx, key)
	if err != nil {
		cancel()
		return nil, err
	}
	out := make(chan msha.Document)
	go func() {
		defer cancel()
		defer close(out)
		defer resp.Body.Close() //nolint:errcheck // read only
		for d := json.NewDecoder(resp.Body); ; {
			var doc msha.Document
			if d.Decode(&doc) != nil {
				return // the end of the watch, or of the server
			}
			doc.Key = key
			select {
			case out <- doc:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (s *farStore) watch(ctx context.Context, key string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/watch?key="+url.QueryEscape(s.namespace+key), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close() //nolint:errcheck // there is nothing to read
		return nil, fmt.Errorf("watch %s: %s", key, resp.Status)
	}
	return resp, nil
}

func (s *farStore) Close() error {
	s.end()
	return nil
}
