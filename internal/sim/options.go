package sim

// Mutation names a step of the protocol that is left out.
type Mutation string

// Times of the model in ms, about a tenth of the real ones.
const (
	lockTime     = 6000 // a broker keeps a lock this long without renewal
	trustTime    = 1500 // its holder relies on it this long after each renewal
	trustMargin  = 100  // others wait so much longer
	gateWindow   = 2000 // G
	listingTime  = 3000 // a broker lists a silent client this long
	publishEvery = 200
	tick         = 500
	maxAttempts  = 4
	workers      = 4 // handlers per agent
	threshold    = 32
	pullBatch    = 8
)

// options are one schedule's dimensions, drawn from its seed.
type options struct {
	units, agents, brokers, queues int
	values                         int // per unit
	messages                       int
	produceFor                     int64 // ms
	failure                        float64
	ordered                        bool // the group's queues run one message after the other
	crashes                        bool // kills and freezes
	kills, freezes, leaves, joins  int
	breaks                         int  // of a process's connections, for a moment
	outages                        int  // of the metastore
	losses                         int  // of what a broker had stored last
	managers                       bool // die and freeze
	switches                       int
	disasters                      int     // whole units lost for a while
	strict                         bool    // no start without the metastore
	flaky                          float64 // calls whose request or answer is lost
	slowLogs                       float64
}

func drawOptions(l *loop) options {
	o := options{
		units: 2, agents: 2 + l.rng.IntN(2), brokers: 1 + l.rng.IntN(2), queues: 1 + l.rng.IntN(2), values: 2 + l.rng.IntN(3),
		messages: 120 + l.rng.IntN(120), produceFor: l.between(8000, 16000), failure: []float64{0, 0.05, 0.15, 0.3}[l.rng.IntN(4)],
		leaves: l.rng.IntN(3), joins: l.rng.IntN(3), outages: l.rng.IntN(3), switches: 4 + l.rng.IntN(8),
		flaky: []float64{0, 0.01, 0.05}[l.rng.IntN(3)], slowLogs: []float64{0, 0.02, 0.2}[l.rng.IntN(3)],
	}
	if l.chance(0.35) {
		o.units = 3
	}
	o.ordered = l.chance(0.3)
	o.breaks = l.rng.IntN(4)
	if o.crashes = l.chance(0.5); o.crashes {
		o.kills, o.freezes = l.rng.IntN(5), l.rng.IntN(4)
	}
	if l.chance(0.4) {
		o.disasters = 1 + l.rng.IntN(3)
		o.strict = l.chance(0.3)
		if l.chance(0.5) {
			o.units = 3
		}
	}
	if l.chance(0.35) {
		o.losses = 1 + l.rng.IntN(3)
	}
	o.managers = l.chance(0.4)
	return o
}

// Counts says what happened in a run, so that a test can tell whether its schedules reach what they are meant to reach.
type Counts struct {
	Events, Messages, Runs                                    int
	Switches, Splits, AbortsAfterAck, Deadlines, TakeOvers    int
	Rescans, Rescanned                                        int
	Retries, StoredTimeouts, Refused, PastCopies, DeadLetters int
	Opens, Voided                                             int
	Leaves, Kills, Freezes, Joins, LapsedGates, LostLocks     int
	Repeats, ReplicatorRepeats, RunsInOutage                  int
	OrderedRuns, OrderedFailures, OrderedRescanned            int
	Disasters, Forced, ForcedSplits, Stale, HeldBack, Rejoins int
	ForcedRepeats, ForcedChains, StrictForced, TakenLocks     int
	Breaks, PassedOver                                        int
	Losses, LostMessages, LostCopies, LostRetries, LostFacts  int
	Resumed, Raised, RaisedByHand, Early, Parted, Carried     int
	ForeignCommits, LogsLost, Unsent                          int
	ManagersLost, Resumptions, Orphans                        int
}

// Add sums two runs.
func (c *Counts) Add(o Counts) {
	for i, p := range c.fields() {
		*p += *o.fields()[i]
	}
}

func (c *Counts) fields() []*int {
	return []*int{&c.Events, &c.Messages, &c.Runs, &c.Switches, &c.Splits, &c.AbortsAfterAck, &c.Deadlines, &c.TakeOvers, &c.Rescans, &c.Rescanned,
		&c.Retries, &c.StoredTimeouts, &c.Refused, &c.PastCopies, &c.DeadLetters, &c.Opens, &c.Voided, &c.Leaves, &c.Kills, &c.Freezes,
		&c.Joins, &c.LapsedGates, &c.LostLocks, &c.Repeats, &c.ReplicatorRepeats, &c.RunsInOutage, &c.OrderedRuns, &c.OrderedFailures, &c.OrderedRescanned,
		&c.Disasters, &c.Forced, &c.ForcedSplits, &c.Stale, &c.HeldBack, &c.Rejoins, &c.ForcedRepeats, &c.ForcedChains, &c.StrictForced, &c.TakenLocks, &c.Breaks, &c.PassedOver,
		&c.Losses, &c.LostMessages, &c.LostCopies, &c.LostRetries, &c.LostFacts, &c.Resumed, &c.Raised, &c.RaisedByHand, &c.Early, &c.Parted, &c.Carried,
		&c.ForeignCommits, &c.LogsLost, &c.Unsent, &c.ManagersLost, &c.Resumptions, &c.Orphans}
}
