package remoting

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/go-msha/msha"
)

// Sites are the clusters of the units, each with a client of its own: account and TLS belong to the connections. Methods are safe for
// concurrent use.
type Sites struct {
	op     string // of errors
	access msha.AccessFunc
	log    *slog.Logger

	mu  sync.Mutex
	all map[string]*unitSite
}

type unitSite struct {
	servers []string
	access  msha.Access
	client  *Client
	cluster *Cluster
}

// NewSites returns sites that find the access to a unit's cluster by access, which may be nil; op is that of errors. Nothing is contacted.
func NewSites(op string, access msha.AccessFunc, log *slog.Logger) *Sites {
	return &Sites{op: op, access: access, log: log, all: map[string]*unitSite{}}
}

// Reach is the unit's cluster, a new one if its name servers or the access to it changed. Work on the one before fails with
// ErrDropped and begins again on the new one.
func (s *Sites) Reach(ctx context.Context, u msha.UnitInfo) (*Cluster, error) {
	access, err := s.access.Find(ctx, s.op, u)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	old := s.all[u.Name]
	if old != nil && slices.Equal(old.servers, u.NameServers) && old.access == access {
		s.mu.Unlock()
		return old.cluster, nil
	}
	client := NewClient(&Options{Logger: s.log, Credentials: access.Credentials, TLS: access.TLS})
	next := &unitSite{u.NameServers, access, client, NewCluster(u.NameServers, client)}
	s.all[u.Name] = next
	s.mu.Unlock()
	if old != nil {
		old.client.Close()
	}
	return next.cluster, nil
}

// Known is the unit's cluster as it was reached last; nil if it never was.
func (s *Sites) Known(unit string) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	if site := s.all[unit]; site != nil {
		return site.cluster
	}
	return nil
}

// Following is Known at the time of each call.
func (s *Sites) Following(unit string) func() *Cluster {
	return func() *Cluster { return s.Known(unit) }
}

// Close ends all connections; what is reached later gets new ones.
func (s *Sites) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, site := range s.all {
		site.client.Close()
	}
	clear(s.all)
}
