package manager

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/switchplan"
)

// RemainingAgain implements switchplan.Facts.
func (c *clusters) RemainingAgain(ctx context.Context, unit string, table *msha.Table, moves []msha.Move, replay *msha.Replay) (*switchplan.Remaining, error) {
	l, others, info, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	again, err := c.again(ctx, l, others, replay)
	if err != nil {
		return nil, err
	}
	var out *filter.HandOver
	compute := func(f *filter.Facts) (err error) {
		out, err = filter.RemainingAgain(f, table, moves, info.Groups, again)
		return err
	}
	if fenced(table, moves) {
		err = l.barrier(ctx, others, table.Version, c.id, compute)
	} else {
		table = asFenced(table, moves)
		err = l.read(ctx, others, compute)
	}
	return remaining(out, err)
}

// again finds what was stored in a span of time in the queues that a group has facts of.
func (c *clusters) again(ctx context.Context, l *unitLog, others []string, replay *msha.Replay) (filter.Again, error) {
	again := filter.Again{Group: replay.Group, Ranges: map[msha.OriginQueue]filter.Offsets{}}
	var known []string
	queues := map[msha.OriginQueue]bool{} // incarnation 0
	err := l.read(ctx, others, func(f *filter.Facts) error {
		known = f.Groups()
		if !slices.Contains(known, replay.Group) {
			return nil
		}
		for _, q := range f.Group(replay.Group).Queues() {
			if len(replay.Topics) == 0 || slices.Contains(replay.Topics, q.Topic) {
				queues[q.First()] = true
			}
		}
		return nil
	})
	if err != nil {
		return again, err
	}
	if len(queues) == 0 {
		return again, msha.Errorf("switch.replay", "group "+replay.Group+", unit "+l.unit, "groups with facts there: "+strings.Join(known, ", "),
			"%w: no facts of the group, or of these topics", msha.ErrInvalid)
	}
	asked := slices.Collect(maps.Keys(queues))
	parts := make([][]msha.Incarnation, len(asked))
	err = each(len(asked), func(i int) (err error) {
		parts[i], err = c.stored(ctx, asked[i], replay.Since, replay.Until)
		return err
	})
	for _, part := range slices.Concat(parts...) {
		again.Ranges[part.Queue] = again.Ranges[part.Queue].Union(filter.Range(part.From, part.To))
	}
	return again, err
}

// stored is what was stored in a home queue in a span of time, by its broker's clock.
func (c *clusters) stored(ctx context.Context, q msha.OriginQueue, since, until time.Time) ([]msha.Incarnation, error) {
	l, _, _, err := c.unit(ctx, q.Unit)
	if err != nil {
		return nil, err
	}
	in, err := c.incarnations(ctx, q.Unit)
	if err != nil {
		return nil, err
	}
	local := remoting.Queue{Topic: q.Topic, Broker: q.Broker, ID: q.Queue}
	from, err := offsetAt(ctx, l.cluster, local, since)
	if err != nil {
		return nil, err
	}
	to := int64(filter.End)
	if !until.IsZero() {
		if to, err = offsetAt(ctx, l.cluster, local, until); err != nil {
			return nil, err
		}
	}
	return in.Split(q, from, to), nil
}

func (c *clusters) incarnations(ctx context.Context, unit string) (*msha.Incarnations, error) {
	doc, err := c.registry.store.Get(ctx, msha.IncarnationsKey+"."+unit)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return nil, err
	}
	return msha.ParseIncarnations(doc)
}

// offsetAt is the first offset that was stored at a time or later. What a broker answers to that question is near it: of several messages of
// one millisecond it may name any, and RocketMQ 4 names the message that is nearest in time.
func offsetAt(ctx context.Context, cluster *remoting.Cluster, q remoting.Queue, t time.Time) (int64, error) {
	low, err := cluster.MinOffset(ctx, q)
	if err != nil {
		return 0, err
	}
	high, err := cluster.MaxOffset(ctx, q)
	if err != nil {
		return 0, err
	}
	guess, err := cluster.OffsetByTime(ctx, q, t)
	if err != nil {
		return 0, err
	}
	return search(low, high, guess, func(offset int64) (bool, error) {
		res, err := cluster.Pull(ctx, remoting.PullRequest{Queue: q, Group: logGroup, Offset: offset, Max: 1})
		if err != nil || len(res.Messages) == 0 {
			return false, err
		}
		return res.Messages[0].StoreTimestamp < t.UnixMilli(), nil
	})
}

// search is the first of the ascending offsets in [low, high) that is not older; high if all are. It looks around a guess first.
func search(low, high, guess int64, older func(int64) (bool, error)) (int64, error) {
	probes := []int64{guess - 1, guess}
	for low < high {
		probe := low + (high-low)/2
		if len(probes) > 0 {
			probe, probes = probes[0], probes[1:]
			if probe < low || probe >= high {
				continue
			}
		}
		is, err := older(probe)
		switch {
		case err != nil:
			return 0, err
		case is:
			low = probe + 1
		default:
			high = probe
		}
	}
	return low, nil
}

// serveReplay answers POST /replay?values=…&group=…&since=…: a switch in which the routes stay where they are.
func (m *Manager) serveReplay(w http.ResponseWriter, r *http.Request) {
	req, dryRun, err := parseReplay(r.URL.Query(), time.Now())
	m.answer(w, r, req, dryRun, err)
}

func parseReplay(q url.Values, now time.Time) (req msha.SwitchRequest, dryRun bool, err error) {
	if err := onlyParameters(q, []string{"values", "topics", "allow-unmanaged", "override"}, []string{"from", "group", "since", "until", "deadline", "dry-run", "by"}); err != nil {
		return req, false, err
	}
	replay := &msha.Replay{Group: q.Get("group"), Topics: split(q["topics"])}
	if replay.Since, err = moment(q, "since", now); err == nil {
		replay.Until, err = moment(q, "until", now)
	}
	if err != nil {
		return req, false, err
	}
	for _, name := range []string{"topics", "group", "since", "until"} {
		q.Del(name)
	}
	req, dryRun, err = parseRequest(q)
	req.Replay = replay
	return req, dryRun, err
}

// moment is a time, or how long it is ago.
func moment(q url.Values, name string, now time.Time) (time.Time, error) {
	s := q.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, msha.Errorf("switch.request", name+"="+s, "use a time like 2006-01-02T15:04:05Z, or how long it is ago, like 90m", "%w: no time", msha.ErrInvalid)
	}
	return t, nil
}
