package manager

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

// Options of New. The zero value is valid.
type Options struct {
	Planner         msha.SwitchPlanner         // nil: switchplan.Planner
	Steps           []msha.Step                // users' own steps, with the phase they come after in the same position of After
	After           []string                   // phases, or earlier steps, of Steps; "": the step is in no plan made here, only its code is known
	Guards          switchplan.Guards          // what refuses a switch that is possible but unwise
	GateWindow      time.Duration              // G of the agents; 0: 30 s
	Poll            time.Duration              // between two looks at acknowledgements and progress; 0: 10 ms
	TakeOverTimeout time.Duration              // how long /switch waits for the last phase; 0: 30 s
	ResumeAfter     time.Duration              // an order unchanged for so long is finished by this manager; 0: 3 s
	SnapshotEvery   time.Duration              // how often the facts of groups without agents are carried forward; 0: 1 h. Keep it below a quarter of the brokers' retention time
	CloseTimeout    time.Duration              // how long Close waits for running switches before it cuts them short; 0: 10 s
	Who             func(*http.Request) string // who is behind a request, for the records; nil: basic authentication, by=…, or the address
	Access          msha.AccessFunc            // account and TLS of each unit's cluster; nil: no account, plain TCP
	Logger          *slog.Logger               // nil: slog.Default()
	Observer        switchplan.Observer
}

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.Planner == nil {
		out.Planner = &switchplan.Planner{}
	}
	if out.CloseTimeout <= 0 {
		out.CloseTimeout = 10 * time.Second
	}
	if out.SnapshotEvery <= 0 {
		out.SnapshotEvery = time.Hour
	}
	if out.ResumeAfter <= 0 {
		out.ResumeAfter = 3 * time.Second
	}
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	return out
}

// Manager serves the HTTP interface and, in the background, finishes what other managers left. Its methods are safe for concurrent
// use.
type Manager struct {
	store    msha.MetaStore
	opts     Options
	id       string
	tables   *tables
	registry *registry
	clusters *clusters
	executor *switchplan.Executor
	mux      *http.ServeMux
	count    metrics
	events   *switchplan.Stream

	ctx    context.Context // ends when Close cuts switches short
	cancel context.CancelFunc
	loop   context.Context // of what goes on in the background, or waits; Close ends it at once
	stop   context.CancelFunc
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup // the loop and the running switches
}

// New reads the table and the units once, so that a wrong store fails here and not in the middle of a switch; it blocks for that.
// The store stays the caller's: Close does not close it.
func New(ctx context.Context, store msha.MetaStore, o *Options) (*Manager, error) {
	opts := o.withDefaults()
	if store == nil || len(opts.Steps) != len(opts.After) {
		return nil, msha.Errorf("manager.new", "", "", "%w: a store is required, and a phase for each step", msha.ErrInvalid)
	}
	m := &Manager{store: store, opts: opts, tables: &tables{store}, registry: &registry{store}, count: metrics{finished: map[string]int64{}}, events: switchplan.NewStream()}
	if _, err := m.tables.Current(ctx); err != nil {
		return nil, err
	}
	if _, err := m.registry.Units(ctx); err != nil {
		return nil, err
	}
	m.id = newID()
	m.clusters = newClusters(m.tables, m.registry, m.id, opts.Access, opts.Logger)
	steps := map[string]msha.Step{}
	for _, s := range opts.Steps {
		steps[s.Name] = s
	}
	var err error
	m.executor, err = switchplan.New(&switchplan.Options{
		Store: store, Tables: m.tables, Edits: edits{}, Registry: m.registry, Cluster: m.clusters, Facts: m.clusters,
		Manager: m.id, Steps: steps, GateWindow: opts.GateWindow, Poll: opts.Poll, TakeOverTimeout: opts.TakeOverTimeout,
		ResumeAfter: opts.ResumeAfter, Guards: opts.Guards, Logger: opts.Logger, Observer: opts.Observer, Events: m.events,
	})
	if err != nil {
		m.clusters.close()
		return nil, err
	}
	m.mux = m.routes()
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.loop, m.stop = context.WithCancel(m.ctx)
	m.wg.Go(func() { m.resume(m.loop) })
	m.wg.Go(func() { m.rejoins(m.loop) })
	m.wg.Go(func() { m.care(m.loop) })
	return m, nil
}

// Switch plans and runs one switch, as /switch does. It blocks like switchplan's Executor.Run; the report is never nil. ErrClosed
// after Close.
func (m *Manager) Switch(ctx context.Context, req msha.SwitchRequest) (*switchplan.Report, error) {
	report, _, err := m.run(ctx, req)
	return report, err
}

// Plan says what Switch would do, steps of Options included, without doing any of it. It may be changed, kept as JSON
// (switchplan.EncodePlan) and given to Run.
func (m *Manager) Plan(ctx context.Context, req msha.SwitchRequest) (*msha.Plan, error) {
	return m.plan(ctx, req)
}

