package consume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/internal/remoting"
)

// Handler is client-go's handler of a subscription.
type Handler func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

type state int

const (
	stateNew state = iota
	stateStarted
	stateStopping // nothing starts any more, what runs is waited for
	stateStopped
)

// Engine is a push consumer. It implements client-go's rocketmq.PushConsumer; its methods are safe for concurrent use.
//
// Messages take this way: a pull loop per held queue registers what it reads in the tracker and lines it up; idle workers take turns
// among the queues, ask the tracker and run the handler; a scan loop per queue reads again what a term still has to process below
// the pull position. One lock guards the state; nothing is sent while it is held.
type Engine struct {
	cfg    Config
	set    settings
	limits limits
	writer string
	retry  string // topic of the group's retry copies

	ctx         context.Context
	cancel      context.CancelFunc
	wg          sync.WaitGroup
	joining     context.Context // of the loop that acquires queues: it ends before queues are given back
	stopJoining context.CancelFunc
	joinDone    chan struct{}

	notify    chan struct{} // members or subscriptions changed
	fresh     chan struct{} // messages wait for the log to be read to its end
	wake      chan struct{} // one token for each worker that should look for work
	locking   token         // no unlocking while locks are renewed
	beginning token         // one topic is begun with at a time

	mu        sync.Mutex // everything below
	changed   chan struct{}
	waiters   int
	tracker   *filter.Tracker
	state     state
	suspended bool
	subs      map[string]*subscription
	missed    map[string]bool // home topics that were not there when they were looked for
	queues    map[remoting.Queue]*held
	left      map[remoting.Queue]leftover // by queues that were given back
	ring      []*held                     // queues with ready messages, in the order of their turns
	parked    []*item                     // decided later: facts are missing
	behind    map[msha.Origin][]*item     // retry copies that wait for their message, which is in flight here
	stale     map[string][]*item          // parked ones by broker whose log has to be read to its end for them
	noted     []string                    // brokers that were made known
	lastSeen  time.Time                   // when a broker listed this client
	entered   bool                        // into the roster, since the gate was closed last
	confirmed time.Time                   // when the metastore was last asked for the table and answered
	logs      map[remoting.Queue]*logReader
	in        *msha.Incarnations // of home queues
	table     *msha.Table
	tasks     map[string]string // switch ids of fenced sets
	acked     map[string]uint64 // by broker: highest version acknowledged in its log
	lastAck   uint64            // the highest of them there ever was

	anew  bool // everything is being given back, because a log has lost its tail
	begun int  // how often that has ended
	stats Stats
}

// New reads the options; nothing is contacted before Start.
func New(cfg Config, opts ...consumer.Option) (*Engine, error) {
	set, err := readOptions(opts)
	if err != nil {
		return nil, err
	}
	if cfg.Unit == "" || cfg.Cluster == nil || cfg.Router == nil || cfg.ClientID == "" {
		return nil, msha.Errorf("consume.new", "group "+set.group, "", "%w: Unit, Cluster, Router and ClientID are required", msha.ErrInvalid)
	}
	var id [8]byte
	rand.Read(id[:]) //nolint:errcheck // never fails
	e := &Engine{
		cfg: cfg.withDefaults(), set: set, limits: defaultLimits(), writer: hex.EncodeToString(id[:]), retry: "%RETRY%" + set.group,
		notify: make(chan struct{}, 1), fresh: make(chan struct{}, 1), wake: make(chan struct{}, set.goroutines),
		locking: newToken(), beginning: newToken(), joinDone: make(chan struct{}), changed: make(chan struct{}),
		subs: map[string]*subscription{}, missed: map[string]bool{}, behind: map[msha.Origin][]*item{}, queues: map[remoting.Queue]*held{}, left: map[remoting.Queue]leftover{}, stale: map[string][]*item{}, logs: map[remoting.Queue]*logReader{},
		tasks: map[string]string{}, acked: map[string]uint64{},
	}
	e.cfg.Logger = e.cfg.Logger.With("group", set.group, "client", cfg.ClientID)
	e.tracker = filter.NewTracker(cfg.Unit, set.group, cfg.ClientID, e.writer)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.joining, e.stopJoining = context.WithCancel(e.ctx)
	return e, nil
}

// startTimeout bounds the first contact with the brokers.
const startTimeout = 30 * time.Second

