package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var errMoved = errors.New("the entry changed meanwhile")

// grant takes a lease if there is none.
func (n *session) grant(ctx context.Context) error {
	if n.lease != 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ttl := int64((n.store.opts.MemberTTL + time.Second - 1) / time.Second)
	resp, err := n.store.client.Grant(limited, ttl)
	if err != nil {
		return err
	}
	alive, stop := context.WithCancel(ctx)
	n.alive, err = n.store.client.KeepAlive(alive, resp.ID)
	if err != nil {
		stop()
		n.alive = nil
		return err
	}
	n.lease, n.stopAlive = resp.ID, stop
	return nil
}

// checkLease finds out whether the lease has ended.
func (n *session) checkLease() {
	for {
		select {
		case _, ok := <-n.alive:
			if !ok {
				n.loseLease()
				return
			}
		default:
			return
		}
	}
}

func (n *session) loseLease() {
	if n.stopAlive != nil {
		n.stopAlive()
	}
	n.lease, n.alive, n.stopAlive = 0, nil, nil
}

// revoke ends the lease and with it all entries. If the server does not hear of it, it finds out by the time to live.
func (n *session) revoke(ctx context.Context, within time.Duration) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, _ = n.store.client.Revoke(limited, n.lease)
	n.loseLease()
}

// put makes the entry, or finds it made. The first attempt answers Join and is not repeated.
func (n *session) put(ctx context.Context, st *stay) error {
	err := n.grant(ctx)
	if err == nil && st.settled != n.lease {
		err = n.putUnder(ctx, st)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			n.loseLease()
			if err = n.grant(ctx); err == nil {
				err = n.putUnder(ctx, st)
			}
		}
	}
	taken := errors.Is(err, errTaken)
	if !st.answered {
		st.answered = true
		st.joined <- err
		if err != nil {
			st.tried = st.tried && !taken && !refused(err)
			n.drop(st)
		}
		return nil
	}
	if taken != st.taken && (taken || err == nil) {
		st.taken = taken
		n.logTaken(st)
	}
	if taken {
		return nil // the server is well
	}
	return err
}

func (n *session) logTaken(st *stay) {
	if st.taken {
		n.store.opts.Logger.Warn("another process took the member id while this one was away: trying again", "backend", "etcd", "member", st.name)
		return
	}
	n.store.opts.Logger.Info("the member is listed again", "backend", "etcd", "member", st.name)
}

// putUnder makes the entry under the lease; errTaken if another process has it.
func (n *session) putUnder(ctx context.Context, st *stay) error {
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	st.tried = true
	write := clientv3.OpPut(st.key, st.value, clientv3.WithLease(n.lease))
	absent := clientv3.Compare(clientv3.CreateRevision(st.key), "=", 0)
	resp, err := n.store.commit(limited, st.key, []clientv3.Cmp{absent}, write, clientv3.OpGet(st.key))
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		kv := resp.Responses[0].GetResponseRange().Kvs[0]
		if string(kv.Value) != st.value {
			st.settled = 0
			return errTaken
		}
		if kv.Lease != int64(n.lease) { // of an earlier lease, which ends soon
			same := clientv3.Compare(clientv3.ModRevision(st.key), "=", kv.ModRevision)
			resp, err = n.store.commit(limited, st.key, []clientv3.Cmp{same}, write, clientv3.OpGet(st.key, clientv3.WithKeysOnly()))
			if err != nil {
				return err
			}
			if !resp.Succeeded {
				return errMoved
			}
		}
	}
	st.settled = n.lease
	return nil
}

// remove takes the entry out if it is there and this stay's.
func (n *session) remove(ctx context.Context, st *stay) error {
	if st.tried {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		own := clientv3.Compare(clientv3.Value(st.key), "=", st.value)
		if _, err := n.store.commit(limited, st.key, []clientv3.Cmp{own}, clientv3.OpDelete(st.key), clientv3.OpGet(st.key, clientv3.WithKeysOnly())); err != nil {
			select {
			case st.left <- err:
			default: // nobody has asked for the last one
			}
			return err
		}
	}
	n.forget(st)
	return nil
}
