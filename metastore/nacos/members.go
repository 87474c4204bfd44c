package nacos

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"github.com/nacos-group/nacos-sdk-go/v2/model"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

// A set of members is a service, a member an ephemeral instance of it, whose metadata says who it is.
const (
	metaID      = "msha.id"
	metaEntry   = "msha.entry" // random for each attempt to join: tells two processes with one id apart
	metaJoining = "msha.joining"
	metaData    = "msha.metadata"

	maxMetadata = 1024 // of keys and values of an instance, by the server's check
)

// entry is one listed instance.
type entry struct {
	member  msha.Member
	id      string
	joining bool // not a member yet
}

// attempt is one try to become a member. Nacos wants addresses, and some servers tell instances apart by them alone: they are made up,
// local ones so that nobody takes them for real, random so that no two are the same, and another one for a member than for one joining.
type attempt struct {
	entry string // random, so that attempts are told apart
	ip    string
	port  uint64 // of the member; the next one is that of the joiner
}

func newAttempt() attempt {
	return attempt{crand.Text(), fmt.Sprintf("127.%d.%d.%d", rand.IntN(256), rand.IntN(256), 1+rand.IntN(254)), 1 + rand.Uint64N(65534)}
}

// instance is what Nacos is told.
func (a attempt) instance(metadata map[string]string, joining bool) model.Instance {
	i := model.Instance{Ip: a.ip, Port: a.port, Weight: 1, Healthy: true, Enable: true, Ephemeral: true, Metadata: maps.Clone(metadata)}
	i.Metadata[metaEntry] = a.entry
	if joining {
		i.Port++
		i.Metadata[metaJoining] = "true"
	}
	return i
}

// encodeMember makes the metadata of a member's instances.
func encodeMember(m msha.Member) (map[string]string, error) {
	data, err := json.Marshal(m.Metadata)
	if err != nil {
		return nil, err
	}
	meta := map[string]string{metaID: m.ID, metaData: string(data)}
	size := 0
	for k, v := range newAttempt().instance(meta, true).Metadata {
		size += len(k) + len(v)
	}
	if size > maxMetadata {
		return nil, fmt.Errorf("member with %d bytes of id and metadata %w: Nacos takes %d", size, msha.ErrTooLarge, maxMetadata)
	}
	return meta, nil
}

// decodeMembers picks our entries from a service's instances, in the order of member and entry id.
func decodeMembers(hosts []model.Instance) []entry {
	var all []entry
	for _, h := range hosts {
		id, entryID := h.Metadata[metaID], h.Metadata[metaEntry]
		if id == "" || entryID == "" {
			continue // somebody else's instance
		}
		e := entry{member: msha.Member{ID: id}, id: entryID, joining: h.Metadata[metaJoining] != ""}
		if json.Unmarshal([]byte(h.Metadata[metaData]), &e.member.Metadata) != nil {
			continue
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int {
		if c := strings.Compare(a.member.ID, b.member.ID); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return all
}

// list asks for the members of a set.
func (s *Store) list(ctx context.Context, k *link, set string) ([]entry, error) {
	req := rpc_request.NewServiceQueryRequest(s.opts.namingNamespace(), encodeName(set), s.opts.Group, "", false, 0)
	answer := &rpc_response.QueryServiceResponse{Response: blank()}
	if err := k.call(ctx, req, answer, true); err != nil {
		return nil, err
	}
	return decodeMembers(answer.ServiceInfo.Hosts), nil
}

// register makes a member's instance known, or unknown.
func (s *Store) register(ctx context.Context, k *link, set, how string, instance model.Instance) error {
	req := rpc_request.NewInstanceRequest(s.opts.namingNamespace(), encodeName(set), s.opts.Group, how, instance)
	return k.call(ctx, req, &rpc_response.InstanceResponse{Response: blank()}, true)
}

// WatchMembers delivers the current members sorted by ID, then again after every change, coalesced, until ctx ends or the store closes.
func (s *Store) WatchMembers(ctx context.Context, set string) (<-chan []msha.Member, error) {
	if err := s.usable(ctx, "members", set); err != nil {
		return nil, err
	}
	return s.sets.Watch(ctx, set)
}

// memberSource asks Nacos for member sets.
type memberSource struct{ *Store }

// Read implements follow.Source. Of two members with one id (see the package comment) the first one is listed.
func (m memberSource) Read(ctx context.Context, set string) (follow.Version[[]msha.Member], error) {
	k, err := m.members.first()
	if err != nil {
		return follow.Version[[]msha.Member]{}, err
	}
	all, err := m.list(ctx, k, set)
	if err != nil {
		return follow.Version[[]msha.Member]{}, m.fail("members", set, err)
	}
	list := make([]msha.Member, 0, len(all))
	for _, e := range all {
		if !e.joining && (len(list) == 0 || list[len(list)-1].ID != e.member.ID) {
			list = append(list, e.member)
		}
	}
	return follow.Version[[]msha.Member]{Value: list}, nil
}

// Subscribe implements follow.Source.
func (m memberSource) Subscribe(ctx context.Context, set string, feed follow.Feed[[]msha.Member]) error {
	k, err := m.members.first()
	if err != nil {
		return err
	}
	req := rpc_request.NewSubscribeServiceRequest(m.opts.namingNamespace(), encodeName(set), m.opts.Group, "", true)
	err = k.subscribe(ctx, encodeName(set), feed.Changed, func(ctx context.Context) error {
		return k.call(ctx, req, &rpc_response.SubscribeServiceResponse{Response: blank()}, false)
	})
	return m.fail("members", set, err)
}
