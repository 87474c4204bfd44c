package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

const (
	checkpointEvery   = 10 * time.Second
	checkpointTimeout = 5 * time.Second
)

// checkpoint is the document that keeps positions for the time when all copies in a replica queue have expired; while there is a copy,
// the queue itself tells.
type checkpoint struct {
	Positions []position `json:"positions"`
}

type position struct {
	Origin remoting.Queue `json:"origin"`
	mark
}

// mark is how far an origin queue is copied.
type mark struct {
	Next        int64 `json:"next"`                  // origin offset to copy next
	Incarnation int64 `json:"incarnation,omitempty"` // of the message before it
}

// last is the message before the mark.
func (m mark) last(of msha.OriginQueue) msha.Origin {
	of.Incarnation = m.Incarnation
	return msha.Origin{OriginQueue: of, Offset: m.Next - 1}
}

func checkpointKey(origin, target string) string {
	return "metadata.positions." + origin + "." + target
}

func parseCheckpoint(key string, value []byte) (checkpoint, error) {
	var c checkpoint
	if len(value) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(value, &c); err != nil {
		return c, msha.Errorf("replicate.checkpoint", key, "delete the document: it is written anew", "%w: %v", msha.ErrInvalid, err)
	}
	return c, nil
}

func (c checkpoint) find(q remoting.Queue) (mark, bool) {
	for _, p := range c.Positions {
		if p.Origin == q {
			return p.mark, true
		}
	}
	return mark{}, false
}

// with returns the checkpoint with newer positions; changed is false if all were known.
func (c checkpoint) with(newer map[remoting.Queue]mark) (out checkpoint, changed bool) {
	left := maps.Clone(newer)
	for _, p := range c.Positions {
		if m, ok := left[p.Origin]; ok {
			changed = changed || m != p.mark
			p.mark = m
			delete(left, p.Origin)
		}
		out.Positions = append(out.Positions, p)
	}
	for q, m := range left {
		out.Positions = append(out.Positions, position{q, m})
		changed = true
	}
	return out, changed
}

// saveCheckpoints stores the position of every pipe. Copying does not depend on it (P6): a failure is reported and tried again later.
func (r *Replicator) saveCheckpoints(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkpointTimeout)
	defer cancel()
	byTarget := map[string]map[remoting.Queue]mark{}
	for _, p := range r.list("") {
		if m, ok := p.stored(); ok {
			if byTarget[p.unit] == nil {
				byTarget[p.unit] = map[remoting.Queue]mark{}
			}
			byTarget[p.unit][p.source] = m
		}
	}
	for unit, positions := range byTarget {
		key := checkpointKey(r.origin, unit)
		if maps.Equal(positions, r.stored[key]) {
			continue // an idle pipe costs the metastore nothing
		}
		if err := r.saveCheckpoint(ctx, key, positions); err != nil {
			r.opts.Logger.Debug("checkpoint not stored", "origin", r.origin, "target", unit, "error", err)
			continue
		}
		r.stored[key] = positions
	}
}

func (r *Replicator) saveCheckpoint(ctx context.Context, key string, positions map[remoting.Queue]mark) error {
	return msha.Update(ctx, r.store, key, func(doc msha.Document) ([]byte, error) {
		old, err := parseCheckpoint(key, doc.Value)
		if err != nil {
			return nil, err
		}
		c, changed := old.with(positions)
		if !changed {
			return doc.Value, nil
		}
		return json.Marshal(c)
	})
}

// loadCheckpoint finds the position of one queue; ok is false if none was stored.
func (r *Replicator) loadCheckpoint(ctx context.Context, unit string, q remoting.Queue) (m mark, ok bool, err error) {
	c, err := r.readCheckpoint(ctx, unit)
	if err != nil {
		return mark{}, false, err
	}
	m, ok = c.find(q)
	return m, ok, nil
}

// readCheckpoint gives the stored positions of one target; an empty one if there are none.
func (r *Replicator) readCheckpoint(ctx context.Context, unit string) (checkpoint, error) {
	key := checkpointKey(r.origin, unit)
	doc, err := r.store.Get(ctx, key)
	if errors.Is(err, msha.ErrNotFound) {
		return checkpoint{}, nil
	}
	if err != nil {
		return checkpoint{}, err
	}
	return parseCheckpoint(key, doc.Value)
}
