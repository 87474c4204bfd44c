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
	"github.com/go-msha/msha/route"
)

// Where a group begins in a unit in which it does not run.
const (
	StartFirst     = "first"     // at the oldest message
	StartLast      = "last"      // behind the newest one
	StartCommitted = "committed" // at the offsets that the group has committed there
	StartAt        = "at"        // at a time
)

// Provision asks to say where a group begins in the home queues of a unit in which nobody consumes in it.
//
// Nothing of a unit's messages is processed anywhere before that is known (the Baseline of design section 7), because a group that had
// processed some of them there would do so twice. Where the group runs, its first process says it; for a group that runs in other units
// only, nobody would, and what is produced in this unit for the routes of those units would wait for ever.
type Provision struct {
	Unit, Group string
	Topics      []string // home topics; none: those that the group has facts of in any unit
	Start       string
	At          time.Time // for StartAt, by the brokers' clocks
	By          string    // who asks; logged
}

// Provisioned says where a group begins.
type Provisioned struct {
	Unit   string             `json:"unit"`
	Group  string             `json:"group"`
	Queues []ProvisionedQueue `json:"queues"`
}

// ProvisionedQueue is one home queue.
type ProvisionedQueue struct {
	Queue  msha.OriginQueue `json:"queue"`
	Offset int64            `json:"offset"`
	Before bool             `json:"before,omitempty"` // it was known before, and has not changed
}

const opProvision = "manager.provision"

// Provision writes where a group begins into the log of a unit and lists the group there as a managed one. Queues of which it is known keep it,
// so a repetition adds what is new: topics and queues. ErrBusy if somebody consumes in the group there: the group's own processes say it;
// ErrNotFound for an unknown unit, a topic that is not there, or a group that has committed nothing.
func (m *Manager) Provision(ctx context.Context, p Provision) (*Provisioned, error) {
	ctx, leave, err := m.enter(ctx, m.loop)
	if err != nil {
		return nil, err
	}
	defer leave()
	return m.clusters.provision(ctx, p)
}

