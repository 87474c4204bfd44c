package switchplan_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/switchplan"
)

var _ switchplan.Surveyor = (*process)(nil)

func (p *process) Outlook(ctx context.Context, unit string, t *msha.Table, moves []msha.Move) (out []switchplan.Outlook, err error) {
	err = p.do(ctx, func() error {
		for _, m := range moves {
			if m.From != unit || t.Sets[m.Set].Owner != unit || t.Sets[m.Set].State != msha.SetOpen {
				return fmt.Errorf("outlook of %s asked of %s", m.Set, unit)
			}
			out = append(out, switchplan.Outlook{Set: m.NewSet, Group: "channel", Pending: p.pending, Retrying: 5, Backlog: 7})
		}
		return p.blind
	})
	return out, err
}

func (p *process) Consumers(ctx context.Context, unit string) (all map[string][]string, err error) {
	err = p.do(ctx, func() error {
		all = map[string][]string{}
		for key, ids := range p.clients {
			if group, ok := strings.CutPrefix(key, unit+"/"); ok {
				all[group] = slices.Clone(ids)
			}
		}
		return nil
	})
	return all, err
}

func (p *process) Lag(ctx context.Context, from, to string) (n int64, err error) {
	err = p.do(ctx, func() error { n = p.lag[from+">"+to]; return p.blind })
	return n, err
}
