package manager

import (
	"context"

	"github.com/google/uuid"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/route"
	"github.com/go-msha/msha/switchplan"
)

func newID() string { return uuid.NewString() }

// tables is the routing table document as an executor needs it.
type tables struct{ store msha.MetaStore }

var _ switchplan.Tables = (*tables)(nil)

func (t *tables) Current(ctx context.Context) (*msha.Table, error) {
	return route.LoadFresh(ctx, t.store)
}

func (t *tables) Update(ctx context.Context, edit func(*msha.Table) (*msha.Table, error)) (*msha.Table, error) {
	return route.Update(ctx, t.store, edit)
}

// edits are package route's.
type edits struct{}

var _ switchplan.Edits = edits{}

func (edits) Fence(t *msha.Table, plan *msha.Plan) (*msha.Table, error) { return route.Fence(t, plan) }

func (edits) Reopen(t *msha.Table, switchID string) (*msha.Table, error) {
	return route.Reopen(t, switchID)
}

func (edits) Abort(t *msha.Table, switchID string) (*msha.Table, error) {
	return route.Abort(t, switchID)
}

func (edits) Commit(t *msha.Table, plan *msha.Plan, hashes map[string]string) (*msha.Table, error) {
	return route.Commit(t, plan, hashes)
}

func (edits) Rejoin(t, from *msha.Table, unit string, hashes map[string]string) (*msha.Table, error) {
	return route.Rejoin(t, from, unit, hashes)
}

// registry reads who takes part.
type registry struct{ store msha.MetaStore }

var _ switchplan.Registry = (*registry)(nil)

func (r *registry) Units(ctx context.Context) (*msha.Units, error) { return route.Units(ctx, r.store) }

func (r *registry) Roster(ctx context.Context) (msha.Roster, error) {
	return route.RosterFresh(ctx, r.store)
}

func (r *registry) Prune(ctx context.Context, dead []msha.RosterMember) error {
	return route.UpdateRoster(ctx, r.store, func(roster msha.Roster) msha.Roster { return roster.Prune(dead) })
}