// Start enters the roster, registers at the brokers, reads the routing table and begins to consume. It blocks for that, at most 30 s.
func (e *Engine) Start() error {
	e.mu.Lock()
	if e.state != stateNew {
		e.mu.Unlock()
		return msha.Errorf("consume.start", "group "+e.set.group, "make a new consumer", "consumer %w or started", msha.ErrClosed)
	}
	e.state = stateStarted
	e.applyTable(e.cfg.Router.Table())
	subs := slices.Collect(maps.Values(e.subs))
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(e.ctx, startTimeout)
	defer cancel()
	err := e.checkSubscriptions(ctx, subs...)
	if err == nil {
		err = e.openLogs(ctx)
	}
	if err == nil {
		_, err = e.heartbeat(ctx)
	}
	for errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // a broker that has just been started may be slow
		_, err = e.heartbeat(ctx)
	}
	if err != nil {
		e.mu.Lock()
		e.state = stateStopped
		e.mu.Unlock()
		e.cancel()
		e.wg.Wait()
		_ = e.within(context.Background(), e.unregister) // it may be listed: others would leave it a share of the queues
		return err
	}
	// Before a queue is opened: with none known, where a new group begins would be said of the first incarnation only, and it would begin
	// the later ones, which it finds out about a moment later, at their beginning.
	in, _ := e.cfg.Incarnations()
	e.mu.Lock()
	e.in = in
	e.mu.Unlock()
	for range e.set.goroutines {
		e.wg.Go(e.work)
	}
	for _, loop := range []func(){e.members, e.renewLoop, e.watchTable, e.followTable, e.snapshotLoop, e.freshLoop, e.incarnationsLoop} {
		e.wg.Go(loop)
	}
	if e.cfg.Strict {
		e.wg.Go(e.confirmLoop)
	}
	return nil
}

// legalTopic is what brokers accept as a topic's name (RocketMQ's TopicValidator).
var legalTopic = regexp.MustCompile(`^[%|a-zA-Z0-9_-]{1,127}$`)

// Subscribe adds a topic before or after Start; the handler gets the messages this unit has to process, under the home topic's name. An
// SQL92 selector takes brokers with enablePropertyFilter=true; one that refuses it makes Start fail, or Subscribe after Start, which
// blocks for the question, at most 10 s. It must speak of properties that the producers set: what a broker adds (CLUSTER, REAL_TOPIC,
// DELAY) is not the same on the copies in other units.
func (e *Engine) Subscribe(topic string, selector consumer.MessageSelector, f func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)) error {
	if topic == "" || f == nil {
		return msha.Errorf("consume.subscribe", topic, "", "%w: a topic and a handler are required", msha.ErrInvalid)
	}
	if !legalTopic.MatchString(topic) {
		return msha.Errorf("consume.subscribe", topic, "use up to 127 letters, digits, _, -, % and |", "%w: no broker accepts this topic name", msha.ErrInvalid)
	}
	if err := checkSelector(topic, selector); err != nil {
		return err
	}
	sub := &subscription{topic: topic, selector: selector, handler: f, version: time.Now().UnixMilli()}
	if e.isStarted() {
		ctx, cancel := context.WithTimeout(e.ctx, checkTimeout)
		defer cancel()
		if err := e.checkSubscriptions(ctx, sub); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subs[topic] = sub
	e.unpark()
	e.poke(e.notify)
	return nil
}

func (e *Engine) isStarted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == stateStarted
}

// Unsubscribe gives the topic's queues up after their running handlers.
func (e *Engine) Unsubscribe(topic string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.subs, topic)
	for _, h := range e.queues {
		if h.home == topic {
			e.giveUp(h)
		}
	}
	e.poke(e.notify)
	return nil
}

// Suspend stops starting messages; running handlers go on.
func (e *Engine) Suspend() { e.setSuspended(true) }

// Resume starts messages again, at once.
func (e *Engine) Resume() { e.setSuspended(false) }

func (e *Engine) setSuspended(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.suspended = on
	e.wakeAll()
}

// GetOffsetDiffMap is how many messages of each subscribed topic this client's queues hold beyond what is acknowledged.
func (e *Engine) GetOffsetDiffMap() map[string]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]int64{}
	for _, h := range e.queues {
		if h.home != "" {
			out[h.home] += max(h.maxOffset-h.committable(), 0)
		}
	}
	return out
}

func (e *Engine) poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// broadcast wakes everybody who waits for a change of the state; the lock is held.
func (e *Engine) broadcast() {
	if e.waiters > 0 {
		close(e.changed)
		e.changed, e.waiters = make(chan struct{}), 0
	}
}

// await blocks until cond, evaluated under the lock, holds or ctx ends.
func (e *Engine) await(ctx context.Context, cond func() bool) error {
	for {
		e.mu.Lock()
		ok, ch := cond(), e.changed
		if !ok {
			e.waiters++
		}
		e.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pause waits, shorter if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
