package etcd

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

// entry is the value of a member's key.
type entry struct {
	Holder   string            `json:"holder"` // random for each Join: whose entry it is
	Metadata map[string]string `json:"metadata,omitempty"`
}

// WatchMembers delivers the current members sorted by ID, then again after every change, coalesced, until ctx ends.
func (s *Store) WatchMembers(ctx context.Context, set string) (<-chan []msha.Member, error) {
	if err := s.check(ctx, "metastore.members", set); err != nil {
		return nil, err
	}
	return s.members.Watch(ctx, set)
}

// members is the source of the members' hub.
type members struct{ *Store }

func (m members) Read(ctx context.Context, set string) (follow.Version[[]msha.Member], error) {
	resp, err := m.read(ctx, m.keys.set(set), clientv3.WithPrefix())
	if err != nil {
		return follow.Version[[]msha.Member]{}, err
	}
	return m.version(set, byKey(resp.Kvs), resp.Header.Revision), nil
}

// Subscribe keeps the list by the events, so that a thousand processes starting at once do not read each other's whole list a thousand times.
func (m members) Subscribe(ctx context.Context, set string, feed follow.Feed[[]msha.Member]) error {
	var list map[string]*mvccpb.KeyValue
	return m.subscribe(ctx, m.keys.set(set), notices{
		read: func(resp *clientv3.GetResponse) {
			list = byKey(resp.Kvs)
			feed.Seen(m.version(set, list, resp.Header.Revision))
		},
		live: feed.Changed,
		changed: func(events []*clientv3.Event) {
			for _, e := range events {
				if e.Type == clientv3.EventTypeDelete {
					delete(list, string(e.Kv.Key))
				} else {
					list[string(e.Kv.Key)] = e.Kv
				}
			}
			feed.Seen(m.version(set, list, events[len(events)-1].Kv.ModRevision))
		},
	}, clientv3.WithPrefix())
}

func byKey(kvs []*mvccpb.KeyValue) map[string]*mvccpb.KeyValue {
	list := make(map[string]*mvccpb.KeyValue, len(kvs))
	for _, kv := range kvs {
		list[string(kv.Key)] = kv
	}
	return list
}

func (m members) version(set string, list map[string]*mvccpb.KeyValue, revision int64) follow.Version[[]msha.Member] {
	out := make([]msha.Member, 0, len(list))
	for _, kv := range list {
		member := msha.Member{ID: m.keys.memberID(set, string(kv.Key))}
		var e entry
		if err := json.Unmarshal(kv.Value, &e); err == nil { // what somebody else has put there has an id at least
			member.Metadata = e.Metadata
		}
		out = append(out, member)
	}
	slices.SortFunc(out, func(a, b msha.Member) int { return strings.Compare(a.ID, b.ID) })
	return follow.Version[[]msha.Member]{Value: out, At: uint64(revision)}
}

func encodeEntry(holder string, metadata map[string]string) (string, error) {
	b, err := json.Marshal(entry{Holder: holder, Metadata: maps.Clone(metadata)})
	return string(b), err
}