func (c *clusters) provision(ctx context.Context, p Provision) (*Provisioned, error) {
	if p.Group == "" || !slices.Contains([]string{StartFirst, StartLast, StartCommitted, StartAt}, p.Start) || (p.Start == StartAt) == p.At.IsZero() {
		return nil, msha.Errorf(opProvision, p.Group, "start is first, last, committed or a time", "%w: want a group and where it starts", msha.ErrInvalid)
	}
	l, others, _, err := c.unit(ctx, p.Unit)
	if err != nil {
		return nil, err
	}
	if err := c.unused(ctx, p); err != nil {
		return nil, err
	}
	if len(p.Topics) == 0 {
		if p.Topics, err = c.topicsOf(ctx, append(others, p.Unit), p.Group); err != nil {
			return nil, err
		}
	}
	known := map[msha.OriginQueue]int64{}
	begun := map[string]begunTopic{}
	if err := l.cluster.EnsureTopic(ctx, remoting.TopicConfig{Name: msha.ProgressTopic, Read: 1, Write: 1}); err != nil { // no agent may ever have run there
		return nil, err
	}
	err = l.read(ctx, others, func(f *filter.Facts) error {
		for _, q := range f.Group(p.Group).Queues() {
			if begin, ok := f.Group(p.Group).Baseline(q); ok {
				known[q] = begin
			}
		}
		for _, topic := range p.Topics {
			begun[topic] = begunIn(f.Group(p.Group), l, topic)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out, records, err := c.baselines(ctx, l, p, known, begun)
	if err != nil || len(records) == 0 {
		return out, err
	}
	// The brokers are listed before anything is written to their logs, so that no switch passes over one of them.
	if err := c.registry.list(ctx, p.Unit, p.Group, slices.Sorted(maps.Keys(records))); err != nil {
		return nil, err
	}
	for broker, bodies := range records {
		for _, body := range bodies {
			if err := l.appendTo(ctx, broker, body); err != nil {
				return nil, err
			}
		}
	}
	c.log.Info("group provisioned", "unit", p.Unit, "group", p.Group, "start", p.Start, "topics", p.Topics, "queues", len(out.Queues), "by", p.By)
	return out, nil
}

// unused refuses groups in which somebody consumes.
func (c *clusters) unused(ctx context.Context, p Provision) error {
	roster, err := c.registry.Roster(ctx)
	if err != nil {
		return err
	}
	listed, err := c.Clients(ctx, p.Unit, []string{p.Group})
	if err != nil {
		return err
	}
	clients := listed[p.Group]
	for _, m := range roster.Members {
		if m.Unit == p.Unit && slices.Contains(m.Groups, p.Group) {
			clients = append(clients, m.ClientID)
		}
	}
	if len(clients) == 0 {
		return nil
	}
	return msha.Errorf(opProvision, "group "+p.Group+", unit "+p.Unit, "nothing has to be provisioned where processes of package agent run; stop other ones",
		"%w: consumed by %s", msha.ErrBusy, strings.Join(clients, ", "))
}

// topicsOf are the topics that a group has facts of in any of the units.
func (c *clusters) topicsOf(ctx context.Context, units []string, group string) (topics []string, err error) {
	for _, unit := range units {
		l, others, _, err := c.unit(ctx, unit)
		if err != nil {
			return nil, err
		}
		err = l.read(ctx, others, func(f *filter.Facts) error {
			for _, q := range f.Group(group).Queues() {
				topics = append(topics, q.Topic)
			}
			return nil
		})
		if err != nil && !errors.Is(err, msha.ErrNotFound) {
			return nil, err
		}
	}
	slices.Sort(topics)
	if topics = slices.Compact(topics); len(topics) == 0 {
		return nil, msha.Errorf(opProvision, "group "+group, "name topics, or start the group in another unit first", "%w: no unit has facts of the group", msha.ErrNotFound)
	}
	return topics, nil
}

// begunTopic is what logs say of a topic as a whole.
type begunTopic struct {
	extent filter.Extent
	known  bool
	said   map[string]bool // by the log of which broker
}

func begunIn(g *filter.GroupFacts, l *unitLog, topic string) begunTopic {
	b := begunTopic{said: map[string]bool{}}
	b.extent, b.known = g.Extent(l.unit, topic)
	for _, broker := range l.brokers() {
		_, b.said[broker] = g.Begun(l.unit, broker, topic)
	}
	return b
}

// baselines are the records to be written: bodies, by broker. A queue that was added since the group began with its topic begins at its first message,
// as where the group runs: it would lose what was stored before anybody knew of the queue.
func (c *clusters) baselines(ctx context.Context, l *unitLog, p Provision, known map[msha.OriginQueue]int64, begun map[string]begunTopic) (*Provisioned, map[string][][]filter.Record, error) {
	in, err := c.incarnations(ctx, p.Unit)
	if err != nil {
		return nil, nil, err
	}
	out, records := &Provisioned{Unit: p.Unit, Group: p.Group}, map[string][][]filter.Record{}
	for _, topic := range p.Topics {
		queues, err := l.cluster.Queues(ctx, topic, false)
		if err != nil {
			return nil, nil, err
		}
		before := begun[topic]
		if !before.known {
			for _, q := range queues {
				before.extent.Add(q.Broker, q.ID)
			}
		}
		starts, alone := map[string]map[int]int64{}, map[string][]filter.Record{}
		for _, local := range queues {
			q := msha.OriginQueue{Unit: p.Unit, Broker: local.Broker, Topic: topic, Queue: local.ID}
			if starts[q.Broker] == nil {
				starts[q.Broker] = map[int]int64{}
			}
			if begin, ok := known[q]; ok {
				out.Queues = append(out.Queues, ProvisionedQueue{q, begin, true})
				continue
			}
			how := p
			if !before.extent.Has(q) {
				how.Start = StartFirst
			}
			start, err := beginning(ctx, l.cluster, how, local)
			if err != nil {
				return nil, nil, err
			}
			out.Queues = append(out.Queues, ProvisionedQueue{Queue: q, Offset: start})
			if before.said[q.Broker] || !before.extent.Has(q) {
				alone[q.Broker] = append(alone[q.Broker], filter.Baselines(p.Group, q, start, in)...)
			} else {
				starts[q.Broker][q.Queue] = start
			}
		}
		for broker, at := range starts {
			if !before.said[broker] {
				records[broker] = append(records[broker], filter.Begin(p.Group, p.Unit, broker, topic, before.extent, at, in))
			}
			if rs := alone[broker]; len(rs) > 0 {
				records[broker] = append(records[broker], rs)
			}
		}
	}
	return out, records, nil
}

func beginning(ctx context.Context, cluster *remoting.Cluster, p Provision, q remoting.Queue) (int64, error) {
	switch p.Start {
	case StartFirst:
		return cluster.MinOffset(ctx, q)
	case StartLast:
		return cluster.MaxOffset(ctx, q)
	case StartAt:
		return offsetAt(ctx, cluster, q, p.At)
	}
	return cluster.CommittedOffset(ctx, p.Group, q)
}

// list puts a group and brokers into a unit's entry in the unit document.
func (r *registry) list(ctx context.Context, unit, group string, brokers []string) error {
	return route.UpdateUnits(ctx, r.store, func(units *msha.Units) (*msha.Units, error) { return units.With(unit, group, brokers), nil })
}

// serveProvision answers POST /provision?unit=…&group=…&start=….
func (m *Manager) serveProvision(w http.ResponseWriter, r *http.Request) {
	var p Provision
	q, err := provisionParameters.of(r)
	if err == nil {
		p, err = parseProvision(q, time.Now())
	}
	if err == nil {
		p.By, err = m.who(r, q)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "", err)
		return
	}
	done, err := m.Provision(r.Context(), p)
	if err != nil {
		fail(w, planStatus(err), "", err)
		return
	}
	reply(w, http.StatusOK, done)
}

func parseProvision(q url.Values, now time.Time) (p Provision, err error) {
	p = Provision{Unit: q.Get("unit"), Group: q.Get("group"), Topics: q["topics"], Start: q.Get("start")}
	if p.Start != "" && !slices.Contains([]string{StartFirst, StartLast, StartCommitted}, p.Start) {
		p.Start = StartAt
		p.At, err = moment(q, "start", now)
	}
	return p, err
}
