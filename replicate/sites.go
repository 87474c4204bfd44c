package replicate

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// sites are the clusters of the units, each with a client of its own: account and TLS belong to the connections.
type sites struct {
	access msha.AccessFunc
	log    *slog.Logger

	mu  sync.Mutex
	all map[string]*unitSite
}

type unitSite struct {
	servers []string
	access  msha.Access
	client  *remoting.Client
	cluster *remoting.Cluster
}

func newSites(access msha.AccessFunc, log *slog.Logger) *sites {
	return &sites{access: access, log: log, all: map[string]*unitSite{}}
}

// reach is the unit's cluster, a new one if its name servers or the access to it changed. Work on the one before fails with
// remoting.ErrDropped and begins again on the new one.
func (s *sites) reach(ctx context.Context, u msha.UnitInfo) (*remoting.Cluster, error) {
	access, err := s.access(ctx, u)
	if err != nil {
		return nil, msha.Errorf("replicate.access", u.Name, "see what Options.Access does with the reference "+strconv.Quote(u.Credentials), "%w", err)
	}
	s.mu.Lock()
	old := s.all[u.Name]
	if old != nil && slices.Equal(old.servers, u.NameServers) && old.access == access {
		s.mu.Unlock()
		return old.cluster, nil
	}
	client := remoting.NewClient(&remoting.Options{Logger: s.log, Credentials: access.Credentials, TLS: access.TLS})
	next := &unitSite{u.NameServers, access, client, remoting.NewCluster(u.NameServers, client)}
	s.all[u.Name] = next
	s.mu.Unlock()
	if old != nil {
		old.client.Close()
	}
	return next.cluster, nil
}

// known is the unit's cluster as it was reached last; nil if it never was.
func (s *sites) known(unit string) *remoting.Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	if site := s.all[unit]; site != nil {
		return site.cluster
	}
	return nil
}

// following is known at the time of each call.
func (s *sites) following(unit string) func() *remoting.Cluster {
	return func() *remoting.Cluster { return s.known(unit) }
}

// close ends all connections.
func (s *sites) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, site := range s.all {
		site.client.Close()
	}
	clear(s.all)
}

func noAccess(context.Context, msha.UnitInfo) (msha.Access, error) { return msha.Access{}, nil }
