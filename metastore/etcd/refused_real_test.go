//go:build real

package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/realstore"
)

const password = "correct horse"

// explained checks what an operator needs of an error, and that it gives no password away.
func explained(t *testing.T, err error, op, resource, hint string) {
	t.Helper()
	var e *msha.OpError
	require.ErrorAs(t, err, &e)
	require.Equal(t, op, e.Op)
	require.Contains(t, e.Resource, resource)
	require.Contains(t, e.Hint, hint)
	require.Contains(t, err.Error(), "etcd")
	require.NotContains(t, err.Error(), password)
}

func openRefused(t *testing.T, addr, hint string, o Options) {
	t.Helper()
	j := &logtest.Log{}
	if o.DialTimeout == 0 {
		o.DialTimeout = time.Hour // what is refused is said at once
	}
	s, err := Open(within(t, patience), []string{addr}, logged(j, o))
	require.Nil(t, s)
	explained(t, err, "metastore.open", addr, hint)
	require.NotContains(t, j.String(), password)
}

func TestOpenNamesWrongAddress(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	silent := proxy(t, server.Addr())
	silent.Blackhole()
	server.Kill()

	openRefused(t, server.Addr(), "check the address", Options{})
	openRefused(t, server.Addr(), "check the address", Options{User: "msha", Password: password})
	openRefused(t, silent.Addr(), "check the address", Options{DialTimeout: time.Second})
	openRefused(t, silent.Addr(), "check the address", Options{DialTimeout: time.Second, User: "msha", Password: password})
	for _, o := range []*Options{nil, {User: "msha", Password: password}} {
		_, err := Open(within(t, 300*time.Millisecond), []string{silent.Addr()}, o)
		require.Equal(t, context.DeadlineExceeded, err, "the caller's own limit comes back as it is")
	}
}

func TestOpenNamesWrongTLS(t *testing.T) {
	t.Parallel()
	ca, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	stranger, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	secure, plain := realstore.Etcd(t, &realstore.EtcdOptions{CA: ca}), realstore.Etcd(t, nil)

	s, _ := open(t, secure.Addr(), Options{TLS: secure.TLS()})
	put(t, s, "k", "v", 0)
	s, _ = open(t, "https://"+secure.Addr(), Options{TLS: secure.TLS()})
	put(t, s, "l", "v", 0)

	openRefused(t, secure.Addr(), "if it wants TLS", Options{})
	openRefused(t, plain.Addr(), "TLS does not match", Options{TLS: secure.TLS()})
	wrong, err := stranger.ClientConfig()
	require.NoError(t, err)
	openRefused(t, secure.Addr(), "TLS does not match", Options{TLS: wrong})
	openRefused(t, "https://"+secure.Addr(), "TLS does not match", Options{}) // the system's authorities
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, &realstore.EtcdOptions{Password: password})
	root := Options{User: "root", Password: password}
	s, j := open(t, server.Addr(), root)
	r := put(t, s, "k", "1", 0)
	ch, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	var last msha.Revision
	rising(t, ch, &last, r)

	openRefused(t, server.Addr(), "check user and password", Options{User: "root", Password: "wrong"})
	openRefused(t, server.Addr(), "check user and password", Options{User: "nobody", Password: password})
	openRefused(t, server.Addr(), "a user and a password", Options{})

	admin := s.client
	for _, step := range []func() error{
		func() error { _, err := admin.UserAdd(t.Context(), "msha", password); return err },
		func() error { _, err := admin.RoleAdd(t.Context(), "other"); return err },
		func() error { _, err := admin.UserGrantRole(t.Context(), "msha", "other"); return err },
		func() error {
			_, err := admin.RoleGrantPermission(t.Context(), "other", "other/", clientv3.GetPrefixRangeEnd("other/"), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
	} {
		require.NoError(t, step())
	}
	limited := Options{User: "msha", Password: password}
	openRefused(t, server.Addr(), "readwrite on the prefix msha/", limited)
	limited.Prefix = "other"
	other, _ := open(t, server.Addr(), limited) // the permission named in the package's documentation is enough
	put(t, other, "k", "v", 0)
	_, err = other.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)

	// The server forgets its tokens: reads, writes, watches and heartbeats get new ones.
	require.NoError(t, server.Restart(t.Context()))
	for _, store := range []*Store{s, other} { // each has a connection of its own
		eventually(t, "a read after the restart", func() bool { _, err := store.Get(t.Context(), "k"); return err == nil })
	}
	put(t, other, "l", "2", 0)
	r = put(t, s, "k", "2", r)
	rising(t, ch, &last, r)
	require.NotContains(t, j.String(), password)
}

// A token that was not used for a while is forgotten; streams that began with it live on.
func TestForgottenToken(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, &realstore.EtcdOptions{Password: password, Flags: []string{"--auth-token-ttl=1"}})
	s, j := open(t, server.Addr(), Options{User: "root", Password: password})
	watch := func(key string, expect msha.Revision) msha.Revision {
		ch, err := s.Watch(t.Context(), key)
		require.NoError(t, err)
		var last msha.Revision
		rising(t, ch, &last, expect)
		r := put(t, s, key, "newer", expect)
		rising(t, ch, &last, r)
		return r
	}
	watch("k", 0)
	forgotten := s.user.number()
	for range 3 {
		time.Sleep(3 * time.Second)
		_, err := s.Join(t.Context(), "agents", msha.Member{ID: rand.Text()})
		require.NoError(t, err)
		watch(rand.Text(), 0)
	}
	require.Greater(t, s.user.number(), forgotten, "another token was asked for")
	require.Zero(t, j.Count(lossLine), j)
}

func TestServerRefusesSize(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	s, _ := open(t, server.Addr(), Options{MaxValue: 8 << 20})
	for _, size := range []int{1600 << 10, 3 << 20, 8 << 20} { // refused by etcd, and by gRPC on both sides
		_, err := s.Put(within(t, patience), "k", make([]byte, size), 0)
		require.ErrorIs(t, err, msha.ErrTooLarge)
		explained(t, err, "metastore.put", "k", "use ranges or slots")
	}
	_, err := s.Put(within(t, patience), "k", make([]byte, 8<<20+1), 0)
	require.ErrorIs(t, err, msha.ErrTooLarge)
	put(t, s, "k", "fits", 0)
}

func TestUnansweredPutIsReportedAndNotRepeated(t *testing.T) {
	t.Parallel()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	s, _ := open(t, p.Addr(), Options{})
	direct, _ := open(t, server.Addr(), Options{})
	r := put(t, s, "k", "0", 0)

	// It reaches the server, whose answer is lost.
	p.Delay(3*time.Second, 0) // so long the answer can be cut off
	failed := make(chan error, 1)
	go func() { _, err := s.Put(context.Background(), "k", []byte("1"), r); failed <- err }()
	eventually(t, "the write at the server", func() bool { d, err := direct.Get(t.Context(), "k"); return err == nil && d.Revision > r })
	p.Cut()
	err := <-failed
	explained(t, err, "metastore.put", "k", "read before deciding")
	require.False(t, errors.Is(err, msha.ErrConflict))
	p.Delay(0, 0)
	p.Heal()
	d, err := direct.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "1", string(d.Value))

	// A conflict is none of these.
	_, err = direct.Put(t.Context(), "k", []byte("2"), r)
	require.ErrorIs(t, err, msha.ErrConflict)
}
