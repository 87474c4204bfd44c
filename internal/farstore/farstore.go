// Package farstore lets the processes that a test starts use the metastore of the test.
package farstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-msha/msha"
)

// call is a request and its answer.
type call struct {
	Op, Key  string
	Value    []byte
	Revision msha.Revision
	Err      string
}

var sentinels = map[string]error{"conflict": msha.ErrConflict, "missing": msha.ErrNotFound}

// Handler serves Get and Put of a store.
func Handler(store msha.MetaStore) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c call
		err := json.NewDecoder(r.Body).Decode(&c)
		if c.Op == "put" && err == nil {
			c.Revision, err = store.Put(r.Context(), c.Key, c.Value, c.Revision)
		} else if err == nil {
			var doc msha.Document
			doc, err = store.Get(r.Context(), c.Key)
			c.Value, c.Revision = doc.Value, doc.Revision
		}
		for name, sentinel := range sentinels {
			if errors.Is(err, sentinel) {
				c.Err = name
			}
		}
		_ = json.NewEncoder(w).Encode(c) // the client is gone
	})
}

// Client is the store that Handler serves at URL. It has no watches: changes are seen when they are looked for.
type Client struct{ URL string }

func (s Client) call(ctx context.Context, c call) (call, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return c, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return c, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, errors.Join(ctx.Err(), err)
	}
	defer resp.Body.Close() //nolint:errcheck // was read
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		return c, err
	}
	if c.Err != "" {
		return c, fmt.Errorf("metastore %s: %w", c.Key, sentinels[c.Err])
	}
	return c, nil
}

// Get implements msha.MetaStore.
func (s Client) Get(ctx context.Context, key string) (msha.Document, error) {
	c, err := s.call(ctx, call{Op: "get", Key: key})
	return msha.Document{Key: key, Value: c.Value, Revision: c.Revision}, err
}

// Put implements msha.MetaStore.
func (s Client) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	c, err := s.call(ctx, call{Op: "put", Key: key, Value: value, Revision: expect})
	return c.Revision, err
}

// Delete is not served.
func (s Client) Delete(context.Context, string, msha.Revision) error { return errors.ErrUnsupported }

// Watch is not served.
func (s Client) Watch(context.Context, string) (<-chan msha.Document, error) {
	return nil, errors.ErrUnsupported
}

// Close implements msha.MetaStore.
func (s Client) Close() error { return nil }