// Run runs a plan as Switch does.
func (m *Manager) Run(ctx context.Context, plan *msha.Plan) (*switchplan.Report, error) {
	report, _, err := m.guarded(ctx, func(context.Context) (*msha.Plan, error) { return plan, nil })
	return report, err
}

// DryRun plans a switch and says what it would move and what stands in its way, as /switch?dry-run=true does. Nothing is changed.
func (m *Manager) DryRun(ctx context.Context, req msha.SwitchRequest) (*switchplan.Forecast, error) {
	forecast, _, err := m.dryRun(ctx, req)
	return forecast, err
}

func (m *Manager) dryRun(ctx context.Context, req msha.SwitchRequest) (*switchplan.Forecast, int, error) {
	plan, err := m.plan(ctx, req)
	if err != nil {
		return nil, planStatus(err), err
	}
	forecast, err := m.executor.DryRun(ctx, plan)
	return forecast, refusedStatus(err), err
}

// Approve answers a step of a running switch, of any manager: see switchplan's Executor.Approve.
func (m *Manager) Approve(ctx context.Context, order, step, by, note string) error {
	return m.executor.Approve(ctx, order, step, by, note)
}

// Refuse is Approve with the answer no.
func (m *Manager) Refuse(ctx context.Context, order, step, by, note string) error {
	return m.executor.Refuse(ctx, order, step, by, note)
}

// Abort calls a running switch off, of any manager: see switchplan's Executor.Abort.
func (m *Manager) Abort(ctx context.Context, order, by, note string) error {
	return m.executor.Abort(ctx, order, by, note)
}

func (m *Manager) run(ctx context.Context, req msha.SwitchRequest) (*switchplan.Report, int, error) {
	return m.guarded(ctx, func(ctx context.Context) (*msha.Plan, error) { return m.plan(ctx, req) })
}

// enter lets a call in unless the manager is closed; its context ends with until, too.
func (m *Manager) enter(ctx, until context.Context) (_ context.Context, leave func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, msha.Errorf("switch.run", "", "ask another manager", "manager %w", msha.ErrClosed)
	}
	m.wg.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(until, cancel)
	return ctx, func() {
		detach()
		cancel()
		m.wg.Done()
	}, nil
}

// guarded runs a plan unless the manager is closed, and counts it.
func (m *Manager) guarded(ctx context.Context, make func(context.Context) (*msha.Plan, error)) (report *switchplan.Report, status int, err error) {
	report = &switchplan.Report{}
	ctx, leave, err := m.enter(ctx, m.ctx)
	if err != nil {
		return report, http.StatusServiceUnavailable, err
	}
	defer leave()

	begun := time.Now()
	m.count.change(func(c *metrics) { c.running++ })
	outcome := "refused"
	defer func() {
		m.count.change(func(c *metrics) {
			c.running--
			c.finished[outcome]++
			c.takenOver += report.TakenOver
			c.repeated += report.PossiblyRepeated
			c.pause += report.Pause
			c.duration += time.Since(begun)
		})
	}()
	plan, err := make(ctx)
	if err != nil {
		return report, planStatus(err), err
	}
	report, err = m.executor.Run(ctx, plan)
	status = runStatus(err)
	switch {
	case err == nil:
		outcome = "done"
	case errors.Is(err, msha.ErrAborted):
		outcome = "aborted"
	case len(report.Phases) > 0:
		outcome = "failed"
	case report.State == "":
		status = refusedStatus(err)
	}
	if plan.Request.Replay != nil && errors.Is(err, msha.ErrInvalid) {
		status = http.StatusBadRequest // no facts of the group that the client named
	}
	return report, status, err
}

func (m *Manager) plan(ctx context.Context, req msha.SwitchRequest) (*msha.Plan, error) {
	table, err := m.tables.Current(ctx)
	if err != nil {
		return nil, err
	}
	units, err := m.registry.Units(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := m.opts.Planner.Plan(ctx, req, msha.View{Table: table, Units: units})
	if err != nil {
		return nil, err
	}
	for i, step := range m.opts.Steps {
		if m.opts.After[i] == "" {
			continue
		}
		if err := switchplan.InsertAfter(plan, m.opts.After[i], step); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// resume finishes switches of other managers until ctx ends.
func (m *Manager) resume(ctx context.Context) {
	m.executor.KeepResuming(ctx, func(err error) {
		m.count.change(func(c *metrics) { c.resumes++ })
		m.opts.Logger.Warn("cannot finish switches of other managers, will try again", "error", err)
	})
}

// Close refuses new switches, waits CloseTimeout for the running ones, then cuts them short: before the commit they abort, after
// it another manager finishes them. Repeated calls do nothing.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.mu.Unlock()
	m.stop()
	cut := time.AfterFunc(m.opts.CloseTimeout, m.cancel)
	m.wg.Wait()
	cut.Stop()
	m.cancel()
	m.events.Close()
	m.clusters.close()
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
