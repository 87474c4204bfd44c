package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/metastore/internal/follow"
)

func (s *Store) documentKey(name string) string { return "{" + s.opts.Prefix + "}:doc:" + name }

// checkName refuses what no document or set may be called.
func (s *Store) checkName(op, name string) error {
	if name == "" {
		return msha.Errorf("metastore.redis."+op, s.addr, "", "%w: empty key", msha.ErrInvalid)
	}
	return nil
}

// Get reads the current document at the master, or is ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (msha.Document, error) {
	if err := s.checkName("get", key); err != nil {
		return msha.Document{}, err
	}
	v, err := s.docs.Read(ctx, key)
	if err != nil {
		return msha.Document{}, err
	}
	if v.Value.Revision == 0 {
		return msha.Document{}, msha.Errorf("metastore.redis.get", s.resource(key), "", "document %w", msha.ErrNotFound)
	}
	return clone(v.Value), nil
}

// GetFresh is Get: a master has every change it acknowledged. A master that was cut off and does not know of its successor yet is the
// exception, as it is for Put; the package doc says how to bound it.
func (s *Store) GetFresh(ctx context.Context, key string) (msha.Document, error) {
	return s.Get(ctx, key)
}

// Put implements msha.MetaStore. An error that is neither a sentinel nor a context's leaves open whether the value is stored.
func (s *Store) Put(ctx context.Context, key string, value []byte, expect msha.Revision) (msha.Revision, error) {
	if err := s.checkName("put", key); err != nil {
		return 0, err
	}
	if len(value) > s.opts.MaxValue {
		return 0, msha.Errorf("metastore.redis.put", s.resource(key), "use ranges or slots", "document of %d bytes %w: the limit is %d", len(value), msha.ErrTooLarge, s.opts.MaxValue)
	}
	at, err := s.change(ctx, "put", key, putScript, expect, append([]byte{}, value...), newToken())
	if at == 0 {
		return 0, err
	}
	s.docs.Observe(key, follow.Version[msha.Document]{At: at,
		Value: msha.Document{Key: key, Value: append([]byte{}, value...), Revision: msha.Revision(at)}})
	if err != nil {
		return 0, err
	}
	return msha.Revision(at), nil
}

// Delete implements msha.MetaStore. The revision stays behind, so that the next document of this name continues from it.
func (s *Store) Delete(ctx context.Context, key string, expect msha.Revision) error {
	if err := s.checkName("delete", key); err != nil {
		return err
	}
	at, err := s.change(ctx, "delete", key, deleteScript, expect)
	if at != 0 {
		s.docs.Observe(key, follow.Version[msha.Document]{At: at, Value: msha.Document{Key: key}})
	}
	return err
}

// Watch implements msha.MetaStore.
func (s *Store) Watch(ctx context.Context, key string) (<-chan msha.Document, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.checkName("watch", key); err != nil {
		return nil, err
	}
	return s.docs.Watch(ctx, key)
}

// change runs a compare-and-set and returns the new revision, or 0 if nothing changed. With both a revision and an error the change is
// made, but not on as many replicas as wanted.
func (s *Store) change(ctx context.Context, op, name string, script *script, expect msha.Revision, args ...any) (uint64, error) {
	type outcome struct {
		result  string
		history history
		short   error // fewer replicas than wanted
	}
	before := s.docs.Newest(name)
	keys := []string{s.documentKey(name)}
	args = append([]any{strconv.FormatUint(uint64(expect), 10), s.changeOf(name, expect), newChange()}, args...)
	got, err := await(ctx, s, op, name, true, func(ctx context.Context) (outcome, error) {
		answer, short, err := s.write(ctx, script, keys, args)
		if err != nil {
			return outcome{}, err
		}
		texts, err := fourStrings(answer)
		if err != nil {
			return outcome{}, err
		}
		number, err := strconv.ParseUint(texts[1], 10, 64)
		if err != nil {
			texts[0] = "corrupt"
		}
		return outcome{texts[0], history{lineage: texts[2], changes: texts[3], at: number}, short}, nil
	})
	if err != nil {
		return 0, err
	}
	if got.result == "corrupt" {
		return 0, s.corrupt(op, name, "the revision is no positive number")
	}
	revision := got.history.at
	if revision < before || revision == before && got.result == "ok" {
		s.health.MarkUnsafe(name, fmt.Sprintf("revision went back from %d to %d: the server lost accepted writes (failover, restart without persistence, restored backup)", before, revision))
	}
	s.docs.Note(name, revision) // of a refusal too
	s.checkHistory(name, got.history)
	op = "metastore.redis." + op
	switch got.result {
	case "ok":
		if got.short != nil {
			return revision, msha.Errorf(op, s.resource(name), "the master has it: read it again", "stored as revision %d, but %w", revision, got.short)
		}
		return revision, nil
	case "absent":
		return 0, msha.Errorf(op, s.resource(name), "", "document %w", msha.ErrNotFound)
	default:
		return 0, msha.Errorf(op, s.resource(name), "read it again", "%w: expected revision %d, the last one is %d", msha.ErrConflict, expect, revision)
	}
}

