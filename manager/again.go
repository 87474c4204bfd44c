package manager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// ReplaySources says where a replay finds what is to be processed once more.
type ReplaySources struct {
	Units   []string           `json:"units"`             // whose messages: where they were first stored
	Gone    []msha.OriginQueue `json:"gone,omitempty"`    // queues of units that are not registered any more, or of such brokers: passed over
	Expired []ExpiredQueue     `json:"expired,omitempty"` // queues that do not go back to where the replay begins
}

// ExpiredQueue is a queue whose oldest messages are not kept any more.
type ExpiredQueue struct {
	Queue  msha.OriginQueue `json:"queue"`
	Offset int64            `json:"offset"`          // of the oldest message that is there
	Oldest time.Time        `json:"oldest,omitzero"` // when that was stored; zero: the queue is empty
}

var errNoAnswer = errors.New("cannot be asked for its messages")

const opReplay = "switch.replay"

// chosen are the home queues that a replay is about, of the first incarnation, with where the group begins in them.
type chosen map[msha.OriginQueue]int64

// again finds what was stored in a span of time in the queues that a group has facts of.
func (c *clusters) again(ctx context.Context, l *unitLog, others []string, replay *msha.Replay) (again filter.Again, sources *ReplaySources, err error) {
	again = filter.Again{Group: replay.Group, Ranges: map[msha.OriginQueue]filter.Offsets{}}
	queues, err := c.chosen(ctx, l, others, replay)
	if err != nil {
		return again, nil, err
	}
	sources = &ReplaySources{}
	there, err := c.stillThere(ctx, queues, sources)
	if err != nil {
		return again, nil, err
	}
	histories := map[string]*msha.Incarnations{}
	for _, unit := range sources.Units {
		if histories[unit], err = c.incarnations(ctx, unit); err != nil {
			return again, nil, err
		}
	}
	asked := slices.Collect(maps.Keys(there))
	spans, expired := make([]span, len(asked)), make([]*ExpiredQueue, len(asked))
	var failed silence
	err = each(len(asked), func(i int) error {
		return failed.unless(asked[i].Unit, func() (err error) {
			spans[i], expired[i], err = c.stored(ctx, asked[i], there[asked[i]], replay.Since, replay.Until)
			return err
		})
	})
	if err != nil {
		return again, nil, failed.because(ctx, sources.Units)
	}
	for i, q := range asked {
		for _, part := range histories[q.Unit].Split(q, spans[i].from, spans[i].to) {
			again.Ranges[part.Queue] = filter.Range(part.From, part.To)
		}
	}
	for _, x := range expired {
		if x != nil {
			sources.Expired = append(sources.Expired, *x)
		}
	}
	slices.SortFunc(sources.Expired, func(a, b ExpiredQueue) int { return strings.Compare(a.Queue.String(), b.Queue.String()) })
	if len(sources.Expired) > 0 && !replay.Partial {
		return again, sources, expiredError(sources.Expired)
	}
	return again, sources, nil
}

// chosen are the queues of the units and topics that the replay names.
func (c *clusters) chosen(ctx context.Context, l *unitLog, others []string, replay *msha.Replay) (chosen, error) {
	for _, unit := range replay.Units {
		if unit != l.unit && !slices.Contains(others, unit) {
			return nil, msha.Errorf(opReplay, "units="+unit, "units: "+strings.Join(append(slices.Clone(others), l.unit), ", "), "%w: no such unit", msha.ErrInvalid)
		}
	}
	var known []string
	queues := chosen{}
	err := l.read(ctx, others, func(f *filter.Facts) error {
		known = f.Groups()
		if !slices.Contains(known, replay.Group) {
			return nil
		}
		g := f.Group(replay.Group)
		for _, q := range g.Queues() {
			if (len(replay.Topics) == 0 || slices.Contains(replay.Topics, q.Topic)) && (len(replay.Units) == 0 || slices.Contains(replay.Units, q.Unit)) {
				queues[q.First()], _ = g.Baseline(q.First())
			}
		}
		return nil
	})
	if err == nil && len(queues) == 0 {
		err = msha.Errorf(opReplay, "group "+replay.Group+", unit "+l.unit, "groups with facts there: "+strings.Join(known, ", "),
			"%w: no facts of the group, or of these topics and units", msha.ErrInvalid)
	}
	return queues, err
}

