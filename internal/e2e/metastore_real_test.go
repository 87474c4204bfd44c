//go:build real

package e2e

import (
	"context"
	"testing"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/realstore"
	"github.com/go-msha/msha/metastore/open"
)

// storeServer is a real server, reached by URL as a program does.
type storeServer struct {
	server *realstore.Server
	url    string
	w      *world
}

func (s *storeServer) client(ctx context.Context) (msha.MetaStore, error) {
	store, err := open.Open(ctx, s.url, &open.Options{Logger: s.w.log})
	return store, err
}
func (s *storeServer) kill()                             { s.server.Kill() }
func (s *storeServer) restart(ctx context.Context) error { return s.server.Restart(ctx) }

func onEtcd(w *world) metastore {
	s := realstore.Etcd(w, nil)
	return &storeServer{s, "etcd://" + s.Addr() + "/msha/e2e", w}
}

func onRedis(w *world) metastore {
	s := realstore.Redis(w, nil)
	return &storeServer{s, "redis://" + s.Addr() + "/e2e", w}
}

func TestPlannedSwitchOnEtcd(t *testing.T)  { t.Parallel(); plannedSwitch(t, onEmbedded, onEtcd) }
func TestPlannedSwitchOnRedis(t *testing.T) { t.Parallel(); plannedSwitch(t, onEmbedded, onRedis) }
func TestMetastoreDownEtcd(t *testing.T)    { t.Parallel(); metastoreDown(t, onEmbedded, onEtcd, *outage) }
func TestMetastoreDownRedis(t *testing.T) {
	t.Parallel()
	metastoreDown(t, onEmbedded, onRedis, *outage)
}

func TestPlannedSwitchOnEtcdAndRealRocketMQ(t *testing.T) { plannedSwitch(t, onReal, onEtcd) }
