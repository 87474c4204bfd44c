package manager

import (
	"context"
	"errors"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/switchplan"
)

// RemainingForced implements switchplan.Facts.
func (c *clusters) RemainingForced(ctx context.Context, unit, to string, table *msha.Table, moves []msha.Move, partial bool) (*switchplan.Remaining, error) {
	l, others, _, err := c.unit(ctx, to)
	if err != nil {
		return nil, err
	}
	units, err := c.registry.Units(ctx)
	if err != nil {
		return nil, err
	}
	info, _ := units.Find(unit)
	if !fenced(table, moves) {
		table = asFenced(table, moves)
	}
	var out *filter.HandOver
	err = l.readLost(ctx, unit, others, func(own, lost *filter.Facts) error {
		ends, err := l.copiedEnds(ctx, unit, originsOf(lost, unit))
		if err != nil {
			return err
		}
		pulled := func(group string, q msha.OriginQueue) int64 { return own.Group(group).Next(q) }
		out, err = filter.RemainingForced(lost, table, moves, info.Groups, filter.Copied{Unit: unit, Units: units.Names(), Partial: partial, Ends: ends, Pulled: pulled})
		return err
	})
	return remaining(out, nil, err)
}

// RemainingRejoined implements switchplan.Facts.
func (c *clusters) RemainingRejoined(ctx context.Context, owner, unit string, table *msha.Table, sets []string, lost bool) (*switchplan.Remaining, error) {
	mine, others, _, err := c.unit(ctx, owner)
	if err != nil {
		return nil, err
	}
	copies, err := mine.fresh(ctx, unit, others)
	if err != nil {
		return nil, err
	}
	known := []*filter.Facts{copies}
	var acks map[string]uint64
	if !lost {
		theirs, theirOthers, _, err := c.unit(ctx, unit)
		if err != nil {
			return nil, err
		}
		err = theirs.barrier(ctx, newFold(), theirOthers, table.Version, c.id, func(whole *filter.Facts) error {
			known = append(known, whole)
			acks = whole.Acked(theirs.brokers())
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var out *filter.HandOver
	err = mine.read(ctx, others, func(f *filter.Facts) (err error) {
		out, err = filter.RemainingRejoined(f, known, table, sets, unit)
		return err
	})
	return remaining(out, acks, err)
}

func remaining(out *filter.HandOver, acks map[string]uint64, err error) (*switchplan.Remaining, error) {
	if err != nil {
		return nil, err
	}
	return &switchplan.Remaining{Hashes: out.Hashes, Count: int64(out.Count), Repeated: out.Repeated, Acks: acks, Facts: out}, nil
}

// originsOf are the home queues of a unit that its facts mention.
func originsOf(f *filter.Facts, unit string) (out []msha.OriginQueue) {
	seen := map[msha.OriginQueue]bool{}
	for _, name := range f.Groups() {
		for _, q := range f.Group(name).Queues() {
			if q.Unit == unit && !seen[q] {
				seen[q] = true
				out = append(out, q)
			}
		}
	}
	return out
}

// copiedEnds is how far origin queues of a unit are copied: behind the last copy of each. All that there will ever be of an incarnation is
// copied once there is a copy of a later one.
func (l *unitLog) copiedEnds(ctx context.Context, unit string, origins []msha.OriginQueue) (map[msha.OriginQueue]int64, error) {
	topics := map[string]bool{}
	for _, q := range origins {
		topics[q.Topic] = true
	}
	var replicas []remoting.Queue
	for topic := range topics {
		queues, err := l.cluster.Queues(ctx, msha.ReplicaTopic(topic, unit), false)
		if err != nil && !errors.Is(err, msha.ErrNotFound) {
			return nil, err
		}
		replicas = append(replicas, queues...)
	}
	tails := make([]msha.Origin, len(replicas))
	err := each(len(replicas), func(i int) (err error) {
		tails[i], err = l.tail(ctx, replicas[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	newest := map[msha.OriginQueue]msha.Origin{}
	for _, tail := range tails {
		if tail.Topic != "" {
			newest[tail.First()] = tail
		}
	}
	ends := map[msha.OriginQueue]int64{}
	for _, q := range origins {
		switch tail, copied := newest[q.First()]; {
		case !copied || tail.Incarnation < q.Incarnation:
		case tail.Incarnation > q.Incarnation:
			ends[q] = filter.End
		default:
			ends[q] = tail.Offset + 1
		}
	}
	return ends, nil
}

// tail is the origin of the last message of a replica queue; zero if there is none. The maximum may lag behind, so it is only where to begin.
func (l *unitLog) tail(ctx context.Context, q remoting.Queue) (last msha.Origin, err error) {
	end, err := l.cluster.MaxOffset(ctx, q)
	if err != nil {
		return last, err
	}
	for offset := max(end-1, 0); ; {
		res, err := l.cluster.Pull(ctx, remoting.PullRequest{Queue: q, Group: logGroup, Offset: offset, Max: 32})
		if err != nil {
			return last, err
		}
		for _, m := range res.Messages {
			if last, err = msha.ParseOrigin(m.Properties[msha.PropertyOrigin]); err != nil {
				return last, msha.Errorf("facts.read", q.String(), "somebody else wrote into the topic", "offset %d: %w", m.QueueOffset, err)
			}
		}
		if res.Status == remoting.PullNoNew || res.NextOffset <= offset {
			return last, nil
		}
		offset = res.NextOffset
	}
}
