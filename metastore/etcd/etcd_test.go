package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-msha/msha"
)

func TestDefaults(t *testing.T) {
	o := (*Options)(nil).withDefaults()
	require.Equal(t, "msha", o.Prefix)
	require.Equal(t, 10*time.Second, o.DialTimeout)
	require.Equal(t, 1<<20, o.MaxValue)
	require.Equal(t, 10*time.Second, o.MemberTTL)
	require.NotNil(t, o.Logger)
	given := &Options{Prefix: "/msha/prod/"}
	o = given.withDefaults()
	require.Equal(t, "/msha/prod", o.Prefix)
	require.Equal(t, "/msha/prod/", given.Prefix, "the caller's options stay as they are")
}

func TestOpenRefusesBadOptions(t *testing.T) {
	const password = "correct horse"
	for name, o := range map[string]struct {
		endpoints []string
		options   *Options
		problem   string
	}{
		"no endpoint":             {nil, nil, "no endpoint"},
		"an empty endpoint":       {[]string{"127.0.0.1:1", " "}, nil, "is empty"},
		"a password in an URL":    {[]string{"http://msha:" + password + "@127.0.0.1:1"}, nil, "contains a user"},
		"a user without password": {[]string{"127.0.0.1:1"}, &Options{User: "msha"}, "only set together"},
		"plain and TLS":           {[]string{"http://127.0.0.1:1"}, &Options{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "stands for no TLS"},
		"two problems":            {[]string{""}, &Options{Password: password}, "only set together"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), o.endpoints, o.options)
			require.ErrorIs(t, err, msha.ErrInvalid)
			require.ErrorContains(t, err, o.problem)
			require.ErrorContains(t, err, "metastore.open etcd")
			require.NotContains(t, err.Error(), password)
		})
	}
	_, err := New(nil, nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
	_, err = New(clientv3.NewCtxClient(t.Context()), nil)
	require.ErrorIs(t, err, msha.ErrInvalid)
}

func TestKeysAreToldApart(t *testing.T) {
	l := layout{"/msha/prod"}
	names := []string{"a", "a/b", "a/", "/a", "a%2Fb", "a b", "..", "北京", "\xff", "members/a"}
	seen := map[string]string{}
	for _, a := range names {
		key := l.document(a)
		require.Empty(t, seen[key], "%q", a)
		seen[key] = a
		for _, b := range names {
			key := l.member(a, b)
			require.Empty(t, seen[key], "%q %q", a, b)
			seen[key] = a + "|" + b
			require.Equal(t, b, l.memberID(a, key))
			for _, other := range names {
				if other != a {
					require.NotContains(t, key, l.set(other), "the member of one set is in the range of another")
				}
			}
		}
	}
}

func TestHistory(t *testing.T) {
	var h history
	answer := func(cluster uint64, revision int64) *pb.ResponseHeader {
		return &pb.ResponseHeader{ClusterId: cluster, Revision: revision}
	}
	require.Empty(t, h.saw(h.newest(), answer(1, 10)))
	slow := h.newest()
	require.Empty(t, h.saw(h.newest(), answer(1, 12)))
	require.Empty(t, h.saw(slow, answer(1, 11)), "overtaken, not gone back")
	require.Equal(t, int64(12), h.newest())
	require.Contains(t, h.saw(h.newest(), answer(1, 11)), "from 12 to 11")
	require.Contains(t, h.saw(h.newest(), answer(2, 20)), "another cluster")
}

func TestErrorsAreExplained(t *testing.T) {
	for _, c := range []struct {
		err  error
		is   error
		hint string
		lost bool // a change may have been made
	}{
		{rpctypes.ErrRequestTooLarge, msha.ErrTooLarge, "use ranges or slots", false},
		{status.Error(codes.ResourceExhausted, "trying to send message larger than max (3 vs. 2)"), msha.ErrTooLarge, "use ranges or slots", false},
		{rpctypes.ErrTooManyRequests, rpctypes.ErrTooManyRequests, "", false},
		{rpctypes.ErrNoSpace, rpctypes.ErrNoSpace, "defragment", false},
		{rpctypes.ErrPermissionDenied, rpctypes.ErrPermissionDenied, "readwrite on the prefix msha/", false},
		{rpctypes.ErrNoLeader, rpctypes.ErrNoLeader, "no leader", true},
		{rpctypes.ErrTimeout, rpctypes.ErrTimeout, "no leader", true},
		{status.Error(codes.Unavailable, "error reading from server: EOF"), nil, "etcd runs", true},
		{context.DeadlineExceeded, nil, "etcd runs", true},
		{errors.New("anything"), nil, "etcd runs", true},
	} {
		for op, change := range map[string]bool{"metastore.get": false, "metastore.put": true, "metastore.delete": true} {
			err := explain(op, "k", "host:2379", "msha/", c.err)
			var e *msha.OpError
			require.ErrorAs(t, err, &e)
			require.Equal(t, []string{op, "k"}, []string{e.Op, e.Resource})
			require.ErrorContains(t, err, "etcd host:2379")
			require.Contains(t, e.Hint, c.hint)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			if c.lost && change {
				require.Contains(t, e.Hint, "it may have been carried out")
			} else {
				require.NotContains(t, e.Hint, "carried out")
			}
		}
	}
}

// TestLeaveAnswersForItself: an attempt to remove the entry that failed before the call is no answer to it.
func TestLeaveAnswersForItself(t *testing.T) {
	s := &Store{session: newSession(nil), closed: make(chan struct{})}
	for range 100 { // a select would choose one of the two
		st := &stay{name: "agents/a", left: make(chan error, 1), gone: make(chan struct{})}
		st.left <- errors.New("an attempt of long ago")
		close(st.gone)
		require.NoError(t, s.leave(t.Context(), st))
	}
}
