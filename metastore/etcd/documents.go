package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

// documents is the source of the documents' hub.
type documents struct{ *Store }

func (d documents) Read(ctx context.Context, key string) (follow.Version[msha.Document], error) {
	resp, err := d.read(ctx, d.keys.document(key))
	if err != nil {
		return follow.Version[msha.Document]{}, err
	}
	return documentAt(key, resp), nil
}

func (d documents) Subscribe(ctx context.Context, key string, feed follow.Feed[msha.Document]) error {
	return d.subscribe(ctx, d.keys.document(key), notices{
		read: func(resp *clientv3.GetResponse) { feed.Seen(documentAt(key, resp)) },
		live: feed.Changed,
		changed: func(events []*clientv3.Event) {
			last := events[len(events)-1]
			if last.Type == clientv3.EventTypeDelete {
				feed.Seen(absentAt(key, last.Kv.ModRevision))
				return
			}
			feed.Seen(document(key, last.Kv))
		},
	})
}

// documentAt is what a read showed. The absence of a document is as new as the read.
func documentAt(key string, resp *clientv3.GetResponse) follow.Version[msha.Document] {
	if len(resp.Kvs) == 0 {
		return absentAt(key, resp.Header.Revision)
	}
	return document(key, resp.Kvs[0])
}

func document(key string, kv *mvccpb.KeyValue) follow.Version[msha.Document] {
	d := msha.Document{Key: key, Value: kv.Value, Revision: msha.Revision(kv.ModRevision)}
	if d.Value == nil {
		d.Value = []byte{}
	}
	return follow.Version[msha.Document]{Value: d, At: uint64(kv.ModRevision)}
}

func absentAt(key string, revision int64) follow.Version[msha.Document] {
	return follow.Version[msha.Document]{Value: msha.Document{Key: key}, At: uint64(revision)}
}