func (s *Store) corrupt(op, name, what string) error {
	return msha.Errorf("metastore.redis."+op, s.resource(name), "someone else wrote to the Redis key "+strconv.Quote(s.documentKey(name))+": restore it, or delete it and open the store again",
		"document is %w: %s", msha.ErrInvalid, what)
}

// readDocument reads at the master. What does not exist has revision 0; its At is that of its deletion.
func (s *Store) readDocument(ctx context.Context, op, name string) (follow.Version[msha.Document], error) {
	var none follow.Version[msha.Document]
	fields, err := do(ctx, s, op, name, func(ctx context.Context) ([]any, error) {
		return s.client.HMGet(ctx, s.documentKey(name), "revision", "lineage", "changes", "value").Result()
	})
	if err != nil {
		return none, err
	}
	return s.parseDocument(op, name, fields)
}

// recheck asks again, in a way that a replica refuses, for a connection may still lead to a former master that has become one: its old
// revisions are no lost history. If a master refuses too (its disk is full, it has too few replicas), what was read first counts.
func (s *Store) recheck(ctx context.Context, name string, first follow.Version[msha.Document]) (follow.Version[msha.Document], error) {
	fields, err := do(ctx, s, "get", name, func(ctx context.Context) ([]any, error) {
		answer, err := s.repeatable(ctx, masterScript, []string{s.documentKey(name)})
		if err != nil {
			return nil, err
		}
		list, ok := answer.([]any)
		if !ok || len(list) != 4 {
			return nil, unexpected(answer)
		}
		return list, nil
	})
	switch {
	case err == nil:
		return s.parseDocument("get", name, fields)
	case strings.Contains(err.Error(), "NOREPLICAS"), strings.Contains(err.Error(), "MISCONF"):
		return first, nil
	default:
		return first, err
	}
}

func (s *Store) parseDocument(op, name string, fields []any) (follow.Version[msha.Document], error) {
	var none follow.Version[msha.Document]
	revision, known := fields[0].(string)
	lineage, _ := fields[1].(string)
	changes, _ := fields[2].(string)
	value, exists := fields[3].(string)
	if !known {
		if exists {
			return none, s.corrupt(op, name, "a value without a revision")
		}
		return follow.Version[msha.Document]{Value: msha.Document{Key: name}}, nil
	}
	at, err := strconv.ParseUint(revision, 10, 64)
	if err != nil || at == 0 {
		return none, s.corrupt(op, name, "the revision is no positive number")
	}
	s.checkHistory(name, history{lineage: lineage, changes: changes, at: at})
	d := msha.Document{Key: name}
	if exists {
		d.Value, d.Revision = []byte(value), msha.Revision(at)
	}
	return follow.Version[msha.Document]{Value: d, At: at}, nil
}

// docSource is what the hub of documents asks.
type docSource struct{ s *Store }

func (d docSource) Read(ctx context.Context, name string) (follow.Version[msha.Document], error) {
	before := d.s.docs.Newest(name)
	v, err := d.s.readDocument(ctx, "get", name)
	if err == nil && v.At < before && d.s.Safe() == nil {
		return d.s.recheck(ctx, name, v)
	}
	return v, err
}

func (d docSource) Subscribe(ctx context.Context, name string, feed follow.Feed[msha.Document]) error {
	return d.s.notices.follow(ctx, d.s.documentKey(name), feed.Changed)
}

func clone(d msha.Document) msha.Document {
	d.Value = append([]byte{}, d.Value...)
	return d
}
