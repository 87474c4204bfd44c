package manager

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/replicate"
	"github.com/go-msha/msha/switchplan"
)

var _ switchplan.Surveyor = (*clusters)(nil)

// Outlook implements switchplan.Facts.
func (c *clusters) Outlook(ctx context.Context, unit string, table *msha.Table, moves []msha.Move) ([]switchplan.Outlook, error) {
	l, others, info, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	var all []left
	err = l.read(ctx, others, func(f *filter.Facts) error {
		if _, err := filter.RemainingAfter(f, asFenced(table, moves), moves, info.Groups); err != nil {
			return err
		}
		all = leftBehind(f, table, moves)
		return nil
	})
	if err != nil {
		return nil, err
	}
	ends := &queueEnds{c: c, known: map[msha.OriginQueue]int64{}, failed: map[string]bool{}}
	for i := range all {
		for q, rest := range all[i].unread {
			end := ends.of(ctx, q)
			if end == msha.Unknown || all[i].Backlog == msha.Unknown {
				all[i].Backlog = msha.Unknown
				continue
			}
			all[i].Backlog += rest.Below(end).Len()
		}
	}
	out := make([]switchplan.Outlook, 0, len(all))
	for _, x := range all {
		out = append(out, x.Outlook)
	}
	return out, ctx.Err()
}

// fenced says whether the table holds the fence of the moves.
func fenced(table *msha.Table, moves []msha.Move) bool {
	return !slices.ContainsFunc(moves, func(m msha.Move) bool { return table.Sets[m.NewSet].State != msha.SetFenced })
}

// asFenced is the table as a fence would make it, as far as facts are concerned: parts share those of the set they leave.
func asFenced(table *msha.Table, moves []msha.Move) *msha.Table {
	out := &msha.Table{Version: table.Version, Rules: table.Rules, Sets: maps.Clone(table.Sets)}
	for _, m := range moves {
		part := table.Sets[m.Set]
		if !m.Whole {
			part.ID, part.Parent = m.NewSet, part.FactsSet()
		}
		out.Sets[m.NewSet] = part
	}
	return out
}

// left is what one group leaves of one move.
type left struct {
	switchplan.Outlook
	unread map[msha.OriginQueue]filter.Offsets // from the pull position on
}

// leftBehind folds the facts of a losing unit into numbers.
func leftBehind(f *filter.Facts, table *msha.Table, moves []msha.Move) (all []left) {
	for _, m := range moves {
		set := table.Sets[m.Set]
		key := filter.KeyOf(set)
		for _, name := range f.Groups() {
			g := f.Group(name)
			x := left{Outlook: switchplan.Outlook{Set: m.NewSet, Group: name}, unread: map[msha.OriginQueue]filter.Offsets{}}
			for _, q := range g.Queues() {
				remaining, known := g.Remaining(key, set.RemainingHash, q)
				if !known {
					continue
				}
				rest, opens := remaining.Minus(g.Done(key, q)), g.Opens(key, q)
				x.Retrying += opens.Len()
				x.Pending += rest.Below(g.Next(q)).Minus(opens).Len()
				if !laterIncarnation(g, q) {
					x.unread[q] = rest.Intersect(filter.From(g.Next(q))).Minus(opens)
				}
			}
			all = append(all, x)
		}
	}
	return all
}

// laterIncarnation tells that nothing more is stored under the queue's numbers.
func laterIncarnation(g *filter.GroupFacts, q msha.OriginQueue) bool {
	return slices.ContainsFunc(g.Queues(), func(other msha.OriginQueue) bool {
		newer := other.Incarnation > q.Incarnation
		other.Incarnation = q.Incarnation
		return newer && other == q
	})
}

// queueEnds asks each queue's own broker once for its end. A unit that does not answer is asked once only.
type queueEnds struct {
	c      *clusters
	known  map[msha.OriginQueue]int64
	failed map[string]bool
}

func (e *queueEnds) of(ctx context.Context, q msha.OriginQueue) int64 {
	q = q.First()
	if end, ok := e.known[q]; ok {
		return end
	}
	end := int64(msha.Unknown)
	if !e.failed[q.Unit] {
		l, _, _, err := e.c.unit(ctx, q.Unit)
		if err == nil {
			end, err = l.cluster.MaxOffset(ctx, remoting.Queue{Topic: q.Topic, Broker: q.Broker, ID: q.Queue})
		}
		if err != nil {
			e.failed[q.Unit], end = true, msha.Unknown
		}
	}
	e.known[q] = end
	return end
}

// Consumers implements switchplan.Surveyor.
func (c *clusters) Consumers(ctx context.Context, unit string) (map[string][]string, error) {
	l, _, _, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	addrs, err := l.cluster.Brokers(ctx)
	if err != nil {
		return nil, err
	}
	var groups []string
	for _, addr := range addrs {
		names, err := l.cluster.Groups(ctx, addr)
		if err != nil {
			return nil, err
		}
		groups = append(groups, names...)
	}
	slices.Sort(groups)
	groups = slices.DeleteFunc(slices.Compact(groups), func(name string) bool { return strings.HasPrefix(name, msha.LockGroupPrefix) })
	return c.Clients(ctx, unit, groups)
}

// Lag implements switchplan.Surveyor: by the last copy in each replica queue. Facts of units count no messages.
func (c *clusters) Lag(ctx context.Context, from, to string) (int64, error) {
	origin, _, _, err := c.unit(ctx, from)
	if err != nil {
		return 0, err
	}
	target, _, _, err := c.unit(ctx, to)
	if err != nil {
		return 0, err
	}
	key := msha.LayoutKey + "." + from + "." + to
	layout, err := readLayout(ctx, c.registry.store, key)
	if errors.Is(err, msha.ErrNotFound) {
		return 0, msha.Errorf("switch.lag", key, "does a replicator of "+from+" run?", "nothing was ever copied: %w", err)
	}
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, a := range layout {
		if a.Origin.Topic == msha.ProgressTopic {
			continue
		}
		n, err := lagOf(ctx, origin.cluster, target.cluster, a)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func lagOf(ctx context.Context, origin, target *remoting.Cluster, a replicate.Assigned) (int64, error) {
	end, err := origin.MaxOffset(ctx, a.Origin)
	if err != nil {
		return 0, err
	}
	copied, err := origin.MinOffset(ctx, a.Origin)
	if err != nil {
		return 0, err
	}
	tail, err := target.MaxOffset(ctx, a.Target)
	if err != nil || tail == 0 {
		return max(end-copied, 0), err
	}
	res, err := target.Pull(ctx, remoting.PullRequest{Queue: a.Target, Group: logGroup, Offset: tail - 1, Max: 1})
	if err != nil {
		return 0, err
	}
	if len(res.Messages) > 0 {
		last, err := msha.ParseOrigin(res.Messages[0].Properties[msha.PropertyOrigin])
		if err != nil {
			return 0, err
		}
		copied = max(copied, last.Offset+1)
	}
	return max(end-copied, 0), nil
}
