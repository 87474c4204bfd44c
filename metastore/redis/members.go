package redis

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

// The records of a set's members by id, and when each expires by the server's clock.
func (s *Store) recordsKey(set string) string  { return "{" + s.opts.Prefix + "}:set:" + set }
func (s *Store) expiriesKey(set string) string { return "{" + s.opts.Prefix + "}:exp:" + set }

// record is what the server keeps of a member. Token tells this stay from any other process's under the same id.
type record struct {
	Token    string            `json:"token"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func newToken() string { return rand.Text() }

// Join implements msha.Membership. The member is refreshed until it leaves: if the server lost it meanwhile (restart, cut), it joins again
// by itself, unless another process took the id; then it waits for the id.
func (s *Store) Join(ctx context.Context, set string, m msha.Member) (func(context.Context) error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.checkName("join", set); err != nil {
		return nil, err
	}
	h, err := s.newHeld(set, m)
	if err != nil {
		return nil, err
	}
	taken, err := s.hold(ctx, "join", []*held{h})
	if err != nil {
		if s.holder.add(h) {
			s.holder.abandon(h) // it may be listed
		}
		return nil, err
	}
	if len(taken) > 0 {
		return nil, msha.Errorf("metastore.redis.join", s.resource(set+"/"+m.ID), "give each process its own id", "%w: member id is taken", msha.ErrConflict)
	}
	if !s.holder.add(h) {
		return nil, msha.Errorf("metastore.redis.join", s.resource(set), "", "metastore %w", msha.ErrClosed)
	}
	stop := context.AfterFunc(ctx, func() { s.holder.abandon(h) })
	return func(ctx context.Context) error {
		stop()
		return s.holder.leave(ctx, h)
	}, nil
}

func (s *Store) newHeld(set string, m msha.Member) (*held, error) {
	invalid := ""
	if m.ID == "" {
		invalid = "empty member id"
	}
	for k, v := range m.Metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			invalid = fmt.Sprintf("metadata %q is not UTF-8", k)
		}
	}
	if invalid != "" {
		return nil, msha.Errorf("metastore.redis.join", s.resource(set), "", "%w: %s", msha.ErrInvalid, invalid)
	}
	text, err := json.Marshal(record{newToken(), maps.Clone(m.Metadata)})
	if err != nil {
		return nil, msha.Errorf("metastore.redis.join", s.resource(set), "", "%w: %w", msha.ErrInvalid, err)
	}
	return &held{set: set, id: m.ID, record: string(text)}, nil
}

// leave takes a member off the list, if it is the one that is listed.
func (s *Store) leave(ctx context.Context, h *held) error {
	_, err := await(ctx, s, "leave", h.set+"/"+h.id, true, func(ctx context.Context) (any, error) {
		return s.repeatable(ctx, leaveScript, []string{s.recordsKey(h.set), s.expiriesKey(h.set)}, h.id, h.record)
	})
	return err
}

// repeatable runs a script that does no harm when it is carried out twice.
func (s *Store) repeatable(ctx context.Context, script *script, keys []string, args ...any) (any, error) {
	cmd, err := script.send(ctx, keys, args, func(cmd once) error { return s.client.Process(ctx, cmd) })
	if err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// WatchMembers implements msha.Membership. A member whose process died is missing at most 1.5 × Options.MemberTTL later.
func (s *Store) WatchMembers(ctx context.Context, set string) (<-chan []msha.Member, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.checkName("members", set); err != nil {
		return nil, err
	}
	return s.members.Watch(ctx, set)
}

// memberSource is what the hub of member lists asks.
type memberSource struct{ s *Store }

func (m memberSource) Subscribe(ctx context.Context, set string, feed follow.Feed[[]msha.Member]) error {
	return m.s.notices.follow(ctx, m.s.recordsKey(set), feed.Changed)
}

// Read asks for the list if it is another one than the last: polls of large sets are frequent.
func (m memberSource) Read(ctx context.Context, set string) (follow.Version[[]msha.Member], error) {
	var none follow.Version[[]msha.Member]
	s := m.s
	known := s.lists.get(set)
	answer, err := do(ctx, s, "members", set, func(ctx context.Context) ([]any, error) {
		answer, err := s.repeatable(ctx, listScript, []string{s.recordsKey(set), s.expiriesKey(set)}, known.count)
		if err != nil {
			return nil, err
		}
		list, ok := answer.([]any)
		if !ok || len(list) == 0 {
			return nil, unexpected(answer)
		}
		return list, nil
	})
	if err != nil {
		return none, err
	}
	if len(answer) == 1 {
		return follow.Version[[]msha.Member]{Value: known.members}, nil
	}
	members, err := decodeMembers(answer[1])
	if err != nil {
		return none, msha.Errorf("metastore.redis.members", s.resource(set), fmt.Sprintf("someone else wrote to the Redis hash %q: delete the field", s.recordsKey(set)),
			"member list is %w: %w", msha.ErrInvalid, err)
	}
	count, _ := answer[0].(string)
	s.lists.put(set, memberList{count, members})
	return follow.Version[[]msha.Member]{Value: members}, nil
}

// decodeMembers reads ids and records, which alternate.
func decodeMembers(answer any) ([]msha.Member, error) {
	fields, _ := answer.([]any)
	members := make([]msha.Member, 0, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		id, _ := fields[i].(string)
		text, _ := fields[i+1].(string)
		if id == "" {
			continue // the count of changes
		}
		var r record
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, fmt.Errorf("field %q: %w", id, err)
		}
		members = append(members, msha.Member{ID: id, Metadata: r.Metadata})
	}
	slices.SortFunc(members, func(a, b msha.Member) int { return strings.Compare(a.ID, b.ID) })
	return members, nil
}

// lists keeps the last list of each set, by the server's count of changes.
type lists struct {
	mu    *sync.Mutex
	known map[string]memberList
}

type memberList struct {
	count   string
	members []msha.Member
}

func newLists() lists { return lists{&sync.Mutex{}, map[string]memberList{}} }

func (l lists) get(set string) memberList {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[set]
}

func (l lists) put(set string, list memberList) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[set] = list
}

// fourStrings reads an answer of the document scripts.
func fourStrings(answer any) (texts [4]string, err error) {
	list, _ := answer.([]any)
	if len(list) != len(texts) {
		return texts, unexpected(answer)
	}
	for i, v := range list {
		text, ok := v.(string)
		if !ok {
			return texts, unexpected(answer)
		}
		texts[i] = text
	}
	return texts, nil
}

func unexpected(answer any) error { return fmt.Errorf("unexpected answer %T of a script", answer) }
