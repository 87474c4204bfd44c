package replicate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/history"
	"github.com/go-msha/msha/internal/remoting"
)

// Audit compares a unit's messages with their copies in other units, while both are in use: that each message of the range has one copy,
// in the order of the origin queue, equal in all that a copy keeps. It looks at what is copied when it begins, so it ends also under
// traffic, and it reads without leaving a trace. It is not the replicator's word that counts: nothing of a running one is needed.
//
// A broker that fails is tried again until ctx ends (see Patience). With ctx's error the report is valid as far as it goes and can be
// resumed. ErrInvalid for options that cannot work; ErrNotFound for a unit or topic that is not there. A queue that cannot be read has
// Err set and leaves the report unfinished; other queues go on.
func Audit(ctx context.Context, origin string, store msha.MetaStore, o *AuditOptions) (*AuditReport, error) {
	if origin == "" || store == nil {
		return nil, msha.Errorf("replicate.audit", origin, "", "%w: an origin unit and a metastore are required", msha.ErrInvalid)
	}
	opts := o.withDefaults()
	if err := opts.validate(origin); err != nil {
		return nil, err
	}
	a := &audit{origin: origin, store: store, opts: opts, history: history.New(origin, store), sites: remoting.NewSites("replicate.access", opts.Access, opts.Logger), report: &AuditReport{Origin: origin}}
	defer a.sites.Close()
	if err := a.plan(ctx); ctx.Err() != nil {
		return nil, ctx.Err()
	} else if err != nil {
		return nil, err
	}
	return a.run(ctx)
}

// audit is one call of Audit.
type audit struct {
	origin  string
	store   msha.MetaStore
	opts    AuditOptions
	sites   *remoting.Sites
	history *history.History
	queues  []*auditQueue // in the order of the report

	mu       sync.Mutex
	report   *AuditReport
	reported time.Time // Progress was called
}

// plan finds the queues to compare.
func (a *audit) plan(ctx context.Context) error {
	units, err := readUnits(ctx, a.store)
	if err != nil {
		return err
	}
	targets := a.opts.Targets
	if targets == nil {
		targets = slices.DeleteFunc(units.Names(), func(name string) bool { return name == a.origin })
	}
	if len(targets) == 0 {
		return msha.Errorf("replicate.audit", a.origin, "name the targets", "unit to compare with %w", msha.ErrNotFound)
	}
	clusters := map[string]*remoting.Cluster{}
	for _, name := range append([]string{a.origin}, targets...) {
		u, ok := units.Find(name)
		if !ok {
			return msha.Errorf("replicate.audit", name, "known units: "+strings.Join(units.Names(), ", "), "unit %w", msha.ErrNotFound)
		}
		if clusters[name], err = a.sites.Reach(ctx, u); err != nil {
			return err
		}
	}
	for _, name := range targets {
		if err := a.planTarget(ctx, name, clusters[a.origin], clusters[name]); err != nil {
			return err
		}
	}
	slices.SortFunc(a.queues, func(x, y *auditQueue) int { return strings.Compare(x.result.name(), y.result.name()) })
	for _, q := range a.queues {
		a.report.Queues = append(a.report.Queues, q.result.clone())
	}
	return nil
}

// planTarget adds the queues of one target: those of the layout document, and those of the same topics that are not in it.
func (a *audit) planTarget(ctx context.Context, target string, origin, remote *remoting.Cluster) error {
	key := msha.LayoutKey + "." + a.origin + "." + target
	doc, err := a.store.Get(ctx, key)
	if err != nil && !errors.Is(err, msha.ErrNotFound) {
		return err
	}
	layout, err := parseLayout(key, doc.Value)
	if err != nil {
		return err
	}
	if len(layout.Queues) == 0 {
		return msha.Errorf("replicate.audit", key, "does a replicator run? name the targets if not all have copies", "replica queues %w: nothing was ever copied", msha.ErrNotFound)
	}
	topics := map[string]bool{}
	for _, as := range layout.Queues {
		topics[as.Origin.Topic] = len(a.opts.Topics) == 0 || matches(as.Origin.Topic, a.opts.Topics)
	}
	for _, pattern := range a.opts.Topics {
		if !slices.ContainsFunc(layout.Queues, func(as Assigned) bool { return matches(as.Origin.Topic, []string{pattern}) }) {
			return msha.Errorf("replicate.audit", target, "does a replicator copy it?", "copies of topic %q %w", pattern, msha.ErrNotFound)
		}
	}
	for _, as := range layout.Queues {
		if topics[as.Origin.Topic] {
			a.queues = append(a.queues, a.queue(target, as.Origin, as.Target, origin, remote))
		}
	}
	for topic, wanted := range topics {
		if !wanted {
			continue
		}
		queues, err := a.originQueues(ctx, origin, topic)
		if err != nil {
			return err
		}
		for _, q := range queues {
			if _, ok := layout.find(q); !ok {
				a.queues = append(a.queues, a.queue(target, q, remoting.Queue{}, origin, remote))
			}
		}
	}
	return nil
}
