package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// notices are what a subscription passes on.
type notices struct {
	read    func(*clientv3.GetResponse) // what is there; every later change is among the events
	live    func()                      // events are on their way
	changed func([]*clientv3.Event)
}

// subscribe reads, then watches from the revision of the read, until ctx ends or the connection is interrupted: what the client would
// resume may be another history of the server. A compacted watch is begun anew.
func (s *Store) subscribe(ctx context.Context, at string, n notices, opts ...clientv3.OpOption) error {
	if err := s.link.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := s.link.bind(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for {
		err := s.watch(ctx, at, n, opts...)
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
}

func (s *Store) watch(ctx context.Context, at string, n notices, opts ...clientv3.OpOption) error {
	resp, err := s.read(ctx, at, opts...)
	if err != nil {
		return err
	}
	n.read(resp)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // or the client goes on watching
	from := append([]clientv3.OpOption{clientv3.WithRev(resp.Header.Revision + 1), clientv3.WithCreatedNotify()}, opts...)
	for answer := range s.client.Watch(s.user.separate(ctx), at, from...) {
		switch {
		case answer.Err() != nil:
			return answer.Err()
		case answer.Created:
			n.live()
		case len(answer.Events) > 0:
			n.changed(answer.Events)
		}
	}
	return errInterrupted
}
