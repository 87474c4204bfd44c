package consume

import (
	"context"
	"log/slog"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/remoting"
)

// Config is what an engine needs besides client-go's options. Unit, Cluster, Router and ClientID are required.
type Config struct {
	Unit       string
	OtherUnits func() []string // units whose replica topics are subscribed too; nil: none. May block for a moment
	Cluster    *remoting.Cluster
	Router     msha.Router
	// Incarnations is what is known of the unit's own queues, and a channel that is closed when more is; it does not block. nil: nothing
	// was ever lost.
	Incarnations  func() (*msha.Incarnations, <-chan struct{})
	ClientID      string                                                  // unique; what brokers and the roster list
	Enter         func(ctx context.Context) error                         // puts ClientID into the roster, repeatable; nil: there is no roster
	Brokers       func(ctx context.Context, names []string) error         // notes whose logs hold facts, before any is written; nil: nobody has to know
	Fresh         func(ctx context.Context) (*msha.Table, error)          // reads the table linearizably; nil: Router is as good
	GateWindow    time.Duration                                           // G of design section 7; 0: 30 s
	Strict        bool                                                    // nothing starts unless Fresh has confirmed the table within GateWindow
	PublishEvery  time.Duration                                           // how often facts are published; 0: 1 s
	SnapshotEvery time.Duration                                           // how often facts are carried forward in the log; 0: 1 h. Keep it below a quarter of the brokers' retention time
	Tick          time.Duration                                           // how often members and topics are looked at; 0: 3 s
	WithValue     func(ctx context.Context, value string) context.Context // puts a message's routing value into its handler's context; nil: not
	Now           func() time.Time                                        // monotonic; nil: time.Now
	Logger        *slog.Logger                                            // nil: slog.Default()
}

func (c Config) withDefaults() Config {
	if c.GateWindow <= 0 {
		c.GateWindow = 30 * time.Second
	}
	if c.PublishEvery <= 0 {
		c.PublishEvery = time.Second
	}
	if c.SnapshotEvery <= 0 {
		c.SnapshotEvery = time.Hour
	}
	if c.Tick <= 0 {
		c.Tick = 3 * time.Second
	}
	if c.Enter == nil {
		c.Enter = func(context.Context) error { return nil }
	}
	if c.Brokers == nil {
		c.Brokers = func(context.Context, []string) error { return nil }
	}
	if c.Fresh == nil {
		router := c.Router
		c.Fresh = func(context.Context) (*msha.Table, error) { return router.Table(), nil }
	}
	if c.OtherUnits == nil {
		c.OtherUnits = func() []string { return nil }
	}
	if c.Incarnations == nil {
		c.Incarnations = func() (*msha.Incarnations, <-chan struct{}) { return nil, nil }
	}
	if c.WithValue == nil {
		c.WithValue = func(ctx context.Context, _ string) context.Context { return ctx }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// settings are the client-go options the engine honours.
type settings struct {
	group       string
	from        consumer.ConsumeFromWhere
	timestamp   string
	orderly     bool
	model       consumer.MessageModel
	strategy    consumer.AllocateStrategy
	goroutines  int
	batch       int
	pullBatch   int
	threshold   int64
	suspend     time.Duration // of an ordered queue after a failure, unless the handler chooses
	maxAttempts int32         // reconsume times after which a message is dead-lettered
}

// fresh names an options type that client-go does not export.
func fresh[O ~func(*T), T any](_ O) *T { return new(T) }

// readOptions applies client-go's options to client-go's defaults.
func readOptions(opts []consumer.Option) (settings, error) {
	o := fresh(consumer.Option(nil))
	o.ConsumerModel, o.MaxReconsumeTimes = consumer.Clustering, -1
	o.ConsumeTimestamp = time.Now().Add(-30 * time.Minute).Format("20060102150405")
	for _, f := range opts {
		f(o)
	}
	s := settings{
		group: o.GroupName, from: o.FromWhere, timestamp: o.ConsumeTimestamp, orderly: o.ConsumeOrderly, model: o.ConsumerModel,
		strategy: o.Strategy, goroutines: o.ConsumeGoroutineNums, batch: o.ConsumeMessageBatchMaxSize,
		pullBatch: int(o.PullBatchSize.Load()), threshold: o.PullThresholdForQueue.Load(), maxAttempts: o.MaxReconsumeTimes, suspend: o.SuspendCurrentQueueTimeMillis,
	}
	if s.group == "" {
		return s, msha.Errorf("consume.options", "", "add consumer.WithGroupName", "%w: no group name", msha.ErrInvalid)
	}
	if s.model != consumer.Clustering {
		return s, msha.Errorf("consume.options", "group "+s.group, "use client-go's own consumer", "%w: broadcasting groups are exempt from routing", msha.ErrUnsupported)
	}
	if _, err := s.startTime(); s.from == consumer.ConsumeFromTimestamp && err != nil {
		return s, err
	}
	return s.withDefaults(), nil
}

// startTime is where a new group starts that asked for a time.
func (s settings) startTime() (time.Time, error) {
	at, err := time.ParseInLocation("20060102150405", s.timestamp, time.Local)
	if err != nil {
		return at, msha.Errorf("consume.options", "group "+s.group, "use the form 20060102150405", "%w: consume timestamp %q", msha.ErrInvalid, s.timestamp)
	}
	return at, nil
}

func (s settings) withDefaults() settings {
	if s.strategy == nil {
		s.strategy = consumer.AllocateByAveragely
	}
	if s.goroutines <= 0 {
		s.goroutines = 20
	}
	if s.batch <= 0 {
		s.batch = 1
	}
	if s.pullBatch <= 0 {
		s.pullBatch = 32
	}
	if s.suspend <= 0 {
		s.suspend = time.Second
	}
	if s.threshold <= 0 {
		s.threshold = 1024
	}
	if !s.orderly && (s.maxAttempts < 0 || s.maxAttempts > 16) { // an ordered group without a limit tries on
		s.maxAttempts = 16
	}
	return s
}

// retries is how often a message goes to the retry topic: in an ordered group without a limit those that were there before.
func (s settings) retries() int32 {
	if s.maxAttempts < 0 {
		return 16
	}
	return s.maxAttempts
}

// GroupOf reads the group name out of client-go's options, "" if there is none.
func GroupOf(opts ...consumer.Option) string {
	s, _ := readOptions(opts)
	return s.group
}