// stillThere leaves out the queues of units that are not registered any more, and of brokers that are neither known to a unit's name servers nor
// listed in the unit document: nobody will ever answer for them. The others are returned.
func (c *clusters) stillThere(ctx context.Context, queues chosen, sources *ReplaySources) (chosen, error) {
	units, err := c.registry.Units(ctx)
	if err != nil {
		return nil, err
	}
	brokers := map[string][]string{} // by unit
	for q := range queues {
		if info, registered := units.Find(q.Unit); registered {
			brokers[q.Unit] = info.Brokers
		}
	}
	sources.Units = sortedKeys(brokers)
	found := make([]map[string]string, len(sources.Units))
	var failed silence
	err = each(len(sources.Units), func(i int) error {
		return failed.unless(sources.Units[i], func() error {
			l, _, _, err := c.unit(ctx, sources.Units[i])
			if err == nil {
				found[i], err = l.cluster.Brokers(ctx)
			}
			return err
		})
	})
	if err != nil {
		return nil, failed.because(ctx, sources.Units)
	}
	there := chosen{}
	for q, begin := range queues {
		listed, registered := brokers[q.Unit]
		known := len(listed) == 0 || slices.Contains(listed, q.Broker) // agents list all brokers of their unit; people take one out
		if at := slices.Index(sources.Units, q.Unit); registered && (known || found[at][q.Broker] != "") {
			there[q] = begin
		} else {
			sources.Gone = append(sources.Gone, q)
		}
	}
	slices.SortFunc(sources.Gone, func(a, b msha.OriginQueue) int { return strings.Compare(a.String(), b.String()) })
	return there, nil
}

// silence notes which units do not answer, so that each is waited for once.
type silence struct {
	mu    sync.Mutex
	units map[string]error
}

func (s *silence) unless(unit string, ask func() error) error {
	s.mu.Lock()
	err := s.units[unit]
	s.mu.Unlock()
	if err == nil {
		err = ask()
	}
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.units == nil {
		s.units = map[string]error{}
	}
	if s.units[unit] == nil {
		s.units[unit] = err
	}
	return err
}

// because names the units that did not answer.
func (s *silence) because(ctx context.Context, asked []string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	silent := sortedKeys(s.units)
	others := slices.DeleteFunc(slices.Clone(asked), func(unit string) bool { return s.units[unit] != nil })
	return msha.Errorf(opReplay, "unit "+strings.Join(silent, ", "), "wait for it, or leave out what was first stored there: units="+strings.Join(others, ","),
		"%w: %w", errNoAnswer, s.units[silent[0]])
}

// expiredError refuses a replay of what is not there any more.
func expiredError(queues []ExpiredQueue) error {
	var names []string
	for _, x := range queues[:min(len(queues), 5)] {
		oldest := "it is empty"
		if !x.Oldest.IsZero() {
			oldest = "from " + x.Oldest.UTC().Format(time.RFC3339)
		}
		names = append(names, fmt.Sprintf("%s (%s, offset %d)", x.Queue, oldest, x.Offset))
	}
	if more := len(queues) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return msha.Errorf(opReplay, strings.Join(names, ", "), "begin later, or add partial=true to process what is there",
		"%w: messages from where the replay begins are not kept any more", msha.ErrGap)
}

// span is what lies from one offset up to another one.
type span struct{ from, to int64 }

// stored is what was stored in a home queue in a span of time, by its broker's clock. expired is not nil if messages of that time that the group
// had to process, begin being where it begins, may not be there any more.
func (c *clusters) stored(ctx context.Context, q msha.OriginQueue, begin int64, since, until time.Time) (found span, expired *ExpiredQueue, err error) {
	l, _, _, err := c.unit(ctx, q.Unit)
	if err != nil {
		return found, nil, err
	}
	local := remoting.Queue{Topic: q.Topic, Broker: q.Broker, ID: q.Queue}
	low, err := l.cluster.MinOffset(ctx, local)
	if err != nil {
		return found, nil, err
	}
	if found.from, err = offsetAt(ctx, l.cluster, local, since); err != nil {
		return found, nil, err
	}
	found.to = filter.End
	if !until.IsZero() {
		if found.to, err = offsetAt(ctx, l.cluster, local, until); err != nil {
			return found, nil, err
		}
	}
	if low <= begin || found.from > low {
		return found, nil, nil
	}
	oldest, err := storedAt(ctx, l.cluster, local, low)
	return found, &ExpiredQueue{Queue: q, Offset: low, Oldest: oldest}, err
}

// storedAt is when a message was stored; zero if there is none.
func storedAt(ctx context.Context, cluster *remoting.Cluster, q remoting.Queue, offset int64) (t time.Time, err error) {
	res, err := cluster.Pull(ctx, remoting.PullRequest{Queue: q, Group: logGroup, Offset: offset, Max: 1})
	if err != nil || len(res.Messages) == 0 {
		return t, err
	}
	return time.UnixMilli(res.Messages[0].StoreTimestamp).UTC(), nil
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
		at, err := storedAt(ctx, cluster, q, offset)
		return !at.IsZero() && at.UnixMilli() < t.UnixMilli(), err
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
