package manager

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/filter"
	"github.com/go-msha/msha/switchplan"
)

// RemainingAgain implements switchplan.Facts.
func (c *clusters) RemainingAgain(ctx context.Context, unit string, table *msha.Table, moves []msha.Move, replay *msha.Replay) (*switchplan.Remaining, error) {
	l, others, info, err := c.unit(ctx, unit)
	if err != nil {
		return nil, err
	}
	again, sources, err := c.again(ctx, l, others, replay)
	if err != nil {
		return nil, err
	}
	compute := func(f *filter.Facts) (*filter.HandOver, error) {
		return filter.RemainingAgain(f, table, moves, info.Groups, again)
	}
	if fenced(table, moves) {
		if len(sources.Gone)+len(sources.Expired) > 0 {
			c.log.Warn("replay: not all that was asked for is there", "group", replay.Group, "unit", unit, "gone", sources.Gone, "expired", sources.Expired)
		}
		return c.left(ctx, l, others, table, compute)
	}
	table = asFenced(table, moves)
	var out *filter.HandOver
	err = l.read(ctx, others, func(f *filter.Facts) (err error) {
		out, err = compute(f)
		return err
	})
	return remaining(out, nil, err)
}

// serveReplay answers POST /replay?values=…&group=…&since=…: a switch in which the routes stay where they are.
func (m *Manager) serveReplay(w http.ResponseWriter, r *http.Request) {
	var req msha.SwitchRequest
	var sources *ReplaySources
	q, err := replayParameters.of(r)
	if err == nil {
		req, err = parseReplay(q, time.Now())
	}
	if err == nil {
		var refusal error
		if sources, refusal = m.sources(r.Context(), req); refusal != nil && !isTrue(q, dryRunFlag) { // a dry run says it among others
			fail(w, sourcesStatus(refusal), "", refusal)
			return
		}
	}
	m.answer(w, r, q, req, err, func(answer any) any {
		switch a := answer.(type) {
		case *switchplan.Forecast:
			return ReplayForecast{a, sources}
		case Answer:
			return ReplayAnswer{a, sources}
		}
		return answer
	})
}

// ReplayAnswer is the JSON answer of /replay.
type ReplayAnswer struct {
	Answer
	Replay *ReplaySources `json:"replay"`
}

// ReplayForecast is the JSON answer of /replay?dry-run=true; without Replay if that could not be found out, which is among the problems.
type ReplayForecast struct {
	*switchplan.Forecast
	Replay *ReplaySources `json:"replay,omitempty"`
}

// sources says where a replay would find its messages; an error says why there will be none.
func (m *Manager) sources(ctx context.Context, req msha.SwitchRequest) (*ReplaySources, error) {
	plan, err := m.plan(ctx, req)
	if err != nil {
		return nil, err
	}
	all := &ReplaySources{}
	owners := map[string]bool{}
	for _, move := range plan.Moves {
		owners[move.From] = true
	}
	for _, unit := range sortedKeys(owners) {
		l, others, _, err := m.clusters.unit(ctx, unit)
		if err != nil {
			return nil, err
		}
		_, part, err := m.clusters.again(ctx, l, others, req.Replay)
		if part != nil {
			all.add(part)
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// add puts what another owner replays from to it; each queue is named once.
func (s *ReplaySources) add(other *ReplaySources) {
	for _, unit := range other.Units {
		if !slices.Contains(s.Units, unit) {
			s.Units = append(s.Units, unit)
		}
	}
	for _, q := range other.Gone {
		if !slices.Contains(s.Gone, q) {
			s.Gone = append(s.Gone, q)
		}
	}
	for _, x := range other.Expired {
		if !slices.ContainsFunc(s.Expired, func(known ExpiredQueue) bool { return known.Queue == x.Queue }) {
			s.Expired = append(s.Expired, x)
		}
	}
}

func sourcesStatus(err error) int {
	switch {
	case errors.Is(err, errNoAnswer):
		return http.StatusGatewayTimeout
	case errors.Is(err, msha.ErrGap):
		return http.StatusConflict
	}
	return planStatus(err)
}

func parseReplay(q url.Values, now time.Time) (req msha.SwitchRequest, err error) {
	replay := &msha.Replay{Group: q.Get("group"), Topics: q["topics"], Units: q["units"], Partial: isTrue(q, "partial")}
	if replay.Since, err = moment(q, "since", now); err == nil {
		replay.Until, err = moment(q, "until", now)
	}
	if err != nil {
		return req, err
	}
	req, err = parseRequest(q)
	req.Replay = replay
	return req, err
}

// moment is a time, or how long it is ago.
func moment(q url.Values, name string, now time.Time) (time.Time, error) {
	s := q.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, refused(name+"="+s, "use a time like 2006-01-02T15:04:05Z, or how long it is ago, like 90m", "no time")
	}
	return t, nil
}
