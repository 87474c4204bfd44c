package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/nacostest"
	"github.com/go-msha/msha/metastore/open"
)

// nacosServer answers as a Nacos does, reads a little stale among it.
type nacosServer struct {
	server *nacostest.Server
	w      *world
}

func onNacos(w *world) metastore {
	s, err := nacostest.Start(&nacostest.Options{Faults: nacostest.Faults{StaleReads: 20 * time.Millisecond}})
	require.NoError(w, err)
	w.Cleanup(s.Stop)
	return &nacosServer{s, w}
}

func (s *nacosServer) client(ctx context.Context) (msha.MetaStore, error) {
	return open.Open(ctx, "nacos://"+s.server.Addr(), &open.Options{Logger: s.w.log})
}
func (s *nacosServer) kill()                         { s.server.Kill() }
func (s *nacosServer) restart(context.Context) error { return s.server.Restart() }

func TestPlannedSwitchOnNacos(t *testing.T) { t.Parallel(); plannedSwitch(t, onEmbedded, onNacos) }
func TestMetastoreDownNacos(t *testing.T) {
	t.Parallel()
	metastoreDown(t, onEmbedded, onNacos, 8*time.Second)
}
