package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/google/uuid"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/consume"
	"github.com/go-msha/msha/internal/remoting"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/tagging"
)

// storeTimeout bounds the compare-and-set loops of Start and Shutdown, which have no context in client-go's interface.
const storeTimeout = 10 * time.Second

// shutdownTimeout bounds Shutdown, which has no context in client-go's interface.
const shutdownTimeout = 60 * time.Second

// NewPushConsumer takes client-go's options and returns client-go's push consumer interface, run by the engine of package consume
// on the unit's cluster: its handlers get only the messages this unit has to process. The name servers come from the unit
// document and the client id is unique; both replace the ones in opts. It blocks for Options.Access only. Start enters the roster and the unit
// document's list of managed groups; Shutdown drains and leaves the roster.
func (u *Unit) NewPushConsumer(opts ...consumer.Option) (rocketmq.PushConsumer, error) {
	group := consume.GroupOf(opts...)
	if group == "" {
		return nil, msha.Errorf("agent.consumer", u.info.Name, "add consumer.WithGroupName", "%w: no group name", msha.ErrInvalid)
	}
	access, err := u.access()
	if err != nil {
		return nil, err
	}
	clientID := u.instance("c", group)
	c := &managedConsumer{unit: u, group: group, member: msha.RosterMember{ClientID: clientID, Unit: u.info.Name, Groups: []string{group}, Strict: u.opts.Strict}}
	c.client = remoting.NewClient(&remoting.Options{Logger: u.log, OnRequest: c.onRequest, Credentials: access.Credentials, TLS: access.TLS})
	engine, err := consume.New(consume.Config{
		Unit:         u.info.Name,
		OtherUnits:   u.otherUnits,
		Cluster:      remoting.NewCluster(u.info.NameServers, c.client),
		Router:       u.table,
		Incarnations: u.history.Known,
		ClientID:     clientID,
		Enter:        c.enter,
		Brokers:      c.list,
		Fresh:        func(ctx context.Context) (*msha.Table, error) { return route.LoadFresh(ctx, u.store) },
		Logger:       u.log,
		GateWindow:   u.opts.GateWindow,
		Strict:       u.opts.Strict,
		PublishEvery: u.opts.PublishEvery,
		WithValue:    tagging.With,
	}, opts...)
	if err != nil {
		c.client.Close()
		return nil, err
	}
	c.Engine = engine
	c.owned, c.counted = &owned{c.close}, &counted{ConsumerStats{Group: group, ClientID: clientID}, engine}
	if err := u.register(c.owned, c.counted); err != nil {
		c.client.Close()
		return nil, err
	}
	return c, nil
}

// managedConsumer surrounds the engine with what the metastore has to know about it.
type managedConsumer struct {
	*consume.Engine
	unit    *Unit
	client  *remoting.Client
	group   string
	member  msha.RosterMember
	owned   *owned
	counted *counted

	mu    sync.Mutex
	state int // 0 new, 1 started, 2 shut down
}

// Start puts the group into the unit document's list of managed groups and starts the engine, which enters the roster. If it fails, the consumer is
// shut down.
func (c *managedConsumer) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != 0 {
		return msha.Errorf("agent.consumer", c.member.ClientID, "make a new consumer", "%w", msha.ErrClosed)
	}
	if err := c.Engine.Start(); err != nil { // it lists group and brokers
		c.state = 2
		defer c.forget()
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		return errors.Join(err, c.leave(ctx))
	}
	c.state = 1
	return nil
}

// Shutdown closes the gate, waits up to 60 s for running handlers, publishes facts, commits, unlocks, unregisters and leaves the roster.
// Repeated calls do nothing.
func (c *managedConsumer) Shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return c.close(ctx)
}

// close is Shutdown that waits until ctx ends.
func (c *managedConsumer) close(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == 2 {
		return nil
	}
	started := c.state == 1
	c.state = 2
	if err := c.Engine.Close(ctx); err != nil {
		c.client.Close()
		return err // work may still run: stay in the roster, so that a switch does not pass over it
	}
	defer c.forget()
	if !started {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	return c.leave(ctx)
}

// forget ends what is kept for a consumer that is closed, apart from its counters.
func (c *managedConsumer) forget() {
	c.client.Close()
	c.unit.settle(c.counted)
	c.unit.forget(c.owned)
}

// enter puts this process into the roster, as a new session: what a switch has observed of an earlier one no longer counts.
func (c *managedConsumer) enter(ctx context.Context) error {
	m := c.member
	m.Session = uuid.NewString()
	limit, limited := c.unit.store.(msha.StrictLimiter)
	var refused error
	err := route.UpdateRoster(ctx, c.unit.store, func(r msha.Roster) msha.Roster {
		refused = nil
		if others := strictIn(r.Without(m.ClientID)); m.Strict && limited && others >= limit.StrictLimit() {
			refused = msha.Errorf("agent.consumer", m.ClientID, "use Available mode, or a metastore whose reads are linearizable", "%w: Strict mode with more than %d consumers on this metastore",
				msha.ErrUnsupported, limit.StrictLimit())
			return r
		}
		return r.With(m)
	})
	return errors.Join(refused, err)
}

func strictIn(r msha.Roster) (n int) {
	for _, m := range r.Members {
		if m.Strict {
			n++
		}
	}
	return n
}

// list makes the group one of the unit's managed groups, and the brokers some whose logs hold facts: a switch passes none of them over.
func (c *managedConsumer) list(ctx context.Context, brokers []string) error {
	return route.UpdateUnits(ctx, c.unit.store, func(units *msha.Units) (*msha.Units, error) {
		return units.With(c.member.Unit, c.group, brokers), nil
	})
}

func (c *managedConsumer) leave(ctx context.Context) error {
	return route.UpdateRoster(ctx, c.unit.store, func(r msha.Roster) msha.Roster { return r.Without(c.member.ClientID) })
}

// onRequest passes what brokers ask on to the engine.
func (c *managedConsumer) onRequest(_ string, req *remoting.Command) *remoting.Command {
	if c.Engine == nil {
		return nil
	}
	return c.OnRequest(req)
}
