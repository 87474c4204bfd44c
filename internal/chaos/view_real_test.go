//go:build real

package chaos

import (
	"context"
	"strings"

	"github.com/go-msha/msha"
)

// viewed is the metastore as a process sees it that reaches the other units' name servers at other addresses than their own agents do.
type viewed struct {
	msha.MetaStore
	in, out *strings.Replacer
}

func view(store msha.MetaStore, ways map[string]string) msha.MetaStore {
	var in, out []string
	for server, way := range ways {
		in, out = append(in, `"`+server+`"`, `"`+way+`"`), append(out, `"`+way+`"`, `"`+server+`"`)
	}
	return &viewed{store, strings.NewReplacer(in...), strings.NewReplacer(out...)}
}

func (v *viewed) seen(doc msha.Document) msha.Document {
	if doc.Key == msha.UnitsKey && doc.Value != nil {
		doc.Value = []byte(v.in.Replace(string(doc.Value)))
	}
	return doc
}

func (v *viewed) Get(ctx context.Context, key string) (msha.Document, error) {
	doc, err := v.MetaStore.Get(ctx, key)
	return v.seen(doc), err
}

func (v *viewed) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	doc, err := msha.GetFresh(ctx, v.MetaStore, key)
	return v.seen(doc), err
}

func (v *viewed) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if key == msha.UnitsKey {
		value = []byte(v.out.Replace(string(value)))
	}
	return v.MetaStore.Put(ctx, key, value, expect)
}

func (v *viewed) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	docs, err := v.MetaStore.Watch(ctx, key)
	if err != nil || key != msha.UnitsKey {
		return docs, err
	}
	out := make(chan msha.Document)
	go func() {
		defer close(out)
		for doc := range docs {
			select {
			case out <- v.seen(doc):
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

func (v *viewed) Safe() error { return msha.Safe(v.MetaStore) }
