//go:build real

package etcd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
	"github.com/go-msha/msha/internal/realstore"
)

func dataDir(s *realstore.Server) string { return filepath.Join(s.Dir(), "etcd", "data") }

// lostHistory replaces the server's data while a store that watches is cut off, and checks that the store notices by what it does
// anyway. When it comes back the server has been up for a while: it does not refuse the watch that the client would resume.
func lostHistory(t *testing.T, prepare func(t *testing.T, server *realstore.Server, s *Store), replace func(t *testing.T, server *realstore.Server)) {
	t.Helper()
	server := realstore.Etcd(t, nil)
	p := proxy(t, server.Addr())
	s, j := open(t, p.Addr(), Options{})
	r := put(t, s, "k", "1", 0)
	ch, err := s.Watch(t.Context(), "k")
	require.NoError(t, err)
	var last msha.Revision
	rising(t, ch, &last, r)
	prepare(t, server, s)
	require.NoError(t, s.Safe())

	p.Cut()
	server.Kill()
	require.NoError(t, os.RemoveAll(dataDir(server)))
	replace(t, server)
	require.NoError(t, server.Restart(t.Context()))
	again, _ := open(t, server.Addr(), Options{})
	p.Heal()
	eventually(t, "the lost history is noticed", func() bool { return s.Safe() != nil })
	require.ErrorIs(t, s.Safe(), msha.ErrUnsafe)
	require.ErrorIs(t, msha.Safe(s), msha.ErrUnsafe)
	require.ErrorContains(t, s.Safe(), "switching is refused")
	eventually(t, "the log says so", func() bool { return j.Count("metastore is unsafe") > 0 })
	select {
	case d := <-ch:
		require.GreaterOrEqual(t, d.Revision, r, "an older document after a newer one")
	default:
	}
	require.NoError(t, again.Safe(), "opened again, a store knows nothing better")
	require.Equal(t, 1, j.Count("metastore is unsafe"))
}

func TestWipedServerIsUnsafe(t *testing.T) {
	t.Parallel()
	lostHistory(t, func(*testing.T, *realstore.Server, *Store) {}, func(*testing.T, *realstore.Server) {})
}

func TestRestoredBackupIsUnsafe(t *testing.T) {
	t.Parallel()
	backup := filepath.Join(t.TempDir(), "data")
	lostHistory(t, func(t *testing.T, server *realstore.Server, s *Store) {
		server.Kill()
		require.NoError(t, os.CopyFS(backup, os.DirFS(dataDir(server))))
		require.NoError(t, server.Restart(t.Context()))
		eventually(t, "a write of another document, which the backup does not have", func() bool {
			_, err := s.Put(t.Context(), "l", []byte("1"), 0)
			return err == nil
		})
	}, func(t *testing.T, server *realstore.Server) {
		require.NoError(t, os.CopyFS(dataDir(server), os.DirFS(backup)))
		require.NoError(t, os.Chmod(dataDir(server), 0o700)) // etcd refuses a folder that others may read
	})
}

func TestAddressesOfTwoClustersAreUnsafe(t *testing.T) {
	t.Parallel()
	a, b := realstore.Etcd(t, nil), realstore.Etcd(t, nil)
	j := &logtest.Log{}
	s, err := Open(t.Context(), []string{a.Addr(), b.Addr()}, logged(j, Options{}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	eventually(t, "answers of two clusters are told apart", func() bool {
		_, _ = s.Get(t.Context(), "k")
		return s.Safe() != nil
	})
	require.ErrorIs(t, s.Safe(), msha.ErrUnsafe)
	require.ErrorContains(t, s.Safe(), "another cluster")
}
