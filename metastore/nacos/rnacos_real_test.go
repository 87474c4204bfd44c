//go:build real && nacos

package nacos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/metastore/metastoretest"
)

// grpcOf is where a server's clients look for its gRPC port.
func grpcOf(t *testing.T, addr string) string {
	t.Helper()
	servers, err := new(Options).withDefaults().check(addr)
	require.NoError(t, err)
	return servers[0].grpc
}

// TestConformanceOfRnacos: it serves documents, watches and members, but ignores casMd5, so the store must say that it is unsafe.
func TestConformanceOfRnacos(t *testing.T) {
	s := realstore.Rnacos(t, nil)
	metastoretest.Run(t, func(t *testing.T) metastoretest.Harness {
		o, p := behind(t, grpcOf(t, s.Addr()), quick())
		store := open(t, s.Addr(), o)
		require.ErrorIs(t, store.Safe(), msha.ErrUnsafe)
		return metastoretest.Harness{
			Store: store, Second: open(t, s.Addr(), o), Outside: open(t, s.Addr(), quick()), Members: store, Unsafe: true, StaleReads: true,
			TooLarge: defaultMaxValue + 1,
			Cut:      func() func() { return partition(p) },
		}
	})
}

func TestRnacosAcrossARestart(t *testing.T) {
	t.Parallel()
	s := realstore.Rnacos(t, nil)
	a := open(t, s.Addr(), quick())
	ch, err := a.Watch(t.Context(), "k")
	require.NoError(t, err)
	r := put(t, a, "k", "one", 0)
	await(t, ch, 0, r)
	members, err := a.WatchMembers(t.Context(), "agents")
	require.NoError(t, err)
	_, err = a.Join(t.Context(), "agents", msha.Member{ID: "a"})
	require.NoError(t, err)
	expect(t, members, "a")
	require.NoError(t, s.Restart(t.Context()))
	var last msha.Revision
	eventually(t, "written after the restart", func() bool {
		d, err := a.Get(t.Context(), "k")
		if last = d.Revision; err != nil || string(d.Value) == "two" { // an attempt without an answer was stored
			return err == nil
		}
		last, err = a.Put(t.Context(), "k", []byte("two"), d.Revision)
		return err == nil
	})
	require.Equal(t, "two", string(await(t, ch, r, last).Value))
	eventually(t, "a member again", func() bool {
		list, err := memberSource{a}.Read(t.Context(), "agents")
		return err == nil && len(list.Value) == 1
	})
}

func TestRnacosWithAPassword(t *testing.T) {
	t.Parallel()
	s := realstore.Rnacos(t, &realstore.RnacosOptions{User: "admin1", Password: "secret-1"})
	o := quick()
	o.User, o.Password = "admin1", "secret-1"
	store := open(t, s.Addr(), o)
	put(t, store, "k", "v", 0)
	require.NoError(t, store.Close())
	o.Password, o.DialTimeout = "wrong", 5*time.Second
	_, err := Open(t.Context(), s.Addr(), &o)
	require.ErrorContains(t, err, "check user, password")
	require.NotContains(t, err.Error(), "wrong\"")
}
